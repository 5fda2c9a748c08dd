/* def_language.c — RotaryEmbedding, LinearAttention, CausalConvWithState.
 *
 *   LinearAttention, update_rule = "linear"  →  scan t<T {
 *     state[t,b,h,d,m] = select(t == 0, past[b,h,d,m], state[t-1,b,h,d,m]) + k[b,h,t,d] * v[b,h,t,m]
 *     o[t,b,h,m] = add(d) q[b,h,t,d] * state[t,b,h,d,m] }  ;  y = o * scale */
#include "frontend/equation.h"
#include "frontend/index.h"

#include <string.h>

/* ---- RotaryEmbedding ------------------------------------------------------------------------------ */

typedef struct Rotary {
    Buf *x, *cos, *sin, *position;
    const Expr *size, *half; /* of a head; half of what is rotated */
    Dtype wide;
    IndexClass cls;
} Rotary;

static bool rotary_begin(Definer *d, Rotary *r) {
    Ctx *ctx = d->ctx;
    *r = (Rotary){.x = define_in(d, 0),
                  .cos = define_in(d, 1),
                  .sin = define_in(d, 2),
                  .position = define_in(d, 3),
                  .wide = eq_wide(define_type(d, 0))};
    int64_t heads = node_int(d->node, "num_heads", 0),
            n = node_int(d->node, "rotary_embedding_dim", 0);
    int rank = r->position ? 2 : 3;
    if ((r->x->rank != 4 && (r->x->rank != 3 || heads < 1)) || n < 0 || heads >= (int64_t)1 << 31)
        return define_error(d, EXIT_MALFORMED, "the input has rank 4, or 3 and num_heads");
    if (r->cos->rank != rank || r->sin->rank != rank || (r->position && r->position->rank != 2))
        return define_error(d, EXIT_MALFORMED, "the caches have rank %d", rank);
    r->size = r->x->dim[r->x->rank - 1];
    if (r->x->rank == 3)
        r->size =
            define_extent(d, "size", expr_fdiv(ctx, r->size, expr_i(ctx, heads)), 0, INT64_MAX);
    if (!r->size)
        return false;
    r->half = n ? expr_i(ctx, n / 2) : expr_fdiv(ctx, r->size, expr_i(ctx, 2));
    if (n &&
        !define_check(d, expr_le(ctx, expr_i(ctx, n), r->size), CHECK_DIM, "rotary_embedding_dim"))
        return false;
    for (int i = 1; i < 3; i++)
        if (!define_same(d, define_in(d, i)->dim[rank - 1], r->half, "width of the caches"))
            return false;
    return !r->position || index_check(d, r->position, r->cos->dim[0], &r->cls);
}

/* Element k of the row of a cache for sample b, step s. */
static const Expr *cached(Definer *d, const Rotary *r, Buf *cache, const Expr *b, const Expr *s,
                          const Expr *k) {
    const Expr *at[3] = {b, s, k};
    if (!r->position)
        return eq_load(d, r->wide, cache, at);
    const Expr *row = index_safe(d, buf_load(d->ctx, r->position, at), cache->dim[0], r->cls);
    const Expr *two[2] = {row, k};
    return eq_load(d, r->wide, cache, two);
}

/* x at place `to` of the same head as v, whose own place is `at`. */
static const Expr *neighbour(Definer *d, const Rotary *r, const Expr *const *v, const Expr *at,
                             const Expr *to) {
    const Expr *index[4];
    int last = r->x->rank - 1;
    memcpy(index, v, (size_t)r->x->rank * sizeof *index);
    index[last] = expr_add(d->ctx, expr_sub(d->ctx, v[last], at), to);
    return eq_load(d, r->wide, r->x, index);
}

