/* ir/fold.c — what the scalar ops compute: the one place where ops.def's comments are code.
 *
 * Precondition: kids are values of their types (integers extended, floats representable). Integers are
 * computed in 64 bits and wrapped to the width; f32 and narrower floats in float, then rounded.
 *
 *   scalar_op(OP_ADD, T_I8, T_I8, {127, 1}) → -128        scalar_op(OP_CAST, T_F32, T_I8, {300.0}) → 127 */
#include <math.h>
#include <string.h>

#include "ir/expr_in.h"

static int64_t wrap(Dtype t, uint64_t v) {
    if (t == T_BOOL)
        return v != 0;
    int bits = type_bits(t);
    if (bits == 64)
        return (int64_t)v;
    uint64_t mask = (UINT64_C(1) << bits) - 1, top = UINT64_C(1) << (bits - 1);
    v &= mask;
    if (type_kind(t) == 'I' && (v & top))
        v |= ~mask;
    return (int64_t)v;
}

/* Types of one byte saturate; an infinity stays one where the type has it. */
static double round_to(Dtype t, double v) {
    if (t == T_F64)
        return v;
    if (t == T_F32)
        return (double)(float)v;
    bool saturate = type_bytes(t) == 1 && !(t == T_F8E5M2 && isinf(v));
    return (double)narrow_to_f32(t, narrow_from_f64(t, v, saturate));
}

/* ---- integers ---------------------------------------------------------------------------------- */

static uint64_t int_pow(bool is_signed, int64_t a, int64_t b) {
    if (is_signed && b < 0)
        return a == 1 ? 1 : a == -1 ? (b & 1 ? (uint64_t)-1 : 1) : 0;
    uint64_t r = 1, base = (uint64_t)a, n = (uint64_t)b;
    for (; n; n >>= 1, base *= base)
        if (n & 1)
            r *= base;
    return r;
}

static uint64_t signed_div(Op op, int64_t a, int64_t b) {
    if (b == 0)
        return 0;
    if (b == -1) /* MIN / -1 wraps */
        return op == OP_DIV || op == OP_FDIV ? (uint64_t)0 - (uint64_t)a : 0;
    int64_t q = a / b, r = a % b;
    bool adjust = r != 0 && (r < 0) != (b < 0);
    switch (op) {
    case OP_DIV:
        return (uint64_t)q;
    case OP_FDIV:
        return (uint64_t)(q - adjust);
    case OP_MOD:
        return (uint64_t)(adjust ? r + b : r);
    default:
        return (uint64_t)r;
    }
}

static uint64_t unsigned_div(Op op, uint64_t a, uint64_t b) {
    if (b == 0)
        return 0;
    return op == OP_DIV || op == OP_FDIV ? a / b : a % b;
}

static uint64_t shift(Op op, Dtype t, int64_t a, int64_t n) {
    int bits = type_bits(t);
    bool wide = n < 0 || n >= bits;
    if (op == OP_SHL)
        return wide ? 0 : (uint64_t)a << n;
    if (type_kind(t) != 'I')
        return wide ? 0 : (uint64_t)a >> n;
    if (wide)
        return a < 0 ? (uint64_t)-1 : 0;
    return a < 0 ? ~(~(uint64_t)a >> n) : (uint64_t)a >> n;
}

static bool int_less(Dtype t, int64_t a, int64_t b) {
    return type_kind(t) == 'I' ? a < b : (uint64_t)a < (uint64_t)b;
}

static bool int_compare(Op op, Dtype t, int64_t a, int64_t b, int64_t *r) {
    switch (op) {
    case OP_EQ:
        *r = a == b;
        return true;
    case OP_NE:
        *r = a != b;
        return true;
    case OP_LT:
        *r = int_less(t, a, b);
        return true;
    case OP_LE:
        *r = !int_less(t, b, a);
        return true;
    case OP_AND:
        *r = a && b;
        return t == T_BOOL;
    case OP_OR:
        *r = a || b;
        return t == T_BOOL;
    case OP_NOT:
        *r = !a;
        return t == T_BOOL;
    default:
        return false;
    }
}

