/* def_host.c — ops that call a function of the runtime stub (documented there).
 *
 * Extents found by the call are RUN symbols of the outputs; scratch memory is one more output.
 *
 *   TopK(x f32[N, 100], k)  →  call lcc_topk(x; values f32[N, k], indices i64[N, k], scratch i64[2*k]) */
#include "frontend/index.h"

#include <string.h>

/* An output buffer of the call; at most `bound` elements (NULL: its shape). */
static Buf *call_out(Definer *d, Call *c, const char *what, int i, Dtype t, int rank,
                     const Expr *const *dim, const Expr *bound) {
    bool wanted = i >= 0 && i < d->node->nout && d->node->out[i];
    bool named = d->node->nout && d->node->out[0];
    Str name = wanted ? d->node->out[i]->name
                      : str_f(d->ctx, "%s.%s", named ? d->node->out[0]->name : d->node->op, what);
    Buf *b = buf_new(d->ctx, name, t, SPACE_ARENA, rank, dim);
    b->bound = bound;
    b->ndef = 1;
    vec_push(d->ctx, &c->out, b);
    if (i >= 0)
        define_set(d, i, b);
    return b;
}

/* An extent the call finds out, at most `max`. */
static const Expr *call_extent(Definer *d, Call *c, const char *name, const Expr *max) {
    Sym *s = sym_new(d->ctx, SYM_RUN, str(d->ctx, name), 0, expr_range(d->ctx, max).max);
    vec_push(d->ctx, &c->result, s);
    return expr_sym(d->ctx, s);
}

static void call_attr(Definer *d, Call *c, const Expr *e) {
    vec_push(d->ctx, &c->attr, e);
}

bool def_top_k(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *dim[RANK_MAX];
    char kind = type_kind(define_type(d, 0));
    int axis = define_axis(d, node_int(d->node, "axis", -1), x->rank);
    const Expr *k = define_known(d, define_in(d, 1), 0);
    if (axis < 0 || !k)
        return false;
    bool tiny = kind == 'F' && type_bytes(define_type(d, 0)) == 1;
    if ((kind != 'F' && kind != 'I' && kind != 'U') || tiny)
        return define_error(d, EXIT_UNSUPPORTED, "this element type");
    k = define_extent(d, "k", k, 0, expr_range(ctx, x->dim[axis]).max);
    if (!k || !define_check(d, expr_le(ctx, k, x->dim[axis]), CHECK_INDEX, "k"))
        return false;
    memcpy(dim, x->dim, sizeof *dim * (size_t)x->rank);
    dim[axis] = k;
    Call *c = define_call(d, "lcc_topk", 1, &x);
    call_attr(d, c, expr_i(ctx, axis));
    call_attr(d, c, expr_i(ctx, node_int(d->node, "largest", 1)));
    const Expr *bound = dims_bound(d, x->rank, dim) ? buf_count(ctx, x) : NULL;
    call_out(d, c, "values", 0, define_type(d, 0), x->rank, dim, bound);
    call_out(d, c, "indices", 1, T_I64, x->rank, dim, bound);
    /* twice k; twice the row where k is a quarter of it */
    const Expr *twice = expr_mul(ctx, x->dim[axis], expr_i(ctx, 2)), *scratch;
    scratch = expr_min(ctx, expr_mul(ctx, k, expr_i(ctx, 8)), twice);
    if (expr_proves(ctx, expr_lt(ctx, expr_mul(ctx, k, expr_i(ctx, 4)), x->dim[axis])))
        scratch = expr_mul(ctx, k, expr_i(ctx, 2));
    call_out(d, c, "scratch", -1, T_I64, 1, &scratch, bound ? twice : NULL);
    return true;
}

bool def_unique(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *dim[RANK_MAX];
    bool flat = !node_attr(d->node, "axis");
    int axis = flat ? 0 : define_axis(d, node_int(d->node, "axis", 0), x->rank);
    if (axis < 0)
        return false;
    if (type_is_narrow(define_type(d, 0)) && type_bytes(define_type(d, 0)) == 1)
        return define_error(d, EXIT_UNSUPPORTED, "this element type");
    const Expr *all = buf_count(ctx, x), *n = flat ? all : x->dim[axis];
    Call *c = define_call(d, "lcc_unique", 1, &x);
    const Expr *m = call_extent(d, c, "distinct", n);
    call_attr(d, c, expr_i(ctx, flat ? -1 : axis));
    call_attr(d, c, expr_i(ctx, node_int(d->node, "sorted", 1)));
    int rank = flat ? 1 : x->rank;
    for (int a = 0; a < rank; a++)
        dim[a] = a == axis ? m : x->dim[a];
    const Expr *scratch = expr_mul(ctx, n, expr_i(ctx, 2));
    call_out(d, c, "distinct", 0, define_type(d, 0), rank, dim, all);
    call_out(d, c, "first", 1, T_I64, 1, &m, n);
    call_out(d, c, "inverse", 2, T_I64, 1, &n, NULL);
    call_out(d, c, "count", 3, T_I64, 1, &m, n);
    call_out(d, c, "scratch", -1, T_I64, 1, &scratch, NULL);
    return true;
}

