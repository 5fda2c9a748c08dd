/* def_scan.c — running sums, positions of extremes, and tensors whose extents are counted in data.
 *
 *   NonZero(x f32[N])  →  p[t] = (t == 0 ? 0 : p[t - 1]) + (x[t] != 0) ; M := p[N - 1]
 *                         y[a, p[t] - 1] = t  where x[t] != 0 */
#include "frontend/equation.h"
#include "frontend/index.h"
#include "frontend/reduce.h"

#include <string.h>

/* ---- running sums ---------------------------------------------------------------------------- */

/* y along `axis` by a recurrence: step t writes position t, or n - 1 - t in reverse. */
static bool running(Definer *d, Op op, int axis, bool exclusive, bool reverse) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    Dtype type = define_type(d, 0);
    const Expr *index[RANK_MAX], *zero = expr_i(ctx, 0), *one = expr_i(ctx, 1);
    Def *def = define_out(d, 0, type, x->rank, x->dim);
    index_vars(d, def, index);
    def->axis[axis].kind = AXIS_SEQ;
    const Expr *t = index[axis], *last = expr_sub(ctx, x->dim[axis], one);
    const Expr *here = reverse ? expr_sub(ctx, last, t) : t;
    const Expr *before = reverse ? expr_add(ctx, here, one) : expr_sub(ctx, here, one);
    const Expr *start = expr_const(ctx, type, op == OP_ADD ? 0 : 1), *first = expr_eq(ctx, t, zero);
    index[axis] = before;
    const Expr *sum = buf_load(ctx, def->buf, index), *xb = buf_load(ctx, x, index);
    index[axis] = here;
    if (exclusive)
        def->value = expr_select(ctx, first, start, expr_2(ctx, op, sum, xb));
    else
        def->value = expr_2(ctx, op, expr_select(ctx, first, start, sum), buf_load(ctx, x, index));
    if (reverse) {
        def->at = ctx_newn(ctx, const Expr *, x->rank);
        memcpy(def->at, index, sizeof *index * (size_t)x->rank);
    }
    define_emit(d, def);
    return true;
}

/* The same where the axis is known only at run time: for each position a sum over the axis so far. */
static bool running_at(Definer *d, Op op, Buf *axis, bool exclusive, bool reverse) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *index[RANK_MAX], *i = expr_i(ctx, 0);
    Reduce r;
    if (!reduce_begin(d, &r, x, axis, true, false))
        return false;
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, x->dim);
    const Expr *n = define_extent(d, "count", r.n, 0, INT64_MAX);
    if (!n)
        return false;
    const Expr *k = def_axis(ctx, def, str(ctx, "k"), AXIS_RED, n);
    for (int a = 0; a < x->rank; a++) {
        const Expr *here = expr_eq(ctx, r.red[a], expr_i(ctx, 1)), *v = def_var(ctx, def, a);
        i = expr_select(ctx, here, v, i);
        index[a] = expr_select(ctx, here, k, v);
    }
    const Expr *a = reverse ? i : k, *b = reverse ? k : i;
    def->when = exclusive ? expr_lt(ctx, a, b) : expr_le(ctx, a, b);
    def->combine = (uint8_t)op;
    return view_emit(d, def, x, index);
}

static bool running_op(Definer *d, Op op) {
    Buf *x = define_in(d, 0), *axis = define_in(d, 1);
    bool exclusive = node_int(d->node, "exclusive", 0) != 0;
    bool reverse = node_int(d->node, "reverse", 0) != 0;
    const Expr *e = define_known(d, axis, 0);
    int64_t a;
    char kind = type_kind(define_type(d, 0));
    if (!e || x->rank == 0 || (kind != 'F' && kind != 'I' && kind != 'U'))
        return define_error(d, EXIT_MALFORMED, "a tensor of numbers with an axis is needed");
    if (!expr_is_int(e, &a))
        return running_at(d, op, axis, exclusive, reverse);
    a = define_axis(d, a, x->rank);
    return a >= 0 && running(d, op, (int)a, exclusive, reverse);
}

bool def_cum_sum(Definer *d) {
    return running_op(d, OP_ADD);
}

bool def_cum_prod(Definer *d) {
    return running_op(d, OP_MUL);
}

/* ---- positions of extremes ------------------------------------------------------------------- */

