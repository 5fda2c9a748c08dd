/* ir/bounds.c — intervals and multiples of integer expressions, computed once per node.
 *
 * INT64_MIN and INT64_MAX stand for "unbounded". Arithmetic on values bounded by symbols with facts
 * (Info.symbolic) saturates, because it is known not to wrap; all other arithmetic that could leave its
 * type gives the whole type.
 *
 *   N in 1..64, i < N: range of i*4 + 3 → 3..255, multiple of i*4 → 4 */
#include "ir/expr_in.h"

/* For the constant 0, a multiple of everything: divisible by 1..16 and by 2^44. */
#define MULTIPLE_OF_ZERO (INT64_C(45045) << 44)

int64_t gcd64(int64_t a, int64_t b) {
    uint64_t x = a < 0 ? 0 - (uint64_t)a : (uint64_t)a, y = b < 0 ? 0 - (uint64_t)b : (uint64_t)b;
    while (y) {
        uint64_t r = x % y;
        x = y;
        y = r;
    }
    return x > INT64_MAX ? INT64_C(1) << 62 : (int64_t)x; /* 2^63: from INT64_MIN alone */
}

int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/* ---- interval arithmetic ----------------------------------------------------------------------- */

static const Range EVERYTHING = {INT64_MIN, INT64_MAX};

bool range_finite(Range r) {
    return r.min > INT64_MIN / 2 && r.max < INT64_MAX / 2;
}

Range range_type(Type t) {
    Dtype d = type_dtype(t);
    if (!type_is_int(d) && d != T_BOOL)
        return EVERYTHING;
    return (Range){type_min(d), type_max(d)};
}

int range_compare(Op op, Range a, Range b) {
    bool apart = a.max < b.min || b.max < a.min;
    switch (op) {
    case OP_LT:
        return a.max < b.min ? 1 : a.min >= b.max ? -1 : 0;
    case OP_LE:
        return a.max <= b.min ? 1 : a.min > b.max ? -1 : 0;
    case OP_EQ:
        return apart ? -1 : 0;
    default:
        return apart ? 1 : 0;
    }
}

Range range_add(Range a, Range b) {
    Range r = EVERYTHING;
    if (a.min != INT64_MIN && b.min != INT64_MIN && !add_ok(a.min, b.min, &r.min))
        r.min = a.min < 0 ? INT64_MIN : INT64_MAX;
    if (a.max != INT64_MAX && b.max != INT64_MAX && !add_ok(a.max, b.max, &r.max))
        r.max = a.max < 0 ? INT64_MIN : INT64_MAX;
    return r;
}

