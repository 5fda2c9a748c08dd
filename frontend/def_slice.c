/* def_slice.c — ops that take parts and put parts together: Slice, Split, Concat, Pad, Range.
 *
 *   Concat(a f32[2], b f32[N])  →  y[i] = select(i < 2, a[i], b[i - 2]),  i < N + 2
 *   Concat(a f32[2], b f32[1])  →  y[i] = select(i < 2, a[i], b[0]),  i < 3: the same place for all lanes */
#include "frontend/index.h"

#include <string.h>

/* ---- concat, split --------------------------------------------------------------------------- */

bool def_concat(Definer *d) {
    Ctx *ctx = d->ctx;
    const Expr *dim[RANK_MAX], *index[RANK_MAX];
    int n = d->node->nin;
    Buf *x = define_in(d, 0);
    int axis = define_axis(d, node_int(d->node, "axis", 0), x->rank);
    if (axis < 0)
        return false;
    for (int a = 0; a < x->rank; a++)
        dim[a] = x->dim[a];
    for (int i = 1; i < n; i++) {
        Buf *b = define_in(d, i);
        if (!b || b->rank != x->rank || b->type != x->type)
            return define_error(d, EXIT_MALFORMED, "inputs 0 and %d differ in rank or type", i);
        for (int a = 0; a < x->rank; a++) {
            if (a == axis)
                dim[a] = expr_add(ctx, dim[a], b->dim[a]);
            else if (!define_same(d, x->dim[a], b->dim[a], "inputs of different shapes"))
                return false;
        }
    }
    if (n == 1) {
        define_set(d, 0, x);
        return true;
    }
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, dim);
    index_vars(d, def, index);
    const Expr *at = index[axis], *end = dim[axis];
    for (int i = n - 1; i >= 0; i--) {
        Buf *b = define_in(d, i);
        const Expr *start = expr_sub(ctx, end, b->dim[axis]);
        bool single = expr_is(b->dim[axis], 1) && !expr_is(dim[axis], n);
        index[axis] = single ? expr_int(ctx, T_I64, 0) : expr_sub(ctx, at, start);
        const Expr *e = buf_load(ctx, b, index);
        if (!expr_is(b->dim[axis], 0))
            def->value = def->value ? expr_select(ctx, expr_lt(ctx, at, end), e, def->value) : e;
        end = start;
    }
    if (!def->value)
        def->value = buf_load(ctx, x, index);
    define_emit(d, def);
    return true;
}

/* The size of part i: from the operand, else dim / n rounded up (the last part may be smaller). */
static const Expr *part_size(Definer *d, Buf *sizes, const Expr *dim, int i, int n) {
    Ctx *ctx = d->ctx;
    if (sizes)
        return define_extent(d, "part", define_known(d, sizes, i), 0, INT64_MAX);
    const Expr *each = expr_ceildiv(ctx, dim, n), *zero = expr_i(ctx, 0);
    if (i < n - 1 && expr_multiple(ctx, dim) % n == 0)
        return each;
    const Expr *left = expr_sub(ctx, dim, expr_mul(ctx, each, expr_i(ctx, i)));
    return define_extent(d, "part", index_clamp(d, left, zero, each), 0, INT64_MAX);
}

bool def_split(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *sizes = define_in(d, 1);
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *start = expr_i(ctx, 0);
    int axis = define_axis(d, node_int(d->node, "axis", 0), x->rank), n = d->node->nout;
    if (axis < 0)
        return false;
    if (node_int(d->node, "num_outputs", n) != n || (sizes && define_length(d, sizes) != n))
        return define_error(d, EXIT_MALFORMED, "the number of parts is not that of the outputs");
    for (int i = 0; i < n; i++) {
        memcpy(dim, x->dim, sizeof *dim * (size_t)x->rank);
        dim[axis] = part_size(d, sizes, x->dim[axis], i, n);
        if (!dim[axis])
            return false;
        Def *def = define_out(d, i, define_type(d, 0), x->rank, dim);
        index_vars(d, def, index);
        index[axis] = expr_add(ctx, index[axis], start);
        start = expr_add(ctx, start, dim[axis]);
        bound_like(d, def, x);
        view_emit(d, def, x, index);
    }
    if (!sizes && n > 1) /* only the last part may be shorter */
        start = expr_max(
            ctx, start, expr_mul(ctx, part_size(d, sizes, x->dim[axis], 0, n), expr_i(ctx, n - 1)));
    return define_same(d, start, x->dim[axis], "the sum of the parts");
}

