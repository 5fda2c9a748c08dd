/* ir/narrow.c — the float types below 32 bits: bits to float and back.
 *
 * One row describes a type; the two conversions are the same code for all of them. Rounding is to
 * nearest, ties to even. f8e8m0 is a bare power of two.
 *
 *   narrow_from_f32(T_F16, 1.0f, false) → 0x3c00        narrow_to_f32(T_F16, 0x3c00) → 1.0f */
#include <math.h>
#include <string.h>

#include "ir/expr.h"

typedef struct Format {
    int mbits, bias; /* mantissa bits; value = 2^(exponent - bias) */
    uint32_t sign;   /* the sign bit; 0: unsigned */
    uint32_t max;    /* bits of the largest finite value */
    uint32_t inf;    /* bits of +inf; 0: none */
    uint32_t nan;    /* bits of the positive NaN */
    bool one_nan;    /* fnuz: the only NaN is `nan`, there is no -0 */
} Format;

static const Format *format_of(Dtype t) {
    static const Format table[T_COUNT] = {
        [T_F16] = {10, 15, 0x8000, 0x7bff, 0x7c00, 0x7e00, false},
        [T_BF16] = {7, 127, 0x8000, 0x7f7f, 0x7f80, 0x7fc0, false},
        [T_F8E4M3FN] = {3, 7, 0x80, 0x7e, 0, 0x7f, false},
        [T_F8E4M3FNUZ] = {3, 8, 0x80, 0x7f, 0, 0x80, true},
        [T_F8E5M2] = {2, 15, 0x80, 0x7b, 0x7c, 0x7e, false},
        [T_F8E5M2FNUZ] = {2, 16, 0x80, 0x7f, 0, 0x80, true},
        [T_F8E8M0] = {0, 127, 0, 0xfe, 0, 0xff, true},
        [T_F4E2M1] = {1, 1, 0x8, 0x7, 0, 0x8, false},
    };
    return &table[t];
}

/* Magnitude of a finite code without its sign. */
static double code_value(const Format *f, Dtype t, uint32_t code) {
    int e = (int)(code >> f->mbits);
    uint32_t m = code & ((UINT32_C(1) << f->mbits) - 1);
    if (t == T_F8E8M0)
        return ldexp(1.0, e - f->bias);
    if (e == 0)
        return ldexp((double)m, 1 - f->bias - f->mbits);
    return ldexp((double)(m | (UINT32_C(1) << f->mbits)), e - f->bias - f->mbits);
}

float narrow_to_f32(Dtype t, uint32_t bits) {
    const Format *f = format_of(t);
    uint32_t sign = bits & f->sign, code = bits & ~f->sign;
    if (f->one_nan && bits == f->nan)
        return NAN;
    if (f->inf && code == f->inf)
        return sign ? -INFINITY : INFINITY;
    if (code > f->max)
        return NAN;
    double v = code_value(f, t, code);
    return (float)(sign ? -v : v);
}

/* NaN of the format for a NaN of the given sign. */
static uint32_t nan_bits(const Format *f, Dtype t, bool negative) {
    if (f->one_nan)
        return f->nan;
    if (t == T_F4E2M1)
        return negative ? 0 : f->nan;
    return f->nan | (negative ? f->sign : 0);
}

/* The exponent alone counts: the sign is ignored, zero gives the smallest value. */
static uint32_t e8m0_from(const Format *f, double a, bool saturate) {
    if (isinf(a))
        return f->nan;
    if (a < ldexp(1.0, 1 - f->bias))
        return a > ldexp(1.0, -f->bias); /* as if the two codes were 0 and 2^-126 */
    int e;
    double m = frexp(a, &e); /* a = m * 2^e, 0.5 <= m < 1 */
    e += f->bias - 1 + (m >= 0.75);
    return e <= (int)f->max ? (uint32_t)e : saturate ? f->max : f->nan;
}

static uint32_t narrow_from(Dtype t, double v, bool saturate) {
    const Format *f = format_of(t);
    bool negative = signbit(v) != 0;
    if (isnan(v))
        return nan_bits(f, t, negative);
    double a = fabs(v);
    if (t == T_F8E8M0)
        return e8m0_from(f, a, saturate);
    uint32_t sign = negative ? f->sign : 0, code;
    double top = code_value(f, t, f->max);
    bool over = isinf(a);
    if (a == 0 || over) {
        code = 0;
    } else {
        int e = ilogb(a), low = 1 - f->bias;
        e = e < low ? low : e;
        double r = rint(ldexp(a, f->mbits - e)); /* mantissa with its leading bit */
        over = ldexp(r, e - f->mbits) > top;
        uint32_t lead = UINT32_C(1) << f->mbits, m = over ? 0 : (uint32_t)r;
        code = m < lead ? m : ((uint32_t)(e - low) << f->mbits) + m;
    }
    if (over && (saturate || t == T_F4E2M1))
        code = f->max;
    else if (over)
        return f->inf ? f->inf | sign : nan_bits(f, t, negative);
    return f->one_nan && code == 0 ? 0 : code | sign;
}

uint32_t narrow_from_f32(Dtype t, float v, bool saturate) {
    return narrow_from(t, (double)v, saturate);
}

uint32_t narrow_from_f64(Dtype t, double v, bool saturate) {
    return narrow_from(t, t == T_F16 ? v : (double)(float)v, saturate);
}