bool def_rotary_embedding(Definer *d) {
    Ctx *ctx = d->ctx;
    Rotary r;
    const Expr *v[4];
    if (!rotary_begin(d, &r))
        return false;
    Def *y = define_out(d, 0, type_dtype(r.x->type), r.x->rank, r.x->dim);
    eq_vars(d, y, v);
    bool four = r.x->rank == 4, mixed = node_int(d->node, "interleaved", 0) != 0;
    const Expr *step = v[four ? 2 : 1], *last = v[r.x->rank - 1], *two = expr_i(ctx, 2);
    const Expr *at = four ? last : expr_mod(ctx, last, r.size), *zero = expr_i(ctx, 0);
    /* first: is this the real part?  k: which pair;  other: where its other part is */
    const Expr *first =
        mixed ? expr_eq(ctx, expr_mod(ctx, at, two), zero) : expr_lt(ctx, at, r.half);
    const Expr *shift = mixed ? expr_i(ctx, 1) : r.half;
    const Expr *k =
        mixed ? expr_fdiv(ctx, at, two) : expr_select(ctx, first, at, expr_sub(ctx, at, r.half));
    const Expr *other = expr_select(ctx, first, expr_add(ctx, at, shift), expr_sub(ctx, at, shift));
    const Expr *c = cached(d, &r, r.cos, v[0], step, k), *s = cached(d, &r, r.sin, v[0], step, k);
    const Expr *x = eq_load(d, r.wide, r.x, v), *o = neighbour(d, &r, v, at, other);
    const Expr *e = eq_text(d, r.wide, "select(first, c * x - s * o, s * o + c * x)", "first",
                            first, "c", c, "s", s, "x", x, "o", o, NULL);
    const Expr *turned = expr_lt(ctx, at, expr_mul(ctx, r.half, two));
    if (!expr_proves(ctx, turned))
        e = expr_select(ctx, turned, e, x);
    eq_emit(d, y, e);
    return true;
}

/* ---- LinearAttention --------------------------------------------------------------------------------- */

typedef struct Linear {
    Buf *q, *k, *v, *past, *decay, *beta;
    const Expr *steps, *batch, *dk, *dv, *heads, *group;
    int64_t hq, hk;
    bool gated, delta;
    Group *scan;
} Linear;

static bool linear_begin(Definer *d, Linear *l) {
    Ctx *ctx = d->ctx;
    *l = (Linear){.q = define_in(d, 0),
                  .k = define_in(d, 1),
                  .v = define_in(d, 2),
                  .past = define_in(d, 3),
                  .decay = define_in(d, 4),
                  .beta = define_in(d, 5),
                  .hq = node_int(d->node, "q_num_heads", 0),
                  .hk = node_int(d->node, "kv_num_heads", 0)};
    bool both = eq_word(d, "update_rule", "gated_delta", "gated_delta");
    l->gated = both || eq_word(d, "update_rule", "gated_delta", "gated");
    l->delta = both || eq_word(d, "update_rule", "gated_delta", "delta");
    if (!l->gated && !l->delta && !eq_word(d, "update_rule", "", "linear"))
        return define_error(d, EXIT_MALFORMED, "update_rule has an unknown value");
    if (l->gated != (l->decay != NULL) || l->delta != (l->beta != NULL))
        return define_error(d, EXIT_MALFORMED, "decay and beta do not fit the update_rule");
    if (l->hk < 1 || l->hq < 1 || l->hq % l->hk || l->hq >= (int64_t)1 << 31)
        return define_error(d, EXIT_MALFORMED, "%lld heads for %lld of keys", (long long)l->hq,
                            (long long)l->hk);
    for (int i = 0; i < 6; i++)
        if (define_has(d, i) && define_in(d, i)->rank != (i == 3 ? 4 : 3))
            return define_error(d, EXIT_MALFORMED, "input %d has rank %d", i,
                                define_in(d, i)->rank);
    l->heads = expr_i(ctx, l->hk);
    l->group = expr_i(ctx, l->hq / l->hk);
    l->batch = l->q->dim[0];
    l->steps = l->q->dim[1];
    l->dk = define_extent(d, "size", expr_fdiv(ctx, l->k->dim[2], l->heads), 0, INT64_MAX);
    l->dv = define_extent(d, "size", expr_fdiv(ctx, l->v->dim[2], l->heads), 0, INT64_MAX);
    const Expr *past[4] = {l->batch, l->heads, l->dk, l->dv};
    for (int i = 0; l->past && l->dk && l->dv && i < 4; i++)
        if (!define_same(d, l->past->dim[i], past[i], "past_state"))
            return false;
    return l->dk && l->dv &&
           define_same(d, l->q->dim[2], expr_mul(ctx, l->dk, expr_i(ctx, l->hq)), "queries") &&
           define_same(d, l->k->dim[1], l->steps, "steps of keys") &&
           define_same(d, l->v->dim[1], l->steps, "steps of values");
}