/* ---- slice ----------------------------------------------------------------------------------- */

/* Element of `list` for axis a: that of the last j with axes[j] == a, else `otherwise`. */
static const Expr *for_axis(Definer *d, Buf *list, Buf *axes, int64_t n, int a, int rank,
                            const Expr *otherwise) {
    Ctx *ctx = d->ctx;
    const Expr *e = otherwise;
    for (int64_t j = 0; list && e && j < n; j++) {
        const Expr *v = define_known(d, list, j);
        const Expr *axis = axes ? define_known(d, axes, j) : expr_i(ctx, j);
        if (!v || !axis)
            return NULL;
        const Expr *here = expr_or(ctx, expr_eq(ctx, axis, expr_i(ctx, a)),
                                   expr_eq(ctx, axis, expr_i(ctx, a - rank)));
        e = expr_select(ctx, here, v, e);
    }
    return e;
}

/* An end point: counted from the end when negative, clamped to [lo, hi]. */
static const Expr *end_point(Definer *d, const Expr *e, const Expr *n, const Expr *lo,
                             const Expr *hi) {
    return index_clamp(d, index_wrap(d, e, n), lo, hi);
}

/* First index and count of x[start:end:step] over extent n. */
static bool slice_range(Definer *d, const Expr *start, const Expr *end, const Expr *step,
                        const Expr *n, const Expr **first, const Expr **count) {
    Ctx *ctx = d->ctx;
    const Expr *zero = expr_i(ctx, 0), *none = expr_i(ctx, -1), *last = expr_add(ctx, n, none);
    const Expr *up = expr_lt(ctx, zero, step), *down = expr_sub(ctx, zero, step);
    const Expr *s0 = end_point(d, start, n, zero, n), *e0 = end_point(d, end, n, zero, n);
    const Expr *s1 = end_point(d, start, n, none, last), *e1 = end_point(d, end, n, none, last);
    const Expr *c0 = expr_sub(ctx, expr_add(ctx, expr_sub(ctx, e0, s0), step), expr_i(ctx, 1));
    const Expr *c1 = expr_sub(ctx, expr_add(ctx, expr_sub(ctx, s1, e1), down), expr_i(ctx, 1));
    const Expr *c = expr_select(ctx, up, expr_fdiv(ctx, c0, step), expr_fdiv(ctx, c1, down));
    *first = define_scalar(d, "first", expr_select(ctx, up, s0, s1), -1, INT64_MAX);
    *count = define_extent(d, "count", index_max(d, zero, c), 0, INT64_MAX);
    return *first && *count;
}

