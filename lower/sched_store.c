/* store_at: values that others want stored are stored where a reader needs them, and the reader takes what they are
 * made of instead of loading them. Each element is stored once.
 *
 *   before  for j < 12 { for k < 64 { t[j,k] = x[j,k] } } for j < 12 { for red k < 64 { y[j] = y[j] + t[j,k] } }
 *   store_at t in y at j
 *   after   for j < 12 { for k < 64 { t[j,k] = x[j,k] } for red k < 64 { y[j] = y[j] + x[j,k] } }
 *
 * The iterations of the loop and of those around it must go through all of t, box by box. */
#include "lower/sched_in.h"

#define AROUND_MAX 16 /* loops around the place */

typedef struct Around {
    const Stmt *loop[AROUND_MAX]; /* outermost first; the place is the last one */
    int n;
} Around;

/* The loops from the list down to the place; false: it is not there, or under a condition. */
static bool find_around(Around *a, const Stmt *list, const Stmt *place) {
    for (const Stmt *s = list; s; s = s->next) {
        bool loop = s->op == STMT_FOR;
        if ((!loop && s->op != STMT_ALLOC) || (loop && a->n == AROUND_MAX))
            continue;
        if (loop)
            a->loop[a->n++] = s;
        if (s == place || find_around(a, s->body, place))
            return true;
        a->n -= loop;
    }
    return false;
}

/* Do the loops go through dimension `dim` box by box? Notes which ones do. */
static bool covers(Ctx *ctx, const Around *a, const Expr *dim, const Expr *lo, const Expr *hi,
                   bool *used) {
    Sym *var[AROUND_MAX];
    const Expr *coef[AROUND_MAX], *rest;
    const Expr *done = expr_add(ctx, expr_sub(ctx, hi, lo), expr_i(ctx, 1));
    int left = 0;
    for (int i = 0; i < a->n; i++) {
        var[i] = a->loop[i]->var;
        if (expr_uses_sym(done, var[i]))
            return false;
    }
    if (!expr_linear(ctx, lo, a->n, var, coef, &rest) || !expr_is(rest, 0))
        return false;
    for (int i = 0; i < a->n; i++) {
        bool goes = !expr_is(coef[i], 0) && !expr_is(a->loop[i]->a, 1);
        if (goes && used[i])
            return false;
        used[i] |= goes;
        left += goes;
        coef[i] = goes ? coef[i] : NULL;
    }
    for (; left; left--) {
        int next = 0;
        while (next < a->n && coef[next] != done)
            next++;
        if (next == a->n)
            return false;
        coef[next] = NULL;
        done = expr_mul(ctx, done, a->loop[next]->a);
    }
    return done == dim;
}

bool loop_covers(Ctx *ctx, const Func *f, const Buf *b, const Stmt *loop, const Expr **lo,
                 const Expr **hi) {
    Around a = {.n = 0};
    bool used[AROUND_MAX] = {false};
    if (!find_around(&a, f->body, loop) || loop_region(ctx, b, loop->body, lo, hi) <= 0)
        return false;
    for (int i = 0; i < b->rank; i++) {
        bool fixed = expr_is_int(lo[i], NULL) && expr_is_int(hi[i], NULL);
        const Expr *last = expr_sub(ctx, b->dim[i], expr_i(ctx, 1));
        lo[i] = fixed ? expr_max(ctx, lo[i], expr_i(ctx, 0)) : lo[i]; /* as compute_at cuts it */
        hi[i] = fixed ? expr_min(ctx, hi[i], last) : hi[i];
        if (!covers(ctx, &a, b->dim[i], lo[i], hi[i], used))
            return false;
    }
    for (int i = 0; i < a.n; i++)
        if (a.loop[i]->run == RUN_VECTOR || (!used[i] && !expr_is(a.loop[i]->a, 1)))
            return false;
    return true;
}

static const Expr *take_value(Ctx *ctx, const Expr *e, void *data) {
    const Def *d = data;
    return e->op == OP_LOAD && e->u.buf == d->buf ? def_inline(ctx, d, e->kid) : e;
}

typedef struct Reads {
    const Buf *buf;
    bool found;
} Reads;

static void find_load(void *data, const Expr *e) {
    Reads *r = data;
    r->found |= (e->op == OP_LOAD || e->op == OP_MLOAD) && e->u.buf == r->buf;
}

static bool is_read(Ctx *ctx, const Buf *b, const Stmt *s) {
    Reads r = {b, false};
    for (; s && !r.found; s = s->next) {
        if (s->a)
            expr_walk(ctx, s->a, find_load, &r);
        r.found |= is_read(ctx, b, s->body) || is_read(ctx, b, s->orelse);
    }
    return r.found;
}

/* Nothing changes in the loops: who spells them reads the step. */
bool sched_stream(Ctx *ctx, Func *f, const Step *step, Str *why) {
    const Def *d = kernel_def(f->kernel, step->def);
    bool out = false;
    for (int i = 0; d && i < f->kernel->outs.len; i++)
        out |= f->kernel->outs.at[i] == d->buf;
    if (!out || is_read(ctx, d->buf, f->body))
        return step_fails(ctx, why, "%s is read here, or is no output of the kernel", step->def);
    return true;
}

bool sched_store_at(Ctx *ctx, Func *f, const Step *step, Str *why) {
    Def *d = kernel_def(f->kernel, step->def);
    LoopList loops = loops_find(ctx, f, &step->loop[0]);
    const Expr *lo[RANK_MAX], *hi[RANK_MAX];
    bool temp = !d;
    for (int i = 0; d && i < f->kernel->temps.len; i++)
        temp |= f->kernel->temps.at[i] == d->buf;
    if (temp || d->at || d->scan || d->when || d->init || d->combine != COMBINE_SET ||
        d->naxis != d->buf->rank || d->buf->ndef != 1 || expr_uses_buf(d->value, d->buf))
        return step_fails(ctx, why, "%s is no map that others read", step->def);
    if (loops.len != 1)
        return step_fails(ctx, why, "%s is not one loop over all", step->loop[0].axis);
    Stmt *loop = loops.at[0];
    if (!loop_covers(ctx, f, d->buf, loop, lo, hi))
        return step_fails(ctx, why, "%s does not go through %s box by box", loop->label, d->name);
    if (!sched_compute_at(ctx, f, step, why))
        return false;
    for (Stmt *s = loop->body; s; s = s->next) {
        Stmt *next = s->next;
        s->next = NULL;
        if (s->def != d)
            stmt_map(ctx, s, take_value, d);
        s->next = next;
    }
    return true;
}
