/* def_attention.c — Attention and FlexAttention.
 *
 *   Attention(q f32[B,H,L,D], k f32[B,G,S,D], v f32[B,G,S,E])  →
 *     qk[b,h,i,j] = add(d) q[b,h,i,d] * k[b,h//(H/G),j,d] ; score = qk * scale, capped, masked
 *     p = softmax over j of score ; y[b,h,i,e] = add(j) p[b,h,i,j] * v[b,h//(H/G),j,e]
 * Keys and values may continue those of past_key and past_value; with rank 3 the heads share an axis. */
#include "frontend/norm.h"

#include <math.h>
#include <string.h>

/* A tensor [B, heads, length, size], or [B, length, heads * size]. */
typedef struct Heads {
    Buf *b;
    const Expr *heads, *len, *size;
} Heads;

typedef struct Attend {
    Heads q, k, v; /* k and v with the past before them */
    Dtype type, wide;
    const Expr *past;  /* length of what came before; NULL: nothing */
    const Expr *group; /* query heads for each head of keys */
    const Expr *scale;
    Buf *mask, *nonpad;
    const Expr *dim[4]; /* of the scores */
    int mode;           /* which scores are output 3 */
} Attend;

static const Expr *heads_load(Definer *d, Dtype t, const Heads *h, const Expr *const *at) {
    const Expr *three[3] = {at[0], at[2],
                            expr_add(d->ctx, expr_mul(d->ctx, at[1], h->size), at[3])};
    return eq_load(d, t, h->b, h->b->rank == 3 ? three : at);
}

static bool heads_begin(Definer *d, Heads *h, Buf *b, const char *attr) {
    Ctx *ctx = d->ctx;
    h->b = b;
    if (b->rank == 4) {
        h->heads = b->dim[1];
        h->len = b->dim[2];
        h->size = b->dim[3];
        return true;
    }
    int64_t n = node_int(d->node, attr, 0);
    if (b->rank != 3 || n < 1 || n >= (int64_t)1 << 31)
        return define_error(d, EXIT_MALFORMED, "queries, keys and values need rank 4, or 3 and %s",
                            attr);
    h->heads = expr_i(ctx, n);
    h->len = b->dim[1];
    h->size = define_extent(d, "size", expr_fdiv(ctx, b->dim[2], h->heads), 0, INT64_MAX);
    return h->size && define_same(d, expr_mul(ctx, h->size, h->heads), b->dim[2], "heads");
}

/* Output `out` (or a temporary): past, then now. h becomes it. */
static bool heads_join(Definer *d, Heads *h, Buf *past, int out) {
    Ctx *ctx = d->ctx;
    bool wanted = out < d->node->nout && d->node->out[out];
    Dtype t = type_dtype(h->b->type);
    if (!past && (!wanted || h->b->rank == 4)) {
        if (wanted)
            define_set(d, out, h->b);
        return true;
    }
    if (past && past->rank != 4)
        return define_error(d, EXIT_MALFORMED, "past keys and values have rank 4");
    const Expr *before = past ? past->dim[2] : expr_i(ctx, 0), *v[4];
    const Expr *dim[4] = {h->b->dim[0], h->heads, expr_add(ctx, before, h->len), h->size};
    for (int i = 0; past && i < 4; i++)
        if (i != 2 && !define_same(d, past->dim[i], dim[i], "past and present"))
            return false;
    Def *def = eq_def(d, wanted ? out : -1, "present", t, 4, dim);
    eq_vars(d, def, v);
    const Expr *at[4] = {v[0], v[1], expr_sub(ctx, v[2], before), v[3]};
    const Expr *e = heads_load(d, t, h, at);
    if (past)
        e = expr_select(ctx, expr_lt(ctx, v[2], before), eq_load(d, t, past, v), e);
    eq_emit(d, def, e);
    *h = (Heads){def->buf, h->heads, dim[2], h->size};
    return true;
}

