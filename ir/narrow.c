/* ir/narrow.c — floats of fewer than 32 bits, as their bits: f16, bf16, the f8 family, f4.
 *
 * One table describes the formats; widening is exact, narrowing rounds once, to nearest even
 * (f8e8m0: to the nearest power of two, ties away from zero, the sign ignored). */
#include "ir/expr.h"

#include <math.h>
#include <string.h>

/* Values: (-1)^s * m * 2^(e - bias); the exponent field 0 is subnormal. */
typedef struct Format {
    int mant, bias;
    uint32_t sign;     /* the sign bit */
    uint32_t max;      /* bits of the largest finite value */
    uint32_t inf, nan; /* bits; inf == nan: the format has no infinity */
    bool fnuz;         /* no negative zero */
    bool saturates;    /* f8 and f4: overflow gives max unless asked otherwise */
} Format;

static Format format_of(Dtype t) {
    switch (t) {
    case T_F16:
        return (Format){10, 15, 0x8000, 0x7bff, 0x7c00, 0x7e00, false, false};
    case T_BF16:
        return (Format){7, 127, 0x8000, 0x7f7f, 0x7f80, 0x7fc0, false, false};
    case T_F8E4M3FN:
        return (Format){3, 7, 0x80, 0x7e, 0x7f, 0x7f, false, true};
    case T_F8E4M3FNUZ:
        return (Format){3, 8, 0x80, 0x7f, 0x80, 0x80, true, true};
    case T_F8E5M2:
        return (Format){2, 15, 0x80, 0x7b, 0x7c, 0x7e, false, true};
    case T_F8E5M2FNUZ:
        return (Format){2, 16, 0x80, 0x7f, 0x80, 0x80, true, true};
    default: /* f4e2m1: neither infinity nor NaN; NaN becomes -0 */
        return (Format){1, 1, 0x8, 0x7, 0x7, 0x8, false, true};
    }
}

static double bf16_value(uint32_t bits) {
    float f;
    bits <<= 16;
    memcpy(&f, &bits, sizeof f);
    return f;
}

double narrow_value(Dtype t, uint32_t bits) {
    if (t == T_BF16)
        return bf16_value(bits);
    if (t == T_F8E8M0)
        return bits == 0xff ? NAN : ldexp(1.0, (int)bits - 127);
    const Format f = format_of(t);
    uint32_t mag = bits & (f.sign - 1);
    if (f.fnuz && bits == f.nan)
        return NAN;
    if (mag > f.max)
        return mag == f.inf && f.inf != f.nan ? (bits & f.sign ? -INFINITY : INFINITY) : NAN;
    int e = (int)(mag >> f.mant);
    double m = mag & ((1u << f.mant) - 1);
    if (e != 0)
        m += 1u << f.mant;
    double v = ldexp(m, (e ? e : 1) - f.bias - f.mant);
    return bits & f.sign ? -v : v;
}

static uint32_t e8m0_bits(double v) {
    if (isnan(v) || isinf(v))
        return 0xff;
    if (v == 0)
        return 0;
    int e;
    double m = frexp(fabs(v), &e); /* m in [0.5, 1) */
    e += 126 + (m >= 0.75);
    return e < 0 ? 0 : e > 0xfe ? 0xfe : (uint32_t)e;
}

uint32_t narrow_bits(Dtype t, double v, bool saturate) {
    if (t == T_F8E8M0)
        return e8m0_bits(v);
    const Format f = format_of(t);
    if (isnan(v))
        return f.nan;
    uint32_t sign = signbit(v) ? f.sign : 0;
    double a = fabs(v);
    int e = 0;
    if (isinf(v)) {
        a = f.max + 1.0;
    } else if (a != 0) {
        (void)frexp(a, &e);
        e -= 1;
        int emin = 1 - f.bias;
        if (e < emin)
            e = emin;
        a = rint(ldexp(a, f.mant - e)) + ldexp(e - emin, f.mant);
    }
    if (a > f.max) {
        bool to_max = f.saturates && (saturate || f.nan == 0x8);
        return to_max ? f.max | sign : f.fnuz || f.inf == f.nan ? f.nan | sign : f.inf | sign;
    }
    uint32_t bits = (uint32_t)a;
    return f.fnuz && bits == 0 ? 0 : bits | sign;
}

double narrow_round(Dtype t, double v, bool saturate) {
    return narrow_value(t, narrow_bits(t, v, saturate));
}
