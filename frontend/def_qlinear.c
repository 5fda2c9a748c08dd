/* def_qlinear.c — com.microsoft's quantised ops: integers in, real numbers between, integers out.
 *
 *   QLinearAdd(a, sa, za, b, sb, zb, sy, zy)  →
 *     y[i] = saturate(rint(f32(a[i]) * (sa/sy) + (f32(b[i]) * (sb/sy) + shift))) */
#include "frontend/norm.h"
#include "frontend/quant.h"

#include <string.h>

/* All of these inputs (a list ended by -1) have one element. */
static bool all_single(Definer *d, const int *in) {
    for (; *in >= 0; in++)
        if (define_has(d, *in) && !eq_single(define_in(d, *in)))
            return define_error(d, EXIT_UNSUPPORTED, "input %d has to be one number", *in);
    return true;
}

/* Input i less its zero point, at the index, in f32. */
static const Expr *centred(Definer *d, const Expr *load, Buf *zero) {
    const Expr *i = expr_cast(d->ctx, T_I32, load);
    if (zero)
        i = expr_sub(d->ctx, i, eq_at(d, T_I32, zero, expr_i(d->ctx, 0)));
    return expr_cast(d->ctx, T_F32, i);
}

/* The number in input i, 0 when it is absent. */
static const Expr *number(Definer *d, int i) {
    Buf *b = define_in(d, i);
    return b ? eq_at(d, T_F32, b, expr_i(d->ctx, 0)) : eq_const(d, T_F32, 0);
}

/* y = saturate(rint(v) + zero point in input z); z < 0: none. */
static void store(Definer *d, Def *y, const Expr *v, int z) {
    eq_emit(d, y,
            quant_round(d, type_dtype(y->buf->type), v,
                        z >= 0 && define_has(d, z) ? number(d, z) : NULL));
}

/* A sum's zero points go into one number that is added last, so that rounding happens once. */
static const Expr *sum_text(Definer *d, const Expr *a, const Expr *b) {
    const Expr *sa = number(d, 1), *sb = number(d, 4), *sy = number(d, 6);
    const Expr *shift =
        eq_text(d, T_F32, "zy - (sa / sy * za + sb / sy * zb)", "sa", sa, "sb", sb, "sy", sy, "za",
                number(d, 2), "zb", number(d, 5), "zy", number(d, 7), NULL);
    return eq_text(d, T_F32, "a * (sa / sy) + (b * (sb / sy) + shift)", "a", a, "b", b, "sa", sa,
                   "sb", sb, "sy", sy, "shift", shift, NULL);
}

static bool qlinear_binary(Definer *d, bool add) {
    static const int params[] = {1, 2, 4, 5, 6, 7, -1};
    Buf *in[2] = {define_in(d, 0), define_in(d, 3)};
    const Expr *dim[RANK_MAX], *v[RANK_MAX];
    int rank;
    if (!all_single(d, params) || !define_broadcast(d, 2, in, &rank, dim))
        return false;
    Def *y = define_out(d, 0, define_type(d, 0), rank, dim);
    eq_vars(d, y, v);
    const Expr *a = define_load_broadcast(d, in[0], rank, v);
    const Expr *b = define_load_broadcast(d, in[1], rank, v);
    if (add)
        store(d, y, sum_text(d, expr_cast(d->ctx, T_F32, a), expr_cast(d->ctx, T_F32, b)), -1);
    else
        store(d, y,
              eq_text(d, T_F32, "a * b * (sa * sb / sy)", "a", centred(d, a, define_in(d, 2)), "b",
                      centred(d, b, define_in(d, 5)), "sa", number(d, 1), "sb", number(d, 4), "sy",
                      number(d, 6), NULL),
              7);
    return true;
}

bool def_qlinear_add(Definer *d) {
    return qlinear_binary(d, true);
}

bool def_qlinear_mul(Definer *d) {
    return qlinear_binary(d, false);
}