/* ---- scores --------------------------------------------------------------------------------------- */

static bool attend_begin(Definer *d, Attend *a) {
    Ctx *ctx = d->ctx;
    a->type = define_type(d, 0);
    a->wide = eq_wide(a->type);
    if (!heads_begin(d, &a->q, define_in(d, 0), "q_num_heads") ||
        !heads_begin(d, &a->k, define_in(d, 1), "kv_num_heads") ||
        !heads_begin(d, &a->v, define_in(d, 2), "kv_num_heads"))
        return false;
    if (!define_same(d, a->q.size, a->k.size, "size of a head") ||
        !define_same(d, a->k.heads, a->v.heads, "heads of keys and values") ||
        !define_same(d, a->q.b->dim[0], a->k.b->dim[0], "batch") ||
        !define_same(d, a->q.b->dim[0], a->v.b->dim[0], "batch"))
        return false;
    int64_t hq, hk;
    a->group = expr_i(ctx, 1);
    if (a->q.heads != a->k.heads) {
        if (expr_is_int(a->q.heads, &hq) && expr_is_int(a->k.heads, &hk) && (hk < 1 || hq % hk))
            return define_error(d, EXIT_MALFORMED, "%lld heads of queries for %lld of keys",
                                (long long)hq, (long long)hk);
        a->group = define_extent(d, "group", expr_fdiv(ctx, a->q.heads, a->k.heads), 0, INT64_MAX);
    }
    const Expr *size = expr_cast(ctx, a->wide, a->q.size);
    a->scale = node_attr(d->node, "scale") ? eq_attr(d, a->wide, "scale", 1)
                                           : eq_text(d, a->wide, "1 / sqrt(n)", "n", size, NULL);
    return a->group != NULL;
}

/* The head of keys that query head h looks at. */
static const Expr *key_head(Definer *d, const Attend *a, const Expr *h) {
    return expr_fdiv(d->ctx, h, a->group);
}

static Def *score_def(Definer *d, const Attend *a, int out, const char *name, Dtype t,
                      const Expr **v) {
    Def *def = eq_def(d, out, name, t, 4, a->dim);
    eq_names(d, def, "b h i j");
    eq_vars(d, def, v);
    return def;
}

static Buf *attend_products(Definer *d, Attend *a) {
    const Expr *v[4];
    const Expr *dim[4] = {a->q.b->dim[0], a->q.heads, a->q.len, a->k.len};
    memcpy(a->dim, dim, sizeof dim);
    Def *qk = score_def(d, a, -1, "qk", a->wide, v);
    const Expr *k = eq_red(d, qk, "d", a->q.size);
    const Expr *iq[4] = {v[0], v[1], v[2], k}, *ik[4] = {v[0], key_head(d, a, v[1]), v[3], k};
    eq_combine(
        d, qk, OP_ADD,
        expr_mul(d->ctx, heads_load(d, a->wide, &a->q, iq), heads_load(d, a->wide, &a->k, ik)),
        NULL, false);
    define_emit(d, qk);
    return qk->buf;
}

/* The mask's share of the score at v: added, or (bool) a condition to count. Past its end nothing counts. */
static const Expr *masked(Definer *d, const Attend *a, const Expr *e, const Expr *const *v) {
    Ctx *ctx = d->ctx;
    const Expr *keep = NULL, *lowest = eq_const(d, a->wide, -INFINITY);
    if (node_int(d->node, "is_causal", 0)) {
        const Expr *last = a->past ? expr_add(ctx, v[2], a->past) : v[2];
        keep = expr_le(ctx, v[3], last);
    }
    if (a->nonpad)
        keep = expr_and(ctx, keep, expr_lt(ctx, v[3], eq_load(d, T_I64, a->nonpad, v)));
    if (a->mask) {
        const Expr *end = a->mask->dim[a->mask->rank - 1];
        if (end != a->dim[3])
            keep = expr_and(ctx, keep, expr_lt(ctx, v[3], end));
        bool condition = type_dtype(a->mask->type) == T_BOOL;
        const Expr *m = define_load_broadcast(d, a->mask, 4, v);
        if (condition)
            keep = expr_and(ctx, keep, m);
        else
            e = expr_add(ctx, e, expr_cast(ctx, a->wide, m));
    }
    return keep ? expr_select(ctx, keep, e, lowest) : e;
}