bool def_non_max_suppression(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *boxes = define_in(d, 0), *scores = define_in(d, 1), *most = define_in(d, 2);
    if (boxes->rank != 3 || scores->rank != 3)
        return define_error(d, EXIT_MALFORMED, "boxes and scores must have rank 3");
    for (int i = 0; i < 5; i++)
        if (i != 2 && define_has(d, i) && define_type(d, i) != T_F32)
            return define_error(d, EXIT_UNSUPPORTED, "input %d must be f32", i);
    if (!define_same(d, boxes->dim[2], expr_i(ctx, 4), "boxes") ||
        !define_same(d, boxes->dim[0], scores->dim[0], "batch") ||
        !define_same(d, boxes->dim[1], scores->dim[2], "the number of boxes"))
        return false;
    int64_t n = most ? define_length(d, most) : 0;
    const Expr *limit = n ? define_known(d, most, 0) : expr_i(ctx, 0);
    if (!limit)
        return false;
    Call *c =
        define_call(d, "lcc_nms", 4, (Buf *[]){boxes, scores, define_in(d, 3), define_in(d, 4)});
    call_attr(d, c, expr_i(ctx, node_int(d->node, "center_point_box", 0)));
    call_attr(d, c, limit);
    const Expr *each = boxes->dim[1], *three = expr_i(ctx, 3);
    if (expr_is_int(limit, NULL))
        each = expr_min(ctx, each, expr_max(ctx, limit, expr_i(ctx, 0)));
    const Expr *rows = expr_mul(ctx, expr_mul(ctx, scores->dim[0], scores->dim[1]), each);
    const Expr *dim[2] = {call_extent(d, c, "selected", rows), three};
    call_out(d, c, "selected", 0, T_I64, 2, dim, expr_mul(ctx, rows, three));
    call_out(d, c, "scratch", -1, T_I64, 1, &boxes->dim[1], NULL);
    return true;
}

/* x as f64. */
static Buf *as_f64(Definer *d, Buf *x) {
    const Expr *index[RANK_MAX];
    if (type_dtype(x->type) == T_F64)
        return x;
    Def *def = define_temp(d, "wide", T_F64, x->rank, x->dim);
    index_vars(d, def, index);
    def->value = expr_cast(d->ctx, T_F64, buf_load(d->ctx, x, index));
    define_emit(d, def);
    return def->buf;
}

bool def_det(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *index[RANK_MAX];
    int rank = x->rank - 2;
    if (rank < 0 || !type_is_float(define_type(d, 0)))
        return define_error(d, EXIT_MALFORMED, "a matrix of floats is needed");
    if (!define_same(d, x->dim[rank], x->dim[rank + 1], "a square matrix"))
        return false;
    Buf *wide = as_f64(d, x);
    Call *c = define_call(d, "lcc_det", 1, &wide);
    const Expr *area = expr_mul(ctx, x->dim[rank], x->dim[rank]);
    Buf *y = call_out(d, c, "det", -1, T_F64, rank, x->dim, NULL);
    call_out(d, c, "scratch", -1, T_F64, 1, &area, NULL);
    Def *def = define_out(d, 0, define_type(d, 0), rank, x->dim);
    index_vars(d, def, index);
    def->value = expr_cast(ctx, define_type(d, 0), buf_load(ctx, y, index));
    define_emit(d, def);
    return true;
}

Buf *host_mt_uniform(Definer *d, int64_t seed, int rank, const Expr *const *dim) {
    Call *c = define_call(d, "lcc_mt_uniform", 0, NULL);
    const Expr *state = expr_i(d->ctx, 624);
    call_attr(d, c, expr_i(d->ctx, seed));
    Buf *b = call_out(d, c, "uniform", -1, T_F64, rank, dim, NULL);
    call_out(d, c, "state", -1, T_U32, 1, &state, NULL);
    return b;
}
