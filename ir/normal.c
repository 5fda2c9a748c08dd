/* ir/normal.c — what the constructors do beyond folding, op by op.
 *
 * Each function gets kids that are normal and returns the normal form, or NULL when op(kids) already is
 * one. Index arithmetic (scalar i64) is in linear.c; what needs no speed is in simplify.rules.
 *
 *   !(a < b) → b <= a (integers)     c && c → c     select(true, a, b) → a     i64(i32(x)) → x in range */
#include <math.h>

#include "ir/expr_in.h"

typedef const Expr *const *Kids;

static bool is_true(const Expr *e) {
    return is_op(e, OP_INT) && e->u.i == 1 && type_dtype(e->type) == T_BOOL;
}
static bool is_false(const Expr *e) {
    return is_op(e, OP_INT) && e->u.i == 0 && type_dtype(e->type) == T_BOOL;
}
static bool is_integer(const Expr *e) {
    Dtype d = type_dtype(e->type);
    return type_is_int(d) || d == T_BOOL;
}
static const Expr *bool_like(Ctx *ctx, const Expr *e, bool v) {
    return expr_int(ctx, TYPE_VEC(T_BOOL, type_lanes(e->type)), v);
}

/* ---- integer and float arithmetic other than i64 ------------------------------------------------- */

/* (x op c1) op c2 → x op (c1 op c2) for an associative op, and constants to the right. */
static const Expr *associate(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    if (expr_is_const(a) && !expr_is_const(b))
        return expr_2(ctx, op, b, a);
    if (is_op(a, op) && expr_is_const(b) && expr_is_const(a->kid[1]))
        return expr_2(ctx, op, a->kid[0], expr_2(ctx, op, a->kid[1], b));
    return NULL;
}

static const Expr *int_arith(Ctx *ctx, Op op, Type t, const Expr *a, const Expr *b) {
    bool ones = is_op(b, OP_INT) && b->u.i == (type_kind(type_dtype(t)) == 'I' ? -1 : 0) && b->u.i;
    switch (op) {
    case OP_ADD:
    case OP_BXOR:
    case OP_BOR:
        if (op == OP_BXOR && a == b)
            return expr_int(ctx, t, 0);
        if (op == OP_BOR && a == b)
            return a;
        return expr_is(b, 0) ? a : associate(ctx, op, a, b);
    case OP_SUB:
        if (a == b)
            return expr_int(ctx, t, 0);
        if (is_op(b, OP_INT))
            return expr_add(ctx, a, expr_int(ctx, t, (int64_t)(0 - (uint64_t)b->u.i)));
        return NULL;
    case OP_MUL:
        return expr_is(b, 0) ? b : expr_is(b, 1) ? a : associate(ctx, op, a, b);
    case OP_BAND:
        if (a == b || ones)
            return a;
        return expr_is(b, 0) ? b : associate(ctx, op, a, b);
    case OP_DIV:
    case OP_FDIV:
        return expr_is(b, 1) || expr_is(a, 0) ? a : NULL;
    case OP_MOD:
    case OP_REM:
        return a == b || expr_is(b, 1) || expr_is(a, 0) ? expr_int(ctx, t, 0) : NULL;
    case OP_SHL:
    case OP_SHR:
        return expr_is(b, 0) || expr_is(a, 0) ? a : NULL;
    default:
        return NULL;
    }
}

static bool is_negative_zero(const Expr *e) {
    return is_op(e, OP_FLT) && e->u.f == 0 && signbit(e->u.f);
}

/* Only what is exact for every value, NaN, infinities and both zeros included. */
static const Expr *float_arith(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    bool commutes = op == OP_ADD || op == OP_MUL;
    if (commutes && expr_is_const(a) && !expr_is_const(b))
        return expr_2(ctx, op, b, a);
    switch (op) {
    case OP_ADD:
        return is_negative_zero(b) ? a : NULL;
    case OP_SUB:
        return expr_is(b, 0) ? a : NULL;
    case OP_MUL:
    case OP_DIV:
        return expr_is(b, 1) ? a : NULL;
    default:
        return NULL;
    }
}

