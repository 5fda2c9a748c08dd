/* What a text computes, for small inputs that depend on their position only: golden tests compare it before and
 * after every pass, and loops with their equations. */
#ifndef LCC_TESTS_CHECK_EVAL_H
#define LCC_TESTS_CHECK_EVAL_H
#include "ir/loop.h"

#include <math.h>
#include <stdio.h>

#ifndef STEPS_MAX
#define STEPS_MAX 1e7 /* scalar operations of one evaluation */
#endif

/* The outputs, in order; `known` is false when a check failed, an index was outside, or it took too long. */
typedef struct Results {
    bool known;
    VEC(Tensor *) at;
} Results;

/* Symbols: the nearest to 5 that the facts allow. */
static inline void eval_choose(Eval *ev, const Sym *s) {
    int64_t v = s->min > 5 ? s->min : s->max < 5 ? s->max : 5, m = s->mult > 1 ? s->mult : 1;
    v = (v + m - 1) / m * m;
    eval_set(ev, s, v > s->max ? v - m : v);
}

/* Numbers like 0.75, whose sums and products are exact; indices are small. */
static inline bool eval_input(Ctx *ctx, Eval *ev, const Buf *b, int number) {
    char kind = type_kind(type_dtype(b->type));
    Tensor *t = ctx_new(ctx, Tensor);
    t->type = type_dtype(b->type);
    t->rank = b->rank;
    t->count = 1;
    if (kind == 'S' || kind == 'C')
        return false;
    for (int i = 0; i < b->rank; i++)
        if (!eval_int(ev, b->dim[i], &t->dim[i]) || !mul_ok(t->count, t->dim[i], &t->count))
            return false;
    if (t->count < 0 || t->count > 1 << 16)
        return false;
    t->data = ctx_allocn(ctx, (size_t)t->count, (size_t)type_bytes(t->type));
    uint64_t state = 77 + (uint64_t)number;
    for (int64_t i = 0; i < t->count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        int64_t v = (int64_t)(state >> 60);
        double f = type_is_float(t->type) ? (double)(v - 7) / 4
                   : t->type == T_BOOL    ? (double)(v & 1)
                                          : (double)(v & 3);
        const_put(t->type, t->data, i, expr_const(ctx, t->type, f));
    }
    eval_bind(ev, b, t);
    return true;
}

static inline bool tensor_near(Ctx *ctx, const Tensor *a, const Tensor *b) {
    if (!a || !b || a->type != b->type || a->count != b->count)
        return false;
    const Const x = {a->type, a->count, false, a->data, NULL},
                y = {b->type, b->count, false, b->data, NULL};
    for (int64_t i = 0; i < a->count; i++) {
        const Expr *p = const_at(ctx, &x, i), *q = const_at(ctx, &y, i);
        bool near = p == q;
        if (!near && p->op == OP_FLT)
            near = (isnan(p->u.f) && isnan(q->u.f)) ||
                   fabs(p->u.f - q->u.f) <= 1e-5 * fmax(1, fabs(p->u.f));
        if (!near)
            return false;
    }
    return true;
}

static inline bool results_agree(Ctx *ctx, const Results *a, const Results *b) {
    bool ok = true;
    if (!a->known || !b->known || a->at.len != b->at.len)
        return true;
    for (int i = 0; i < a->at.len; i++)
        ok &= tensor_near(ctx, a->at.at[i], b->at.at[i]);
    return ok;
}

static inline Results eval_ports(Ctx *ctx, const Program *p, const Module *entry) {
    Results r = {.known = true};
    Eval *ev = eval_new(ctx);
    eval_budget(ev, STEPS_MAX);
    for (int i = 0; i < p->dims.len; i++)
        eval_choose(ev, p->dims.at[i]);
    for (int i = 0; i < p->inputs.len; i++)
        r.known = r.known && eval_input(ctx, ev, p->inputs.at[i].buf, i);
    r.known = r.known && (entry ? eval_module(ev, entry) : eval_block(ev, p->main));
    for (int i = 0; r.known && i < p->outputs.len; i++)
        vec_push(ctx, &r.at, eval_tensor(ev, p->outputs.at[i].buf));
    return r;
}

/* The equations of a kernel, or its loops. */
static inline Results eval_kernel(Ctx *ctx, const Kernel *k, bool loops) {
    Results r = {.known = true};
    Eval *ev = eval_new(ctx);
    Block b = {{0}};
    eval_budget(ev, STEPS_MAX);
    for (int i = 0; i < k->syms.len; i++)
        eval_choose(ev, k->syms.at[i]);
    for (int i = 0, n = 0; i < k->ins.len; i++)
        if (!k->ins.at[i]->data)
            r.known = r.known && eval_input(ctx, ev, k->ins.at[i], n++);
    for (int i = 0; i < k->defs.len; i++)
        item_new(ctx, &b, ITEM_DEF)->def = k->defs.at[i];
    r.known = r.known && (loops ? eval_func(ev, k->func) : eval_block(ev, &b));
    for (int i = 0; r.known && i < k->outs.len; i++)
        vec_push(ctx, &r.at, eval_tensor(ev, k->outs.at[i]));
    return r;
}

#endif
