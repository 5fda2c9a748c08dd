/* def_loss.c — losses over class scores, and the optimisers' steps.
 *
 *   NegativeLogLikelihoodLoss(x f32[N, C], t i64[N], reduction = "none")
 *     →  ok = and(n) 0 <= t[n] && t[n] < C ; y[n] = -x[n, clamp(t[n])] */
#include "frontend/index.h"

#include <string.h>

typedef struct Loss {
    Definer *d;
    Buf *x, *target, *weight; /* scores [N, C, …], classes [N, …], of each class or NULL */
    const Expr *ignore;       /* a class that does not count, or NULL */
    Dtype t;                  /* computed in */
} Loss;

/* Every class is in range, or the one to ignore. */
static void loss_check(Loss *l) {
    Ctx *ctx = l->d->ctx;
    const Expr *index[RANK_MAX];
    Def *ok = index_check_begin(l->d, l->target->rank, l->target->dim, index);
    const Expr *c = expr_cast(ctx, T_I64, buf_load(ctx, l->target, index));
    ok->value = expr_and(ctx, expr_le(ctx, expr_i(ctx, 0), c), expr_lt(ctx, c, l->x->dim[1]));
    if (l->ignore)
        ok->value = expr_or(ctx, ok->value, expr_eq(ctx, c, l->ignore));
    index_check_end(l->d, ok, CHECK_INDEX);
}

/* For each target: its weight, times minus its score when `score`. */
static void loss_each(Loss *l, Def *def, bool score) {
    Ctx *ctx = l->d->ctx;
    const Expr *index[RANK_MAX], *at[RANK_MAX], *one = expr_i(ctx, 1);
    index_vars(l->d, def, index);
    const Expr *c = expr_cast(ctx, T_I64, buf_load(ctx, l->target, index));
    const Expr *safe = index_clamp(l->d, c, expr_i(ctx, 0), expr_sub(ctx, l->x->dim[1], one));
    const Expr *e = expr_const(ctx, l->t, 1);
    if (l->weight)
        e = expr_cast(ctx, l->t, buf_load(ctx, l->weight, &safe));
    for (int a = 0; a < l->x->rank; a++)
        at[a] = a == 1 ? safe : index[a ? a - 1 : 0];
    const Expr *s = expr_1(ctx, OP_NEG, expr_cast(ctx, l->t, buf_load(ctx, l->x, at)));
    if (score)
        e = l->weight ? expr_mul(ctx, s, e) : s;
    if (l->ignore)
        e = expr_select(ctx, expr_eq(ctx, c, l->ignore), expr_const(ctx, l->t, 0), e);
    def->value = expr_cast(ctx, type_dtype(def->buf->type), e);
    define_emit(l->d, def);
}

static Buf *sum_all(Definer *d, Buf *b) {
    return define_node(d, "ReduceSum", "keepdims = 0", 1, &b);
}

/* Output 0 of a loss whose parts are given. */
static bool loss_out(Loss *l) {
    Definer *d = l->d;
    Ctx *ctx = d->ctx;
    Buf *target = l->target;
    Dtype t = type_dtype(l->x->type);
    Str how = node_str(ctx, d->node, "reduction", "mean");
    loss_check(l);
    if (!strcmp(how, "none")) {
        loss_each(l, define_out(d, 0, t, target->rank, target->dim), true);
        return true;
    }
    Def *each = define_temp(d, "each", l->t, target->rank, target->dim);
    loss_each(l, each, true);
    Buf *sum = sum_all(d, each->buf), *weights = NULL;
    bool mean = strcmp(how, "sum") != 0;
    if (mean && (l->weight || l->ignore)) {
        Def *w = define_temp(d, "weights", l->t, target->rank, target->dim);
        loss_each(l, w, false);
        weights = sum_all(d, w->buf);
    }
    if (!sum || (mean && (l->weight || l->ignore) && !weights))
        return false;
    Def *y = define_out(d, 0, t, 0, NULL);
    const Expr *e = buf_load(ctx, sum, NULL);
    if (mean)
        e = expr_2(ctx, OP_DIV, e,
                   weights ? buf_load(ctx, weights, NULL)
                           : expr_cast(ctx, l->t, buf_count(ctx, target)));
    y->value = expr_cast(ctx, t, e);
    define_emit(d, y);
    return true;
}

