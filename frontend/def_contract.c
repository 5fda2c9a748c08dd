/* def_contract.c — matrix products and convolutions: sums of products over one equation each, with what is
 * added or scaled afterwards in an equation of its own.
 *
 *   Conv(x f32[1,3,H,W], w f32[8,3,3,3], b), pads 1  →
 *     acc[n,m,p,q] = add(c<3, r<3, s<3 | 0 <= p+r-1 < H, 0 <= q+s-1 < W) x[n,c,p+r-1,q+s-1] * w[m,c,r,s]
 *     y[n,m,p,q] = acc[n,m,p,q] + b[m] */
#include "frontend/contract.h"

#include <string.h>

const Expr *factor_load(Definer *d, Factor f, Dtype t, const Expr *const *index) {
    const Expr *e = eq_load(d, t, f.buf, index), *z;
    if (!f.zero)
        return e;
    if (eq_single(f.zero) || f.zero->rank == 1)
        z = eq_param(d, t, f.zero, index[f.axis]);
    else
        z = expr_cast(d->ctx, t, define_load_broadcast(d, f.zero, f.buf->rank, index));
    return expr_sub(d->ctx, e, z);
}

static Factor plain(Buf *b) {
    return (Factor){b, NULL, 0};
}

/* ---- matrix products ------------------------------------------------------------------------------- */

/* The dims of a product: those of the leading axes broadcast, then m and n as far as a and b have them. */
static bool matmul_dims(Definer *d, Buf *a, Buf *b, int *rank, const Expr **dim) {
    if (!a->rank || !b->rank)
        return define_error(d, EXIT_MALFORMED, "a matrix product of a scalar");
    Buf *lead[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        int n = lead[i]->rank > 2 ? lead[i]->rank - 2 : 0;
        lead[i] = buf_new(d->ctx, lead[i]->name, T_F32, SPACE_LOCAL, n, lead[i]->dim);
    }
    if (!define_broadcast(d, 2, lead, rank, dim))
        return false;
    if (a->rank > 1)
        dim[(*rank)++] = a->dim[a->rank - 2];
    if (b->rank > 1)
        dim[(*rank)++] = b->dim[b->rank - 1];
    return true;
}

Def *contract_matmul(Definer *d, Factor a, Factor b, Dtype t, bool out) {
    static const char *const names[] = {"m n", "b m n", "b c m n", "b c d m n", "b c d e m n"};
    const Expr *dim[RANK_MAX + 2], *index[RANK_MAX + 2], *ia[RANK_MAX], *ib[RANK_MAX];
    int rank, ra = a.buf->rank, rb = b.buf->rank;
    if (!matmul_dims(d, a.buf, b.buf, &rank, dim) || !define_rank(d, rank))
        return NULL;
    const Expr *k = a.buf->dim[ra - 1];
    if (!define_same(d, k, b.buf->dim[rb > 1 ? rb - 2 : 0], "the summed axis"))
        return NULL;
    Def *def = eq_def(d, out ? 0 : -1, "acc", t, rank, dim);
    if (ra > 1 && rb > 1 && rank <= 6)
        eq_names(d, def, names[rank - 2]);
    eq_vars(d, def, index);
    int lead = rank - (ra > 1) - (rb > 1);
    k = eq_red(d, def, "k", k);
    /* where each operand is read; leading axes of extent 1 are repeated */
    for (int i = 0; i < ra - 2; i++)
        ia[i] = define_index_broadcast(d, a.buf->dim[i], index[lead - ra + 2 + i]);
    for (int i = 0; i < rb - 2; i++)
        ib[i] = define_index_broadcast(d, b.buf->dim[i], index[lead - rb + 2 + i]);
    if (ra > 1)
        ia[ra - 2] = index[lead];
    ia[ra - 1] = k;
    ib[rb > 1 ? rb - 2 : 0] = k;
    if (rb > 1)
        ib[rb - 1] = index[rank - 1];
    const Expr *product = expr_mul(d->ctx, factor_load(d, a, t, ia), factor_load(d, b, t, ib));
    eq_combine(d, def, OP_ADD, product, NULL, false);
    define_emit(d, def);
    return def;
}

/* y = the value of acc, rounded to t. */
static bool matmul_store(Definer *d, Def *acc, Dtype t) {
    const Expr *index[RANK_MAX];
    if (acc->buf->type == t)
        return true;
    Def *y = define_out(d, 0, t, acc->buf->rank, acc->buf->dim);
    eq_vars(d, y, index);
    eq_emit(d, y, buf_load(d->ctx, acc->buf, index));
    return true;
}

static bool same_types(Definer *d, int a, int b) {
    return define_type(d, a) == define_type(d, b) ||
           define_error(d, EXIT_MALFORMED, "inputs %d and %d have different element types", a, b);
}