/* Output 3 when it is the scores of stage `mode`. */
static void output_scores(Definer *d, const Attend *a, int mode, Buf *scores) {
    const Expr *v[4];
    if (d->node->nout <= 3 || !d->node->out[3] || a->mode != mode)
        return;
    Def *def = score_def(d, a, 3, NULL, a->type, v);
    eq_emit(d, def, buf_load(d->ctx, scores, v));
}

/* Scaled, capped and masked scores. */
static Buf *attend_scores(Definer *d, const Attend *a, Buf *qk) {
    const Expr *v[4];
    double cap = node_float(d->node, "softcap", 0);
    Def *raw = score_def(d, a, -1, "scaled", a->wide, v);
    const Expr *e = expr_mul(d->ctx, buf_load(d->ctx, qk, v), a->scale);
    if (cap > 0)
        e = eq_text(d, a->wide, "c * tanh(x / c)", "x", e, "c", eq_attr(d, a->wide, "softcap", 0),
                    NULL);
    eq_emit(d, raw, e);
    output_scores(d, a, 0, raw->buf);
    output_scores(d, a, 1, raw->buf);
    Def *score = score_def(d, a, -1, "score", a->wide, v);
    eq_emit(d, score, masked(d, a, buf_load(d->ctx, raw->buf, v), v));
    output_scores(d, a, 2, score->buf);
    return score->buf;
}

/* y = p v; with rank 3 the heads side by side. */
static void attend_values(Definer *d, const Attend *a, Buf *p) {
    Ctx *ctx = d->ctx;
    const Expr *dim[4] = {a->dim[0], a->dim[1], a->dim[2], a->v.size}, *v[4];
    bool flat = define_in(d, 0)->rank == 3, whole = !flat && a->wide == a->type;
    Def *acc = eq_def(d, whole ? 0 : -1, "acc", a->wide, 4, dim);
    eq_names(d, acc, "b h i e");
    eq_vars(d, acc, v);
    const Expr *j = eq_red(d, acc, "j", a->dim[3]);
    const Expr *ip[4] = {v[0], v[1], v[2], j}, *iv[4] = {v[0], key_head(d, a, v[1]), j, v[3]};
    eq_combine(d, acc, OP_ADD,
               expr_mul(ctx, buf_load(ctx, p, ip), heads_load(d, a->wide, &a->v, iv)), NULL, false);
    define_emit(d, acc);
    if (whole)
        return;
    const Expr *three[3] = {dim[0], dim[2], expr_mul(ctx, dim[1], dim[3])};
    Def *y = define_out(d, 0, a->type, flat ? 3 : 4, flat ? three : dim);
    eq_vars(d, y, v);
    const Expr *at[4] = {v[0], v[1], v[2], v[3]};
    if (flat) {
        at[1] = expr_fdiv(ctx, v[2], dim[3]);
        at[2] = v[1];
        at[3] = expr_mod(ctx, v[2], dim[3]);
    }
    eq_emit(d, y, buf_load(ctx, acc->buf, at));
}

static Buf *attend_softmax(Definer *d, Buf *score) {
    Norm n;
    return norm_begin_axis(d, &n, score, -1, true) ? norm_softmax(d, &n, -1, false) : NULL;
}

