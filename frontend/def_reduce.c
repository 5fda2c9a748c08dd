/* def_reduce.c — REDUCE rows: a text per element, a combining op, a text for the result.
 *
 * Axes may be known only at run time: then every axis is reduced, with extent `in(axes) ? dim : 1`, and
 * with keepdims = 0 the length of the axes list fixes the output's rank.
 *
 *   ReduceSum(x f32[N, 4], axes = 1)  →  y[i] = add[16](k < 4) x[i, k] */
#include "frontend/reduce.h"

#include <string.h>

/* red[a] = 1 when axis a is in the list, else 0: constants, or bound at run time. */
static bool reduce_flags(Definer *d, Reduce *r, Buf *axes, int64_t n) {
    Ctx *ctx = d->ctx;
    int rank = r->x->rank;
    for (int a = 0; a < rank; a++)
        r->red[a] = expr_bool(ctx, false);
    for (int64_t j = 0; j < n; j++) {
        const Expr *e = define_known(d, axes, j);
        if (!e)
            return false;
        const Expr *ok =
            expr_and(ctx, expr_le(ctx, expr_i(ctx, -rank), e), expr_lt(ctx, e, expr_i(ctx, rank)));
        if (!define_check(d, ok, CHECK_INDEX, "axes"))
            return false;
        for (int a = 0; a < rank; a++) {
            const Expr *here = expr_or(ctx, expr_eq(ctx, e, expr_i(ctx, a)),
                                       expr_eq(ctx, e, expr_i(ctx, a - rank)));
            r->red[a] = expr_or(ctx, r->red[a], here);
        }
    }
    for (int a = 0; a < rank; a++) {
        r->red[a] = define_scalar(d, "reduced", expr_cast(ctx, T_I64, r->red[a]), 0, 1);
        if (!r->red[a])
            return false;
    }
    return true;
}

static const Expr *is_one(Definer *d, const Expr *e) {
    return expr_eq(d->ctx, e, expr_i(d->ctx, 1));
}

/* The output axis that input axis a becomes when it stays: a less the reduced ones before it. */
static const Expr *place_of(Definer *d, const Reduce *r, int a) {
    const Expr *p = expr_i(d->ctx, a);
    for (int b = 0; b < a && !r->keep; b++)
        p = expr_sub(d->ctx, p, r->red[b]);
    return p;
}

static bool reduce_dims(Definer *d, Reduce *r) {
    Ctx *ctx = d->ctx;
    int rank = r->x->rank;
    const Expr *one = expr_i(ctx, 1), *count = expr_i(ctx, 0);
    r->n = one;
    for (int a = 0; a < rank; a++) {
        r->place[a] = place_of(d, r, a);
        r->extent[a] = expr_select(ctx, is_one(d, r->red[a]), r->x->dim[a], one);
        r->extent[a] = define_extent(d, "reduced", r->extent[a], 0, INT64_MAX);
        if (!r->extent[a])
            return false;
        r->n = expr_mul(ctx, r->n, r->extent[a]);
        count = expr_add(ctx, count, r->red[a]);
    }
    if (!r->keep && !define_same(d, count, expr_i(ctx, rank - r->rank), "axes named twice"))
        return false;
    for (int o = 0; o < r->rank; o++) {
        const Expr *e = one;
        for (int a = rank - 1; a >= 0; a--) {
            const Expr *here = expr_eq(ctx, r->place[a], expr_i(ctx, o));
            const Expr *stays = expr_eq(ctx, r->red[a], expr_i(ctx, 0));
            e = expr_select(ctx, expr_and(ctx, here, stays), r->x->dim[a], e);
        }
        r->dim[o] = define_extent(d, "kept", e, 0, INT64_MAX);
        if (!r->dim[o])
            return false;
    }
    return true;
}

bool reduce_begin(Definer *d, Reduce *r, Buf *x, Buf *axes, bool keep, bool noop) {
    int64_t n = axes ? define_length(d, axes) : 0;
    if (n < 0)
        return false;
    if (axes && !type_is_int(type_dtype(axes->type)))
        return define_error(d, EXIT_MALFORMED, "axes are not integers");
    r->x = x;
    r->keep = keep;
    if (n == 0 || x->rank == 0) {
        n = noop ? 0 : x->rank;
        for (int a = 0; a < x->rank; a++)
            r->red[a] = expr_i(d->ctx, noop ? 0 : 1);
    } else if (!reduce_flags(d, r, axes, n)) {
        return false;
    }
    if (n > x->rank)
        return define_error(d, EXIT_MALFORMED, "%lld axes for a tensor of rank %d", (long long)n,
                            x->rank);
    r->rank = keep ? x->rank : x->rank - (int)n;
    return reduce_dims(d, r);
}

