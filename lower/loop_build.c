/* The naive loops of a kernel: one nest a Def, in order; a reduction has two, init and update, so that
 * every step can reorder the update alone. This is the kernel's executable meaning (-O0).
 *
 *   before  t f32[M] { m<M } = add(k<K) x[m,k]
 *   after   for m < M { t[m] = 0 } for m < M { for k < K { t[m] = t[m] + x[m,k] } } */
#include "lower/lower.h"

/* Innermost first, so that the outermost axis ends outside. Skips the axis `outer` of a scan group. */
static Stmt *nest(Ctx *ctx, Def *d, const Sym *outer, bool red, Stmt *body) {
    for (int i = d->naxis; i-- > 0;) {
        Axis *a = &d->axis[i];
        if (a->var == outer || (!red && a->kind == AXIS_RED))
            continue;
        body = stmt_for(ctx, a->var, a->var->extent, a->var->name, d, body);
        body->kind = a->kind;
    }
    return body;
}

static const Expr **store_index(Ctx *ctx, const Def *d) {
    const Expr **index = ctx_newn(ctx, const Expr *, d->buf->rank);
    for (int i = 0; i < d->buf->rank; i++)
        index[i] = d->at ? d->at[i] : def_var(ctx, d, i);
    return index;
}

static Stmt *store(Ctx *ctx, Def *d, const Expr *value) {
    Stmt *s = stmt_store(ctx, d->buf, d->buf->rank, store_index(ctx, d), value);
    s->def = d;
    s->loc = d->loc;
    return s;
}

static Stmt *def_loops(Ctx *ctx, Def *d, const Sym *outer) {
    bool reduction = !d->at && def_is_reduction(d);
    const Expr *value = d->value;
    if (d->combine != COMBINE_SET)
        value = expr_2(ctx, d->combine, buf_load(ctx, d->buf, store_index(ctx, d)), value);
    Stmt *body = store(ctx, d, value);
    if (d->when)
        body = stmt_if(ctx, d->when, body, NULL);
    Stmt *update = nest(ctx, d, outer, true, body);
    if (!reduction)
        return update;
    const Expr *start =
        d->init ? d->init : combine_identity(ctx, d->combine, type_dtype(d->buf->type));
    Stmt *init = stmt_copy(ctx, nest(ctx, d, outer, false, store(ctx, d, start)));
    return stmt_join(init, update);
}

Func *loop_build(Ctx *ctx, Kernel *k) {
    Func *f = ctx_new(ctx, Func);
    f->name = k->name;
    f->kernel = k;
    for (int i = 0; i < k->ins.len; i++)
        vec_push(ctx, &f->params, k->ins.at[i]);
    for (int i = 0; i < k->outs.len; i++)
        vec_push(ctx, &f->params, k->outs.at[i]);
    for (int i = 0; i < k->temps.len; i++)
        vec_push(ctx, &f->params, k->temps.at[i]);
    for (int i = 0; i < k->syms.len; i++)
        vec_push(ctx, &f->syms, k->syms.at[i]);
    Group *scan = k->defs.at[0]->scan;
    for (int i = 0; i < k->defs.len; i++)
        f->body = stmt_join(f->body, def_loops(ctx, k->defs.at[i], scan ? scan->var : NULL));
    if (scan) {
        f->body = stmt_for(ctx, scan->var, scan->var->extent, scan->var->name, NULL, f->body);
        f->body->kind = AXIS_SEQ;
    }
    return f;
}
