/* def_norm.c — normalisations: statistics over some axes, then one map.
 *
 *   LayerNormalization(x f32[N, 64], scale, bias)  →  sum[i,j] = add[16](k<64) x[i,k] ; mean = sum / 64
 *     square[i,j] = add[16](k<64) (x[i,k] - mean[i,j])^2 ; inv = 1 / sqrt(square / 64 + eps)
 *     y[i,j] = (x[i,j] - mean[i,0]) * inv[i,0] * scale[j] + bias[j] */
#include "frontend/norm.h"

/* ---- statistics ------------------------------------------------------------------------------------- */

bool norm_begin(Definer *d, Norm *n, Buf *x, int group, const bool *red) {
    Ctx *ctx = d->ctx;
    *n = (Norm){.x = x, .wide = eq_wide(type_dtype(x->type)), .group = group, .n = expr_i(ctx, 1)};
    n->rank = x->rank + (group > 0);
    if (!define_rank(d, n->rank))
        return false;
    for (int i = 0; i < n->rank; i++)
        n->full[i] = x->dim[group > 0 && i > 1 ? i - 1 : i];
    if (group > 0) {
        const Expr *g = expr_i(ctx, group), *part = expr_fdiv(ctx, x->dim[1], g);
        if (!define_same(d, expr_mul(ctx, part, g), x->dim[1], "channels in groups"))
            return false;
        n->full[1] = g;
        n->full[2] = part;
    }
    for (int i = 0; i < n->rank; i++) {
        n->red[i] = red[i];
        n->dim[i] = red[i] ? expr_i(ctx, 1) : n->full[i];
        n->n = red[i] ? expr_mul(ctx, n->n, n->full[i]) : n->n;
    }
    return true;
}

bool norm_begin_axis(Definer *d, Norm *n, Buf *x, int64_t axis, bool only) {
    bool red[RANK_MAX] = {false};
    if (x->rank == 0)
        return norm_begin(d, n, x, 0, red);
    int a = define_axis(d, axis, x->rank);
    if (a < 0)
        return false;
    for (int i = a; i < (only ? a + 1 : x->rank); i++)
        red[i] = true;
    return norm_begin(d, n, x, 0, red);
}

/* x at indices of the cut axes. */
static const Expr *load_cut(Definer *d, const Norm *n, const Expr *const *index) {
    const Expr *at[RANK_MAX];
    for (int i = 0; i < n->x->rank; i++)
        at[i] = index[n->group > 0 && i > 1 ? i + 1 : i];
    if (n->group > 0)
        at[1] = expr_add(d->ctx, expr_mul(d->ctx, index[1], n->full[2]), index[2]);
    return eq_load(d, n->wide, n->x, at);
}

/* A statistic at indices of the cut axes. */
static const Expr *load_stat(Definer *d, const Norm *n, Buf *stat, const Expr *const *index) {
    const Expr *at[RANK_MAX];
    for (int i = 0; i < n->rank; i++)
        at[i] = n->red[i] ? expr_i(d->ctx, 0) : index[i];
    return buf_load(d->ctx, stat, at);
}

const Expr *norm_load(Definer *d, const Norm *n, Buf *stat, const Expr *const *index) {
    const Expr *at[RANK_MAX];
    if (stat == n->x)
        return eq_load(d, n->wide, stat, index);
    for (int i = 0; i < n->rank; i++)
        at[i] = index[n->group > 0 && i > 1 ? i - 1 : i];
    if (n->group > 0)
        at[1] = expr_fdiv(d->ctx, index[1], n->full[2]);
    return load_stat(d, n, stat, at);
}

Buf *norm_reduce(Definer *d, const Norm *n, const char *name, Op op, const char *text, Buf *m) {
    Ctx *ctx = d->ctx;
    const Expr *index[RANK_MAX];
    Def *def = define_temp(d, name, n->wide, n->rank, n->dim);
    for (int i = 0; i < n->rank; i++)
        index[i] = n->red[i] ? eq_red(d, def, "k", n->full[i]) : def_var(ctx, def, i);
    const Expr *e = eq_text(d, n->wide, text, "x", load_cut(d, n, index), "m",
                            m ? load_stat(d, n, m, index) : NULL, NULL);
    bool last = n->rank && n->red[n->rank - 1] && index[n->rank - 1]->op == OP_SYM;
    eq_combine(d, def, op, e, NULL, last);
    define_emit(d, def);
    return def->buf;
}

