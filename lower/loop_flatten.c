/* Every index becomes one offset in elements: the Buf's `where`, or row-major. Runs once a Func.
 *
 *   before  y[i, j] = x[j, i]                     after  y[i*8 + j] = x[j*4 + i]
 *   before  let v = w ; y[v // 8, v % 8] = 1      after  y[w] = 1 */
#include "lower/lower.h"

const Expr *buf_offset(Ctx *ctx, const Buf *b, const Expr *const *index) {
    if (b->where)
        return expr_subst(ctx, b->where, b->rank, b->dimvar, index);
    const Expr *at = expr_i(ctx, 0), *stride = expr_i(ctx, 1);
    for (int i = b->rank; i-- > 0;) {
        at = expr_add(ctx, at, expr_mul(ctx, index[i], stride));
        stride = expr_mul(ctx, stride, b->dim[i]);
    }
    return at;
}

static const Expr *flatten_load(Ctx *ctx, const Expr *e, void *data) {
    (void)data;
    if (e->op != OP_LOAD)
        return e;
    const Expr *at = buf_offset(ctx, e->u.buf, e->kid);
    return expr_load(ctx, e->u.buf, 1, &at);
}

static void flatten_store(void *data, Stmt *s) {
    Ctx *ctx = data;
    if (s->op != STMT_STORE)
        return;
    const Expr **at = ctx_new(ctx, const Expr *);
    *at = buf_offset(ctx, s->buf, s->index);
    s->index = at;
    s->nindex = 1;
}

/* What `fuse` named. */
static Stmt *without_names(Ctx *ctx, Stmt *s) {
    for (; s && s->op == STMT_LET; s = s->next)
        stmt_subst(ctx, s->next, 1, &s->var, &s->a);
    for (Stmt *at = s; at; at = at->next) {
        at->body = without_names(ctx, at->body);
        at->orelse = without_names(ctx, at->orelse);
    }
    return s;
}

bool loop_flatten(Ctx *ctx, Func *f) {
    stmt_map(ctx, f->body, flatten_load, NULL);
    stmt_walk(f->body, flatten_store, ctx);
    f->body = without_names(ctx, f->body);
    f->flat = true;
    return true;
}