/* A Def of the scan over [T, B, …]; v gets its axes. */
static Def *scan_def(Definer *d, Linear *l, const char *name, int rank, const Expr *const *more,
                     const Expr **v) {
    const Expr *dim[5] = {l->steps, l->batch};
    memcpy(dim + 2, more, (size_t)(rank - 2) * sizeof *dim);
    Def *def = define_temp(d, name, T_F32, rank, dim);
    eq_names(d, def, rank == 5 ? "t b h d m" : "t b h m");
    if (!l->scan) {
        l->scan = ctx_new(d->ctx, Group);
        l->scan->name = def->name;
        l->scan->var = def->axis[0].var;
    }
    def->axis[0].var = l->scan->var;
    def->axis[0].kind = AXIS_SEQ;
    def->scan = l->scan;
    eq_vars(d, def, v);
    return def;
}

static void scan_emit(Definer *d, Linear *l, Def *def) {
    vec_push(d->ctx, &l->scan->defs, def);
    define_emit(d, def);
}

/* Element i of head h at step t, the heads (each `size` long) side by side. */
static const Expr *head_load(Definer *d, Buf *b, const Expr *const *v, const Expr *h,
                             const Expr *size, const Expr *i) {
    const Expr *at[3] = {v[1], v[0], expr_add(d->ctx, expr_mul(d->ctx, h, size), i)};
    return eq_load(d, T_F32, b, at);
}

/* The state before step v[0]; 0 or past_state before the first. */
static const Expr *state_load(Definer *d, const Linear *l, Buf *state, const Expr *const *v) {
    Ctx *ctx = d->ctx;
    const Expr *at[5] = {expr_sub(ctx, v[0], expr_i(ctx, 1)), v[1], v[2], v[3], v[4]};
    const Expr *first = l->past ? eq_load(d, T_F32, l->past, v + 1) : eq_const(d, T_F32, 0);
    return expr_select(ctx, expr_eq(ctx, v[0], expr_i(ctx, 0)), first, buf_load(ctx, state, at));
}

/* The step's new value for head v[2], place m: corrected by what the state already gives for the key. */
static const Expr *new_value(Definer *d, const Linear *l, Buf *found, const Expr *const *v,
                             const Expr *m) {
    Ctx *ctx = d->ctx;
    const Expr *e = head_load(d, l->v, v, v[2], l->dv, m);
    if (!l->delta)
        return e;
    const Expr *at[4] = {v[0], v[1], v[2], m};
    /* one for each head, or one for all */
    const Expr *last = expr_sub(ctx, l->beta->dim[2], expr_i(ctx, 1));
    const Expr *ib[3] = {v[1], v[0], expr_min(ctx, v[2], last)};
    const Expr *b = eq_load(d, T_F32, l->beta, ib);
    return expr_mul(ctx, b, expr_sub(ctx, e, buf_load(ctx, found, at)));
}