Buf *norm_map(Definer *d, const Norm *n, int out, const char *name, const char *text, Buf *a,
              Buf *b) {
    const Expr *v[RANK_MAX];
    Def *def = eq_def(d, out, name, n->wide, n->rank, n->dim);
    eq_vars(d, def, v);
    eq_emit(d, def,
            eq_text(d, n->wide, text, "a", load_stat(d, n, a, v), "b",
                    b ? load_stat(d, n, b, v) : NULL, "n", expr_cast(d->ctx, n->wide, n->n), "eps",
                    eq_attr(d, n->wide, "epsilon", 1e-5), NULL));
    return def->buf;
}

/* mean and 1 / sqrt(variance + epsilon). */
static void norm_moments(Definer *d, const Norm *n, Buf **mean, Buf **inv) {
    Buf *sum = norm_reduce(d, n, "sum", OP_ADD, "x", NULL);
    *mean = norm_map(d, n, -1, "mean", "a / n", sum, NULL);
    Buf *square = norm_reduce(d, n, "square", OP_ADD, "(x - m) * (x - m)", *mean);
    *inv = norm_map(d, n, -1, "inv", "1 / sqrt(a / n + eps)", square, NULL);
}

/* ---- softmax ----------------------------------------------------------------------------------------- */

Buf *norm_softmax(Definer *d, const Norm *n, int out, bool log) {
    const Expr *v[RANK_MAX];
    Dtype t = out < 0 ? n->wide : type_dtype(n->x->type);
    Buf *max = norm_reduce(d, n, "max", OP_MAX, "x", NULL);
    if (log) {
        Buf *sum = norm_reduce(d, n, "sum", OP_ADD, "exp(x - m)", max);
        Def *y = eq_def(d, out, "log_softmax", t, n->x->rank, n->x->dim);
        eq_vars(d, y, v);
        eq_emit(d, y,
                eq_text(d, n->wide, "x - m - log(s)", "x", norm_load(d, n, n->x, v), "m",
                        norm_load(d, n, max, v), "s", norm_load(d, n, sum, v), NULL));
        return y->buf;
    }
    Def *e = define_temp(d, "exp", n->wide, n->x->rank, n->x->dim);
    eq_vars(d, e, v);
    eq_emit(d, e,
            eq_text(d, n->wide, "exp(x - m)", "x", norm_load(d, n, n->x, v), "m",
                    norm_load(d, n, max, v), NULL));
    Norm over = *n;
    over.x = e->buf;
    Buf *sum = norm_reduce(d, &over, "sum", OP_ADD, "x", NULL);
    Def *y = eq_def(d, out, "softmax", t, n->x->rank, n->x->dim);
    eq_vars(d, y, v);
    eq_emit(d, y, expr_2(d->ctx, OP_DIV, buf_load(d->ctx, e->buf, v), norm_load(d, n, sum, v)));
    return y->buf;
}

static bool define_softmax(Definer *d, bool log) {
    Norm n;
    return norm_begin_axis(d, &n, define_in(d, 0), node_int(d->node, "axis", -1), true) &&
           norm_softmax(d, &n, 0, log);
}

bool def_softmax(Definer *d) {
    return define_softmax(d, false);
}

bool def_log_softmax(Definer *d) {
    return define_softmax(d, true);
}

/* 1 at the first largest element along the axis, else 0. */
bool def_hardmax(Definer *d) {
    Norm n;
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    int64_t axis = node_int(d->node, "axis", -1);
    const Expr *v[RANK_MAX], *at[RANK_MAX], *k = expr_i(ctx, 0);
    if (!norm_begin_axis(d, &n, x, axis, true))
        return false;
    Buf *max = norm_reduce(d, &n, "max", OP_MAX, "x", NULL);
    int64_t most = 0;
    for (int i = 0; i < n.rank; i++)
        most = n.red[i] ? expr_range(ctx, x->dim[i]).max : most;
    Def *first = define_temp(d, "first", most <= INT32_MAX ? T_I32 : T_I64, n.rank, n.dim);
    for (int i = 0; i < n.rank; i++) {
        at[i] = n.red[i] ? eq_red(d, first, "k", x->dim[i]) : def_var(ctx, first, i);
        k = n.red[i] ? at[i] : k;
    }
    const Expr *here = expr_eq(ctx, norm_load(d, &n, x, at), norm_load(d, &n, max, at));
    eq_combine(d, first, OP_MIN, expr_cast(ctx, type_dtype(first->buf->type), k), here, false);
    define_emit(d, first);
    Def *y = define_out(d, 0, type_dtype(x->type), x->rank, x->dim);
    eq_vars(d, y, v);
    k = expr_i(ctx, 0);
    for (int i = 0; i < n.rank; i++)
        k = n.red[i] ? v[i] : k;
    here = expr_eq(ctx, expr_cast(ctx, T_I64, norm_load(d, &n, first->buf, v)), k);
    eq_emit(d, y, expr_select(ctx, here, eq_const(d, n.wide, 1), eq_const(d, n.wide, 0)));
    return true;
}

