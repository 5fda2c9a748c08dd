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

/* What surrounds the kernel's results is written first, on every run: the arena is used again. */
static bool add_borders(Lower *lo, Func *f) {
    for (int i = 0; i < f->kernel->outs.len; i++) {
        Buf *b = f->kernel->outs.at[i];
        if (b->halo && b->space == SPACE_ARENA)
            f->body = stmt_join(loop_border(lo->ctx, b), f->body);
    }
    return true;
}

bool loop_lower(Lower *lo, Func *f) {
    return loop_unshare(lo->ctx, f) && loop_flatten(lo->ctx, f) && add_borders(lo, f) &&
           loop_vector(lo, f) && loop_unroll(lo->ctx, f) && loop_prefetch(lo, f) &&
           loop_let(lo->ctx, f) && func_verify(lo->ctx, f, "loop_lower", true);
}