/* exp(decay) of head v[2], place v[3]: one for each head or each place. */
static const Expr *decay_of(Definer *d, const Linear *l, const Expr *const *v) {
    Ctx *ctx = d->ctx;
    const Expr *each = expr_add(ctx, expr_mul(ctx, v[2], l->dk), v[3]);
    const Expr *by_head = expr_eq(ctx, l->decay->dim[2], l->heads);
    const Expr *at[3] = {v[1], v[0], expr_select(ctx, by_head, v[2], each)};
    const Expr *g = eq_load(d, T_F32, l->decay, at);
    return expr_1(ctx, OP_EXP, g);
}

/* All steps: gives the state after each and the unscaled output, both over time first. */
static void linear_scan(Definer *d, Linear *l, Buf **states, Buf **outs) {
    Ctx *ctx = d->ctx;
    const Expr *v[5], *w[5], *x[5];
    const Expr *sd[3] = {l->heads, l->dk, l->dv}, *fd[2] = {l->heads, l->dv};
    const Expr *od[2] = {expr_i(ctx, l->hq), l->dv};
    Def *kept = scan_def(d, l, "kept", 5, sd, v), *state = scan_def(d, l, "state", 5, sd, x);
    const Expr *before = state_load(d, l, state->buf, v);
    kept->value = l->gated ? expr_mul(ctx, before, decay_of(d, l, v)) : before;
    scan_emit(d, l, kept);
    Buf *found = NULL;
    if (l->delta) {
        Def *f = scan_def(d, l, "found", 4, fd, w);
        const Expr *k = eq_red(d, f, "d", l->dk), *at[5] = {w[0], w[1], w[2], k, w[3]};
        eq_combine(
            d, f, OP_ADD,
            expr_mul(ctx, buf_load(ctx, kept->buf, at), head_load(d, l->k, w, w[2], l->dk, k)),
            NULL, false);
        scan_emit(d, l, f);
        found = f->buf;
    }
    state->value = expr_add(
        ctx, buf_load(ctx, kept->buf, x),
        expr_mul(ctx, head_load(d, l->k, x, x[2], l->dk, x[3]), new_value(d, l, found, x, x[4])));
    scan_emit(d, l, state);
    Def *o = scan_def(d, l, "o", 4, od, w);
    const Expr *k = eq_red(d, o, "d", l->dk), *head = expr_fdiv(ctx, w[2], l->group);
    const Expr *at[5] = {w[0], w[1], head, k, w[3]};
    eq_combine(d, o, OP_ADD,
               expr_mul(ctx, head_load(d, l->q, w, w[2], l->dk, k), buf_load(ctx, state->buf, at)),
               NULL, false);
    scan_emit(d, l, o);
    *states = state->buf;
    *outs = o->buf;
}

bool def_linear_attention(Definer *d) {
    Ctx *ctx = d->ctx;
    Linear l;
    Buf *states, *outs;
    const Expr *v[4];
    if (!linear_begin(d, &l))
        return false;
    linear_scan(d, &l, &states, &outs);
    const Expr *dim[3] = {l.batch, l.steps, expr_mul(ctx, expr_i(ctx, l.hq), l.dv)};
    Def *y = define_out(d, 0, define_type(d, 0), 3, dim);
    eq_vars(d, y, v);
    const Expr *at[4] = {v[1], v[0], expr_fdiv(ctx, v[2], l.dv), expr_mod(ctx, v[2], l.dv)};
    const Expr *scale = eq_attr(d, T_F32, "scale", 0);
    if (expr_is(scale, 0))
        scale = eq_text(d, T_F32, "1 / sqrt(f32(n))", "n", l.dk, NULL);
    eq_emit(d, y, expr_mul(ctx, scale, buf_load(ctx, outs, at)));
    if (d->node->nout < 2 || !d->node->out[1])
        return true;
    const Expr *sdim[4] = {l.batch, l.heads, l.dk, l.dv};
    Dtype t = l.past ? type_dtype(l.past->type) : define_type(d, 0);
    Def *s = define_out(d, 1, t, 4, sdim);
    eq_vars(d, s, v);
    const Expr *end[5] = {l.steps, v[0], v[1], v[2], v[3]};
    eq_emit(d, s, state_load(d, &l, states, end));
    return true;
}