static bool qlinear_unary(Definer *d, const char *text) {
    static const int params[] = {1, 2, 3, 4, -1};
    Buf *x = define_in(d, 0);
    const Expr *v[RANK_MAX];
    if (!all_single(d, params))
        return false;
    Def *y = define_out(d, 0, define_type(d, 0), x->rank, x->dim);
    eq_vars(d, y, v);
    const Expr *real = quant_real(d, buf_load(d->ctx, x, v), define_in(d, 1), define_in(d, 2));
    store(d, y,
          eq_text(d, T_F32, text, "x", real, "sy", number(d, 3), "alpha",
                  eq_attr(d, T_F32, "alpha", 0.01), NULL),
          4);
    return true;
}

bool def_qlinear_sigmoid(Definer *d) {
    return qlinear_unary(d, "sigmoid(x) / sy");
}

bool def_qlinear_leaky_relu(Definer *d) {
    return qlinear_unary(d, "select(x < 0, alpha * x, x) / sy");
}

/* ---- pools ------------------------------------------------------------------------------------------ */

static bool channels_first(Definer *d) {
    return !node_int(d->node, "channels_last", 0) ||
           define_error(d, EXIT_UNSUPPORTED, "channels_last is not supported");
}

/* y = the sum times sx / (sy * n). */
static void store_mean(Definer *d, Buf *sum, const Expr *const *v, Def *y, const Expr *n) {
    store(d, y,
          eq_text(d, T_F32, "f32(s) * (sx / sy / f32(n))", "s", buf_load(d->ctx, sum, v), "sx",
                  number(d, 1), "n", n, "sy", number(d, 3), NULL),
          4);
}

bool def_qlinear_average_pool(Definer *d) {
    static const int params[] = {1, 2, 3, 4, -1};
    Buf *x = define_in(d, 0);
    Window w;
    const Expr *dim[RANK_MAX], *v[RANK_MAX], *at[RANK_MAX], *r[RANK_MAX];
    if (!channels_first(d) || !all_single(d, params) || !window_begin(d, &w, x, NULL) ||
        !window_extents(d, &w, node_int(d->node, "ceil_mode", 0) != 0))
        return false;
    memcpy(dim, x->dim, 2 * sizeof *dim);
    memcpy(dim + 2, w.out, (size_t)w.n * sizeof *dim);
    Def *sum = define_temp(d, "sum", T_I32, x->rank, dim);
    eq_vars(d, sum, at);
    const Expr *when = window_axes(d, &w, sum, 2, r, at + 2, NULL);
    Factor f = {x, define_in(d, 2), 0};
    eq_combine(d, sum, OP_ADD, factor_load(d, f, T_I32, at), when, false);
    define_emit(d, sum);
    Def *y = define_out(d, 0, define_type(d, 0), x->rank, dim);
    eq_vars(d, y, v);
    bool padding = node_int(d->node, "count_include_pad", 0) != 0;
    store_mean(d, sum->buf, v, y, window_count(d, &w, y, padding));
    return true;
}

bool def_qlinear_global_average_pool(Definer *d) {
    static const int params[] = {1, 2, 3, 4, -1};
    Buf *x = define_in(d, 0);
    Ctx *ctx = d->ctx;
    const Expr *dim[RANK_MAX], *v[RANK_MAX], *at[RANK_MAX], *n = expr_i(ctx, 1);
    if (!channels_first(d) || !all_single(d, params))
        return false;
    for (int i = 0; i < x->rank; i++) {
        dim[i] = i < 2 ? x->dim[i] : expr_i(ctx, 1);
        n = i < 2 ? n : expr_mul(ctx, n, x->dim[i]);
    }
    Def *sum = define_temp(d, "sum", T_I32, x->rank, dim);
    for (int i = 0; i < x->rank; i++)
        at[i] = i < 2 ? def_var(ctx, sum, i) : eq_red(d, sum, "k", x->dim[i]);
    Factor f = {x, define_in(d, 2), 0};
    eq_combine(d, sum, OP_ADD, factor_load(d, f, T_I32, at), NULL, false);
    define_emit(d, sum);
    Def *y = define_out(d, 0, define_type(d, 0), x->rank, dim);
    eq_vars(d, y, v);
    store_mean(d, sum->buf, v, y, n);
    return true;
}