/* Out dims of a reduction over one axis, and the input's index with `k` at that axis. */
static int one_axis(Definer *d, const Buf *x, int axis, bool keep, const Expr **dim) {
    int rank = 0;
    for (int a = 0; a < x->rank; a++)
        if (a != axis || keep)
            dim[rank++] = a == axis ? expr_i(d->ctx, 1) : x->dim[a];
    return rank;
}

static void one_axis_index(Definer *d, const Buf *x, int axis, bool keep, const Def *def,
                           const Expr *k, const Expr **index) {
    for (int a = 0; a < x->rank; a++)
        index[a] = a == axis ? k : def_var(d->ctx, def, a > axis && !keep ? a - 1 : a);
}

/* The smallest (or largest: `last`) k with x[k] equal to the extreme; a NaN counts as the extreme. */
static bool arg_extreme(Definer *d, Op op) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    int axis = define_axis(d, node_int(d->node, "axis", 0), x->rank);
    bool keep = node_int(d->node, "keepdims", 1) != 0;
    bool last = node_int(d->node, "select_last_index", 0) != 0;
    char kind = type_kind(define_type(d, 0));
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *at[RANK_MAX];
    if (axis < 0)
        return false;
    if (kind != 'F' && kind != 'I' && kind != 'U')
        return define_error(d, EXIT_MALFORMED, "a tensor of numbers is needed");
    if (!define_check(d, expr_lt(ctx, expr_i(ctx, 0), x->dim[axis]), CHECK_DIM, "an empty axis"))
        return false;
    int rank = one_axis(d, x, axis, keep, dim);
    Def *best = define_temp(d, "best", define_type(d, 0), rank, dim);
    const Expr *k = def_axis(ctx, best, str(ctx, "k"), AXIS_RED, x->dim[axis]);
    one_axis_index(d, x, axis, keep, best, k, index);
    best->combine = (uint8_t)op;
    view_emit(d, best, x, index);
    /* i32 where that holds it: twice as many lanes */
    bool narrow = expr_range(ctx, x->dim[axis]).max <= INT32_MAX;
    Def *def =
        narrow ? define_temp(d, "place", T_I32, rank, dim) : define_out(d, 0, T_I64, rank, dim);
    index_vars(d, def, at);
    k = def_axis(ctx, def, str(ctx, "k"), AXIS_RED, x->dim[axis]);
    one_axis_index(d, x, axis, keep, def, k, index);
    const Expr *e = buf_load(ctx, x, index);
    def->when = expr_eq(ctx, e, buf_load(ctx, best->buf, at));
    if (kind == 'F')
        def->when = expr_or(ctx, def->when, expr_1(ctx, OP_ISNAN, e));
    def->combine = last ? OP_MAX : OP_MIN;
    def->value = narrow ? expr_cast(ctx, T_I32, k) : k;
    define_emit(d, def);
    if (!narrow)
        return true;
    Def *out = define_out(d, 0, T_I64, rank, dim);
    index_vars(d, out, at);
    eq_emit(d, out, expr_cast(ctx, T_I64, buf_load(ctx, def->buf, at)));
    return true;
}

bool def_arg_max(Definer *d) {
    return arg_extreme(d, OP_MAX);
}

bool def_arg_min(Definer *d) {
    return arg_extreme(d, OP_MIN);
}

/* ---- counted extents ------------------------------------------------------------------------- */

/* p[t] = how many of the first t + 1 positions are chosen; the caller sets `chosen` over *t. */
static Def *positions_begin(Definer *d, const Expr *n, const Expr **t) {
    Def *p = define_temp(d, "position", T_I64, 1, &n);
    p->axis[0].kind = AXIS_SEQ;
    *t = def_var(d->ctx, p, 0);
    return p;
}

/* The number of positions chosen, as an extent. */
static const Expr *positions_end(Definer *d, Def *p, const Expr *n, const Expr *t,
                                 const Expr *chosen) {
    Ctx *ctx = d->ctx;
    const Expr *zero = expr_i(ctx, 0), *before = expr_sub(ctx, t, expr_i(ctx, 1));
    const Expr *sum = expr_select(ctx, expr_eq(ctx, t, zero), zero, buf_load(ctx, p->buf, &before));
    p->value = expr_add(ctx, sum, expr_cast(ctx, T_I64, chosen));
    define_emit(d, p);
    const Expr *last = expr_sub(ctx, n, expr_i(ctx, 1));
    const Expr *count = expr_select(ctx, expr_eq(ctx, n, zero), zero, buf_load(ctx, p->buf, &last));
    Range r = expr_range(ctx, n);
    return define_extent(d, "count", count, 0, r.max);
}

