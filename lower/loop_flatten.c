/* Every index becomes one offset in elements: the Buf's `where`, or row-major. Runs once a Func.
 *
 *   before  y[i, j] = x[j, i]        after  y[i*8 + j] = x[j*4 + i] */
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

bool loop_flatten(Ctx *ctx, Func *f) {
    stmt_map(ctx, f->body, flatten_load, NULL);
    stmt_walk(f->body, flatten_store, ctx);
    f->flat = true;
    return true;
}
