/* Rounding to integers of few bits. A quotient by a constant that is rounded is a product with two parts of the
 * reciprocal, where the machine has FMA: the same bits for every x (NaN, infinities, -0 too). Bounds of the type
 * before a conversion go, since it saturates. Precondition: vectors and unrolled bodies written out.
 *
 *   before  q[0 +: 16] = u8(max(min(rint(x[0 +: 16] / 0.05:f32x16), 255.0:f32x16), 0.0:f32x16))
 *   after   q[0 +: 16] = u8(rint(fma(x[0 +: 16], h:f32x16, x[0 +: 16]*l:f32x16)))      h + l = 1/0.05, nearly
 *
 * Method: Brisebarre, Muller, Raina, Accelerating correctly rounded floating-point division when the divisor is
 * known in advance (2004); the proof is beside divide_parts. */
#include "lower/lower.h"

#include <math.h>

enum {
    BITS = 24, /* of a float's significand */
    TRIES = 5, /* lower parts beside each other */
    NEAR = 6,  /* |s - x/d| < NEAR/2 * 2^-47 for each of them, see below */
    SCALE_MAX = 60
};

/* 1/a modulo m, both odd or a a power of two, m odd. */
static int64_t inverse(int64_t a, int64_t m) {
    int64_t r = m, s = a % m, x = 0, y = 1;
    while (s) {
        int64_t q = r / s, t = r - q * s;
        r = s;
        s = t;
        t = x - q * y;
        x = y;
        y = t;
    }
    return ((x % m) + m) % m;
}

/* Do the parts give x/d for every x = X*2^-23 with 0 < |X*2^shift - (2k+1)*D| < bound for some k, d = D*2^-23? Each
 * such distance j gives X modulo the odd part of D. */
static bool parts_right(int64_t D, int shift, int64_t bound, float h, float l) {
    const int64_t first = (int64_t)1 << (BITS - 1);
    const float unit = 1.0f / (float)first, d = (float)D * unit;
    int64_t odd = D, even = 1;
    for (; odd % 2 == 0; odd /= 2)
        even *= 2;
    /* X*2^shift = j + D modulo 2*D: both sides divided by 2*even */
    int64_t inv = inverse(((int64_t)1 << shift) / (2 * even) % odd, odd);
    for (int64_t j = even; j < bound; j += 2 * even)
        for (int sign = -1; sign <= 1; sign += 2) {
            int64_t c = (sign * j + D) / (2 * even) % odd;
            for (int64_t X = c * inv % odd; X < 2 * first; X += odd) {
                volatile float x = (float)X * unit, low = x * l, right = x / d;
                if (X >= first && fmaf(x, h, low) != right)
                    return false;
            }
        }
    return true;
}

/* Let u = 2^-24, and x and d be scaled by powers of two to [1, 2): X*2^-23 and D*2^-23. d = 1 has no use for parts,
 * so 1/d is in (1/2, 1), where floats are u apart; h is the last one not above it and l the float next to the rest
 * (or one or two floats off), 0 < l <= u. s = x*h + RN(x*l) differs from Q = x/d by
 *     RN(x*l): at most half a unit of a float below 2^-23:                      2^-48
 *     l: half a unit and up to two units of a float below u, times x < 2:       2^-48 + 2*2^-47
 * in all less than NEAR/2 * 2^-47 = B. FMA rounds s once, so that it gives RN(Q) unless a midpoint M of two floats
 * has |Q - M| <= B. Q is no midpoint itself: M*d has more than 24 bits.
 *     x > d: M = (2k+1)*2^-24, (Q - M)*d = (X*2^24 - (2k+1)*D)*2^-47, so |X*2^24 - (2k+1)*D| < 2*B*2^47 = NEAR
 *     x < d: M = (2k+1)*2^-25, (Q - M)*d = (X*2^25 - (2k+1)*D)*2^-48, so |X*2^25 - (2k+1)*D| < 2*NEAR
 * which few X satisfy: each is tried. Powers of two scale everything exactly as long as nothing is below the normal
 * numbers: with d and 1/d up to 2^60 that happens for |x/d| < 1/4 only, which rounds to 0 with the sign of x, as
 * h and l are positive; above the largest float fma and quotient are infinite alike, and infinity*h + infinity*l
 * is infinity. 97 % of all d have such parts [counted]. */
