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

bool loop_lower(Lower *lo, Func *f) {
    return loop_flatten(lo->ctx, f) && loop_vector(lo, f) && loop_unroll(lo->ctx, f) &&
           loop_let(lo->ctx, f) && func_verify(lo->ctx, f, "loop_lower", true);
}