/* ---- normalisations over the last axes ---------------------------------------------------------------- */

/* A statistic as an output of type f32 (what stash_type 1 says). */
static void norm_output(Definer *d, const Norm *n, int out, Buf *stat) {
    const Expr *v[RANK_MAX];
    if (out >= d->node->nout || !d->node->out[out])
        return;
    Def *def = define_out(d, out, T_F32, n->rank, n->dim);
    eq_vars(d, def, v);
    eq_emit(d, def, buf_load(d->ctx, stat, v));
}

/* text over x, m (mean), i (inv), s (scale), b (bias), broadcast to x. */
static void norm_apply(Definer *d, const Norm *n, const char *text, Buf *m, Buf *i, Buf *s,
                       Buf *b) {
    const Expr *v[RANK_MAX];
    Ctx *ctx = d->ctx;
    Def *y = define_out(d, 0, type_dtype(n->x->type), n->x->rank, n->x->dim);
    eq_vars(d, y, v);
    const Expr *e = eq_text(d, n->wide, text, "x", norm_load(d, n, n->x, v), "m",
                            m ? norm_load(d, n, m, v) : NULL, "i", norm_load(d, n, i, v), NULL);
    if (s)
        e = expr_mul(ctx, e, expr_cast(ctx, n->wide, define_load_broadcast(d, s, n->x->rank, v)));
    if (b)
        e = expr_add(ctx, e, expr_cast(ctx, n->wide, define_load_broadcast(d, b, n->x->rank, v)));
    eq_emit(d, y, e);
}

static bool rank_fits(Definer *d, int i) {
    return !define_has(d, i) || define_in(d, i)->rank <= define_in(d, 0)->rank ||
           define_error(d, EXIT_MALFORMED, "input %d has more axes than input 0", i);
}

bool def_layer_norm(Definer *d) {
    Norm n;
    Buf *mean, *inv;
    if (!rank_fits(d, 1) || !rank_fits(d, 2) ||
        !norm_begin_axis(d, &n, define_in(d, 0), node_int(d->node, "axis", -1), false))
        return false;
    norm_moments(d, &n, &mean, &inv);
    norm_apply(d, &n, "(x - m) * i", mean, inv, define_in(d, 1), define_in(d, 2));
    norm_output(d, &n, 1, mean);
    norm_output(d, &n, 2, inv);
    return true;
}

bool def_rms_norm(Definer *d) {
    Norm n;
    if (!rank_fits(d, 1) ||
        !norm_begin_axis(d, &n, define_in(d, 0), node_int(d->node, "axis", -1), false))
        return false;
    Buf *square = norm_reduce(d, &n, "square", OP_ADD, "x * x", NULL);
    Buf *inv = norm_map(d, &n, -1, "inv", "1 / sqrt(a / n + eps)", square, NULL);
    norm_apply(d, &n, "x * i", NULL, inv, define_in(d, 1), NULL);
    return true;
}

bool def_lp_norm(Definer *d) {
    Norm n;
    int64_t p = node_int(d->node, "p", 2);
    if (p != 1 && p != 2)
        return define_error(d, EXIT_UNSUPPORTED, "p is %lld; it has to be 1 or 2", (long long)p);
    if (!norm_begin_axis(d, &n, define_in(d, 0), node_int(d->node, "axis", -1), true))
        return false;
    Buf *sum = norm_reduce(d, &n, "sum", OP_ADD, p == 1 ? "abs(x)" : "x * x", NULL);
    Buf *norm = norm_map(d, &n, -1, "norm", p == 1 ? "a" : "sqrt(a)", sum, NULL);
    norm_apply(d, &n, "select(i == 0, 0, x / i)", NULL, norm, NULL, NULL);
    return true;
}

bool def_mean_variance_norm(Definer *d) {
    static const int64_t usual[] = {0, 2, 3};
    Norm n;
    Buf *x = define_in(d, 0);
    bool red[RANK_MAX] = {false};
    int count;
    const int64_t *axes = node_ints(d->node, "axes", &count);
    if (!axes) {
        axes = usual;
        count = 3;
    }
    for (int i = 0; i < count; i++) {
        int a = define_axis(d, axes[i], x->rank);
        if (a < 0)
            return false;
        red[a] = true;
    }
    if (!norm_begin(d, &n, x, 0, red))
        return false;
    Buf *sum = norm_reduce(d, &n, "sum", OP_ADD, "x", NULL);
    Buf *mean = norm_map(d, &n, -1, "mean", "a / n", sum, NULL);
    Buf *square = norm_reduce(d, &n, "square", OP_ADD, "(x - m) * (x - m)", mean);
    Buf *dev = norm_map(d, &n, -1, "deviation", "sqrt(a / n) + 1e-9", square, NULL);
    norm_apply(d, &n, "(x - m) / i", mean, dev, NULL, NULL);
    return true;
}