static const Expr *minmax(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    if (a == b)
        return a;
    if (is_integer(a)) {
        Range x = expr_range(ctx, a), y = expr_range(ctx, b);
        bool open = type_dtype(a->type) == T_U64 && (x.max == INT64_MAX || y.max == INT64_MAX);
        if (!open && x.max <= y.min)
            return op == OP_MIN ? a : b;
        if (!open && y.max <= x.min)
            return op == OP_MIN ? b : a;
    }
    if (is_op(b, OP_FLT) && isnan(b->u.f))
        return b;
    if (is_op(a, OP_FLT) && a->u.f == 0) /* of two zeros the second is the result */
        return NULL;
    return associate(ctx, op, a, b);
}

/* ---- i64 --------------------------------------------------------------------------------------- */

static const Expr *index_divide(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    int64_t c;
    Range ra = expr_range(ctx, a), rb = expr_range(ctx, b);
    if ((op == OP_DIV || op == OP_REM) && ra.min >= 0 && rb.min >= 0)
        return expr_2(ctx, op == OP_DIV ? OP_FDIV : OP_MOD, a, b);
    if ((op == OP_FDIV || op == OP_MOD) && is_positive(b, &c))
        return op == OP_FDIV ? linear_fdiv(ctx, a, c) : linear_mod(ctx, a, c);
    if (op == OP_FDIV && rb.min > 0)
        return linear_fdiv_by(ctx, a, b);
    if (op == OP_MOD && rb.min > 0)
        return linear_mod_by(ctx, a, b);
    return int_arith(ctx, op, T_I64, a, b);
}

static const Expr *index_arith(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    switch (op) {
    case OP_ADD:
        return linear_add(ctx, a, b, 1);
    case OP_SUB:
        return linear_add(ctx, a, b, -1);
    case OP_MUL:
        return linear_mul(ctx, a, b);
    case OP_DIV:
    case OP_REM:
    case OP_FDIV:
    case OP_MOD:
        return index_divide(ctx, op, a, b);
    default:
        return int_arith(ctx, op, T_I64, a, b);
    }
}

static const Expr *arith(Ctx *ctx, Op op, Type t, const Expr *a, const Expr *b) {
    if (is_index(a))
        return index_arith(ctx, op, a, b);
    if (is_integer(a))
        return int_arith(ctx, op, t, a, b);
    return float_arith(ctx, op, a, b);
}

static const Expr *unary(Ctx *ctx, Op op, const Expr *a) {
    if (op == OP_NEG && is_index(a))
        return linear_mul(ctx, a, expr_i(ctx, -1));
    if (is_op(a, op) && (op == OP_NEG || op == OP_BNOT))
        return a->kid[0];
    if (op == OP_ABS && is_integer(a) && expr_range(ctx, a).min >= 0)
        return a;
    if (op == OP_ABS && is_index(a) && expr_range(ctx, a).max <= 0)
        return linear_mul(ctx, a, expr_i(ctx, -1));
    return NULL;
}

/* ---- comparisons ------------------------------------------------------------------------------- */

/* Is e an integer cast that keeps every value? Then the comparison can be done before it. */
static const Expr *before_cast(Ctx *ctx, const Expr *e) {
    if (!is_op(e, OP_CAST) || !is_integer(e) || !is_integer(e->kid[0]))
        return NULL;
    Range box = range_type(e->type), r = expr_range(ctx, e->kid[0]);
    Dtype from = type_dtype(e->kid[0]->type), to = type_dtype(e->type);
    if (to == T_BOOL || r.min < box.min || r.max > box.max)
        return NULL;
    if (to != from && (from == T_U64 || to == T_U64) && r.max == INT64_MAX)
        return NULL;
    return e->kid[0];
}

