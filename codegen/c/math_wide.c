/* codegen/c/math_wide.c — functions of f32 computed in f64 and rounded once: at most 0.51 ULP, the same bits
 * everywhere (no contraction, no order left open). A vector is taken in parts of one register of doubles.
 *
 *   sin on 16 floats, avx512 →
 *   lcc_f32x16 lcc_sin_f32x16(lcc_f32x16 a) { y0 = lcc_sin_f64x8(the lower half of a), y1 = …; y = both; … }
 * What a core cannot (the ends of logarithms, angles beyond 2^20) is put right on the f32, or lane by lane. */
#include "codegen/c/math.h"

#include <math.h>

#define TO_INT 6755399441055744.0 /* 1.5 * 2^52: added, it rounds; the low bits are the integer */
#define LN2 0.6931471805599453
#define HALF_PI 1.5707963267948966
#define FAR 1048576 /* angles from here on need more of 1/pi */

typedef const Expr *E;

/* ---- pieces of formulas ---------------------------------------------------------------------------- */

static E add(const Math *m, E a, E b) {
    return math_op2(m, OP_ADD, a, b);
}

static E sub(const Math *m, E a, E b) {
    return math_op2(m, OP_SUB, a, b);
}

static E mul(const Math *m, E a, E b) {
    return math_op2(m, OP_MUL, a, b);
}

static E real(const Math *m, double v) {
    return math_number(m, T_F64, v);
}

static E integer(const Math *m, Dtype t, int64_t v) {
    E c = expr_int(m->p->ctx, t, v);
    return m->lanes > 1 ? expr_bcast(m->p->ctx, c, m->lanes) : c;
}

static E int_op(const Math *m, Op op, E a, int64_t v) {
    return math_op2(m, op, a, integer(m, type_dtype(a->type), v));
}

static E int_bits(const Math *m, E a) {
    return math_bits(m, T_I64, a);
}

static E sign_of(const Math *m, E a) {
    return int_op(m, OP_BAND, int_bits(m, a), INT64_MIN);
}

/* a with its sign turned where `sign`, of integers, has one. */
static E turned(const Math *m, E a, E sign) {
    return math_bits(m, T_F64, math_op2(m, OP_BXOR, int_bits(m, a), sign));
}

/* 1 + u * (c[0] + u * (c[1] + ...)) */
static E one_and(Math *m, E u, int n, const double *c) {
    E p = real(m, c[n - 1]);
    for (int i = n - 2; i >= 0; i--)
        p = math_with(m, OP_ADD, mul(m, p, u), c[i]);
    return math_with(m, OP_ADD, mul(m, p, u), 1);
}

static E choose(const Math *m, Op op, E a, E b, E x, E y) {
    return expr_select(m->p->ctx, math_compare(m, op, a, b), x, y);
}

static Str pick_helper(Printer *p, int lanes) {
    Str name = str_f(p->ctx, "lcc_pick_f64x%d", lanes), type = vector_type(p, T_F64, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx);
    Str params = str_f(p->ctx, "%s a, %s b, %s x, %s y", type, type, type, type);
    const char *bits = register_bits(p, 8 * lanes);
    if (has_bit_masks(p) && bits) {
        need_intrinsics(p);
        text_f(&body, "    return _mm%s_mask_blend_pd(_mm%s_cmp_pd_mask(a, b, 0x11), y, x);\n",
               bits, bits);
    } else {
        Str ints = vector_type(p, T_I64, lanes);
        text_f(&body, "    const %s m = (%s)(a < b);\n", ints, ints);
        text_f(&body, "    return (%s)((m & (%s)x) | (~m & (%s)y));\n", type, ints, ints);
    }
    helper_add(p, name, type, params, &body);
    return name;
}