static bool int_op(Op op, Dtype t, const Scalar *kid, Scalar *out) {
    int64_t a = kid[0].i, b = op_kids(op) > 1 ? kid[1].i : 0;
    uint64_t x = (uint64_t)a, y = (uint64_t)b, r;
    bool is_signed = type_kind(t) == 'I';
    if (int_compare(op, t, a, b, &out->i))
        return true;
    switch (op) {
    case OP_ADD:
        r = x + y;
        break;
    case OP_SUB:
        r = x - y;
        break;
    case OP_MUL:
        r = x * y;
        break;
    case OP_FMA:
        r = x * y + (uint64_t)kid[2].i;
        break;
    case OP_DIV:
    case OP_FDIV:
    case OP_MOD:
    case OP_REM:
        r = is_signed ? signed_div(op, a, b) : unsigned_div(op, x, y);
        break;
    case OP_MIN:
        r = int_less(t, a, b) ? x : y;
        break;
    case OP_MAX:
        r = int_less(t, a, b) ? y : x;
        break;
    case OP_POW:
        r = int_pow(is_signed, a, b);
        break;
    case OP_BAND:
        r = x & y;
        break;
    case OP_BOR:
        r = x | y;
        break;
    case OP_BXOR:
        r = x ^ y;
        break;
    case OP_SHL:
    case OP_SHR:
        r = shift(op, t, a, b);
        break;
    case OP_NEG:
        r = 0 - x;
        break;
    case OP_ABS:
        r = is_signed && a < 0 ? 0 - x : x;
        break;
    case OP_BNOT:
        r = t == T_BOOL ? !x : ~x;
        break;
    default:
        return false;
    }
    out->i = wrap(t, r);
    return true;
}

/* ---- floats ------------------------------------------------------------------------------------ */

static double float_mod(double x, double y) {
    double r = fmod(x, y);
    if (r == 0)
        return copysign(0.0, y);
    return (r < 0) != (y < 0) ? r + y : r;
}

static double float_min(double a, double b) {
    return isnan(b) ? b : a < b || isnan(a) ? a : b;
}

static double float_max(double a, double b) {
    return isnan(b) ? b : a > b || isnan(a) ? a : b;
}

/* + - * / sqrt and fmod of floats in double, rounded to float afterwards, equal float arithmetic:
 * 53 >= 2*24 + 2 bits make the second rounding harmless. */
static bool float_binary(Op op, Dtype t, double a, double b, double c, double *r) {
    switch (op) {
    case OP_ADD:
        *r = a + b;
        return true;
    case OP_SUB:
        *r = a - b;
        return true;
    case OP_MUL:
        *r = a * b;
        return true;
    case OP_DIV:
        *r = a / b;
        return true;
    case OP_REM:
        *r = fmod(a, b);
        return true;
    case OP_MOD:
        *r = float_mod(a, b);
        return true;
    case OP_MIN:
        *r = float_min(a, b);
        return true;
    case OP_MAX:
        *r = float_max(a, b);
        return true;
    case OP_POW:
        *r = pow(a, b);
        return true;
    case OP_ATAN2:
        *r = atan2(a, b);
        return true;
    case OP_FMA:
        *r = t == T_F64 ? fma(a, b, c) : (double)fmaf((float)a, (float)b, (float)c);
        return true;
    default:
        return false;
    }
}

typedef double (*Unary)(double);

/* With digits in the tail below 0, too. */
static double sigmoid(double a) {
    double e = exp(-fabs(a));
    return (a < 0 ? e : 1) / (1 + e);
}

static Unary unary_of(Op op) {
    static const Unary table[OP_COUNT] = {
        [OP_ABS] = fabs,    [OP_FLOOR] = floor, [OP_CEIL] = ceil,   [OP_RINT] = rint,
        [OP_TRUNC] = trunc, [OP_SQRT] = sqrt,   [OP_EXP] = exp,     [OP_LOG] = log,
        [OP_SIN] = sin,     [OP_COS] = cos,     [OP_TAN] = tan,     [OP_ASIN] = asin,
        [OP_ACOS] = acos,   [OP_ATAN] = atan,   [OP_SINH] = sinh,   [OP_COSH] = cosh,
        [OP_TANH] = tanh,   [OP_ASINH] = asinh, [OP_ACOSH] = acosh, [OP_ATANH] = atanh,
        [OP_ERF] = erf,     [OP_LOG1P] = log1p, [OP_EXPM1] = expm1, [OP_SIGMOID] = sigmoid,
    };
    return table[op];
}

static bool float_compare(Op op, double a, double b, int64_t *r) {
    switch (op) {
    case OP_EQ:
        *r = a == b;
        return true;
    case OP_NE:
        *r = a != b;
        return true;
    case OP_LT:
        *r = a < b;
        return true;
    case OP_LE:
        *r = a <= b;
        return true;
    case OP_ISNAN:
        *r = isnan(a) != 0;
        return true;
    case OP_ISINF:
        *r = isinf(a) != 0;
        return true;
    default:
        return false;
    }
}

