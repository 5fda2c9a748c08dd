/* def_misc.c — windows, mel weights, random numbers, dropout.
 *
 * Random numbers are a hash of (stream, element number): the same on every target and for every order
 * of evaluation. A node without a seed gets its number in the model as stream.
 *
 *   RandomUniform(shape = [N])  →  y[i] = low + (high - low) * (f64(hash(stream, i) >> 11) * 2^-53) */
#include "frontend/define.h"
#include "frontend/index.h"

#include <string.h>

static const Expr *flt(Definer *d, double v) {
    return expr_flt(d->ctx, T_F64, v);
}

/* ---- windows --------------------------------------------------------------------------------- */

/* a + b cos(2 pi i / n) + c cos(4 pi i / n) over `size` points; n = size, or size - 1 when symmetric. */
static bool window(Definer *d, double a, double b, double c) {
    Ctx *ctx = d->ctx;
    Dtype t = type_from_onnx((int)node_int(d->node, "output_datatype", 1));
    const Expr *size =
        define_extent(d, "size", define_known(d, define_in(d, 0), 0), 0, INDEX_LIMIT);
    if (!size)
        return false;
    if (t == T_NONE || t == T_STR || type_kind(t) == 'C')
        return define_error(d, EXIT_UNSUPPORTED, "this output_datatype");
    Def *def = define_out(d, 0, t, 1, &size);
    const Expr *n = expr_cast(ctx, T_F64, size), *i = expr_cast(ctx, T_F64, def_var(ctx, def, 0));
    if (!node_int(d->node, "periodic", 1))
        n = expr_sub(ctx, n, flt(d, 1));
    const double TAU = 6.283185307179586;
    const Expr *x = expr_2(ctx, OP_DIV, expr_mul(ctx, i, flt(d, TAU)), n);
    const Expr *y = expr_2(ctx, OP_DIV, expr_mul(ctx, i, flt(d, 2 * TAU)), n);
    const Expr *e = expr_add(ctx, flt(d, a), expr_mul(ctx, flt(d, b), expr_1(ctx, OP_COS, x)));
    if (c != 0)
        e = expr_add(ctx, e, expr_mul(ctx, flt(d, c), expr_1(ctx, OP_COS, y)));
    def->value = expr_cast(ctx, t, e);
    define_emit(d, def);
    return true;
}

bool def_hann_window(Definer *d) {
    return window(d, 0.5, -0.5, 0);
}

bool def_hamming_window(Definer *d) {
    return window(d, 25.0 / 46.0, -21.0 / 46.0, 0);
}

bool def_blackman_window(Definer *d) {
    return window(d, 0.42, -0.5, 0.08);
}

/* ---- MelWeightMatrix ------------------------------------------------------------------------- */

/* 2595 log10(1 + f / 700) */
static const Expr *to_mel(Definer *d, const Expr *f) {
    Ctx *ctx = d->ctx;
    f = expr_2(ctx, OP_DIV, expr_cast(ctx, T_F64, f), flt(d, 700));
    f = expr_1(ctx, OP_LOG, expr_add(ctx, flt(d, 1), f));
    return expr_mul(ctx, flt(d, 2595), expr_2(ctx, OP_DIV, f, flt(d, 2.302585092994046)));
}

/* bin[j]: the spectrogram bin of edge j, j < num_mel_bins + 2. */
static Buf *mel_edges(Definer *d, const Expr *mels, const Expr *dft) {
    Ctx *ctx = d->ctx;
    const Expr *n = expr_add(ctx, mels, expr_i(ctx, 2)), *in[3];
    for (int i = 0; i < 3; i++)
        if (!(in[i] = index_known(d, define_in(d, 2 + i), 0)))
            return NULL;
    const Expr *low = to_mel(d, in[1]), *high = to_mel(d, in[2]);
    Def *def = define_temp(d, "bins", T_I64, 1, &n);
    const Expr *j = expr_cast(ctx, T_F64, def_var(ctx, def, 0));
    const Expr *step = expr_2(ctx, OP_DIV, expr_sub(ctx, high, low), expr_cast(ctx, T_F64, n));
    const Expr *mel = expr_add(ctx, expr_mul(ctx, j, step), low);
    const Expr *ten = expr_2(ctx, OP_POW, flt(d, 10), expr_2(ctx, OP_DIV, mel, flt(d, 2595)));
    const Expr *hz = expr_mul(ctx, flt(d, 700), expr_sub(ctx, ten, flt(d, 1)));
    const Expr *points = expr_cast(ctx, T_F64, expr_add(ctx, dft, expr_i(ctx, 1)));
    hz = expr_2(ctx, OP_DIV, expr_mul(ctx, points, hz), expr_cast(ctx, T_F64, in[0]));
    def->value = expr_cast(ctx, T_I64, expr_1(ctx, OP_FLOOR, hz));
    define_emit(d, def);
    return def->buf;
}

