/* def_index.c — ops that read or write at computed indices: gathers, scatters, masks of positions.
 *
 *   Gather(x f32[N, 4], idx i64[M], axis = 0)
 *     →  ok = and(i) -N <= idx[i] && idx[i] < N ; y[i, j] = x[clamp(idx[i]), j] */
#include "frontend/index.h"

#include <string.h>

/* ---- gathers --------------------------------------------------------------------------------- */

bool def_gather(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *idx = define_in(d, 1);
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *at[RANK_MAX];
    int axis = define_axis(d, node_int(d->node, "axis", 0), x->rank), r = idx->rank;
    IndexClass cls;
    if (axis < 0 || !define_rank(d, x->rank - 1 + r) || !index_check(d, idx, x->dim[axis], &cls))
        return false;
    int rank = x->rank - 1 + r;
    for (int o = 0; o < rank; o++)
        dim[o] = o < axis ? x->dim[o] : o < axis + r ? idx->dim[o - axis] : x->dim[o - r + 1];
    Def *def = define_out(d, 0, define_type(d, 0), rank, dim);
    index_vars(d, def, index);
    for (int a = 0; a < x->rank; a++)
        at[a] = a < axis ? index[a] : a > axis ? index[a + r - 1] : NULL;
    at[axis] = index_safe(d, buf_load(ctx, idx, index + axis), x->dim[axis], cls);
    return view_emit(d, def, x, at);
}

bool def_gather_elements(Definer *d) {
    Buf *x = define_in(d, 0), *idx = define_in(d, 1);
    const Expr *index[RANK_MAX];
    int axis = define_axis(d, node_int(d->node, "axis", 0), x->rank);
    IndexClass cls;
    if (axis < 0 || !index_check(d, idx, x->dim[axis], &cls))
        return false;
    if (idx->rank != x->rank)
        return define_error(d, EXIT_MALFORMED, "data and indices differ in rank");
    for (int a = 0; a < x->rank; a++)
        if (a != axis && !define_check(d, expr_le(d->ctx, idx->dim[a], x->dim[a]), CHECK_DIM,
                                       "indices larger than the data"))
            return false;
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, idx->dim);
    index_vars(d, def, index);
    index[axis] = index_safe(d, buf_load(d->ctx, idx, index), x->dim[axis], cls);
    return view_emit(d, def, x, index);
}

/* Index tuples: idx[…, t] addresses axis first + t of x. Emits one check over all of them. */
static bool tuple_check(Definer *d, Buf *idx, const Buf *x, int first, int k, IndexClass *cls) {
    Ctx *ctx = d->ctx;
    const Expr *at[RANK_MAX];
    bool same = true;
    for (int t = 0; t < k; t++)
        same &= x->dim[first + t] == x->dim[first];
    *cls = INDEX_PLAIN;
    if (k == 0)
        return true;
    if (same)
        return index_check(d, idx, x->dim[first], cls);
    *cls = INDEX_WILD;
    Def *ok = index_check_begin(d, idx->rank - 1, idx->dim, at);
    ok->value = expr_bool(ctx, true);
    for (int t = 0; t < k; t++) {
        at[idx->rank - 1] = expr_i(ctx, t);
        const Expr *e = expr_cast(ctx, T_I64, buf_load(ctx, idx, at)), *dim = x->dim[first + t];
        const Expr *low = expr_le(ctx, expr_sub(ctx, expr_i(ctx, 0), dim), e);
        ok->value = expr_and(ctx, ok->value, expr_and(ctx, low, expr_lt(ctx, e, dim)));
    }
    index_check_end(d, ok, CHECK_INDEX);
    return true;
}

/* The length of the index tuples, at most the rank of x less the batch axes; -1 after an error. */
static int tuple_length(Definer *d, const Buf *idx, int rank) {
    int64_t k;
    if (idx->rank < 1 || !expr_is_int(idx->dim[idx->rank - 1], &k) || k < 0 || k > rank) {
        define_error(d, EXIT_MALFORMED,
                     "the last extent of the indices must be known and at most %d", rank);
        return -1;
    }
    if (!type_is_int(type_dtype(idx->type))) {
        define_error(d, EXIT_MALFORMED, "the indices are not integers");
        return -1;
    }
    return (int)k;
}