/* ---- softmax, concat ----------------------------------------------------------------------------------- */

/* Softmax does not see the zero point: it shifts all elements alike. */
bool def_qlinear_softmax(Definer *d) {
    static const int params[] = {1, 2, 3, 4, -1};
    Buf *x = define_in(d, 0);
    const Expr *v[RANK_MAX];
    Norm n;
    bool flat = node_int(d->node, "opset", 13) < 13;
    if (!all_single(d, params))
        return false;
    Def *real = define_temp(d, "real", T_F32, x->rank, x->dim);
    eq_vars(d, real, v);
    eq_emit(d, real, quant_real(d, buf_load(d->ctx, x, v), define_in(d, 1), NULL));
    if (!norm_begin_axis(d, &n, real->buf, node_int(d->node, "axis", flat ? 1 : -1), !flat))
        return false;
    Buf *p = norm_softmax(d, &n, -1, false);
    Def *y = define_out(d, 0, define_type(d, 0), x->rank, x->dim);
    eq_vars(d, y, v);
    store(d, y, expr_2(d->ctx, OP_DIV, buf_load(d->ctx, p, v), number(d, 3)), 4);
    return true;
}

/* Inputs: scale and zero point of the output, then three for each part. */
bool def_qlinear_concat(Definer *d) {
    int n = (d->node->nin - 2) / 3;
    const Expr *v[RANK_MAX];
    VEC(Buf *) part = {0};
    if (d->node->nin < 5 || (d->node->nin - 2) % 3)
        return define_error(d, EXIT_MALFORMED, "%d inputs; 2 and 3 for each part are needed",
                            d->node->nin);
    for (int i = 0; i < n; i++) {
        Buf *x = define_in(d, 2 + 3 * i), *s = define_in(d, 3 + 3 * i),
            *z = define_in(d, 4 + 3 * i);
        if (!x || !s || !eq_single(s) || (z && !eq_single(z)))
            return define_error(d, EXIT_MALFORMED, "part %d is not complete", i);
        Def *def =
            define_temp(d, "part", define_type(d, 1) ? define_type(d, 1) : T_U8, x->rank, x->dim);
        eq_vars(d, def, v);
        const Expr *real = quant_real(d, buf_load(d->ctx, x, v), s, z);
        store(d, def, expr_2(d->ctx, OP_DIV, real, number(d, 0)), 1);
        vec_push(d->ctx, &part, def->buf);
    }
    Str axis = str_f(d->ctx, "axis = %lld", (long long)node_int(d->node, "axis", 0));
    Buf *y = define_node(d, "Concat", axis, n, part.at);
    if (y)
        define_set(d, 0, y);
    return y != NULL;
}

/* ---- weights of few bits --------------------------------------------------------------------- */

/* Element i of rows of packed numbers, the low bits first. */
static const Expr *packed(Definer *d, Buf *b, const Expr *row, const Expr *group, const Expr *i,
                          int64_t bits) {
    Ctx *ctx = d->ctx;
    const Expr *each = expr_i(ctx, 8 / bits), *at[3] = {row, group, expr_fdiv(ctx, i, each)};
    if (b->rank == 2)
        at[1] = at[2];
    if (b->rank == 1) /* rows one after another */
        at[0] = expr_add(ctx, row, at[2]);
    const Expr *byte = eq_load(d, T_I32, b, at);
    if (bits == 8)
        return byte;
    const Expr *shift =
        expr_cast(ctx, T_I32, expr_mul(ctx, expr_mod(ctx, i, each), expr_i(ctx, bits)));
    return expr_2(ctx, OP_BAND, expr_2(ctx, OP_SHR, byte, shift),
                  expr_int(ctx, T_I32, (1 << bits) - 1));
}