/* `const double name = a < b ? x : y;` A mask of doubles never becomes one of 32 bits a lane. */
static E pick(Math *m, const char *name, E a, E b, E x, E y) {
    if (m->lanes == 1)
        return math_let(m, name, choose(m, OP_LT, a, b, x, y));
    E kid[4] = {a, b, x, y};
    static const char *const part[] = {"a", "b", "x", "y"};
    Str call = str_f(m->p->ctx, "%s(", pick_helper(m->p, m->lanes));
    for (int i = 0; i < 4; i++) {
        Str var = str_f(m->p->ctx, "%s_%s", name, part[i]);
        math_let(m, var, kid[i]);
        call = str_f(m->p->ctx, "%s%s%s", call, var, i < 3 ? ", " : ")");
    }
    text_f(&m->body, "    const %s %s = %s;\n", math_ctype(m, T_F64), name, call);
    return math_variable(m, T_F64, name);
}

/* `r`: a - n * step for the n that `t` ends in; step in two parts, of which n times the first is exact. */
static E rest(Math *m, E a, E n, double high, double low) {
    E r = sub(m, a, math_with(m, OP_MUL, n, high));
    return math_let(m, "r", sub(m, r, math_with(m, OP_MUL, n, low)));
}

/* ---- cores: on doubles ------------------------------------------------------------------------------- */

/* sin(n * pi + r) for |r| <= pi / 2; `quarter`: n + 1/2 in place of n. */
static E sine(Math *m, E x, double quarter) {
    static const double c[] = {-0.16666666626149432, 0.008333331108596605, -0.0001984086820920371,
                               2.7525384393168667e-06, -2.3888908761000307e-08};
    E q = math_with(m, OP_MUL, x, 0.3183098861837907);
    q = quarter > 0 ? math_with(m, OP_ADD, q, quarter) : q;
    E t = math_let(m, "t", math_with(m, OP_ADD, q, TO_INT));
    E n = math_with(m, OP_SUB, t, TO_INT);
    n = math_let(m, "n", quarter > 0 ? math_with(m, OP_SUB, n, quarter) : n);
    E r = rest(m, x, n, 3.1415926534682512, 1.2154201013012384e-10);
    E u = math_let(m, "u", mul(m, r, r));
    E y = math_let(m, "y", mul(m, r, one_and(m, u, 5, c)));
    return turned(m, y, int_op(m, OP_SHL, int_bits(m, t), 63));
}

static E core_sin(Math *m, E x) {
    return sine(m, x, 0);
}

static E core_cos(Math *m, E x) {
    return sine(m, x, 0.5);
}

/* By quarters of a turn: sine over cosine, or cosine over -sine. */
static E core_tan(Math *m, E x) {
    static const double s[] = {-0.1666666664079694, 0.008333329304835458, -0.0001983931226796521,
                               2.7181216171180093e-06};
    static const double c[] = {-0.4999999969447612, 0.04166662035708673, -0.0013886681646059816,
                               2.4383567120011566e-05};
    E t =
        math_let(m, "t", math_with(m, OP_ADD, math_with(m, OP_MUL, x, 0.6366197723675814), TO_INT));
    E n = math_let(m, "n", math_with(m, OP_SUB, t, TO_INT));
    E r = rest(m, x, n, 1.5707963267341256, 6.077100506506192e-11);
    E u = math_let(m, "u", mul(m, r, r));
    E sin = math_let(m, "s", int_bits(m, mul(m, r, one_and(m, u, 4, s))));
    E cos = math_let(m, "c", int_bits(m, one_and(m, u, 4, c)));
    E odd = math_let(m, "odd", int_op(m, OP_BAND, int_bits(m, t), 1));
    E mask = math_op2(m, OP_SUB, integer(m, T_I64, 0), odd);
    E swap = math_op2(m, OP_BAND, math_op2(m, OP_BXOR, sin, cos), mask);
    swap = math_let(m, "swap", swap);
    E over = math_bits(m, T_F64, math_op2(m, OP_BXOR, sin, swap));
    E under = math_bits(m, T_F64, math_op2(m, OP_BXOR, cos, swap));
    return turned(m, math_op2(m, OP_DIV, over, under), int_op(m, OP_SHL, odd, 63));
}