/* Output 0, written by the returned Def at computed places; at most `bound` elements. */
static Def *counted_out(Definer *d, Dtype type, int rank, const Expr *const *dim,
                        const Expr *bound) {
    bool wanted = d->node->nout && d->node->out[0];
    Str name = wanted ? d->node->out[0]->name : str(d->ctx, d->node->op);
    Buf *b = buf_new(d->ctx, name, type, SPACE_ARENA, rank, dim);
    b->bound = bound;
    define_set(d, 0, b);
    Def *def = def_update(d->ctx, name, b);
    def->combine = COMBINE_SET;
    def->loc = d->node->loc;
    return def;
}

static const Expr *is_set(Definer *d, const Expr *e) {
    return expr_ne(d->ctx, e, expr_const(d->ctx, type_dtype(e->type), 0));
}

/* The index of row-major position t. */
static void unflatten(Definer *d, const Buf *x, const Expr *t, const Expr **index) {
    for (int a = x->rank - 1; a >= 0; a--) {
        index[a] = a ? expr_mod(d->ctx, t, x->dim[a]) : t;
        t = a ? expr_fdiv(d->ctx, t, x->dim[a]) : t;
    }
}

bool def_non_zero(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *n = buf_count(ctx, x), *t, *index[RANK_MAX];
    if (define_type(d, 0) == T_STR)
        return define_error(d, EXIT_UNSUPPORTED, "text");
    int rank = x->rank ? x->rank : 1;
    Def *p = positions_begin(d, n, &t);
    unflatten(d, x, t, index);
    const Expr *m = positions_end(d, p, n, t, is_set(d, buf_load(ctx, x, index)));
    if (!m)
        return false;
    const Expr *dim[2] = {expr_i(ctx, rank), m};
    Def *def = counted_out(d, T_I64, 2, dim, expr_mul(ctx, dim[0], n));
    const Expr *a = def_axis(ctx, def, str(ctx, "a"), AXIS_PAR, dim[0]);
    t = def_axis(ctx, def, str(ctx, "t"), AXIS_PAR, n);
    unflatten(d, x, t, index);
    def->when = is_set(d, buf_load(ctx, x, index));
    def->at[0] = a;
    def->at[1] = expr_sub(ctx, buf_load(ctx, p->buf, &t), expr_i(ctx, 1));
    def->value = x->rank ? index[rank - 1] : expr_i(ctx, 0);
    for (int i = rank - 2; i >= 0; i--)
        def->value = expr_select(ctx, expr_eq(ctx, a, expr_i(ctx, i)), index[i], def->value);
    define_emit(d, def);
    return true;
}

bool def_compress(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *cond = define_in(d, 1);
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *t;
    bool flat = !node_attr(d->node, "axis");
    if (cond->rank != 1 || define_type(d, 1) != T_BOOL)
        return define_error(d, EXIT_MALFORMED, "the condition must be a list of bools");
    int axis = flat ? 0 : define_axis(d, node_int(d->node, "axis", 0), x->rank);
    if (axis < 0)
        return false;
    const Expr *all = flat ? buf_count(ctx, x) : x->dim[axis];
    if (!define_check(d, expr_le(ctx, cond->dim[0], all), CHECK_DIM, "the condition is too long"))
        return false;
    Def *p = positions_begin(d, cond->dim[0], &t);
    const Expr *m = positions_end(d, p, cond->dim[0], t, buf_load(ctx, cond, &t));
    if (!m)
        return false;
    int rank = flat ? 1 : x->rank;
    for (int a = 0; a < rank; a++)
        dim[a] = a == axis ? m : x->dim[a];
    Def *def = counted_out(d, define_type(d, 0), rank, dim, buf_count(ctx, x));
    for (int a = 0; a < rank; a++)
        index[a] = def->at[a] = def_axis(ctx, def, str_f(ctx, "i%d", a), AXIS_PAR,
                                         a == axis ? cond->dim[0] : x->dim[a]);
    t = index[axis];
    def->at[axis] = expr_sub(ctx, buf_load(ctx, p->buf, &t), expr_i(ctx, 1));
    def->when = buf_load(ctx, cond, &t);
    if (flat)
        unflatten(d, x, t, index);
    return view_emit(d, def, x, index);
}