bool def_mel_weight_matrix(Definer *d) {
    Ctx *ctx = d->ctx;
    Dtype t = type_from_onnx((int)node_int(d->node, "output_datatype", 1));
    const Expr *mels =
        define_extent(d, "mels", define_known(d, define_in(d, 0), 0), 0, INDEX_LIMIT);
    const Expr *dft = define_scalar(d, "dft", define_known(d, define_in(d, 1), 0), 0, INDEX_LIMIT);
    Buf *edges = mels && dft ? mel_edges(d, mels, dft) : NULL;
    if (!edges)
        return false;
    if (t == T_NONE || !type_is_float(t))
        return define_error(d, EXIT_UNSUPPORTED, "this output_datatype");
    const Expr *one = expr_i(ctx, 1), *zero = expr_i(ctx, 0), *edge[3];
    const Expr *dim[2] = {expr_add(ctx, expr_fdiv(ctx, dft, expr_i(ctx, 2)), one), mels};
    Def *def = define_out(d, 0, t, 2, dim);
    const Expr *i = def_var(ctx, def, 0), *m = def_var(ctx, def, 1);
    for (int k = 0; k < 3; k++) {
        const Expr *at = expr_add(ctx, m, expr_i(ctx, k));
        edge[k] = buf_load(ctx, edges, &at);
    }
    const Expr *rise = expr_sub(ctx, edge[1], edge[0]), *fall = expr_sub(ctx, edge[2], edge[1]);
    const Expr *up = expr_2(ctx, OP_DIV, expr_cast(ctx, T_F64, expr_sub(ctx, i, edge[0])),
                            expr_cast(ctx, T_F64, rise));
    const Expr *down = expr_2(ctx, OP_DIV, expr_cast(ctx, T_F64, expr_sub(ctx, edge[2], i)),
                              expr_cast(ctx, T_F64, fall));
    const Expr *on_rise = expr_and(ctx, expr_le(ctx, edge[0], i), expr_le(ctx, i, edge[1]));
    const Expr *on_fall = expr_and(ctx, expr_le(ctx, edge[1], i), expr_lt(ctx, i, edge[2]));
    const Expr *peak = expr_cast(ctx, T_F64, expr_eq(ctx, i, edge[1]));
    const Expr *e = expr_select(ctx, on_rise, up, flt(d, 0));
    e = expr_select(ctx, expr_eq(ctx, rise, zero), peak, e);
    def->value = expr_cast(ctx, t, expr_select(ctx, on_fall, down, e));
    define_emit(d, def);
    return true;
}

/* ---- random numbers -------------------------------------------------------------------------- */

static const Expr *bits(Definer *d, uint64_t v) {
    return expr_int(d->ctx, T_U64, (int64_t)v);
}

static const Expr *mix(Definer *d, const Expr *z, int shift, uint64_t factor) {
    const Expr *s = expr_2(d->ctx, OP_SHR, z, bits(d, (uint64_t)shift));
    return expr_mul(d->ctx, expr_2(d->ctx, OP_BXOR, z, s), bits(d, factor));
}