/* atan(t) = pi/2 + atan(-1/t) above 1 */
static E core_atan(Math *m, E x) {
    static const double c[] = {-0.33333326899391413,  0.1999967111886255,   -0.14279833011143708,
                               0.11058223464266533,   -0.08811090675007788, 0.06741595730472831,
                               -0.044689923728039434, 0.022539852797105887, -0.007317950165527304,
                               0.0011137875282554157};
    E one = real(m, 1), t = math_let(m, "t", math_op1(m, OP_ABS, x));
    E over = pick(m, "over", one, t, real(m, -1), t);
    E under = pick(m, "under", one, t, t, one);
    E base = pick(m, "base", one, t, real(m, HALF_PI), real(m, 0));
    E v = math_let(m, "v", math_op2(m, OP_DIV, over, under));
    E u = math_let(m, "u", mul(m, v, v));
    return turned(m, add(m, base, mul(m, v, one_and(m, u, 10, c))), sign_of(m, x));
}

/* `p`: asin(t) up to 1/2; above, asin(sqrt((1 - t) / 2)), which is acos(t) / 2. */
static E half_asin(Math *m, E t) {
    static const double c[] = {0.16666667180264436,  0.07499948897413328,  0.04465997219035205,
                               0.030112525126594618, 0.024604713520088882, 0.0075094687434893136,
                               0.034646334217418376};
    E above = math_with(m, OP_MUL, sub(m, real(m, 1), t), 0.5);
    E u = pick(m, "u", real(m, 0.5), t, above, mul(m, t, t));
    E s = math_let(m, "s", math_op1(m, OP_SQRT, u));
    return math_let(m, "p", mul(m, s, one_and(m, u, 7, c)));
}

static E core_asin(Math *m, E x) {
    E t = math_let(m, "t", math_op1(m, OP_ABS, x)), p = half_asin(m, t);
    E above = sub(m, real(m, HALF_PI), add(m, p, p));
    return turned(m, pick(m, "y", real(m, 0.5), t, above, p), sign_of(m, x));
}

/* pi/2 - asin(x); above 1/2 2p, below -1/2 pi - 2p. */
static E core_acos(Math *m, E x) {
    E t = math_let(m, "t", math_op1(m, OP_ABS, x)), p = half_asin(m, t);
    E base = pick(m, "base", real(m, 0.5), t, real(m, HALF_PI), real(m, 0));
    E y = pick(m, "y", real(m, 0.5), t, add(m, p, p), math_op1(m, OP_NEG, p));
    E sign = math_let(m, "sign", sign_of(m, x));
    return add(m, sub(m, real(m, HALF_PI), turned(m, base, sign)), turned(m, y, sign));
}

/* log(v) = k ln 2 + 2 atanh(z / (2 + z)), v = 2^k * (1 + z), 1 + z from sqrt(1/2) to sqrt(2); `z`, if any: v is
 * 1 + z rounded, and with k = 0 it stands for v. */
static E logarithm(Math *m, E v, E z) {
    static const double c[] = {0.3333333282411727, 0.20000167318186154, 0.14268670000489792,
                               0.11790806532888995};
    const int64_t root = 0x3fe6a09e00000000, one = 0x3ff0000000000000;
    E i = math_let(m, "i", int_op(m, OP_ADD, int_bits(m, v), one - root));
    E low = int_op(m, OP_BAND, i, 0x000fffffffffffff);
    E part = math_let(m, "part", math_bits(m, T_F64, int_op(m, OP_ADD, low, root)));
    E up = int_op(m, OP_SHR, math_bits(m, T_U64, i), 52);
    up = int_op(m, OP_BOR, math_bits(m, T_I64, up), 0x4330000000000000); /* 2^52 + */
    E k = math_let(m, "k", math_with(m, OP_SUB, math_bits(m, T_F64, up), 4503599627371519.0));
    E f = math_let(m, "f", math_with(m, OP_SUB, part, 1));
    if (z)
        f = pick(m, "z0", math_op1(m, OP_ABS, k), real(m, 0.5), z, f);
    E s = math_let(m, "s", math_op2(m, OP_DIV, f, math_with(m, OP_ADD, f, 2)));
    E u = math_let(m, "u", mul(m, s, s));
    E y = mul(m, add(m, s, s), one_and(m, u, 4, c));
    return add(m, math_with(m, OP_MUL, k, LN2), y);
}