/* ---- normalisations of channels ------------------------------------------------------------------------ */

/* y = x * a + b where a = inv * scale and b = bias - mean * a have one element for each channel (and sample:
 * `each`). */
static void scale_channels(Definer *d, const Norm *n, Buf *mean, Buf *inv, bool each) {
    Ctx *ctx = d->ctx;
    Buf *x = n->x, *scale = define_in(d, 1), *bias = define_in(d, 2);
    const Expr *v[RANK_MAX], *dim[2] = {x->dim[0], x->dim[1]}, *at[RANK_MAX];
    const Expr *const *dims = each ? dim : dim + 1;
    Def *a = define_temp(d, "scale", n->wide, each ? 2 : 1, dims);
    Def *b = define_temp(d, "shift", n->wide, each ? 2 : 1, dims);
    for (int pass = 0; pass < 2; pass++) {
        Def *def = pass ? b : a;
        eq_vars(d, def, v);
        for (int i = 0; i < x->rank; i++)
            at[i] = i > 1 || (i == 0 && !each) ? expr_i(ctx, 0) : v[i - !each];
        const Expr *c = at[1], *f = pass ? buf_load(ctx, a->buf, v) : eq_at(d, n->wide, scale, c);
        if (pass)
            eq_emit(d, def,
                    eq_text(d, n->wide, "b - m * f", "b", eq_at(d, n->wide, bias, c), "m",
                            norm_load(d, n, mean, at), "f", f, NULL));
        else
            eq_emit(d, def, expr_mul(ctx, norm_load(d, n, inv, at), f));
    }
    Def *y = define_out(d, 0, type_dtype(x->type), x->rank, x->dim);
    eq_vars(d, y, v);
    eq_emit(d, y,
            eq_text(d, n->wide, "x * a + b", "x", norm_load(d, n, x, v), "a",
                    buf_load(ctx, a->buf, v + !each), "b", buf_load(ctx, b->buf, v + !each), NULL));
}

/* A 1-D input as long as axis 1 of x. */
static bool channel_input(Definer *d, int i) {
    Buf *b = define_in(d, i), *x = define_in(d, 0);
    if (x->rank < 2 || b->rank != 1)
        return define_error(d, EXIT_MALFORMED, "input %d is not one value for each channel", i);
    return define_same(d, b->dim[0], x->dim[1], "channels");
}

bool def_group_norm(Definer *d) {
    Norm n;
    Buf *mean, *inv;
    int64_t groups = node_int(d->node, "num_groups", 0);
    bool red[RANK_MAX + 1];
    if (groups < 1 || groups > INT32_MAX)
        return define_error(d, EXIT_MALFORMED, "num_groups is %lld", (long long)groups);
    for (int i = 0; i <= RANK_MAX; i++)
        red[i] = i > 1;
    if (!channel_input(d, 1) || !channel_input(d, 2) ||
        !norm_begin(d, &n, define_in(d, 0), (int)groups, red))
        return false;
    norm_moments(d, &n, &mean, &inv);
    scale_channels(d, &n, mean, inv, true);
    return true;
}

bool def_instance_norm(Definer *d) {
    Norm n;
    Buf *mean, *inv;
    bool red[RANK_MAX];
    for (int i = 0; i < RANK_MAX; i++)
        red[i] = i > 1;
    if (!channel_input(d, 1) || !channel_input(d, 2) || !norm_begin(d, &n, define_in(d, 0), 0, red))
        return false;
    norm_moments(d, &n, &mean, &inv);
    scale_channels(d, &n, mean, inv, true);
    return true;
}

/* running * momentum + batch * (1 - momentum), one for each channel. */
static void running_mean(Definer *d, const Norm *n, int out, Buf *running, Buf *batch) {
    Ctx *ctx = d->ctx;
    if (out >= d->node->nout || !d->node->out[out])
        return;
    const Expr *at[RANK_MAX], *c;
    Def *def = define_out(d, out, type_dtype(running->type), 1, running->dim);
    c = def_var(ctx, def, 0);
    for (int i = 0; i < n->rank; i++)
        at[i] = i == 1 ? c : expr_i(ctx, 0);
    eq_emit(d, def,
            eq_text(d, n->wide, "r * q + b * (1 - q)", "r", eq_at(d, n->wide, running, c), "b",
                    norm_load(d, n, batch, at), "q", eq_attr(d, n->wide, "momentum", 0.9), NULL));
}

