/* The entry function: kernels, host calls and control flow of the plan as Stmts.
 *
 *   before  plan { k00 ; bind n := s[0] ; if c { k01 } }
 *   after   call k00(x, y) ; assign n = s[0] ; if c { call k01(y, z) } */
#include "lower/lower.h"

static Stmt *plan_block(Lower *lo, const Plan *plan);

Stmt *kernel_call(Lower *lo, Kernel *k) {
    Ctx *ctx = lo->ctx;
    Stmt *s = stmt_new(ctx, STMT_CALL);
    int n = k->ins.len + k->outs.len + k->temps.len, at = 0;
    s->func = k->func;
    s->arg = ctx_newn(ctx, Buf *, n);
    for (int i = 0; i < k->ins.len; i++)
        s->arg[at++] = k->ins.at[i];
    for (int i = 0; i < k->outs.len; i++)
        s->arg[at++] = k->outs.at[i];
    for (int i = 0; i < k->temps.len; i++)
        s->arg[at++] = k->temps.at[i];
    s->symarg = ctx_newn(ctx, const Expr *, k->syms.len);
    for (int i = 0; i < k->syms.len; i++)
        s->symarg[i] = expr_sym(ctx, k->syms.at[i]);
    if (k->nodes.len && k->nodes.at[0])
        s->loc = kernel_root(k)->loc;
    k->func->uses++;
    return s;
}

static Stmt *assign(Ctx *ctx, Sym *sym, const Expr *e) {
    Stmt *s = stmt_new(ctx, STMT_ASSIGN);
    s->var = sym;
    s->a = e;
    return s;
}

/* sym = 0; while e { body; sym = sym + 1 } */
static Stmt *loop(Lower *lo, const PlanItem *pi) {
    Ctx *ctx = lo->ctx;
    Sym *n = pi->item->sym;
    Stmt *w = stmt_new(ctx, STMT_WHILE);
    w->a = pi->item->e;
    Stmt *next = assign(ctx, n, expr_add(ctx, expr_sym(ctx, n), expr_i(ctx, 1)));
    w->body = stmt_join(plan_block(lo, pi->body[0]), next);
    w->var = n;
    return stmt_join(assign(ctx, n, expr_i(ctx, 0)), w);
}

static Stmt *plan_item(Lower *lo, const PlanItem *pi) {
    Ctx *ctx = lo->ctx;
    if (pi->kernel)
        return kernel_call(lo, pi->kernel);
    Stmt *s = NULL;
    switch (pi->item->kind) {
    case ITEM_BIND:
        return assign(ctx, pi->item->sym, pi->item->e);
    case ITEM_CHECK:
        s = stmt_new(ctx, STMT_CHECK);
        s->a = pi->item->e;
        s->b = expr_i(ctx, pi->item->code);
        return s;
    case ITEM_CALL:
        s = stmt_new(ctx, STMT_HOST);
        s->call = pi->item->call;
        s->loc = pi->item->call->loc;
        return s;
    case ITEM_IF:
        return stmt_if(ctx, pi->item->e, plan_block(lo, pi->body[0]),
                       pi->body[1] ? plan_block(lo, pi->body[1]) : NULL);
    case ITEM_LOOP:
        return loop(lo, pi);
    default:
        internal_error(ctx, "plan item of kind %d", pi->item->kind);
    }
}

static Stmt *plan_block(Lower *lo, const Plan *plan) {
    Stmt *first = NULL, **end = &first;
    for (int i = 0; i < plan->items.len; i++) {
        *end = plan_item(lo, &plan->items.at[i]);
        while (*end)
            end = &(*end)->next;
    }
    return first;
}

bool host_plan(Lower *lo) {
    Ctx *ctx = lo->ctx;
    Func *f = ctx_new(ctx, Func);
    f->name = lo->prog->name;
    for (int i = 0; i < lo->prog->inputs.len; i++)
        vec_push(ctx, &f->params, lo->prog->inputs.at[i].buf);
    for (int i = 0; i < lo->prog->outputs.len; i++)
        vec_push(ctx, &f->params, lo->prog->outputs.at[i].buf);
    for (int i = 0; i < lo->prog->dims.len; i++)
        vec_push(ctx, &f->syms, lo->prog->dims.at[i]);
    f->body = plan_block(lo, lo->plan);
    lo->module->entry = f;
    lo->module->plan = NULL;
    return loop_flatten(ctx, f);
}

static void note_called(void *data, Stmt *s) {
    if (s->op == STMT_CALL)
        map_put(data, s->func, s->func);
}

void kernels_drop_uncalled(Lower *lo) {
    Map *kept = map_new(lo->ctx);
    Module *m = lo->module;
    int n = 0;
    stmt_walk(m->entry->body, note_called, kept);
    for (int i = 0; i < m->kernels.len; i++)
        if (map_get(kept, m->kernels.at[i]->func))
            m->kernels.at[n++] = m->kernels.at[i];
    m->kernels.len = n;
}