/* log(1 + z) with the sign of x */
static E log_above_one(Math *m, E z, E x) {
    z = math_let(m, "z", z);
    E y = logarithm(m, math_let(m, "v", math_with(m, OP_ADD, z, 1)), z);
    return math_bits(m, T_F64, math_op2(m, OP_BOR, int_bits(m, y), sign_of(m, x)));
}

static E core_log1p(Math *m, E x) {
    return log_above_one(m, x, x);
}

/* t + sqrt(t * t + 1) as 1 + z */
static E core_asinh(Math *m, E x) {
    E t = math_let(m, "t", math_op1(m, OP_ABS, x)), tt = math_let(m, "tt", mul(m, t, t));
    E root = math_op1(m, OP_SQRT, math_with(m, OP_ADD, tt, 1));
    E q = math_op2(m, OP_DIV, tt, math_with(m, OP_ADD, root, 1));
    return log_above_one(m, add(m, t, q), x);
}

static E core_acosh(Math *m, E x) {
    E w = math_let(m, "w", math_with(m, OP_SUB, x, 1));
    E root = math_op1(m, OP_SQRT, mul(m, w, math_with(m, OP_ADD, x, 1)));
    E z = math_let(m, "z", add(m, w, root));
    return logarithm(m, math_let(m, "v", math_with(m, OP_ADD, z, 1)), z);
}

/* log((1 + t) / (1 - t)) / 2 */
static E core_atanh(Math *m, E x) {
    E t = math_let(m, "t", math_op1(m, OP_ABS, x));
    E z = math_op2(m, OP_DIV, add(m, t, t), sub(m, real(m, 1), t));
    return math_with(m, OP_MUL, log_above_one(m, z, x), 0.5);
}

/* `e`: exp(x) - 1 = 2^n * (exp(r) - 1) + (2^n - 1). Beyond the bounds f32 is infinite or -1. */
static E less_one(Math *m, E x) {
    static const double c[] = {0.500000005302434,   0.1666666690228709,    0.04166632712467693,
                               0.00833322006852259, 0.0013943198053939958, 0.00019962131703287918};
    E a = math_let(m, "a", math_op2(m, OP_MIN, real(m, 200), x));
    a = math_let(m, "b", math_op2(m, OP_MAX, real(m, -200), a));
    E t =
        math_let(m, "t", math_with(m, OP_ADD, math_with(m, OP_MUL, a, 1.4426950408889634), TO_INT));
    E n = math_let(m, "n", math_with(m, OP_SUB, t, TO_INT));
    E r = rest(m, a, n, 0.6931471805582987, 1.6465949582897082e-12);
    E bits = int_op(m, OP_SHL, int_op(m, OP_ADD, int_bits(m, t), 1023), 52);
    E scale = math_let(m, "scale", math_bits(m, T_F64, bits));
    E q = mul(m, r, one_and(m, r, 6, c));
    return math_let(m, "e", add(m, mul(m, scale, q), math_with(m, OP_SUB, scale, 1)));
}

static E core_expm1(Math *m, E x) {
    E e = less_one(m, x);
    return math_bits(m, T_F64, math_op2(m, OP_BOR, int_bits(m, e), sign_of(m, x)));
}

static E core_sinh(Math *m, E x) {
    E e = less_one(m, math_let(m, "size", math_op1(m, OP_ABS, x)));
    E y = add(m, e, math_op2(m, OP_DIV, e, math_with(m, OP_ADD, e, 1)));
    return turned(m, math_with(m, OP_MUL, y, 0.5), sign_of(m, x));
}

static E core_cosh(Math *m, E x) {
    E e = less_one(m, math_let(m, "size", math_op1(m, OP_ABS, x)));
    E up = math_let(m, "up", math_with(m, OP_ADD, e, 1));
    return math_with(m, OP_MUL, add(m, up, math_op2(m, OP_DIV, real(m, 1), up)), 0.5);
}