bool def_attention(Definer *d) {
    Attend a = {.mask = define_in(d, 3), .nonpad = define_in(d, 6)};
    Buf *past_k = define_in(d, 4), *past_v = define_in(d, 5);
    if (!attend_begin(d, &a) || !heads_join(d, &a.k, past_k, 1) || !heads_join(d, &a.v, past_v, 2))
        return false;
    a.past = past_k ? past_k->dim[2] : NULL;
    a.mode = (int)node_int(d->node, "qk_matmul_output_mode", 0);
    if (a.mask && (a.mask->rank < 1 || a.mask->rank > 4))
        return define_error(d, EXIT_MALFORMED, "a mask of rank %d", a.mask->rank);
    if (a.nonpad && a.nonpad->rank != 1)
        return define_error(d, EXIT_MALFORMED, "nonpad_kv_seqlen is not a list");
    if (!define_same(d, a.k.len, a.v.len, "length of keys and values"))
        return false;
    Buf *score = attend_scores(d, &a, attend_products(d, &a)), *p = attend_softmax(d, score);
    if (!p)
        return false;
    output_scores(d, &a, 3, p);
    attend_values(d, &a, p);
    return true;
}

/* ---- FlexAttention ------------------------------------------------------------------------------------ */

/* The graph attribute applied to a tensor; the tensor itself when there is none. NULL after an error. */
static Buf *modified(Definer *d, const char *name, Buf *b) {
    const Attr *at = node_attr(d->node, name);
    const Graph *g = at ? at->graph : NULL;
    if (!g)
        return b;
    if (g->inputs.len != 1 || g->outputs.len != 1) {
        define_error(d, EXIT_MALFORMED, "%s has to take and give one tensor", name);
        return NULL;
    }
    Scope *s = define_scope(d->ctx, d->scope, d->block);
    define_bind(s, g->inputs.at[0], define_val(d, b));
    if (!define_nodes(d->state, s, g, d->origin))
        return NULL;
    Val *y = define_lookup(d->state, s, g->outputs.at[0]);
    if (y && y->kind == VAL_TENSOR && y->buf && y->buf->rank == 4)
        return y->buf;
    define_error(d, EXIT_MALFORMED, "%s does not give scores", name);
    return NULL;
}

/* What graphs work on: the scores in the type softmax is computed in. */
static Dtype softmax_type(Definer *d, const Attend *a) {
    int64_t t = node_int(d->node, "softmax_precision", 0);
    return t > 0 && t < 1000 ? type_from_onnx((int)t) : a->wide;
}

bool def_flex_attention(Definer *d) {
    Attend a = {0};
    const Expr *v[4];
    if (define_in(d, 0)->rank != 4 || define_in(d, 1)->rank != 4 || define_in(d, 2)->rank != 4)
        return define_error(d, EXIT_MALFORMED, "queries, keys and values have rank 4");
    if (!attend_begin(d, &a) || !define_same(d, a.k.len, a.v.len, "length of keys and values"))
        return false;
    Dtype t = softmax_type(d, &a);
    if (!type_is_float(t))
        return define_error(d, EXIT_MALFORMED, "softmax_precision has an unknown value");
    Buf *qk = attend_products(d, &a);
    Def *score = score_def(d, &a, -1, "score", t, v);
    eq_emit(d, score, expr_mul(d->ctx, buf_load(d->ctx, qk, v), a.scale));
    Buf *s = modified(d, "score_mod", score->buf), *p = s ? attend_softmax(d, s) : NULL;
    if (p && type_dtype(p->type) != t) { /* graphs see the narrow type */
        Def *narrow = score_def(d, &a, -1, "p", t, v);
        eq_emit(d, narrow, buf_load(d->ctx, p, v));
        p = narrow->buf;
    }
    p = p ? modified(d, "prob_mod", p) : NULL;
    if (!p)
        return false;
    if (type_dtype(p->type) != a.wide) {
        Def *wide = score_def(d, &a, -1, "p", a.wide, v);
        eq_emit(d, wide, buf_load(d->ctx, p, v));
        p = wide->buf;
    }
    attend_values(d, &a, p);
    return true;
}
