/* Turns each kernel into a function: naive loops, its schedule, then flat loops the target can spell. */
#include "lower/lower.h"

/* Temporaries that the schedule moved inside the function are no parameters any more. */
static void drop_local_params(Func *f) {
    int kept = 0;
    for (int i = 0; i < f->params.len; i++)
        if (f->params.at[i]->space != SPACE_LOCAL && f->params.at[i]->space != SPACE_REG)
            f->params.at[kept++] = f->params.at[i];
    f->params.len = kept;
    Kernel *k = f->kernel;
    kept = 0;
    for (int i = 0; i < k->temps.len; i++)
        if (k->temps.at[i]->space != SPACE_LOCAL && k->temps.at[i]->space != SPACE_REG)
            k->temps.at[kept++] = k->temps.at[i];
    k->temps.len = kept;
}

bool kernel_loops(Lower *lo) {
    for (int i = 0; i < lo->module->kernels.len; i++) {
        Kernel *k = lo->module->kernels.at[i];
        k->func = loop_build(lo->ctx, k);
        if (k->sched && !sched_apply(lo->ctx, k->func, k->sched, NULL))
            return false;
        drop_local_params(k->func);
        if (!func_verify(lo->ctx, k->func, "sched_apply", false) || !loop_lower(lo, k->func))
            return false;
    }
    return true;
}

bool loop_lower(Lower *lo, Func *f) {
    return loop_flatten(lo->ctx, f) && func_verify(lo->ctx, f, "loop_lower", true);
}