/* x - trunc(x / z) * z, exact while the quotient is below 2^28: then it is never rounded up to an integer. */
static E core_rem(Math *m, E x) {
    E z = math_variable(m, T_F64, "z");
    E q = math_let(m, "q", math_op1(m, OP_TRUNC, math_op2(m, OP_DIV, x, z)));
    return sub(m, x, mul(m, q, z));
}

/* ---- what cores leave: on f32 ------------------------------------------------------------------------- */

static E mend_log1p(Math *m, E a, E y) {
    E at = math_number(m, T_F32, -1), end = math_number(m, T_F32, INFINITY);
    E pole = choose(m, OP_EQ, a, at, math_number(m, T_F32, -INFINITY), a);
    pole = choose(m, OP_LT, a, at, math_number(m, T_F32, NAN), pole);
    return choose(m, OP_LT, at, a, choose(m, OP_LT, a, end, y, a), pole);
}

static E mend_asinh(Math *m, E a, E y) {
    E t = math_op1(m, OP_ABS, a);
    return choose(m, OP_LT, t, math_number(m, T_F32, INFINITY), y, a);
}

static E mend_acosh(Math *m, E a, E y) {
    E in = choose(m, OP_LT, a, math_number(m, T_F32, INFINITY), y, a);
    return choose(m, OP_LE, math_number(m, T_F32, 1), a, in, math_number(m, T_F32, NAN));
}

static E mend_atanh(Math *m, E a, E y) {
    E t = math_let(m, "t", math_op1(m, OP_ABS, a)), one = math_number(m, T_F32, 1);
    E end = choose(m, OP_EQ, t, one, math_with(m, OP_MUL, a, INFINITY), math_number(m, T_F32, NAN));
    return choose(m, OP_LT, t, one, y, end);
}

static E mend_rem(Math *m, E a, E y) {
    E sign = int_op(m, OP_BAND, math_bits(m, T_I32, a), INT32_MIN);
    return math_bits(m, T_F32, math_op2(m, OP_BOR, math_bits(m, T_I32, y), sign));
}

/* The same with the sign of b. */
static E mend_mod(Math *m, E a, E y) {
    E b = math_variable(m, T_F32, "b"), zero = math_number(m, T_F32, 0);
    E r = math_let(m, "r", mend_rem(m, a, y));
    E sign = int_op(m, OP_BAND, math_bits(m, T_I32, b), INT32_MIN);
    E other = math_op2(m, OP_BXOR, math_bits(m, T_I32, r), math_bits(m, T_I32, b));
    E up = choose(m, OP_LT, other, integer(m, T_I32, 0), add(m, r, b), r);
    return choose(m, OP_EQ, r, zero, math_bits(m, T_F32, sign), up);
}

/* ---- functions ------------------------------------------------------------------------------------------ */

typedef struct Wide {
    Op op;
    const char *name;
    E (*core)(Math *m, E x);
    E (*mend)(Math *m, E a, E y);
} Wide;

static const Wide WIDE[] = {
    {OP_SIN, "sin", core_sin, NULL},
    {OP_COS, "cos", core_cos, NULL},
    {OP_TAN, "tan", core_tan, NULL},
    {OP_ASIN, "asin", core_asin, NULL},
    {OP_ACOS, "acos", core_acos, NULL},
    {OP_ATAN, "atan", core_atan, NULL},
    {OP_SINH, "sinh", core_sinh, NULL},
    {OP_COSH, "cosh", core_cosh, NULL},
    {OP_ASINH, "asinh", core_asinh, mend_asinh},
    {OP_ACOSH, "acosh", core_acosh, mend_acosh},
    {OP_ATANH, "atanh", core_atanh, mend_atanh},
    {OP_LOG1P, "log1p", core_log1p, mend_log1p},
    {OP_EXPM1, "expm1", core_expm1, NULL},
    {OP_REM, "rem", core_rem, mend_rem}, /* of vectors only */
    {OP_MOD, "mod", core_rem, mend_mod},
};

static const Wide *find_wide(Op op) {
    const int n = (int)(sizeof WIDE / sizeof *WIDE);
    for (int i = 0; i < n; i++)
        if (WIDE[i].op == op)
            return &WIDE[i];
    return NULL;
}