bool def_gather_nd(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *idx = define_in(d, 1);
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *at[RANK_MAX];
    int64_t batch = node_int(d->node, "batch_dims", 0);
    if (batch < 0 || batch > x->rank || batch >= idx->rank)
        return define_error(d, EXIT_MALFORMED, "batch_dims %lld is out of range", (long long)batch);
    int b = (int)batch, k = tuple_length(d, idx, x->rank - b), q = idx->rank - 1;
    if (k < 0 || !define_rank(d, q + x->rank - b - k))
        return false;
    int rank = q + x->rank - b - k;
    IndexClass cls;
    for (int o = 0; o < rank; o++)
        dim[o] = o < q ? idx->dim[o] : x->dim[o - q + b + k];
    for (int a = 0; a < b; a++)
        if (!define_same(d, idx->dim[a], x->dim[a], "batch_dims"))
            return false;
    if (!tuple_check(d, idx, x, b, k, &cls))
        return false;
    Def *def = define_out(d, 0, define_type(d, 0), rank, dim);
    index_vars(d, def, index);
    const Expr *from[RANK_MAX];
    memcpy(from, index, sizeof *index * (size_t)q);
    for (int a = 0; a < x->rank; a++) {
        from[q] = expr_i(ctx, a - b);
        at[a] = a < b       ? index[a]
                : a < b + k ? index_safe(d, buf_load(ctx, idx, from), x->dim[a], cls)
                            : index[a - b - k + q];
    }
    return view_emit(d, def, x, at);
}

/* ---- scatters -------------------------------------------------------------------------------- */

/* Output 0 starts as a copy of input 0; the returned Def updates it. */
static Def *scatter_begin(Definer *d, Op *combine) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *index[RANK_MAX];
    Str how = node_str(ctx, d->node, "reduction", "none");
    bool isbool = define_type(d, 0) == T_BOOL;
    *combine = !strcmp(how, "add")   ? isbool ? OP_OR : OP_ADD
               : !strcmp(how, "mul") ? isbool ? OP_AND : OP_MUL
               : !strcmp(how, "max") ? isbool ? OP_OR : OP_MAX
               : !strcmp(how, "min") ? isbool ? OP_AND : OP_MIN
                                     : COMBINE_SET;
    if (define_type(d, 2) != define_type(d, 0)) {
        define_error(d, EXIT_MALFORMED, "data and updates differ in type");
        return NULL;
    }
    Def *copy = define_out(d, 0, define_type(d, 0), x->rank, x->dim);
    index_vars(d, copy, index);
    view_emit(d, copy, x, index);
    Def *def = def_update(ctx, copy->name, copy->buf);
    def->combine = (uint8_t)*combine;
    def->loc = d->node->loc;
    return def;
}

bool def_scatter_elements(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *idx = define_in(d, 1), *updates = define_in(d, 2);
    const Expr *index[RANK_MAX];
    int axis = define_axis(d, node_int(d->node, "axis", 0), x->rank);
    IndexClass cls;
    Op combine;
    if (axis < 0 || !index_check(d, idx, x->dim[axis], &cls))
        return false;
    if (idx->rank != x->rank || updates->rank != x->rank)
        return define_error(d, EXIT_MALFORMED, "data, indices and updates differ in rank");
    for (int a = 0; a < x->rank; a++) {
        const Expr *fits = expr_le(ctx, idx->dim[a], x->dim[a]);
        if (!define_same(d, idx->dim[a], updates->dim[a], "indices and updates") ||
            (a != axis && !define_check(d, fits, CHECK_DIM, "indices larger than the data")))
            return false;
    }
    Def *def = scatter_begin(d, &combine);
    if (!def)
        return false;
    for (int a = 0; a < x->rank; a++)
        index[a] =
            def_axis(ctx, def, str_f(ctx, "i%d", a), a == axis ? AXIS_SEQ : AXIS_PAR, idx->dim[a]);
    for (int a = 0; a < x->rank; a++)
        def->at[a] =
            a == axis ? index_safe(d, buf_load(ctx, idx, index), x->dim[axis], cls) : index[a];
    def->value = buf_load(ctx, updates, index);
    define_emit(d, def);
    return true;
}

bool def_scatter_nd(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *idx = define_in(d, 1), *updates = define_in(d, 2);
    const Expr *index[RANK_MAX], *from[RANK_MAX];
    int k = tuple_length(d, idx, x->rank), q = idx->rank - 1;
    IndexClass cls;
    Op combine;
    if (k < 0)
        return false;
    if (updates->rank != q + x->rank - k)
        return define_error(d, EXIT_MALFORMED, "updates must have rank %d", q + x->rank - k);
    for (int a = 0; a < updates->rank; a++)
        if (!define_same(d, updates->dim[a], a < q ? idx->dim[a] : x->dim[a - q + k], "updates"))
            return false;
    Def *def = tuple_check(d, idx, x, 0, k, &cls) ? scatter_begin(d, &combine) : NULL;
    if (!def)
        return false;
    for (int a = 0; a < updates->rank; a++)
        from[a] = index[a] =
            def_axis(ctx, def, str_f(ctx, "i%d", a), a < q ? AXIS_SEQ : AXIS_PAR, updates->dim[a]);
    for (int a = 0; a < x->rank; a++) {
        if (a < k)
            from[q] = expr_i(ctx, a);
        def->at[a] =
            a < k ? index_safe(d, buf_load(ctx, idx, from), x->dim[a], cls) : index[a - k + q];
    }
    def->value = buf_load(ctx, updates, index);
    define_emit(d, def);
    return true;
}