bool def_slice(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *starts = define_in(d, 1), *ends = define_in(d, 2);
    Buf *axes = define_in(d, 3), *steps = define_in(d, 4);
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *first[RANK_MAX], *step[RANK_MAX];
    int64_t n = define_length(d, starts);
    if (n < 0)
        return false;
    if (define_length(d, ends) != n || (axes && define_length(d, axes) != n) ||
        (steps && define_length(d, steps) != n) || (!axes && n > x->rank))
        return define_error(d, EXIT_MALFORMED, "starts, ends, axes and steps differ in length");
    for (int64_t j = 0; axes && j < n; j++) {
        const Expr *a = define_known(d, axes, j);
        const Expr *ok = !a ? NULL
                            : expr_and(ctx, expr_le(ctx, expr_i(ctx, -x->rank), a),
                                       expr_lt(ctx, a, expr_i(ctx, x->rank)));
        if (!ok || !define_check(d, ok, CHECK_INDEX, "axes"))
            return false;
    }
    for (int a = 0; a < x->rank; a++) {
        const Expr *s = for_axis(d, starts, axes, n, a, x->rank, expr_i(ctx, 0));
        const Expr *e = for_axis(d, ends, axes, n, a, x->rank, expr_i(ctx, INT64_MAX));
        step[a] = for_axis(d, steps, axes, n, a, x->rank, expr_i(ctx, 1));
        if (!s || !e || !step[a])
            return false;
        if (expr_is(step[a], INT64_MIN))
            step[a] = expr_i(ctx, -INT64_MAX);
        s = define_scalar(d, "start", s, INT64_MIN, INT64_MAX);
        e = define_scalar(d, "end", e, INT64_MIN, INT64_MAX);
        step[a] = define_scalar(d, "step", step[a], -INT64_MAX, INT64_MAX);
        if (!step[a] ||
            !define_check(d, expr_ne(ctx, step[a], expr_i(ctx, 0)), CHECK_DIM, "step") ||
            !slice_range(d, s, e, step[a], x->dim[a], &first[a], &dim[a]))
            return false;
    }
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, dim);
    for (int a = 0; a < x->rank; a++)
        index[a] = dim[a] == x->dim[a] && expr_is(step[a], 1)
                       ? def_var(ctx, def, a)
                       : expr_add(ctx, first[a], expr_mul(ctx, def_var(ctx, def, a), step[a]));
    bound_like(d, def, x);
    return view_emit(d, def, x, index);
}

/* ---- pad ------------------------------------------------------------------------------------- */

/* The input index for position p (which may lie outside [0, n)) in the modes that repeat the input. */
static const Expr *pad_index(Definer *d, char mode, const Expr *p, const Expr *before,
                             const Expr *after, const Expr *n) {
    Ctx *ctx = d->ctx;
    const Expr *zero = expr_i(ctx, 0), *last = expr_sub(ctx, n, expr_i(ctx, 1));
    if (expr_is(before, 0) && expr_is(after, 0))
        return p;
    if (mode == 'e')
        return index_clamp(d, p, zero, last);
    if (mode == 'w')
        return expr_mod(ctx, p, n);
    const Expr *small = expr_and(ctx, expr_lt(ctx, before, n), expr_lt(ctx, after, n));
    if (expr_proves(ctx, small)) {
        const Expr *over = expr_sub(ctx, last, expr_1(ctx, OP_ABS, p));
        return expr_sub(ctx, last, expr_1(ctx, OP_ABS, over));
    }
    const Expr *period = expr_mul(ctx, last, expr_i(ctx, 2)), *m = expr_mod(ctx, p, period);
    return expr_min(ctx, m, expr_sub(ctx, period, m));
}

static const Expr *pad_value(Definer *d) {
    Buf *v = define_in(d, 2);
    Dtype t = define_type(d, 0);
    return v ? expr_cast(d->ctx, t, index_known(d, v, 0)) : expr_const(d->ctx, t, 0);
}