static bool loss_begin(Definer *d, Loss *l) {
    Buf *x = define_in(d, 0), *target = define_in(d, 1), *w = define_in(d, 2);
    const Attr *ignore = node_attr(d->node, "ignore_index");
    *l = (Loss){.d = d, .x = x, .target = target, .weight = w, .t = define_type(d, 0)};
    if (!type_is_float(l->t) || !type_is_int(define_type(d, 1)) || x->rank < 2 ||
        target->rank != x->rank - 1 || (w && (w->rank != 1 || w->type != x->type)))
        return define_error(d, EXIT_MALFORMED, "scores, classes and weights do not fit");
    l->t = type_is_narrow(l->t) ? T_F32 : l->t;
    l->ignore = ignore ? expr_i(d->ctx, ignore->i) : NULL;
    for (int a = 0; a < target->rank; a++)
        if (!define_same(d, target->dim[a], x->dim[a ? a + 1 : 0], "scores and classes"))
            return false;
    return !w || define_same(d, w->dim[0], x->dim[1], "the number of weights");
}

bool def_nll_loss(Definer *d) {
    Loss l;
    return loss_begin(d, &l) && loss_out(&l);
}

bool def_softmax_loss(Definer *d) {
    Loss l;
    if (!loss_begin(d, &l))
        return false;
    l.x = define_node(d, "LogSoftmax", "axis = 1", 1, &l.x);
    if (!l.x)
        return false;
    define_set(d, 1, l.x);
    return loss_out(&l);
}

/* ---- optimisers ------------------------------------------------------------------------------ */

/* What one step computes for a tensor: the new value and the new state. */
typedef struct Train {
    Definer *d;
    const Expr *rate, *count; /* inputs 0 and 1: learning rate, number of steps so far */
    const Expr *x, *g, *s[2]; /* value, gradient with its regularisation, state */
    const Expr *out[3];
    Type t;
} Train;

static const Expr *train_attr(Train *r, const char *name, double otherwise) {
    return expr_flt(r->d->ctx, r->t, node_float(r->d->node, name, otherwise));
}

static const Expr *train_mul(Train *r, const Expr *a, const Expr *b) {
    return expr_mul(r->d->ctx, a, b);
}

/* 1 when no step was made yet, else 0. */
static const Expr *train_first(Train *r) {
    return expr_eq(r->d->ctx, r->count, expr_i(r->d->ctx, 0));
}

static void adagrad(Train *r) {
    Ctx *ctx = r->d->ctx;
    const Expr *steps = expr_cast(ctx, type_dtype(r->t), r->count), *one = expr_flt(ctx, r->t, 1);
    const Expr *decay = train_mul(r, steps, train_attr(r, "decay_factor", 0));
    const Expr *rate = expr_2(ctx, OP_DIV, r->rate, expr_add(ctx, one, decay));
    const Expr *h = expr_add(ctx, r->s[0], train_mul(r, r->g, r->g));
    const Expr *root = expr_add(ctx, expr_1(ctx, OP_SQRT, h), train_attr(r, "epsilon", 1e-6));
    r->out[0] = expr_sub(ctx, r->x, expr_2(ctx, OP_DIV, train_mul(r, rate, r->g), root));
    r->out[1] = h;
}

static void momentum(Train *r) {
    Ctx *ctx = r->d->ctx;
    const Expr *alpha = train_attr(r, "alpha", 0), *beta = train_attr(r, "beta", 0);
    beta = expr_select(ctx, train_first(r), expr_flt(ctx, r->t, 1), beta);
    const Expr *v = expr_add(ctx, train_mul(r, alpha, r->s[0]), train_mul(r, beta, r->g));
    bool nesterov = !strcmp(node_str(ctx, r->d->node, "mode", "standard"), "nesterov");
    const Expr *go = nesterov ? expr_add(ctx, r->g, train_mul(r, alpha, v)) : v;
    r->out[0] = expr_sub(ctx, r->x, train_mul(r, r->rate, go));
    r->out[1] = v;
}