static int64_t bound_mul(int64_t a, int64_t b) {
    int64_t r;
    if (a == 0 || b == 0)
        return 0;
    bool infinite = a == INT64_MIN || a == INT64_MAX || b == INT64_MIN || b == INT64_MAX;
    if (!infinite && mul_ok(a, b, &r))
        return r;
    return (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN;
}

static Range hull(Range a, Range b) {
    return (Range){a.min < b.min ? a.min : b.min, a.max > b.max ? a.max : b.max};
}

Range range_mul(Range a, Range b) {
    int64_t p = bound_mul(a.min, b.min), q = bound_mul(a.min, b.max);
    int64_t r = bound_mul(a.max, b.min), s = bound_mul(a.max, b.max);
    Range x = {p < q ? p : q, p < q ? q : p}, y = {r < s ? r : s, r < s ? s : r};
    return hull(x, y);
}

/* b.min > 0 */
static Range range_fdiv(Range a, Range b) {
    Range r = {a.min, a.max};
    if (a.min >= 0)
        r.min = b.max == INT64_MAX ? 0 : floor_div(a.min, b.max);
    else if (a.min != INT64_MIN)
        r.min = floor_div(a.min, b.min);
    if (a.max < 0)
        r.max = b.max == INT64_MAX ? -1 : floor_div(a.max, b.max);
    else if (a.max != INT64_MAX)
        r.max = floor_div(a.max, b.min);
    return r;
}

/* b.min > 0; x % y is x itself when 0 <= x < y */
static Range range_mod(Range a, Range b) {
    int64_t top = b.max == INT64_MAX ? INT64_MAX : b.max - 1;
    if (a.min < 0)
        return (Range){0, top};
    if (a.max < b.min)
        return a;
    return (Range){0, a.max < top ? a.max : top};
}

static Range range_abs(Range a) {
    int64_t low = a.min == INT64_MIN ? INT64_MAX : a.min < 0 ? -a.min : a.min;
    int64_t high = a.max < 0 ? -a.max : a.max;
    bool crosses = a.min <= 0 && a.max >= 0;
    return (Range){crosses ? 0 : low < high ? low : high, low > high ? low : high};
}

/* ---- ranges of nodes ---------------------------------------------------------------------------- */

static Range sym_range(const Sym *s) {
    Range r = {s->min, s->max};
    if (s->kind == SYM_LET && s->value) {
        Range v = is_op(s->value, OP_SYM) ? sym_range(s->value->u.sym) : expr_info(s->value)->range;
        r.min = v.min > r.min ? v.min : r.min;
        r.max = v.max < r.max ? v.max : r.max;
    }
    if (!type_is_int(type_dtype(s->type)) && type_dtype(s->type) != T_BOOL)
        return EVERYTHING;
    return r;
}

static Range kid_range(const Expr *e) {
    return is_op(e, OP_SYM) ? sym_range(e->u.sym) : expr_info(e)->range;
}

Range expr_range(Ctx *ctx, const Expr *e) {
    (void)ctx;
    return kid_range(e);
}

static bool inside(Range r, Range box) {
    return r.min >= box.min && r.max <= box.max;
}

/* The interval if the type holds it, or if the arithmetic is known not to wrap; else the whole type. */
static Range checked(const Expr *e, Range r, int symbolic) {
    Range type = range_type(e->type);
    if (e->type == T_I64 && symbolic == SYMBOLIC)
        return r;
    bool fits = r.min > INT64_MIN && r.max < INT64_MAX && inside(r, type);
    return fits ? r : type;
}

static Range range_cast(const Expr *e, Range a) {
    Range type = range_type(e->type);
    Dtype from = type_dtype(e->kid[0]->type), to = type_dtype(e->type);
    if (to == T_BOOL)
        return type;
    if (!type_is_int(from) && from != T_BOOL)
        return type;
    /* u64 writes "2^63 and more" as INT64_MAX */
    bool open = from == T_U64 && a.max == INT64_MAX && to != T_U64;
    return !open && inside(a, type) ? a : type;
}

static Range range_ramp(const Expr *e) {
    Range lanes = {0, type_lanes(e->type) - 1};
    return range_add(kid_range(e->kid[0]), range_mul(kid_range(e->kid[1]), lanes));
}

static Range range_bits(const Expr *e, Range a, Range b) {
    if (is_op(e, OP_BAND) && (a.min >= 0 || b.min >= 0)) {
        int64_t top = a.min < 0 ? b.max : b.min < 0 ? a.max : a.max < b.max ? a.max : b.max;
        return (Range){0, top};
    }
    if (is_op(e, OP_SHR) && a.min >= 0)
        return (Range){0, a.max};
    return range_type(e->type);
}

static Range range_divide(const Expr *e, Range a, Range b) {
    Range type = range_type(e->type);
    if (type_dtype(e->type) == T_U64 && (a.max == INT64_MAX || b.max == INT64_MAX))
        return type;
    switch (e->op) {
    case OP_DIV:
        if (a.min < 0)
            return type;
        return b.min > 0 ? range_fdiv(a, b) : type;
    case OP_FDIV:
        return b.min > 0 ? range_fdiv(a, b) : type;
    case OP_REM:
        return a.min >= 0 && b.min > 0 ? range_mod(a, b) : type;
    default:
        return b.min > 0 ? range_mod(a, b) : type;
    }
}

static Range range_minmax(const Expr *e, Range a, Range b) {
    bool min = is_op(e, OP_MIN);
    return (Range){(a.min < b.min) == min ? a.min : b.min, (a.max < b.max) == min ? a.max : b.max};
}

static Range range_arith(const Expr *e, Range a, Range b, int symbolic) {
    Range minus = {-1, -1};
    switch (e->op) {
    case OP_ADD:
        return checked(e, range_add(a, b), symbolic);
    case OP_SUB:
        return checked(e, range_add(a, range_mul(b, minus)), symbolic);
    case OP_MUL:
        return checked(e, range_mul(a, b), symbolic);
    case OP_NEG:
        return checked(e, range_mul(a, minus), symbolic);
    case OP_ABS:
        return a.min == range_type(e->type).min && a.min < 0 ? range_type(e->type) : range_abs(a);
    default:
        return checked(e, range_ramp(e), symbolic);
    }
}

static Range range_node(const Expr *e, int symbolic) {
    Range none = {0, 0};
    Range a = e->nkid > 0 ? kid_range(e->kid[0]) : none;
    Range b = e->nkid > 1 ? kid_range(e->kid[1]) : none;
    switch (e->op) {
    case OP_INT:
        if (type_dtype(e->type) == T_U64 && e->u.i < 0)
            return range_type(e->type);
        return (Range){e->u.i, e->u.i};
    case OP_SYM:
        return sym_range(e->u.sym);
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_NEG:
    case OP_ABS:
    case OP_RAMP:
        return range_arith(e, a, b, symbolic);
    case OP_DIV:
    case OP_FDIV:
    case OP_MOD:
    case OP_REM:
        return range_divide(e, a, b);
    case OP_MIN:
    case OP_MAX:
        return range_minmax(e, a, b);
    case OP_SELECT:
        return hull(b, kid_range(e->kid[2]));
    case OP_CAST:
        return range_cast(e, a);
    case OP_BCAST:
    case OP_LANE:
    case OP_VMAX:
    case OP_VMIN:
        return a;
    case OP_BAND:
    case OP_SHR:
        return range_bits(e, a, b);
    default:
        return range_type(e->type);
    }
}

/* ---- SYMBOLIC bits ------------------------------------------------------------------------------ */

static int symbolic_atom(Range r) {
    return (r.min >= -SMALL ? SYMBOLIC_LO : 0) | (r.max <= SMALL ? SYMBOLIC_HI : 0);
}

static int symbolic_sym(const Sym *s) {
    switch (s->kind) {
    case SYM_AXIS:
    case SYM_DIM:
        return SYMBOLIC;
    case SYM_LET:
        return s->value ? expr_info(s->value)->symbolic : symbolic_atom(sym_range(s));
    default: /* a computed number counts when anything is known about it */
        return s->min > INT64_MIN || s->max < INT64_MAX ? SYMBOLIC : 0;
    }
}

static int symbolic_node(const Expr *e) {
    int a = e->nkid > 0 ? expr_info(e->kid[0])->symbolic : 0;
    int b = e->nkid > 1 ? expr_info(e->kid[1])->symbolic : a;
    switch (e->op) {
    case OP_SYM:
        return symbolic_sym(e->u.sym);
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_NEG:
    case OP_RAMP:
    case OP_FDIV:
    case OP_MOD:
        return (a & b) == SYMBOLIC ? SYMBOLIC : 0;
    case OP_BCAST:
    case OP_LANE:
        return a;
    case OP_MIN:
        return (a & b & SYMBOLIC_LO) | ((a | b) & SYMBOLIC_HI);
    case OP_MAX:
        return ((a | b) & SYMBOLIC_LO) | (a & b & SYMBOLIC_HI);
    case OP_SELECT:
        return b & expr_info(e->kid[2])->symbolic;
    default:
        return 0;
    }
}

/* ---- multiples --------------------------------------------------------------------------------- */

static int64_t kid_mult(const Expr *e) {
    if (!is_op(e, OP_SYM))
        return expr_info(e)->mult;
    return e->u.sym->mult > 1 ? e->u.sym->mult : 1;
}

/* Wrapping keeps only the power of two. */
static int64_t mult_wrapped(const Expr *e, int64_t m, Range r) {
    bool whole = e->type == T_I64 && (range_finite(r) || expr_info(e)->symbolic == SYMBOLIC);
    whole |= e->type != T_I64 && r.min > type_min(type_dtype(e->type)) &&
             r.max < type_max(type_dtype(e->type));
    return whole ? m : m & -m;
}

static int64_t mult_mul(int64_t a, int64_t b) {
    int64_t m;
    return mul_ok(a, b, &m) ? m : a > b ? a : b;
}

static int64_t mult_node(const Expr *e, Range r) {
    int64_t a = e->nkid > 0 ? kid_mult(e->kid[0]) : 1, b = e->nkid > 1 ? kid_mult(e->kid[1]) : 1, c;
    switch (e->op) {
    case OP_INT:
        return e->u.i == INT64_MIN ? INT64_C(1) << 62 : e->u.i < 0 ? -e->u.i : e->u.i;
    case OP_SYM:
        return kid_mult(e);
    case OP_ADD:
    case OP_SUB:
        return mult_wrapped(e, gcd64(a, b), r);
    case OP_MUL:
        return mult_wrapped(e, mult_mul(a, b), r);
    case OP_NEG:
    case OP_ABS:
        return mult_wrapped(e, a, r);
    case OP_BCAST:
    case OP_LANE:
        return a;
    case OP_MIN:
    case OP_MAX:
        return gcd64(a, b);
    case OP_SELECT:
        return gcd64(b, kid_mult(e->kid[2]));
    case OP_FDIV:
        return is_positive(e->kid[1], &c) && a % c == 0 ? a / c : 1;
    case OP_MOD:
        return is_positive(e->kid[1], &c) ? gcd64(a, c) : 1;
    case OP_CAST:
        return type_is_int(type_dtype(e->kid[0]->type)) && inside(kid_range(e->kid[0]), r) ? a : 1;
    default:
        return 1;
    }
}

int64_t expr_multiple(Ctx *ctx, const Expr *e) {
    (void)ctx;
    int64_t m = kid_mult(e);
    return m ? m : MULTIPLE_OF_ZERO;
}

void bounds_node(const Expr *e, Info *info) {
    Dtype d = type_dtype(e->type);
    info->range = EVERYTHING;
    info->mult = 1;
    if (!type_is_int(d) && d != T_BOOL)
        return;
    int symbolic = symbolic_node(e);
    info->range = range_node(e, symbolic);
    info->symbolic = (uint8_t)(symbolic | symbolic_atom(info->range));
    info->mult = mult_node(e, info->range);
}