static bool is_angle(Op op) {
    return op == OP_SIN || op == OP_COS || op == OP_TAN;
}

static bool is_remainder(Op op) {
    return op == OP_REM || op == OP_MOD;
}

static Str core_function(Printer *p, const Wide *w, int lanes) {
    Str name = str_f(p->ctx, lanes > 1 ? "lcc_%s_f64x%d" : "lcc_%s_wide", w->name, lanes);
    if (paste_has(p->paste, name))
        return name;
    Math m = math_new(p, lanes);
    Str type = math_ctype(&m, T_F64);
    math_line(&m, "return", w->core(&m, math_variable(&m, T_F64, "x")));
    if (lanes > 1)
        helper_add(p, name, type,
                   str_f(p->ctx, is_remainder(w->op) ? "%s x, %s z" : "%s x", type, type), &m.body);
    else
        paste_add(p->paste, name,
                  str_f(p->ctx, "static inline double %s(double x) {\n%s}", name, m.body.at));
    return name;
}

/* ---- angles from FAR on --------------------------------------------------------------------------------- */

/* The fraction of a whole turn that a is, in units of 2^-64: its 24 bits times those of 1 / (2 pi) that count. */
static const char TURN[] =
    "static uint64_t lcc_turn(float a) {\n"
    "    static const uint32_t inverse[] = {0, 0x28be60dbu, 0x9391054au, 0x7f09d5f4u,\n"
    "                                       0x7d4d3770u, 0x36d8a566u, 0x4f10e410u, 0x7f9458eau};\n"
    "    const uint32_t bits = lcc_f32_bits(a), shift = (bits >> 23 & 255u) - 118u;\n"
    "    const uint32_t *w = inverse + (shift >> 5);\n"
    "    const uint64_t digits = (bits & 0x7fffffu) | 0x800000u;\n"
    "    const uint64_t top = ((uint64_t)w[0] << 32 | w[1]) << (shift & 31u);\n"
    "    const uint64_t high = top | ((uint64_t)w[2] << (shift & 31u)) >> 32;\n"
    "    const uint64_t low = (((uint64_t)w[2] << 32 | w[3]) << (shift & 31u)) >> 32 & "
    "0xffffffffu;\n"
    "    const uint64_t turn = digits * high + (digits * low >> 32);\n"
    "    return bits >> 31 ? 0u - turn : turn;\n}";

#define UNIT "3.4061215800865545e-19" /* 2 pi / 2^64 */

/* `lcc_sin_f32_far`, for scalars: whole turns off, the rest by the core; a cosine is a sine then. */
static Str far_function(Printer *p, Op op, Str name) {
    Str far = str_f(p->ctx, "%s_far", name);
    Str core = core_function(p, find_wide(op == OP_COS ? OP_SIN : op), 1);
    if (paste_has(p->paste, far))
        return far;
    Text t = text_new(p->ctx);
    paste_need(p->paste, "lcc_f32_bits");
    paste_add(p->paste, str(p->ctx, "lcc_turn"), str(p->ctx, TURN));
    text_f(&t, "static float %s(float a) {\n    if (!(a - a == 0.0f))\n        return a - a;\n",
           far);
    text_f(&t, "    const uint64_t turn = lcc_turn(a)%s;\n",
           op == OP_COS ? " + 0x4000000000000000u" : "");
    if (op == OP_TAN)
        text_f(&t,
               "    const uint64_t quarter = (turn + 0x2000000000000000u) >> 62;\n"
               "    const double y = %s((double)(int64_t)(turn - (quarter << 62)) * " UNIT ");\n"
               "    return (float)(quarter & 1u ? -1.0 / y : y);\n}",
               core);
    else
        text_f(&t,
               "    const uint64_t half = (turn + 0x4000000000000000u) >> 63;\n"
               "    const double y = %s((double)(int64_t)(turn - (half << 63)) * " UNIT ");\n"
               "    return (float)(half ? -y : y);\n}",
               core);
    paste_add(p->paste, far, str(p->ctx, t.at));
    return far;
}

/* ---- scalars and vectors ------------------------------------------------------------------------------ */