static void adam(Train *r) {
    Ctx *ctx = r->d->ctx;
    const Expr *a = train_attr(r, "alpha", 0.9), *b = train_attr(r, "beta", 0.999);
    const Expr *one = expr_flt(ctx, r->t, 1), *steps = expr_cast(ctx, type_dtype(r->t), r->count);
    const Expr *v =
        expr_add(ctx, train_mul(r, a, r->s[0]), train_mul(r, expr_sub(ctx, one, a), r->g));
    const Expr *h = expr_add(ctx, train_mul(r, b, r->s[1]),
                             train_mul(r, expr_sub(ctx, one, b), train_mul(r, r->g, r->g)));
    const Expr *bias_b = expr_sub(ctx, one, expr_2(ctx, OP_POW, b, steps));
    const Expr *bias_a = expr_sub(ctx, one, expr_2(ctx, OP_POW, a, steps));
    const Expr *scale = expr_2(ctx, OP_DIV, expr_1(ctx, OP_SQRT, bias_b), bias_a);
    const Expr *rate = train_mul(r, r->rate, expr_select(ctx, train_first(r), one, scale));
    const Expr *root = expr_add(ctx, expr_1(ctx, OP_SQRT, h), train_attr(r, "epsilon", 1e-6));
    const Expr *x = expr_sub(ctx, r->x, expr_2(ctx, OP_DIV, train_mul(r, rate, v), root));
    const Expr *post = expr_sub(ctx, one, train_attr(r, "norm_coefficient_post", 0));
    r->out[0] = train_mul(r, post, x);
    r->out[1] = v;
    r->out[2] = h;
}

/* Inputs: rate, count, then all values, all gradients, all states (`states` lists of them). */
static bool train(Definer *d, int states, void (*step)(Train *)) {
    Ctx *ctx = d->ctx;
    int n = (d->node->nin - 2) / (states + 2);
    const Expr *index[RANK_MAX];
    if (d->node->nin != 2 + n * (states + 2) || d->node->nout != n * (states + 1))
        return define_error(d, EXIT_MALFORMED, "values, gradients and states do not match");
    for (int i = 0; i < n; i++) {
        Buf *part[4] = {NULL};
        for (int k = 0; k < states + 2; k++) {
            part[k] = define_in(d, 2 + i + k * n);
            if (!part[k] || part[k]->type != part[0]->type || part[k]->rank != part[0]->rank ||
                !type_is_float(type_dtype(part[k]->type)))
                return define_error(d, EXIT_MALFORMED, "input %d does not fit", 2 + i + k * n);
            for (int a = 0; a < part[k]->rank; a++)
                if (!define_same(d, part[k]->dim[a], part[0]->dim[a], "values and gradients"))
                    return false;
        }
        for (int k = 0; k <= states; k++) {
            Train r = {.d = d, .t = part[0]->type};
            Def *def = define_out(d, i + k * n, type_dtype(r.t), part[0]->rank, part[0]->dim);
            index_vars(d, def, index);
            r.rate = index_known(d, define_in(d, 0), 0);
            r.count = define_known(d, define_in(d, 1), 0);
            if (!r.rate || !r.count)
                return false;
            r.rate = expr_cast(ctx, type_dtype(r.t), r.rate);
            r.x = buf_load(ctx, part[0], index);
            r.g = expr_add(ctx, train_mul(&r, train_attr(&r, "norm_coefficient", 0), r.x),
                           buf_load(ctx, part[1], index));
            for (int s = 0; s < states; s++)
                r.s[s] = buf_load(ctx, part[2 + s], index);
            step(&r);
            def->value = r.out[k];
            define_emit(d, def);
        }
    }
    return true;
}

bool def_adagrad(Definer *d) {
    return train(d, 1, adagrad);
}

bool def_momentum(Definer *d) {
    return train(d, 1, momentum);
}

bool def_adam(Definer *d) {
    return train(d, 2, adam);
}