bool def_pad(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *pads = define_in(d, 1), *axes = define_in(d, 3);
    Str mode = node_str(ctx, d->node, "mode", "constant");
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *before[RANK_MAX], *after[RANK_MAX], *in = NULL;
    int64_t n = axes ? define_length(d, axes) : x->rank;
    if (n < 0 || define_length(d, pads) != 2 * n)
        return define_error(d, EXIT_MALFORMED, "pads must have two entries an axis");
    Buf *ends = n ? define_node(d, "Slice", "", 3,
                                (Buf *[]){pads, define_const_i64(d, 1, &n),
                                          define_const_i64(d, 1, (int64_t[]){INT64_MAX})})
                  : pads;
    if (!ends)
        return false;
    for (int a = 0; a < x->rank; a++) {
        const Expr *b = for_axis(d, pads, axes, n, a, x->rank, expr_i(ctx, 0));
        const Expr *e = for_axis(d, ends, axes, n, a, x->rank, expr_i(ctx, 0));
        before[a] = define_scalar(d, "before", b, -INDEX_LIMIT, INDEX_LIMIT);
        after[a] = define_scalar(d, "after", e, -INDEX_LIMIT, INDEX_LIMIT);
        if (!before[a] || !after[a])
            return false;
        dim[a] = expr_add(ctx, expr_add(ctx, x->dim[a], before[a]), after[a]);
        dim[a] = define_extent(d, "extent", dim[a], 0, INT64_MAX);
        if (!dim[a])
            return false;
    }
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, dim);
    for (int a = 0; a < x->rank; a++) {
        const Expr *p = expr_sub(ctx, def_var(ctx, def, a), before[a]);
        index[a] = mode[0] == 'c' ? p : pad_index(d, mode[0], p, before[a], after[a], x->dim[a]);
        if (mode[0] == 'c' && !expr_is(before[a], 0))
            in = expr_and(ctx, in, expr_le(ctx, expr_i(ctx, 0), p));
        if (mode[0] == 'c' && !expr_is(after[a], 0))
            in = expr_and(ctx, in, expr_lt(ctx, p, x->dim[a]));
    }
    const Expr *e = buf_load(ctx, x, index), *fill = in ? pad_value(d) : NULL;
    def->value = in && fill ? expr_select(ctx, in, e, fill) : e;
    define_emit(d, def);
    return !in || fill;
}

/* ---- range ----------------------------------------------------------------------------------- */

bool def_range(Definer *d) {
    Ctx *ctx = d->ctx;
    Dtype t = define_type(d, 0);
    const Expr *start = index_known(d, define_in(d, 0), 0),
               *limit = index_known(d, define_in(d, 1), 0);
    const Expr *delta = index_known(d, define_in(d, 2), 0), *n;
    if (!start || !limit || !delta)
        return false;
    if (define_type(d, 1) != t || define_type(d, 2) != t || t == T_BOOL || t == T_STR)
        return define_error(d, EXIT_MALFORMED,
                            "start, limit and delta must be numbers of one type");
    const Expr *zero = expr_const(ctx, t, 0);
    if (!define_check(d, expr_ne(ctx, delta, zero), CHECK_DIM, "delta"))
        return false;
    if (type_is_float(t)) {
        const Expr *len = expr_2(
            ctx, OP_DIV, expr_sub(ctx, expr_cast(ctx, T_F64, limit), expr_cast(ctx, T_F64, start)),
            expr_cast(ctx, T_F64, delta));
        n = expr_cast(ctx, T_I64, expr_1(ctx, OP_CEIL, len));
    } else {
        const Expr *a = expr_cast(ctx, T_I64, start), *b = expr_cast(ctx, T_I64, limit);
        const Expr *s = expr_cast(ctx, T_I64, delta), *span = expr_sub(ctx, b, a);
        const Expr *down = expr_sub(ctx, expr_i(ctx, 0), expr_fdiv(ctx, expr_sub(ctx, a, b), s));
        n = expr_is(s, 1) ? span : down;
    }
    n = define_extent(d, "count", index_max(d, n, expr_i(ctx, 0)), 0, INT64_MAX);
    if (!n)
        return false;
    Dtype c = type_is_narrow(t) ? T_F32 : t;
    Def *def = define_out(d, 0, t, 1, &n);
    const Expr *i = expr_cast(ctx, c, def_var(ctx, def, 0));
    i = expr_mul(ctx, i, expr_cast(ctx, c, delta));
    def->value = expr_cast(ctx, t, expr_add(ctx, expr_cast(ctx, c, start), i));
    define_emit(d, def);
    return true;
}