/* The zero point of block g of row n; without one the middle of the range. */
static const Expr *block_zero(Definer *d, Buf *z, const Expr *n, const Expr *g, const Expr *blocks,
                              int64_t bits) {
    Ctx *ctx = d->ctx;
    if (!z)
        return eq_const(d, T_F32, (double)(1 << (bits - 1)));
    if (type_is_float(type_dtype(z->type))) {
        const Expr *at[2] = {n, g};
        if (z->rank == 1)
            at[0] = expr_add(ctx, expr_mul(ctx, n, blocks), g);
        return eq_load(d, T_F32, z, at);
    }
    const Expr *row = expr_mul(ctx, n, expr_ceildiv(ctx, blocks, 8 / bits));
    return expr_cast(ctx, T_F32, packed(d, z, z->rank == 1 ? row : n, NULL, g, bits));
}

bool def_matmul_nbits(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *a = define_in(d, 0), *b = define_in(d, 1), *s = define_in(d, 2), *z = define_in(d, 3);
    Buf *order = define_in(d, 4), *bias = define_in(d, 5);
    int64_t bits = node_int(d->node, "bits", 4), block = node_int(d->node, "block_size", 0);
    int64_t k = node_int(d->node, "K", 0), n = node_int(d->node, "N", 0);
    if ((bits != 2 && bits != 4 && bits != 8) || block < 16 || block > 1 << 20 || k < 1 || n < 1 ||
        k >= (int64_t)1 << 31 || n >= (int64_t)1 << 31 || b->rank != 3 || !a->rank)
        return define_error(d, EXIT_MALFORMED, "bits, block_size, K or N do not fit");
    if (order)
        return define_error(d, EXIT_UNSUPPORTED, "g_idx is not supported");
    const Expr *dim[2] = {expr_i(ctx, n), expr_i(ctx, k)}, *v[RANK_MAX];
    const Expr *size = expr_i(ctx, block), *blocks = expr_i(ctx, (k + block - 1) / block);
    Dtype t = define_type(d, 0), wide = eq_wide(t);
    if (!define_same(d, a->dim[a->rank - 1], dim[1], "K") ||
        !define_same(d, b->dim[0], dim[0], "N") || !define_same(d, b->dim[1], blocks, "blocks") ||
        !define_same(d, b->dim[2], expr_i(ctx, block * bits / 8), "bytes of a block"))
        return false;
    Def *w = define_temp(d, "w", wide, 2, dim);
    eq_names(d, w, "n k");
    eq_vars(d, w, v);
    const Expr *g = expr_fdiv(ctx, v[1], size), *at[2] = {v[0], g};
    if (s->rank == 1)
        at[0] = expr_add(ctx, expr_mul(ctx, v[0], blocks), g);
    const Expr *q = packed(d, b, v[0], g, expr_mod(ctx, v[1], size), bits);
    eq_emit(d, w,
            eq_text(d, wide, "T(f32(q) - z) * s", "q", q, "z",
                    block_zero(d, z, v[0], g, blocks, bits), "s", eq_load(d, wide, s, at), NULL));
    const Expr *out[RANK_MAX];
    memcpy(out, a->dim, (size_t)a->rank * sizeof *out);
    out[a->rank - 1] = dim[0];
    bool whole = wide == t && !bias;
    Def *acc = eq_def(d, whole ? 0 : -1, "acc", wide, a->rank, out);
    eq_vars(d, acc, v);
    const Expr *col = v[a->rank - 1], *i = eq_red(d, acc, "k", dim[1]), *iw[2] = {col, i};
    v[a->rank - 1] = i;
    eq_combine(d, acc, OP_ADD, expr_mul(ctx, eq_load(d, wide, a, v), buf_load(ctx, w->buf, iw)),
               NULL, false);
    define_emit(d, acc);
    if (whole)
        return true;
    Def *y = define_out(d, 0, t, a->rank, out);
    eq_vars(d, y, v);
    const Expr *e = buf_load(ctx, acc->buf, v);
    eq_emit(d, y, bias ? expr_add(ctx, e, eq_at(d, wide, bias, v[a->rank - 1])) : e);
    return true;
}