static void scalar_function(Printer *p, const Wide *w, Str name) {
    Math m = math_new(p, 1);
    Str core = core_function(p, w, 1);
    if (is_angle(w->op)) {
        paste_need(p->paste, "fabsf");
        text_f(&m.body, "    if (!(fabsf(a) < %d.0f))\n        return %s(a);\n", FAR,
               far_function(p, w->op, name));
    }
    text_f(&m.body, "    %s (float)%s((double)a);\n", w->mend ? "const float y =" : "return", core);
    if (w->mend)
        math_line(&m, "return",
                  w->mend(&m, math_variable(&m, T_F32, "a"), math_variable(&m, T_F32, "y")));
    math_scalar(p, name, &m.body);
}

/* Part i of a variable in doubles. */
static Str widened_part(Printer *p, Str var, int lanes, int part, int i) {
    if (lanes == part)
        return str_f(p->ctx, "__builtin_convertvector(%s, %s)", var, vector_type(p, T_F64, part));
    if (has_neon(p))
        return str_f(p->ctx, "vcvt_f64_f32(vget_%s_f32(%s))", i ? "high" : "low", var);
    if (lanes == 4)
        return str_f(p->ctx, i ? "_mm_cvtps_pd(_mm_movehl_ps(%s, %s))" : "_mm_cvtps_pd(%s)", var,
                     var);
    if (lanes == 8)
        return str_f(p->ctx,
                     i ? "_mm256_cvtps_pd(_mm256_extractf128_ps(%s, 1))"
                       : "_mm256_cvtps_pd(_mm256_castps256_ps128(%s))",
                     var);
    return str_f(p->ctx,
                 i ? "_mm512_cvtps_pd(_mm512_extractf32x8_ps(%s, 1))"
                   : "_mm512_cvtps_pd(_mm512_castps512_ps256(%s))",
                 var);
}

static const char *joined(Printer *p, int lanes) {
    if (has_neon(p))
        return "vcombine_f32(vcvt_f32_f64(y0), vcvt_f32_f64(y1))";
    if (lanes == 4)
        return "_mm_movelh_ps(_mm_cvtpd_ps(y0), _mm_cvtpd_ps(y1))";
    if (lanes == 8)
        return "_mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(y0)), "
               "_mm256_cvtpd_ps(y1), 1)";
    return "_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(y0)), _mm512_cvtpd_ps(y1), "
           "1)";
}

/* `y`: the core's values, rounded. */
static void by_parts(Math *m, const Wide *w) {
    Printer *p = m->p;
    int part = m->lanes * 8 > p->mach->vec ? m->lanes / 2 : m->lanes, n = m->lanes / part;
    Str type = vector_type(p, T_F32, m->lanes), core = core_function(p, w, part);
    for (int i = 0; i < n; i++) {
        Str args = widened_part(p, "a", m->lanes, part, i);
        if (is_remainder(w->op))
            args = str_f(p->ctx, "%s, %s", args, widened_part(p, "b", m->lanes, part, i));
        text_f(&m->body, "    const %s y%d = %s(%s);\n", vector_type(p, T_F64, part), i, core,
               args);
    }
    if (n > 1)
        need_intrinsics(p);
    text_f(&m->body, "    %s y = %s;\n", type,
           n > 1 ? joined(p, m->lanes) : str_f(p->ctx, "__builtin_convertvector(y0, %s)", type));
}

/* Vectors of more than a register: by halves. */
static void by_halves(Math *m, Str half, bool two) {
    Printer *p = m->p;
    int n = m->lanes / 2;
    Str part = vector_part(p, T_F32, m->lanes, n), arg[2];
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++) {
            Str of = vec_arg(p, T_F32, m->lanes, k ? "b" : "a");
            arg[k] = vec_arg(p, T_F32, n, str_f(p->ctx, "%s(%s, %d)", part, of, i * n));
        }
        text_f(&m->body, "    const %s y%d = %s(%s%s%s);\n", vector_type(p, T_F32, n), i, half,
               arg[0], two ? ", " : "", two ? arg[1] : "");
    }
    text_f(&m->body, "    %s y;\n    for (int i = 0; i < %d; i++) {\n        y[i] = y0[i];\n",
           vector_type(p, T_F32, m->lanes), n);
    text_f(&m->body, "        y[i + %d] = y1[i];\n    }\n    return y;\n", n);
}

