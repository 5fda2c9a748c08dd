/* Writes out unrolled loops, loops of one iteration, and what is guarded by `true`.
 * Precondition: the extents are constant (sched_unroll saw to it).
 *
 *   before  for m < 2 unroll { y[m] = 0 }        after  y[0] = 0 ; y[1] = 0 */
#include "lower/lower.h"

static Stmt *unroll_list(Ctx *ctx, Stmt *s);

static Stmt *unroll_for(Ctx *ctx, Stmt *s, int64_t n) {
    Stmt *all = NULL;
    for (int64_t i = 0; i < n; i++) {
        const Expr *at = expr_i(ctx, i);
        Stmt *body = i + 1 < n ? stmt_copy(ctx, s->body) : s->body;
        stmt_subst(ctx, body, 1, &s->var, &at);
        all = stmt_join(all, body);
    }
    return unroll_list(ctx, all);
}

static Stmt *unroll_list(Ctx *ctx, Stmt *s) {
    Stmt *first = NULL, **end = &first;
    for (Stmt *next; s; s = next) {
        int64_t n;
        next = s->next;
        s->next = NULL;
        if (s->op == STMT_IF && expr_is(s->a, 1)) {
            *end = unroll_list(ctx, s->body);
        } else if (s->op == STMT_FOR && expr_is_int(s->a, &n) && (s->run == RUN_UNROLL || n == 1)) {
            *end = unroll_for(ctx, s, n);
        } else {
            s->body = unroll_list(ctx, s->body);
            s->orelse = unroll_list(ctx, s->orelse);
            *end = s;
        }
        while (*end)
            end = &(*end)->next;
    }
    return first;
}

bool loop_unroll(Ctx *ctx, Func *f) {
    f->body = unroll_list(ctx, f->body);
    return true;
}