bool def_matmul(Definer *d) {
    Dtype t = define_type(d, 0), wide = eq_wide(t);
    if (!same_types(d, 0, 1))
        return false;
    Def *acc = contract_matmul(d, plain(define_in(d, 0)), plain(define_in(d, 1)), wide, wide == t);
    return acc && matmul_store(d, acc, t);
}

/* x with its last two axes swapped; NULL after an error. */
static Buf *transposed(Definer *d, Buf *x) {
    Text t = text_new(d->ctx);
    if (x->rank < 2)
        return x;
    for (int i = 0; i < x->rank; i++)
        text_f(&t, "%s%d", i ? ", " : "perm = [", i < x->rank - 2 ? i : 2 * x->rank - 3 - i);
    text_c(&t, ']');
    return define_node(d, "Transpose", t.at, 1, &x);
}

/* com.microsoft: alpha * A' B'. */
bool def_fused_matmul(Definer *d) {
    Buf *in[2] = {define_in(d, 0), define_in(d, 1)};
    const Expr *v[RANK_MAX];
    Dtype t = define_type(d, 0), wide = eq_wide(t);
    if (node_int(d->node, "transBatchA", 0) || node_int(d->node, "transBatchB", 0))
        return define_error(d, EXIT_UNSUPPORTED, "transBatchA and transBatchB are not supported");
    for (int i = 0; i < 2; i++)
        if (node_int(d->node, i ? "transB" : "transA", 0))
            in[i] = transposed(d, in[i]);
    if (!in[0] || !in[1] || !same_types(d, 0, 1))
        return false;
    Def *acc = contract_matmul(d, plain(in[0]), plain(in[1]), wide, false);
    if (!acc)
        return false;
    Def *y = define_out(d, 0, t, acc->buf->rank, acc->buf->dim);
    eq_vars(d, y, v);
    eq_emit(d, y, expr_mul(d->ctx, buf_load(d->ctx, acc->buf, v), eq_attr(d, wide, "alpha", 1)));
    return true;
}

bool def_gemm(Definer *d) {
    Buf *a = define_in(d, 0), *b = define_in(d, 1), *c = define_in(d, 2);
    bool ta = node_int(d->node, "transA", 0) != 0, tb = node_int(d->node, "transB", 0) != 0;
    Dtype t = define_type(d, 0), wide = eq_wide(t);
    if (a->rank != 2 || b->rank != 2 || (c && c->rank > 2))
        return define_error(d, EXIT_MALFORMED, "Gemm takes matrices");
    if (!same_types(d, 0, 1) || !define_same(d, a->dim[!ta], b->dim[tb], "the summed axis"))
        return false;
    double alpha = node_float(d->node, "alpha", 1), beta = node_float(d->node, "beta", 1);
    c = beta == 0 ? NULL : c;
    bool whole = !c && alpha == 1 && wide == t;
    const Expr *dim[2] = {a->dim[ta], b->dim[!tb]}, *v[2];
    Def *acc = eq_def(d, whole ? 0 : -1, "acc", wide, 2, dim);
    eq_names(d, acc, "m n");
    eq_vars(d, acc, v);
    const Expr *k = eq_red(d, acc, "k", a->dim[!ta]);
    const Expr *ia[2] = {ta ? k : v[0], ta ? v[0] : k}, *ib[2] = {tb ? v[1] : k, tb ? k : v[1]};
    eq_combine(d, acc, OP_ADD, expr_mul(d->ctx, eq_load(d, wide, a, ia), eq_load(d, wide, b, ib)),
               NULL, false);
    define_emit(d, acc);
    if (whole)
        return true;
    Def *y = define_out(d, 0, t, 2, dim);
    eq_names(d, y, "m n");
    eq_vars(d, y, v);
    Dtype in = type_is_float(wide) || (alpha == 1 && (beta == 1 || !c)) ? wide : T_F64;
    const Expr *e = eq_load(d, in, acc->buf, v);
    if (alpha != 1)
        e = expr_mul(d->ctx, eq_attr(d, in, "alpha", 1), e);
    if (c) {
        const Expr *add = expr_cast(d->ctx, in, define_load_broadcast(d, c, 2, v));
        if (!define_broadcast_to(d, c, 2, dim, "C"))
            return false;
        e = expr_add(d->ctx, e, beta == 1 ? add : expr_mul(d->ctx, eq_attr(d, in, "beta", 1), add));
    }
    eq_emit(d, y, e);
    return true;
}

/* ---- convolutions ---------------------------------------------------------------------------------- */

static const char *const CONV_NAMES[] = {"n m p", "n m p q", "n m o p q", "n m l o p q"};