/* ---- CausalConvWithState ------------------------------------------------------------------------------ */

/* Position p of the input with the k - 1 positions before it. */
static const Expr *padded(Definer *d, Dtype t, const Expr *keep, const Expr *b, const Expr *c,
                          const Expr *p) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *past = define_in(d, 3);
    const Expr *at[3] = {b, c, expr_sub(ctx, p, keep)}, *before[3] = {b, c, p};
    const Expr *e = past ? eq_load(d, t, past, before) : eq_const(d, t, 0);
    return expr_select(ctx, expr_lt(ctx, p, keep), e, eq_load(d, t, x, at));
}

static bool causal_store(Definer *d, Buf *acc, Dtype t) {
    Buf *bias = define_in(d, 2);
    const Expr *v[3];
    Dtype wide = type_dtype(acc->type);
    bool none = eq_word(d, "activation", "none", "none");
    if (!none && !eq_word(d, "activation", "none", "silu") &&
        !eq_word(d, "activation", "none", "swish"))
        return define_error(d, EXIT_MALFORMED, "activation has an unknown value");
    Def *y = define_out(d, 0, t, 3, acc->dim);
    eq_vars(d, y, v);
    const Expr *e = buf_load(d->ctx, acc, v);
    if (bias)
        e = expr_add(d->ctx, e, eq_at(d, wide, bias, v[1]));
    if (!none) { /* of the sum as it would be stored */
        e = expr_cast(d->ctx, wide, expr_cast(d->ctx, t, e));
        e = eq_text(d, wide, "x * sigmoid(x)", "x", e, NULL);
    }
    eq_emit(d, y, e);
    return true;
}

bool def_causal_conv(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *w = define_in(d, 1), *past = define_in(d, 3);
    Dtype t = define_type(d, 0), wide = eq_wide(t);
    const Expr *v[3];
    if (x->rank != 3 || w->rank != 3 || (past && past->rank != 3))
        return define_error(d, EXIT_MALFORMED, "input, weights and state have rank 3");
    if (!define_same(d, w->dim[0], x->dim[1], "channels"))
        return false;
    const Expr *keep =
        define_extent(d, "state", expr_sub(ctx, w->dim[2], expr_i(ctx, 1)), 0, INT64_MAX);
    if (!keep || (past && !define_same(d, past->dim[2], keep, "length of the state")))
        return false;
    Def *acc = define_temp(d, "acc", wide, 3, x->dim);
    eq_names(d, acc, "b c p");
    eq_vars(d, acc, v);
    const Expr *r = eq_red(d, acc, "r", w->dim[2]), *p = expr_add(ctx, v[2], r);
    const Expr *iw[3] = {v[1], expr_i(ctx, 0), r}, *ix[3] = {v[0], v[1], expr_sub(ctx, p, keep)};
    const Expr *when = past ? NULL : eq_inside(d, NULL, ix[2], x->dim[2]);
    const Expr *e = past ? padded(d, wide, keep, v[0], v[1], p) : eq_load(d, wide, x, ix);
    eq_combine(d, acc, OP_ADD, expr_mul(ctx, e, eq_load(d, wide, w, iw)), when, false);
    define_emit(d, acc);
    if (!causal_store(d, acc->buf, t))
        return false;
    if (d->node->nout < 2 || !d->node->out[1])
        return true;
    const Expr *dim[3] = {x->dim[0], x->dim[1], keep};
    Def *s = define_out(d, 1, t, 3, dim);
    eq_vars(d, s, v);
    eq_emit(d, s, padded(d, t, keep, v[0], v[1], expr_add(ctx, v[2], x->dim[2])));
    return true;
}