static const Expr *compare_casts(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    const Expr *x = before_cast(ctx, a), *y = before_cast(ctx, b);
    Type t = x ? x->type : y ? y->type : 0;
    if (!t || (type_dtype(t) == T_BOOL && op != OP_EQ && op != OP_NE))
        return NULL;
    Range box = range_type(t);
    if (!x && is_op(a, OP_INT) && a->u.i >= box.min && a->u.i <= box.max)
        x = expr_int(ctx, t, a->u.i);
    if (!y && is_op(b, OP_INT) && b->u.i >= box.min && b->u.i <= box.max)
        y = expr_int(ctx, t, b->u.i);
    return x && y && x->type == y->type ? expr_2(ctx, op, x, y) : NULL;
}

/* What the ranges of both sides say; not for u64, which writes "2^63 and more" as INT64_MAX. */
static int decided(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    Range x = expr_range(ctx, a), y = expr_range(ctx, b);
    bool open = type_dtype(a->type) == T_U64 && (x.max == INT64_MAX || y.max == INT64_MAX);
    return open ? 0 : range_compare(op, x, y);
}

const Expr *normal_sides(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    int c = decided(ctx, op, a, b);
    return c ? bool_like(ctx, a, c > 0) : compare_casts(ctx, op, a, b);
}

/* b == true → b and the like */
static const Expr *compare_bools(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    if (op != OP_EQ && op != OP_NE)
        return NULL;
    if (!is_op(b, OP_INT))
        return NULL;
    return is_true(b) == (op == OP_EQ) ? a : expr_not(ctx, a);
}

static const Expr *int_compare(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    Dtype d = type_dtype(a->type);
    bool equality = op == OP_EQ || op == OP_NE;
    if (a == b)
        return bool_like(ctx, a, op == OP_EQ || op == OP_LE);
    if (equality && is_op(a, OP_INT))
        return expr_2(ctx, op, b, a);
    const Expr *e = normal_sides(ctx, op, a, b);
    if (!e && d == T_BOOL)
        e = compare_bools(ctx, op, a, b);
    if (!e && is_index(a))
        e = linear_compare(ctx, op, a, b);
    if (e || d == T_U64 || equality)
        return e;
    if (op == OP_LT && is_op(a, OP_INT))
        return expr_le(ctx, expr_int(ctx, a->type, a->u.i + 1), b);
    if (op == OP_LE && is_op(b, OP_INT))
        return expr_lt(ctx, a, expr_int(ctx, a->type, b->u.i + 1));
    return NULL;
}

static const Expr *compare(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    if (is_integer(a))
        return int_compare(ctx, op, a, b);
    if ((op == OP_EQ || op == OP_NE) && expr_is_const(a) && !expr_is_const(b))
        return expr_2(ctx, op, b, a);
    return NULL;
}

/* ---- logic ------------------------------------------------------------------------------------- */

#define NEGATE_MAX 32 /* nodes; a larger condition keeps its ! */

static const Expr *negate(Ctx *ctx, const Expr *a) {
    bool small =
        (is_op(a, OP_AND) || is_op(a, OP_OR)) && expr_size(ctx, a, NEGATE_MAX) < NEGATE_MAX;
    bool ordered = a->nkid == 2 && is_integer(a->kid[0]);
    switch (a->op) {
    case OP_NOT:
        return a->kid[0];
    case OP_EQ:
        return expr_ne(ctx, a->kid[0], a->kid[1]);
    case OP_NE:
        return expr_eq(ctx, a->kid[0], a->kid[1]);
    case OP_LT:
        return ordered ? expr_le(ctx, a->kid[1], a->kid[0]) : NULL;
    case OP_LE:
        return ordered ? expr_lt(ctx, a->kid[1], a->kid[0]) : NULL;
    case OP_AND:
        return !small ? NULL : expr_or(ctx, expr_not(ctx, a->kid[0]), expr_not(ctx, a->kid[1]));
    case OP_OR:
        return !small ? NULL : expr_and(ctx, expr_not(ctx, a->kid[0]), expr_not(ctx, a->kid[1]));
    default:
        return NULL;
    }
}