static void conv_names(Definer *d, Def *def, int n) {
    if (n <= 4)
        eq_names(d, def, CONV_NAMES[n - 1]);
}

/* a / n for a number of groups n; reports when it is not a whole number. */
static const Expr *per_group(Definer *d, const Expr *a, int64_t n) {
    const Expr *e = expr_fdiv(d->ctx, a, expr_i(d->ctx, n));
    if (!define_same(d, a, expr_mul(d->ctx, e, expr_i(d->ctx, n)), "channels in groups"))
        return NULL;
    return define_extent(d, "group", e, 0, INT64_MAX);
}

static bool group_count(Definer *d, int64_t *g) {
    *g = node_int(d->node, "group", 1);
    return (*g > 0 && *g < (int64_t)1 << 31) ||
           define_error(d, EXIT_MALFORMED, "group is %lld", (long long)*g);
}

Def *contract_conv(Definer *d, Factor x, Factor w, Dtype t, bool out) {
    Window win;
    Ctx *ctx = d->ctx;
    Buf *xb = x.buf, *wb = w.buf;
    int64_t g;
    if (!window_begin(d, &win, xb, wb) || !window_extents(d, &win, false) || !group_count(d, &g))
        return NULL;
    if (!define_same(d, xb->dim[1], expr_mul(ctx, wb->dim[1], expr_i(ctx, g)),
                     "channels of input and weights"))
        return NULL;
    const Expr *mg = per_group(d, wb->dim[0], g);
    if (!mg)
        return NULL;
    const Expr *dim[RANK_MAX], *ix[RANK_MAX], *iw[RANK_MAX];
    dim[0] = xb->dim[0];
    dim[1] = wb->dim[0];
    memcpy(dim + 2, win.out, (size_t)win.n * sizeof *dim);
    Def *def = eq_def(d, out ? 0 : -1, "acc", t, xb->rank, dim);
    conv_names(d, def, win.n);
    const Expr *m = def_var(ctx, def, 1), *c = eq_red(d, def, "c", wb->dim[1]);
    ix[0] = def_var(ctx, def, 0);
    ix[1] = g == 1 ? c
                   : eq_text(d, T_I64, "m // mg * cg + c", "m", m, "mg", mg, "cg", wb->dim[1], "c",
                             c, NULL);
    iw[0] = m;
    iw[1] = c;
    const Expr *when = window_axes(d, &win, def, 2, iw + 2, ix + 2, NULL);
    const Expr *product = expr_mul(ctx, factor_load(d, x, t, ix), factor_load(d, w, t, iw));
    eq_combine(d, def, OP_ADD, product, when, false);
    define_emit(d, def);
    return def;
}

/* y = acc + bias over axis 1, rounded to t. */
static bool conv_finish(Definer *d, Def *acc, Buf *bias, Dtype t) {
    const Expr *v[RANK_MAX];
    if (!bias)
        return matmul_store(d, acc, t);
    if (bias->rank != 1 || !define_same(d, bias->dim[0], acc->buf->dim[1], "length of the bias"))
        return define_error(d, EXIT_MALFORMED, "the bias does not fit the weights");
    Def *y = define_out(d, 0, t, acc->buf->rank, acc->buf->dim);
    conv_names(d, y, acc->buf->rank - 2);
    eq_vars(d, y, v);
    Dtype wide = type_dtype(acc->buf->type);
    eq_emit(d, y, expr_add(d->ctx, buf_load(d->ctx, acc->buf, v), eq_load(d, wide, bias, v + 1)));
    return true;
}

bool def_conv(Definer *d) {
    Dtype t = define_type(d, 0), wide = eq_wide(t);
    Buf *bias = define_in(d, 2);
    if (!same_types(d, 0, 1))
        return false;
    Def *acc =
        contract_conv(d, plain(define_in(d, 0)), plain(define_in(d, 1)), wide, wide == t && !bias);
    return acc && conv_finish(d, acc, bias, t);
}

/* ---- transposed convolution ------------------------------------------------------------------------- */

