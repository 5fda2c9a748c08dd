/* Kernels that are equal but for the buffers and symbols they are given share one function.
 * Precondition: sched_choose (so that equal also means equally scheduled).
 *
 *   before  k03(x, w3, y) ; k07(y, w7, z), same loops        after  k03(x, w3, y) ; k03(y, w7, z) */
#include "lower/lower.h"

#include <string.h>

/* A canonical text: every buffer, symbol and expression is a number, in order of first appearance. */
typedef struct Canon {
    Ctx *ctx;
    Text text;
    Map *number;
    int next;
} Canon;

/* Writes the object's number; true when it is new. */
static bool canon_object(Canon *c, char kind, const void *p) {
    int *n = map_get(c->number, p);
    bool fresh = !n;
    if (fresh) {
        n = ctx_new(c->ctx, int);
        *n = c->next++;
        map_put(c->number, p, n);
    }
    text_f(&c->text, " %c%d", kind, *n);
    return fresh;
}

static void canon_expr(Canon *c, const Expr *e);

static void canon_buf(Canon *c, const Buf *b) {
    if (!canon_object(c, 'b', b))
        return;
    text_f(&c->text, "{%d %d %d", b->type, b->rank, b->space);
    for (int i = 0; i < b->rank; i++)
        canon_expr(c, b->dim[i]);
    if (b->where)
        canon_expr(c, b->where);
    for (int i = 0; b->halo && i < 2 * b->rank; i++)
        text_f(&c->text, " h%lld", (long long)b->halo[i]);
    if (b->halo)
        canon_expr(c, b->fill);
    text_c(&c->text, '}');
}

static void canon_sym(Canon *c, const Sym *s) {
    if (canon_object(c, 's', s))
        text_f(&c->text, "{%d %d}", s->kind, s->type);
}

static void canon_expr(Canon *c, const Expr *e) {
    if (!e) {
        text_s(&c->text, " -");
        return;
    }
    if (e->op == OP_INT) {
        text_f(&c->text, " %lld:%d", (long long)e->u.i, e->type);
        return;
    }
    if (!canon_object(c, 'e', e))
        return;
    text_f(&c->text, "{%d:%d", e->op, e->type);
    if (e->op == OP_FLT)
        text_f(&c->text, " %a", e->u.f);
    if (e->op == OP_SYM)
        canon_sym(c, e->u.sym);
    if (e->op == OP_LOAD || e->op == OP_MLOAD)
        canon_buf(c, e->u.buf);
    for (int i = 0; i < e->nkid; i++)
        canon_expr(c, e->kid[i]);
    text_c(&c->text, '}');
}

static void canon_stmt(Canon *c, const Stmt *s) {
    for (; s; s = s->next) {
        text_f(&c->text, " (%d %d %d %d", s->op, s->run, s->tail, s->nindex);
        if (s->var)
            canon_sym(c, s->var);
        if (s->buf)
            canon_buf(c, s->buf);
        canon_expr(c, s->a);
        canon_expr(c, s->b);
        for (int i = 0; i < s->nindex; i++)
            canon_expr(c, s->index[i]);
        canon_stmt(c, s->body);
        text_c(&c->text, '|');
        canon_stmt(c, s->orelse);
        text_c(&c->text, ')');
    }
}

static Str kernel_canonical(Ctx *ctx, const Func *f) {
    Canon c = {ctx, text_new(ctx), map_new(ctx), 0};
    for (int i = 0; i < f->params.len; i++)
        canon_buf(&c, f->params.at[i]);
    for (int i = 0; i < f->syms.len; i++)
        canon_sym(&c, f->syms.at[i]);
    canon_stmt(&c, f->body);
    return str(ctx, c.text.at);
}

Str func_key(Ctx *ctx, const Func *f) {
    Str text = kernel_canonical(ctx, f);
    char hex[65];
    sha256_hex(text, strlen(text), hex);
    return str_n(ctx, hex, 16);
}

/* Kernels that borrow the function of another one go on doing so. */
static void follow(const Plan *plan, const Map *shared) {
    for (int i = 0; plan && i < plan->items.len; i++) {
        const PlanItem *pi = &plan->items.at[i];
        Func *f = pi->kernel ? map_get(shared, pi->kernel->func) : NULL;
        if (f)
            pi->kernel->func = f;
        follow(pi->body[0], shared);
        follow(pi->body[1], shared);
    }
}

bool kernel_dedup(Lower *lo) {
    Map *by_text = map_new(lo->ctx), *shared = map_new(lo->ctx);
    int kept = 0;
    for (int i = 0; i < lo->module->kernels.len; i++) {
        Kernel *k = lo->module->kernels.at[i];
        Str text = kernel_canonical(lo->ctx, k->func);
        Kernel *first = map_get(by_text, text);
        if (first) {
            map_put(shared, k->func, first->func);
            k->func = first->func;
        } else {
            map_put(by_text, text, k);
            lo->module->kernels.at[kept++] = k;
        }
    }
    lo->module->kernels.len = kept;
    follow(lo->plan, shared);
    return true;
}