#define CHAIN_MAX 64

/* Is e one of the operands of the left chain of op? */
static bool in_chain(Op op, const Expr *chain, const Expr *e) {
    for (int i = 0; i < CHAIN_MAX && is_op(chain, op); i++, chain = chain->kid[0])
        if (chain->kid[1] == e)
            return true;
    return chain == e;
}

/* The order of operands stays: the left may guard the right. */
static const Expr *logic(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    bool and = op == OP_AND;
    if (is_op(a, OP_INT))
        return is_true(a) == and? b : a;
    if (is_op(b, OP_INT) && is_true(b) == and)
        return a;
    if (is_op(b, OP_INT)) /* x && false: x has no effects */
        return b;
    if (is_op(b, op) && expr_size(ctx, b, CHAIN_MAX) < CHAIN_MAX)
        return expr_2(ctx, op, expr_2(ctx, op, a, b->kid[0]), b->kid[1]);
    if (in_chain(op, a, b))
        return a;
    if (is_op(b, OP_NOT) && in_chain(op, a, b->kid[0]))
        return bool_like(ctx, a, !and);
    return NULL;
}

static const Expr *select_bool(Ctx *ctx, const Expr *c, const Expr *a, const Expr *b) {
    if (type_lanes(c->type) != type_lanes(a->type))
        return NULL;
    if (is_true(a))
        return expr_or(ctx, c, b);
    if (is_false(b))
        return expr_and(ctx, c, a);
    if (is_false(a))
        return expr_and(ctx, expr_not(ctx, c), b);
    if (is_true(b))
        return expr_or(ctx, expr_not(ctx, c), a);
    return NULL;
}

/* select(x == k, a, b) where a and b are equal at x = k. Small index arithmetic only: it nests. */
static bool equal_at(Ctx *ctx, const Expr *c, const Expr *a, const Expr *b) {
    enum { NODES = 24 };
    if (!is_op(c, OP_EQ) || !is_op(c->kid[0], OP_SYM) || !is_op(c->kid[1], OP_INT) ||
        a->type != T_I64 || expr_size(ctx, a, NODES) >= NODES || expr_size(ctx, b, NODES) >= NODES)
        return false;
    const Expr *k = c->kid[1];
    return expr_subst(ctx, a, 1, &c->kid[0]->u.sym, &k) ==
           expr_subst(ctx, b, 1, &c->kid[0]->u.sym, &k);
}

static const Expr *select_op(Ctx *ctx, const Expr *c, const Expr *a, const Expr *b) {
    if (is_op(c, OP_INT))
        return c->u.i ? a : b;
    if (a == b)
        return a;
    if (is_op(c, OP_NOT))
        return expr_select(ctx, c->kid[0], b, a);
    if (is_op(a, OP_SELECT) && a->kid[0] == c)
        return expr_select(ctx, c, a->kid[1], b);
    if (is_op(b, OP_SELECT) && b->kid[0] == c)
        return expr_select(ctx, c, a, b->kid[2]);
    if (equal_at(ctx, c, a, b))
        return b;
    return type_dtype(a->type) == T_BOOL ? select_bool(ctx, c, a, b) : NULL;
}

/* ---- casts ------------------------------------------------------------------------------------- */

/* Does every value of type a exist in b? */
static bool type_holds(Dtype a, Dtype b) {
    if (type_is_float(a))
        return a == b || b == T_F64 || (b == T_F32 && a != T_F64);
    if (type_is_float(b)) {
        int64_t top = b == T_F64 ? INT64_C(1) << 53 : b == T_F32 ? INT64_C(1) << 24 : 0;
        return type_min(a) >= -top && type_max(a) <= top;
    }
    return type_min(a) >= type_min(b) && type_max(a) <= type_max(b) && (a != T_U64 || b == T_U64);
}