bool def_tensor_scatter(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *updates = define_in(d, 1), *where = define_in(d, 2);
    const Expr *index[RANK_MAX], *start = expr_i(ctx, 0), *zero = start;
    int axis = define_axis(d, node_int(d->node, "axis", -2), x->rank);
    bool ring = !strcmp(node_str(ctx, d->node, "mode", "linear"), "circular");
    if (axis < 1 || updates->rank != x->rank || updates->type != x->type)
        return define_error(d, EXIT_MALFORMED, "cache and update do not fit");
    for (int a = 0; a < x->rank; a++)
        if (a != axis && !define_same(d, x->dim[a], updates->dim[a], "cache and update"))
            return false;
    const Expr *room = expr_sub(ctx, x->dim[axis], updates->dim[axis]);
    if (!define_check(d, expr_le(ctx, zero, room), CHECK_DIM, "update longer than the cache"))
        return false;
    if (where) {
        Def *ok = index_check_begin(d, 1, where->dim, index);
        const Expr *e = expr_cast(ctx, T_I64, buf_load(ctx, where, index));
        const Expr *high = ring ? expr_lt(ctx, e, x->dim[axis]) : expr_le(ctx, e, room);
        ok->value = expr_and(ctx, expr_le(ctx, zero, e), high);
        index_check_end(d, ok, CHECK_INDEX);
    }
    index_vars(d, define_out(d, 0, define_type(d, 0), x->rank, x->dim), index);
    Def *copy = d->out[0]->buf->def;
    view_emit(d, copy, x, index);
    Def *def = def_update(ctx, copy->name, copy->buf);
    def->combine = COMBINE_SET;
    def->loc = d->node->loc;
    for (int a = 0; a < x->rank; a++)
        def->at[a] = index[a] = def_axis(ctx, def, str_f(ctx, "i%d", a), AXIS_PAR, updates->dim[a]);
    if (where)
        start = index_clamp(d, expr_cast(ctx, T_I64, buf_load(ctx, where, index)), zero,
                            ring ? expr_sub(ctx, x->dim[axis], expr_i(ctx, 1)) : room);
    def->at[axis] = expr_add(ctx, start, index[axis]);
    if (ring)
        def->at[axis] = expr_mod(ctx, def->at[axis], x->dim[axis]);
    def->value = buf_load(ctx, updates, index);
    define_emit(d, def);
    return true;
}

/* ---- masks of positions ---------------------------------------------------------------------- */

bool def_one_hot(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *idx = define_in(d, 0), *values = define_in(d, 2);
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *at[RANK_MAX];
    if (!define_rank(d, idx->rank + 1))
        return false;
    int rank = idx->rank + 1, axis = define_axis(d, node_int(d->node, "axis", -1), rank);
    const Expr *depth =
        define_extent(d, "depth", define_known(d, define_in(d, 1), 0), 0, INDEX_LIMIT);
    if (axis < 0 || !depth)
        return false;
    for (int o = 0; o < rank; o++)
        dim[o] = o < axis ? idx->dim[o] : o > axis ? idx->dim[o - 1] : depth;
    Def *def = define_out(d, 0, define_type(d, 2), rank, dim);
    index_vars(d, def, index);
    for (int o = 0, a = 0; o < rank; o++)
        if (o != axis)
            at[a++] = index[o];
    const Expr *i = index_wrap(d, expr_cast(ctx, T_I64, buf_load(ctx, idx, at)), depth);
    const Expr *zero = expr_i(ctx, 0), *one = expr_i(ctx, 1);
    def->value = expr_select(ctx, expr_eq(ctx, i, index[axis]), buf_load(ctx, values, &one),
                             buf_load(ctx, values, &zero));
    define_emit(d, def);
    return true;
}

bool def_trilu(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *index[RANK_MAX], *k = expr_i(ctx, 0);
    if (x->rank < 2)
        return define_error(d, EXIT_MALFORMED, "a matrix is needed");
    if (define_has(d, 1))
        k = define_scalar(d, "k", define_known(d, define_in(d, 1), 0), INT64_MIN, INT64_MAX);
    if (!k)
        return false;
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, x->dim);
    index_vars(d, def, index);
    const Expr *off = expr_sub(ctx, index[x->rank - 1], index[x->rank - 2]);
    const Expr *keep = node_int(d->node, "upper", 1) ? expr_le(ctx, k, off) : expr_le(ctx, off, k);
    def->value =
        expr_select(ctx, keep, buf_load(ctx, x, index), expr_const(ctx, define_type(d, 0), 0));
    define_emit(d, def);
    return true;
}

