/* Turns the scheduled loops of each kernel into flat ones the target can spell. */
#include "lower/lower.h"

bool kernel_loops(Lower *lo) {
    for (int i = 0; i < lo->module->kernels.len; i++) {
        Kernel *k = lo->module->kernels.at[i];
        if (!func_verify(lo->ctx, k->func, "sched_apply", false) || !loop_lower(lo, k->func))
            return false;
    }
    return true;
}

/* The loop threads share that writes b: beside it, b's border may be written. */
static Stmt *find_shared(Func *f, const Buf *b) {
    Stmt *s = f->body;
    while (s && !(s->op == STMT_FOR && s->run == RUN_PARALLEL && s->def && s->def->buf == b))
        s = s->next;
    return s;
}

/* The outermost loop that is more than one iteration. */
static void share_outer(Stmt *s) {
    s->run = RUN_PARALLEL;
    if (expr_is(s->a, 1) && s->body->op == STMT_FOR)
        share_outer(s->body);
}

/* What surrounds the kernel's results and the rows it keeps is written on every run, since the arena is used
 * again: first, or by the threads that write the rest. */
static bool add_borders(Lower *lo, Func *f) {
    const Kernel *k = f->kernel;
    for (int i = 0; i < k->outs.len + k->temps.len; i++) {
        Buf *b = i < k->outs.len ? k->outs.at[i] : k->temps.at[i - k->outs.len];
        if (!b->halo || b->space != SPACE_ARENA)
            continue;
        Stmt *border = loop_border(lo->ctx, b), *beside = find_shared(f, b);
        for (Stmt *s = border; s && beside; s = s->next)
            share_outer(s);
        if (beside)
            beside->next = stmt_join(border, beside->next);
        else
            f->body = stmt_join(border, f->body);
    }
    return true;
}

bool loop_lower(Lower *lo, Func *f) {
    return loop_unshare(lo->ctx, f) && loop_flatten(lo->ctx, f) && add_borders(lo, f) &&
           loop_vector(lo, f) && loop_unroll(lo->ctx, f) && loop_order(lo->ctx, f) &&
           loop_round(lo, f) && loop_prefetch(lo, f) && loop_let(lo->ctx, f) &&
           func_verify(lo->ctx, f, "loop_lower", true);
}