/* T(U(x)) as T(x): when U holds the value of x, or when wrapping twice equals wrapping once. */
static const Expr *cast_cast(Ctx *ctx, Op op, Type t, const Expr *a) {
    const Expr *x = a->kid[0];
    Dtype from = type_dtype(x->type), via = type_dtype(a->type), to = type_dtype(t);
    bool direct;
    if (!is_integer(x))
        direct = type_is_float(from) && type_is_float(via) && type_holds(from, via);
    else if (type_is_float(via)) /* float → int saturates, int → int wraps */
        direct = type_holds(from, via) &&
                 (to == T_BOOL || type_is_float(to) || (type_is_int(to) && type_holds(from, to)));
    else
        direct = before_cast(ctx, a) ||
                 (via != T_BOOL && type_is_int(to) && type_bits(to) <= type_bits(via));
    return direct ? expr_op(ctx, op, t, 1, &x) : NULL;
}

static const Expr *cast_op(Ctx *ctx, Op op, Type t, const Expr *a) {
    if (a->type == t)
        return a;
    if (op == OP_BITCAST)
        return is_op(a, OP_BITCAST) ? expr_op(ctx, op, t, 1, a->kid) : NULL;
    if (is_op(a, OP_CAST))
        return cast_cast(ctx, op, t, a);
    return NULL;
}

/* ---- vectors ----------------------------------------------------------------------------------- */

/* The scalar that all lanes of e equal, or NULL. */
static const Expr *uniform(Ctx *ctx, const Expr *e) {
    if (type_lanes(e->type) == 1 || is_op(e, OP_BCAST))
        return is_op(e, OP_BCAST) ? e->kid[0] : e;
    if (!expr_is_const(e))
        return NULL;
    return is_op(e, OP_INT) ? expr_int(ctx, type_dtype(e->type), e->u.i)
                            : expr_flt(ctx, type_dtype(e->type), e->u.f);
}

/* e as base + lane*stride? */
static bool as_ramp(Ctx *ctx, const Expr *e, const Expr **base, const Expr **stride) {
    if (is_op(e, OP_RAMP)) {
        *base = e->kid[0];
        *stride = e->kid[1];
        return true;
    }
    *base = uniform(ctx, e);
    *stride = *base ? expr_int(ctx, (*base)->type, 0) : NULL;
    return *base != NULL;
}

/* (base + lane*stride) // c and % c where all lanes agree about the block, or keep in step with it. */
static const Expr *ramp_divide(Ctx *ctx, Op op, const Expr *v, const Expr *by) {
    int lanes = type_lanes(v->type);
    const Expr *c = uniform(ctx, by), *base = v->kid[0];
    int64_t n, s;
    if (!c || !is_positive(c, &n) || !expr_is_int(v->kid[1], &s) || s < 0 || !is_index(base) ||
        expr_info(base)->symbolic != SYMBOLIC)
        return NULL;
    const Expr *low = expr_mod(ctx, base, c), *high = expr_fdiv(ctx, base, c);
    int64_t last, step = s / n * (op == OP_FDIV);
    Range r = expr_range(ctx, low);
    if (s % n == 0)
        return op == OP_FDIV ? expr_ramp(ctx, high, expr_i(ctx, step), lanes)
                             : expr_bcast(ctx, low, lanes);
    if (!mul_ok(s, lanes - 1, &last) || !add_ok(r.max, last, &last) || last >= n)
        return NULL;
    return op == OP_FDIV ? expr_bcast(ctx, high, lanes) : expr_ramp(ctx, low, v->kid[1], lanes);
}

static const Expr *ramp_arith(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    const Expr *x, *dx, *y, *dy;
    int lanes = type_lanes(a->type);
    if (is_op(a, OP_RAMP) && (op == OP_FDIV || op == OP_MOD))
        return ramp_divide(ctx, op, a, b);
    if (!as_ramp(ctx, a, &x, &dx) || !as_ramp(ctx, b, &y, &dy))
        return NULL;
    if (op == OP_ADD || op == OP_SUB)
        return expr_ramp(ctx, expr_2(ctx, op, x, y), expr_2(ctx, op, dx, dy), lanes);
    if (op == OP_MUL && (is_op(a, OP_RAMP) != is_op(b, OP_RAMP))) {
        const Expr *u = is_op(a, OP_RAMP) ? y : x;
        const Expr *v = is_op(a, OP_RAMP) ? x : y, *dv = is_op(a, OP_RAMP) ? dx : dy;
        return expr_ramp(ctx, expr_mul(ctx, v, u), expr_mul(ctx, dv, u), lanes);
    }
    return NULL;
}