/* A uniform number in [0, 1) for draw number `k` (0, 1, …) of the element at `index`. */
static const Expr *uniform(Definer *d, const Def *def, int k) {
    Ctx *ctx = d->ctx;
    const Attr *seed = node_attr(d->node, "seed");
    double s = seed ? (seed->kind == ATTR_INT ? (double)seed->i : seed->f) : d->state->nodes + 0.5;
    const Expr *i = expr_i(ctx, 0);
    for (int a = 0; a < def->buf->rank; a++)
        i = expr_add(ctx, expr_mul(ctx, i, def->buf->dim[a]), def_var(ctx, def, a));
    uint64_t stream = hash_bytes(&s, sizeof s, (uint64_t)k);
    const Expr *z = expr_mul(ctx, expr_cast(ctx, T_U64, i), bits(d, 0x9e3779b97f4a7c15u));
    z = expr_add(ctx, z, bits(d, stream));
    z = mix(d, z, 30, 0xbf58476d1ce4e5b9u);
    z = mix(d, z, 27, 0x94d049bb133111ebu);
    z = expr_2(ctx, OP_BXOR, z, expr_2(ctx, OP_SHR, z, bits(d, 31)));
    const Expr *top = expr_cast(ctx, T_F64, expr_2(ctx, OP_SHR, z, bits(d, 11)));
    return expr_mul(ctx, top, flt(d, 1.0 / 9007199254740992.0));
}

/* A normal number by Box and Muller's transform. */
static const Expr *normal(Definer *d, const Def *def) {
    Ctx *ctx = d->ctx;
    const Expr *u = expr_sub(ctx, flt(d, 1), uniform(d, def, 0));
    const Expr *r = expr_mul(ctx, flt(d, -2), expr_1(ctx, OP_LOG, u));
    const Expr *angle = expr_mul(ctx, flt(d, 6.283185307179586), uniform(d, def, 1));
    return expr_mul(ctx, expr_1(ctx, OP_SQRT, r), expr_1(ctx, OP_COS, angle));
}

/* Type of a random tensor: the attribute, else like the input. */
static Dtype random_type(Definer *d, Dtype otherwise) {
    int64_t t = node_int(d->node, "dtype", 0);
    return t ? type_from_onnx((int)t) : otherwise;
}

static bool random_tensor(Definer *d, int rank, const Expr *const *dim, Dtype t) {
    Ctx *ctx = d->ctx;
    if (t == T_NONE || !type_is_float(t))
        return define_error(d, EXIT_MALFORMED, "random numbers must be floats");
    Def *def = define_out(d, 0, t, rank, dim);
    const Expr *e;
    if (strstr(d->node->op, "Normal")) {
        e = expr_mul(ctx, normal(d, def), flt(d, node_float(d->node, "scale", 1)));
        e = expr_add(ctx, e, flt(d, node_float(d->node, "mean", 0)));
    } else {
        double low = node_float(d->node, "low", 0), high = node_float(d->node, "high", 1);
        e = expr_add(ctx, flt(d, low), expr_mul(ctx, uniform(d, def, 0), flt(d, high - low)));
    }
    def->value = expr_cast(ctx, t, e);
    define_emit(d, def);
    return true;
}

bool def_random(Definer *d) {
    const Expr *dim[RANK_MAX];
    int n;
    const int64_t *shape = node_ints(d->node, "shape", &n);
    if (!define_rank(d, n))
        return false;
    for (int i = 0; i < n; i++) {
        dim[i] = define_extent(d, "shape", expr_i(d->ctx, shape[i]), 0, INDEX_LIMIT);
        if (!dim[i])
            return false;
    }
    return random_tensor(d, n, dim, random_type(d, T_F32));
}

bool def_random_like(Definer *d) {
    Buf *x = define_in(d, 0);
    return random_tensor(d, x->rank, x->dim, random_type(d, define_type(d, 0)));
}

bool def_bernoulli(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *index[RANK_MAX];
    Dtype t = random_type(d, define_type(d, 0));
    if (t == T_NONE || t == T_STR || !type_is_float(define_type(d, 0)))
        return define_error(d, EXIT_MALFORMED, "probabilities must be floats");
    Def *def = define_out(d, 0, t, x->rank, x->dim);
    index_vars(d, def, index);
    const Expr *p = expr_cast(ctx, T_F64, buf_load(ctx, x, index));
    def->value = expr_cast(ctx, t, expr_lt(ctx, uniform(d, def, 0), p));
    define_emit(d, def);
    return true;
}