/* Output extents and padding: the window is that of the convolution from the output to the input. */
static bool transpose_extents(Definer *d, Window *w) {
    Ctx *ctx = d->ctx;
    int64_t extra[RANK_MAX] = {0}, shape[RANK_MAX];
    int given;
    node_ints(d->node, "output_shape", &given);
    if (!window_list(d, "output_padding", w->n, 0, extra) ||
        !window_list(d, "output_shape", w->n, 0, shape))
        return false;
    bool upper = eq_word(d, "auto_pad", "NOTSET", "SAME_UPPER");
    bool same = upper || eq_word(d, "auto_pad", "NOTSET", "SAME_LOWER");
    for (int i = 0; i < w->n; i++) {
        const Expr *s = expr_i(ctx, w->stride[i]);
        const Expr *full = eq_text(d, T_I64, "s * (n - 1) + extra + (k - 1) * dil + 1", "s", s, "n",
                                   w->in[i], "extra", expr_i(ctx, extra[i]), "k", w->kernel[i],
                                   "dil", expr_i(ctx, w->dilation[i]), NULL);
        const Expr *out = expr_sub(ctx, full, expr_add(ctx, w->head[i], w->tail[i]));
        if (given || same) {
            out = given ? expr_i(ctx, shape[i]) : expr_mul(ctx, w->in[i], s);
            const Expr *all = expr_sub(ctx, full, out);
            const Expr *half = expr_fdiv(ctx, all, expr_i(ctx, 2));
            w->head[i] = upper ? half : expr_sub(ctx, all, half);
            w->tail[i] = expr_sub(ctx, all, w->head[i]);
        }
        w->out[i] = define_extent(d, "extent", expr_max(ctx, out, expr_i(ctx, 0)), 0, INT64_MAX);
        if (!w->out[i])
            return false;
    }
    return true;
}

/* Output p gets input i by weight r where i * stride + r * dilation == p + head. Without dilation these are
 * r = j * stride + (p + head) % stride, one for every j; else r runs over all and has to fit. */
static const Expr *transpose_axes(Definer *d, const Window *w, Def *def, const Expr **r,
                                  const Expr **index) {
    static const char *const names[] = {"r", "s", "t", "u", "v", "w"};
    Ctx *ctx = d->ctx;
    const Expr *when = NULL, *zero = expr_i(ctx, 0);
    for (int i = 0; i < w->n; i++) {
        const Expr *s = expr_i(ctx, w->stride[i]), *dil = expr_i(ctx, w->dilation[i]);
        const Expr *p = expr_add(ctx, def_var(ctx, def, i + 2), w->head[i]);
        if (w->dilation[i] == 1) {
            const Expr *n = define_extent(d, "taps", expr_ceildiv(ctx, w->kernel[i], w->stride[i]),
                                          0, INT64_MAX);
            const Expr *j = eq_red(d, def, names[i % 6], n);
            r[i] = expr_add(ctx, expr_mul(ctx, j, s), expr_mod(ctx, p, s));
            index[i] = expr_sub(ctx, expr_fdiv(ctx, p, s), j);
            when = eq_inside(d, when, r[i], w->kernel[i]);
        } else {
            r[i] = eq_red(d, def, names[i % 6], w->kernel[i]);
            const Expr *at = expr_sub(ctx, p, expr_mul(ctx, r[i], dil));
            index[i] = expr_fdiv(ctx, at, s);
            if (w->stride[i] > 1)
                when = expr_and(ctx, when, expr_eq(ctx, expr_mod(ctx, at, s), zero));
        }
        when = eq_inside(d, when, index[i], w->in[i]);
    }
    return when;
}

bool def_conv_transpose(Definer *d) {
    Buf *x = define_in(d, 0), *w = define_in(d, 1), *bias = define_in(d, 2);
    Ctx *ctx = d->ctx;
    Dtype t = define_type(d, 0), wide = eq_wide(t);
    Window win;
    int64_t g;
    if (!same_types(d, 0, 1) || !window_begin(d, &win, x, w) || !transpose_extents(d, &win) ||
        !group_count(d, &g) || !define_same(d, x->dim[1], w->dim[0], "channels"))
        return false;
    const Expr *cg = per_group(d, x->dim[1], g), *dim[RANK_MAX], *ix[RANK_MAX], *iw[RANK_MAX];
    if (!cg)
        return false;
    dim[0] = x->dim[0];
    dim[1] = expr_mul(ctx, w->dim[1], expr_i(ctx, g));
    memcpy(dim + 2, win.out, (size_t)win.n * sizeof *dim);
    Def *acc = eq_def(d, wide == t && !bias ? 0 : -1, "acc", wide, x->rank, dim);
    conv_names(d, acc, win.n);
    const Expr *m = def_var(ctx, acc, 1), *c = eq_red(d, acc, "c", cg), *mg = w->dim[1];
    ix[0] = def_var(ctx, acc, 0);
    ix[1] = iw[0] =
        g == 1 ? c
               : eq_text(d, T_I64, "m // mg * cg + c", "m", m, "mg", mg, "cg", cg, "c", c, NULL);
    iw[1] = g == 1 ? m : expr_mod(ctx, m, mg);
    const Expr *when = transpose_axes(d, &win, acc, iw + 2, ix + 2);
    eq_combine(d, acc, OP_ADD, expr_mul(ctx, eq_load(d, wide, x, ix), eq_load(d, wide, w, iw)),
               when, false);
    define_emit(d, acc);
    return conv_finish(d, acc, bias, t);
}