bool def_eye_like(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *index[RANK_MAX];
    int64_t to = node_int(d->node, "dtype", 0);
    Dtype t = to ? type_from_onnx((int)to) : define_type(d, 0);
    if (x->rank != 2 || t == T_NONE)
        return define_error(d, EXIT_MALFORMED, "a matrix of a known type is needed");
    Def *def = define_out(d, 0, t, 2, x->dim);
    index_vars(d, def, index);
    const Expr *k = expr_add(ctx, index[0], expr_i(ctx, node_int(d->node, "k", 0)));
    def->value = expr_cast(ctx, t, expr_eq(ctx, index[1], k));
    define_emit(d, def);
    return true;
}

bool def_reverse_sequence(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *len = define_in(d, 1);
    const Expr *index[RANK_MAX], *zero = expr_i(ctx, 0);
    int time = define_axis(d, node_int(d->node, "time_axis", 0), x->rank);
    int batch = define_axis(d, node_int(d->node, "batch_axis", 1), x->rank);
    if (time < 0 || batch < 0 || len->rank != 1 ||
        !define_same(d, len->dim[0], x->dim[batch], "sequence_lens"))
        return false;
    Def *ok = index_check_begin(d, 1, len->dim, index);
    const Expr *e = expr_cast(ctx, T_I64, buf_load(ctx, len, index));
    ok->value = expr_and(ctx, expr_le(ctx, zero, e), expr_le(ctx, e, x->dim[time]));
    index_check_end(d, ok, CHECK_INDEX);
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, x->dim);
    index_vars(d, def, index);
    const Expr *t = index[time];
    const Expr *n = index_clamp(d, expr_cast(ctx, T_I64, buf_load(ctx, len, &index[batch])), zero,
                                x->dim[time]);
    const Expr *back = expr_sub(ctx, expr_sub(ctx, n, expr_i(ctx, 1)), t);
    index[time] = expr_select(ctx, expr_lt(ctx, t, n), back, t);
    return view_emit(d, def, x, index);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static int64_t block_size(Definer *d) {
    int64_t b = node_int(d->node, "blocksize", 0);
    if (define_in(d, 0)->rank != 4 || b < 1 || b > 65536) {
        define_error(d, EXIT_MALFORMED, "a blocksize of %lld and a tensor of rank %d", (long long)b,
                     define_in(d, 0)->rank);
        return -1;
    }
    return b;
}

bool def_depth_to_space(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    int64_t size = block_size(d);
    if (size < 0)
        return false;
    const Expr *b = expr_i(ctx, size), *bb = expr_i(ctx, size * size), *index[4];
    const Expr *c = expr_fdiv(ctx, x->dim[1], bb);
    const Expr *dim[4] = {x->dim[0], c, expr_mul(ctx, x->dim[2], b), expr_mul(ctx, x->dim[3], b)};
    if (!define_same(d, expr_mul(ctx, c, bb), x->dim[1], "channels in blocks"))
        return false;
    Def *def = define_out(d, 0, define_type(d, 0), 4, dim);
    index_vars(d, def, index);
    const Expr *in =
        expr_add(ctx, expr_mul(ctx, expr_mod(ctx, index[2], b), b), expr_mod(ctx, index[3], b));
    bool crd = !strcmp(node_str(ctx, d->node, "mode", "DCR"), "CRD");
    index[1] = crd ? expr_add(ctx, expr_mul(ctx, index[1], bb), in)
                   : expr_add(ctx, expr_mul(ctx, in, c), index[1]);
    index[2] = expr_fdiv(ctx, index[2], b);
    index[3] = expr_fdiv(ctx, index[3], b);
    return view_emit(d, def, x, index);
}

bool def_space_to_depth(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    int64_t size = block_size(d);
    if (size < 0)
        return false;
    const Expr *b = expr_i(ctx, size), *index[4];
    const Expr *h = expr_fdiv(ctx, x->dim[2], b), *w = expr_fdiv(ctx, x->dim[3], b);
    const Expr *dim[4] = {x->dim[0], expr_mul(ctx, x->dim[1], expr_i(ctx, size * size)), h, w};
    if (!define_same(d, expr_mul(ctx, h, b), x->dim[2], "height in blocks") ||
        !define_same(d, expr_mul(ctx, w, b), x->dim[3], "width in blocks"))
        return false;
    Def *def = define_out(d, 0, define_type(d, 0), 4, dim);
    index_vars(d, def, index);
    const Expr *block = expr_fdiv(ctx, index[1], x->dim[1]);
    index[1] = expr_mod(ctx, index[1], x->dim[1]);
    index[2] = expr_add(ctx, expr_mul(ctx, index[2], b), expr_fdiv(ctx, block, b));
    index[3] = expr_add(ctx, expr_mul(ctx, index[3], b), expr_mod(ctx, block, b));
    return view_emit(d, def, x, index);
}