/* With given statistics: scale[c] = gamma / sqrt(variance + eps), shift[c] = beta - mean * scale[c]. */
static bool batch_norm_fixed(Definer *d, Dtype t) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *c, *v[RANK_MAX];
    Def *a = define_temp(d, "scale", t, 1, &x->dim[1]),
        *b = define_temp(d, "shift", t, 1, &x->dim[1]);
    c = def_var(ctx, a, 0);
    eq_emit(d, a,
            eq_text(d, t, "g / sqrt(v + eps)", "g", eq_at(d, t, define_in(d, 1), c), "v",
                    eq_at(d, t, define_in(d, 4), c), "eps", eq_attr(d, t, "epsilon", 1e-5), NULL));
    c = def_var(ctx, b, 0);
    eq_emit(d, b,
            eq_text(d, t, "b - m * a", "b", eq_at(d, t, define_in(d, 2), c), "m",
                    eq_at(d, t, define_in(d, 3), c), "a", buf_load(ctx, a->buf, &c), NULL));
    Def *y = define_out(d, 0, type_dtype(x->type), x->rank, x->dim);
    eq_vars(d, y, v);
    eq_emit(d, y,
            eq_text(d, t, "x * a + b", "x", eq_load(d, t, x, v), "a", buf_load(ctx, a->buf, v + 1),
                    "b", buf_load(ctx, b->buf, v + 1), NULL));
    return true;
}

bool def_batch_norm(Definer *d) {
    Norm n;
    Buf *x = define_in(d, 0);
    bool red[RANK_MAX];
    for (int i = 0; i < RANK_MAX; i++)
        red[i] = i != 1;
    for (int i = 1; i < 5; i++)
        if (!channel_input(d, i))
            return false;
    if (!norm_begin(d, &n, x, 0, red))
        return false;
    if (node_int(d->node, "training_mode", 0)) {
        Buf *sum = norm_reduce(d, &n, "sum", OP_ADD, "x", NULL);
        Buf *mean = norm_map(d, &n, -1, "mean", "a / n", sum, NULL);
        Buf *square = norm_reduce(d, &n, "square", OP_ADD, "(x - m) * (x - m)", mean);
        Buf *var = norm_map(d, &n, -1, "variance", "a / n", square, NULL);
        Buf *inv = norm_map(d, &n, -1, "inv", "1 / sqrt(a + eps)", var, NULL);
        scale_channels(d, &n, mean, inv, false);
        running_mean(d, &n, 1, define_in(d, 3), mean);
        running_mean(d, &n, 2, define_in(d, 4), var);
        return true;
    }
    return batch_norm_fixed(d, n.wide);
}

/* x / (bias + alpha / size * s)^beta, s the squares of `size` channels around. */
bool def_lrn(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    Dtype t = define_type(d, 0), wide = eq_wide(t);
    int64_t size = node_int(d->node, "size", 0);
    const Expr *v[RANK_MAX], *at[RANK_MAX];
    if (size < 1 || size > INT32_MAX || x->rank < 2)
        return define_error(d, EXIT_MALFORMED, "size is %lld", (long long)size);
    Def *s = define_temp(d, "square", wide, x->rank, x->dim);
    eq_vars(d, s, v);
    eq_vars(d, s, at);
    const Expr *k = eq_red(d, s, "k", expr_i(ctx, size));
    at[1] = expr_sub(ctx, expr_add(ctx, v[1], k), expr_i(ctx, (size - 1) / 2));
    const Expr *when = eq_inside(d, NULL, at[1], x->dim[1]), *e = eq_load(d, wide, x, at);
    eq_combine(d, s, OP_ADD, expr_mul(ctx, e, e), when, false);
    define_emit(d, s);
    Def *y = define_out(d, 0, t, x->rank, x->dim);
    eq_vars(d, y, v);
    eq_emit(d, y,
            eq_text(d, wide, "x / pow(bias + alpha / size * s, beta)", "x", eq_load(d, wide, x, v),
                    "s", buf_load(ctx, s->buf, v), "size", eq_const(d, wide, (double)size), "alpha",
                    eq_attr(d, wide, "alpha", 0.0001), "beta", eq_attr(d, wide, "beta", 0.75),
                    "bias", eq_attr(d, wide, "bias", 1), NULL));
    return true;
}