void reduce_index(Definer *d, Reduce *r, Def *def, const Expr **index) {
    Ctx *ctx = d->ctx;
    r->last = NULL;
    for (int a = 0; a < r->x->rank; a++) {
        const Expr *k = expr_i(ctx, 0), *i = k;
        if (!expr_is(r->extent[a], 1)) {
            k = def_axis(ctx, def, str_f(ctx, "k%d", a), AXIS_RED, r->extent[a]);
            if (a == r->x->rank - 1)
                r->last = &def->axis[def->naxis - 1];
        }
        for (int o = r->rank - 1; o >= 0; o--)
            if (r->keep ? o == a : o <= a)
                i = r->keep ? def_var(ctx, def, o)
                            : expr_select(ctx, expr_eq(ctx, r->place[a], expr_i(ctx, o)),
                                          def_var(ctx, def, o), i);
        index[a] = expr_select(ctx, is_one(d, r->red[a]), k, i);
    }
}

/* The maximum over the same axes. */
static Buf *text_max(Definer *d, Reduce *r, Dtype t) {
    Ctx *ctx = d->ctx;
    const Expr *index[RANK_MAX];
    Def *def = define_temp(d, "max", t, r->rank, r->dim);
    reduce_index(d, r, def, index);
    if (def_is_reduction(def))
        def->combine = OP_MAX;
    def->value = expr_cast(ctx, t, buf_load(ctx, r->x, index));
    define_emit(d, def);
    return def->buf;
}

/* m: that maximum, 0 where it is infinite (so that x - m stays defined). */
static const Expr *load_max(Definer *d, const Reduce *r, Buf *m, const Def *at) {
    const Expr *index[RANK_MAX];
    for (int i = 0; i < r->rank; i++)
        index[i] = def_var(d->ctx, at, i);
    const Expr *e = buf_load(d->ctx, m, index);
    return expr_select(d->ctx, expr_1(d->ctx, OP_ISINF, e),
                       expr_const(d->ctx, type_dtype(e->type), 0), e);
}

bool define_reduce(Definer *d) {
    const OnnxOp *row = map_row(d);
    Reduce r;
    if (!row || !reduce_begin(d, &r, define_in(d, 0), define_in(d, 1),
                              node_int(d->node, "keepdims", 1) != 0,
                              node_int(d->node, "noop_with_empty_axes", 0) != 0))
        return false;
    Ctx *ctx = d->ctx;
    Dtype x = define_type(d, 0), t = strcmp(row->type, "x") ? type_from_text(row->type) : x;
    t = type_is_narrow(t) ? T_F32 : t;
    bool plain = !strcmp(row->after, "r") && t == x;
    Buf *m = strstr(row->after, "m") ? text_max(d, &r, t) : NULL;
    Def *sum = plain ? define_out(d, 0, t, r.rank, r.dim) : define_temp(d, "sum", t, r.rank, r.dim);
    const Expr *index[RANK_MAX];
    reduce_index(d, &r, sum, index);
    MapEnv env = {.type = t, .wrap = true};
    map_env_put(ctx, &env, "x", expr_cast(ctx, t, buf_load(ctx, r.x, index)));
    if (m)
        map_env_put(ctx, &env, "m", load_max(d, &r, m, sum));
    sum->value = map_text_parse(ctx, &env, row->text);
    if (def_is_reduction(sum))
        sum->combine = row->combine;
    if (r.last && row->combine == OP_ADD && type_is_float(t))
        r.last->ways = REDUCE_WAYS;
    define_emit(d, sum);
    if (plain)
        return true;
    Def *out = define_out(d, 0, x, r.rank, r.dim);
    for (int i = 0; i < r.rank; i++)
        index[i] = def_var(ctx, out, i);
    MapEnv after = {.type = t, .wrap = true};
    map_env_put(ctx, &after, "r", buf_load(ctx, sum->buf, index));
    map_env_put(ctx, &after, "n", expr_cast(ctx, t, r.n));
    if (m)
        map_env_put(ctx, &after, "m", load_max(d, &r, m, out));
    out->value = expr_cast(ctx, x, map_text_parse(ctx, &after, row->after));
    define_emit(d, out);
    return true;
}