static const Expr *all_uniform(Ctx *ctx, Op op, Type t, int n, Kids kid) {
    const Expr *scalar[3];
    if (n > 3)
        return NULL;
    for (int i = 0; i < n; i++)
        if (!(scalar[i] = uniform(ctx, kid[i])))
            return NULL;
    return expr_bcast(ctx, expr_op(ctx, op, type_dtype(t), n, scalar), type_lanes(t));
}

static const Expr *lane_op(Ctx *ctx, const Expr *v, const Expr *i) {
    const Expr *u = uniform(ctx, v);
    if (u)
        return u;
    if (!is_op(v, OP_RAMP))
        return NULL;
    const Expr *at = expr_int(ctx, v->kid[0]->type, i->u.i);
    return expr_add(ctx, v->kid[0], expr_mul(ctx, v->kid[1], at));
}

static const Expr *bcast_op(Ctx *ctx, Type t, const Expr *a) {
    if (type_lanes(t) == 1)
        return a;
    if (is_op(a, OP_INT))
        return expr_int(ctx, t, a->u.i);
    return is_op(a, OP_FLT) ? expr_flt(ctx, t, a->u.f) : NULL;
}

/* *done: the op is about lanes and nothing else applies. */
static const Expr *vector_op(Ctx *ctx, Op op, Type t, int n, Kids kid, bool *done) {
    *done = true;
    switch (op) {
    case OP_BCAST:
        return bcast_op(ctx, t, kid[0]);
    case OP_LANE:
        return lane_op(ctx, kid[0], kid[1]);
    case OP_RAMP:
        if (type_lanes(t) == 1)
            return kid[0];
        return expr_is(kid[1], 0) ? expr_bcast(ctx, kid[0], type_lanes(t)) : NULL;
    case OP_VADD:
    case OP_DOT4:
    case OP_DOT2:
        return NULL;
    case OP_VMAX:
    case OP_VMIN:
        return uniform(ctx, kid[0]);
    default:
        break;
    }
    *done = type_lanes(t) > 1;
    if (!*done)
        return NULL;
    const Expr *e = all_uniform(ctx, op, t, n, kid);
    if (!e && n == 2 && is_integer(kid[0]))
        e = ramp_arith(ctx, op, kid[0], kid[1]);
    *done = e != NULL;
    return e;
}

/* ---- all of them -------------------------------------------------------------------------------- */

const Expr *normal_op(Ctx *ctx, Op op, Type t, int n, Kids kid) {
    bool done;
    const Expr *e = vector_op(ctx, op, t, n, kid, &done);
    if (done)
        return e;
    switch (op) {
    case OP_MIN:
    case OP_MAX:
        return is_index(kid[0]) ? linear_minmax(ctx, op, kid[0], kid[1])
                                : minmax(ctx, op, kid[0], kid[1]);
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
        return compare(ctx, op, kid[0], kid[1]);
    case OP_AND:
    case OP_OR:
        return logic(ctx, op, kid[0], kid[1]);
    case OP_NOT:
        return negate(ctx, kid[0]);
    case OP_SELECT:
        return select_op(ctx, kid[0], kid[1], kid[2]);
    case OP_CAST:
    case OP_CASTW:
    case OP_BITCAST:
        return cast_op(ctx, op, t, kid[0]);
    default:
        return n == 2 ? arith(ctx, op, t, kid[0], kid[1]) : n == 1 ? unary(ctx, op, kid[0]) : NULL;
    }
}