/* Each sample is the class with the largest log probability plus Gumbel noise. */
bool def_multinomial(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    Dtype t = random_type(d, T_I32);
    int64_t n = node_int(d->node, "sample_size", 1);
    if (x->rank != 2 || n < 1 || n > INT32_MAX || (t != T_I32 && t != T_I64))
        return define_error(d, EXIT_MALFORMED, "a matrix of log probabilities is needed");
    const Expr *dim[3] = {x->dim[0], expr_i(ctx, n), x->dim[1]}, *index[3];
    Def *def = define_temp(d, "noise", T_F64, 3, dim);
    index_vars(d, def, index);
    const Expr *at[2] = {index[0], index[2]};
    const Expr *u = expr_sub(ctx, flt(d, 1), uniform(d, def, 0));
    const Expr *g = expr_1(ctx, OP_LOG, expr_1(ctx, OP_NEG, expr_1(ctx, OP_LOG, u)));
    def->value = expr_sub(ctx, expr_cast(ctx, T_F64, buf_load(ctx, x, at)), g);
    define_emit(d, def);
    Buf *best = define_node(d, "ArgMax", "axis = 2, keepdims = 0", 1, &def->buf);
    if (!best)
        return false;
    Def *out = define_out(d, 0, t, 2, dim);
    index_vars(d, out, index);
    out->value = expr_cast(ctx, t, buf_load(ctx, best, index));
    define_emit(d, out);
    return true;
}

/* ---- dropout --------------------------------------------------------------------------------- */

/* With a seed the numbers are NumPy's: models trained elsewhere can be checked number by number. */
static const Expr *dropout_uniform(Definer *d, const Def *mask, Buf *numbers) {
    const Expr *index[RANK_MAX];
    index_vars(d, mask, index);
    return numbers ? buf_load(d->ctx, numbers, index) : uniform(d, mask, 0);
}

/* mask = !training || uniform >= ratio; y = x / (1 - ratio) where training and kept. */
bool def_dropout(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *index[RANK_MAX], *ratio = flt(d, 0.5), *train = expr_bool(ctx, false);
    Dtype t = define_type(d, 0), c = t == T_F64 ? T_F64 : T_F32;
    if (!type_is_float(t))
        return define_error(d, EXIT_MALFORMED, "floats are needed");
    if (define_has(d, 1) && !(ratio = index_known(d, define_in(d, 1), 0)))
        return false;
    if (define_has(d, 2) && !(train = index_known(d, define_in(d, 2), 0)))
        return false;
    ratio = expr_cast(ctx, T_F64, ratio);
    train = expr_and(ctx, train, expr_ne(ctx, ratio, flt(d, 0)));
    bool wanted = d->node->nout > 1 && d->node->out[1];
    if (expr_is(train, 0) && !wanted) {
        define_set(d, 0, x);
        return true;
    }
    const Attr *seed = node_attr(d->node, "seed");
    Buf *numbers = seed && !expr_is(train, 0) ? host_mt_uniform(d, seed->i, x->rank, x->dim) : NULL;
    Def *mask = define_out(d, 1, T_BOOL, x->rank, x->dim);
    const Expr *kept = expr_le(ctx, ratio, dropout_uniform(d, mask, numbers));
    mask->value = expr_or(ctx, expr_not(ctx, train), kept);
    define_emit(d, mask);
    if (expr_is(train, 0)) {
        define_set(d, 0, x);
        return true;
    }
    Def *def = define_out(d, 0, t, x->rank, x->dim);
    index_vars(d, def, index);
    const Expr *e = buf_load(ctx, x, index), *zero = expr_const(ctx, t, 0);
    const Expr *scale = expr_2(ctx, OP_DIV, flt(d, 1), expr_sub(ctx, flt(d, 1), ratio));
    const Expr *up = expr_mul(ctx, expr_cast(ctx, c, e), expr_cast(ctx, c, scale));
    e = expr_select(ctx, train, expr_cast(ctx, t, up), e);
    def->value = expr_select(ctx, buf_load(ctx, mask->buf, index), e, zero);
    define_emit(d, def);
    return true;
}