static Str any_helper(Printer *p, int lanes) {
    Str name = str_f(p->ctx, "lcc_any_m%d", lanes), type = vector_type(p, T_BOOL, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx);
    const char *bits = register_bits(p, 4 * lanes);
    if (has_bit_masks(p)) {
        text_s(&body, "    return m != 0;\n");
    } else if (bits) {
        need_intrinsics(p);
        text_f(&body, "    return _mm%s_movemask_ps((__m%s)m) != 0;\n", bits, *bits ? bits : "128");
    } else {
        text_f(&body, "    int32_t any = 0;\n    for (int i = 0; i < %d; i++)\n", lanes);
        text_s(&body, "        any |= m[i];\n    return any != 0;\n");
    }
    helper_add(p, name, str(p->ctx, "int"), str_f(p->ctx, "%s m", type), &body);
    return name;
}

/* Lanes that the core is not right for, all others of the vector too: by the scalar function. */
static void mend_lanes(Math *m, const Wide *w, E a) {
    Printer *p = m->p;
    Type truth = TYPE_VEC(T_BOOL, m->lanes);
    E size = math_op1(m, OP_ABS, a), far = NULL;
    Str one = math_wide(p, w->op, 1);
    if (is_remainder(w->op)) { /* quotients from 2^27 on; a divisor that is 0 or infinite */
        E b = math_let(m, "size", math_op1(m, OP_ABS, math_variable(m, T_F32, "b")));
        E kid[2] = {math_compare(m, OP_LE, math_with(m, OP_MUL, b, 134217728), size),
                    math_compare(m, OP_LE, math_number(m, T_F32, INFINITY), b)};
        far = expr_op(p->ctx, OP_OR, truth, 2, kid);
        one = w->op == OP_REM ? "fmodf" : "lcc_mod_f32";
        paste_need(p->paste, one);
    } else {
        far = math_compare(m, OP_LE, math_number(m, T_F32, FAR), size);
    }
    math_line(m, str_f(p->ctx, "const %s far =", vector_type(p, T_BOOL, m->lanes)), far);
    text_f(&m->body, "    if (%s(far))\n        for (int i = 0; i < %d; i++)\n",
           any_helper(p, m->lanes), m->lanes);
    text_f(&m->body, "            y[i] = %s(a[i]%s);\n", one, is_remainder(w->op) ? ", b[i]" : "");
}

static void vector_function(Printer *p, const Wide *w, Str name, int lanes) {
    Math m = math_new(p, lanes);
    Text params = text_new(p->ctx);
    bool two = is_remainder(w->op);
    vec_param(p, &params, &m.body, T_F32, lanes, "a");
    if (two)
        vec_param(p, &params, &m.body, T_F32, lanes, "b");
    E a = math_variable(&m, T_F32, "a"), y = math_variable(&m, T_F32, "y");
    if (4 * lanes > p->mach->vec) {
        by_halves(&m, math_wide(p, w->op, lanes / 2), two);
    } else {
        by_parts(&m, w);
        if (w->mend)
            math_line(&m, "y =", w->mend(&m, a, y));
        if (two || is_angle(w->op))
            mend_lanes(&m, w, a);
        text_s(&m.body, "    return y;\n");
    }
    helper_add_long(p, name, vector_type(p, T_F32, lanes), params.at, &m.body);
}

Str math_wide(Printer *p, Op op, int lanes) {
    const Wide *w = find_wide(op);
    if (!w || (lanes == 1 && is_remainder(op)))
        return NULL;
    Str name = str_f(p->ctx, lanes > 1 ? "lcc_%s_f32x%d" : "lcc_%s_f32", w->name, lanes);
    if (paste_has(p->paste, name))
        return name;
    if (lanes > 1)
        vector_function(p, w, name, lanes);
    else
        scalar_function(p, w, name);
    return name;
}