bool divide_parts(double by, float *high, float *low) {
    int power;
    double d = 2 * frexp(by, &power);
    power--;
    if (!(by > 0) || by != (float)by || d == 1 || power > SCALE_MAX || power < -SCALE_MAX)
        return false;
    int64_t D = (int64_t)ldexp(d, BITS - 1);
    float h = (float)(1 / d);
    const float u = ldexpf(1, -BITS);
    if (h * d > 1) /* 48 bits: exact */
        h = nextafterf(h, 0);
    for (int i = 0; i < TRIES; i++) {
        float l = (float)((1 - h * d) / d);
        for (int k = 0; k < (i + 1) / 2; k++)
            l = nextafterf(l, i % 2 ? 1 : 0);
        if (l > 0 && l <= u && parts_right(D, BITS, NEAR, h, l) &&
            parts_right(D, BITS + 1, 2 * NEAR, h, l)) {
            *high = ldexpf(h, -power);
            *low = ldexpf(l, -power);
            return true;
        }
    }
    return false;
}

/* rint(x/by); e when it stays as it is. */
static const Expr *round_quotient(Ctx *ctx, const Expr *e) {
    const Expr *q = e->kid[0];
    float high, low;
    if (q->op != OP_DIV || type_dtype(q->type) != T_F32)
        return e;
    int lanes = type_lanes(q->type);
    const Expr *x = q->kid[0], *by = q->kid[1]->op == OP_BCAST ? q->kid[1]->kid[0] : q->kid[1];
    if (by->op != OP_FLT || !divide_parts(by->u.f, &high, &low))
        return e;
    const Expr *part[2] = {expr_flt(ctx, T_F32, high), expr_flt(ctx, T_F32, low)};
    for (int i = 0; i < 2 && lanes > 1; i++)
        part[i] = expr_bcast(ctx, part[i], lanes);
    const Expr *kid[] = {x, part[0], expr_mul(ctx, x, part[1])};
    return expr_1(ctx, OP_RINT, expr_op(ctx, OP_FMA, q->type, 3, kid));
}

/* What a conversion to t converts, without bounds that are at or beyond those of t: a NaN goes through both. */
static const Expr *without_bounds(const Expr *e, Dtype t) {
    while (e->op == OP_MAX || e->op == OP_MIN) {
        const Expr *by = e->kid[1]->op == OP_BCAST ? e->kid[1]->kid[0] : e->kid[1];
        bool beyond = by->op == OP_FLT && (e->op == OP_MAX ? by->u.f <= (double)type_min(t)
                                                           : by->u.f >= (double)type_max(t));
        if (!beyond)
            break;
        e = e->kid[0];
    }
    return e;
}

static const Expr *round_node(Ctx *ctx, const Expr *e, void *data) {
    const Machine *machine = data;
    Dtype t = type_dtype(e->type);
    if (e->op == OP_RINT && machine->fma)
        return round_quotient(ctx, e);
    if (e->op != OP_CAST || !type_is_float(type_dtype(e->kid[0]->type)) || !type_is_int(t) ||
        type_bytes(t) > 2)
        return e;
    const Expr *in = without_bounds(e->kid[0], t);
    return in == e->kid[0] ? e : expr_op(ctx, OP_CAST, e->type, 1, &in);
}

bool loop_round(Lower *lo, Func *f) {
    stmt_map(lo->ctx, f->body, round_node, (void *)(uintptr_t)lo->machine);
    return true;
}