static bool float_op(Op op, Dtype t, const Scalar *kid, Scalar *out) {
    int n = op_kids(op);
    double a = kid[0].f, b = n > 1 ? kid[1].f : 0, c = n > 2 ? kid[2].f : 0, r;
    if (float_compare(op, a, b, &out->i))
        return true;
    if (op == OP_NEG)
        r = -a;
    else if (n == 1 && unary_of(op))
        r = unary_of(op)(a);
    else if (!float_binary(op, t, a, b, c, &r))
        return false;
    if (type_is_narrow(t)) /* computed in f32 */
        r = (double)(float)r;
    out->f = round_to(t, r);
    return true;
}

/* ---- conversions ------------------------------------------------------------------------------- */

static int64_t float_to_int(Dtype to, double v) {
    if (to == T_BOOL)
        return v != 0;
    if (isnan(v))
        return 0;
    v = trunc(v);
    bool is_signed = type_kind(to) == 'I';
    int bits = type_bits(to);
    double top = ldexp(1.0, is_signed ? bits - 1 : bits), low = is_signed ? -top : 0;
    if (v >= top)
        return wrap(to, is_signed ? (UINT64_C(1) << (bits - 1)) - 1 : UINT64_MAX);
    if (v <= low)
        return is_signed ? wrap(to, UINT64_C(1) << (bits - 1)) : 0;
    return v < 0 ? (int64_t)v : wrap(to, (uint64_t)v);
}

static double int_to_float(Dtype from, Dtype to, int64_t v) {
    if (to == T_F64)
        return from == T_U64 ? (double)(uint64_t)v : (double)v;
    float f = from == T_U64 ? (float)(uint64_t)v : (float)v;
    return round_to(to, (double)f);
}

static void cast(Op op, Dtype from, Dtype to, Scalar a, Scalar *out) {
    bool from_float = type_is_float(from);
    if (!type_is_float(to))
        out->i = from_float ? float_to_int(to, a.f) : wrap(to, (uint64_t)a.i);
    else if (!from_float)
        out->f = int_to_float(from, to, a.i);
    else if (type_is_narrow(to)) /* only f8 and f4 saturate */
        out->f = (double)narrow_to_f32(
            to, narrow_from_f64(to, a.f, op == OP_CAST && type_bytes(to) == 1));
    else
        out->f = round_to(to, a.f);
}

static uint64_t float_bits(Dtype t, double v) {
    if (t == T_F64) {
        uint64_t bits;
        memcpy(&bits, &v, sizeof bits);
        return bits;
    }
    float f = (float)v;
    if (t != T_F32)
        return narrow_from_f32(t, f, false);
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static double bits_float(Dtype t, uint64_t bits) {
    if (t == T_F64) {
        double v;
        memcpy(&v, &bits, sizeof v);
        return v;
    }
    uint32_t low = (uint32_t)bits;
    if (t != T_F32)
        return (double)narrow_to_f32(t, low);
    float f;
    memcpy(&f, &low, sizeof f);
    return (double)f;
}

/* A NaN constant has no payload, so its bits are not known. */
static bool bitcast(Dtype from, Dtype to, Scalar a, Scalar *out) {
    bool from_float = type_is_float(from);
    if (from_float && isnan(a.f))
        return false;
    uint64_t bits = from_float ? float_bits(from, a.f) : (uint64_t)a.i;
    if (!type_is_float(to)) {
        out->i = wrap(to, bits);
        return true;
    }
    out->f = bits_float(to, bits);
    return !isnan(out->f);
}

bool scalar_op(Op op, Dtype from, Dtype to, const Scalar *kid, Scalar *out) {
    bool is_float = type_is_float(from), is_int = type_is_int(from) || from == T_BOOL;
    if (!is_float && !is_int)
        return false;
    if (op == OP_CAST || op == OP_CASTW) {
        if (!type_is_float(to) && !type_is_int(to) && to != T_BOOL)
            return false;
        cast(op, from, to, kid[0], out);
        return true;
    }
    if (op == OP_BITCAST)
        return bitcast(from, to, kid[0], out);
    if (op_kids(op) < 1)
        return false;
    return is_float ? float_op(op, from, kid, out) : int_op(op, from, kid, out);
}
