/* What passes share that make one kernel of two behind sched_choose (sched_rows.c, sched_copies.c). */
#include "lower/lower.h"

bool bufs_hold(Buf *const *at, int n, const Buf *b) {
    for (int i = 0; i < n; i++)
        if (at[i] == b)
            return true;
    return false;
}

bool kernel_step_add(Ctx *ctx, Kernel *k, const Step *s) {
    Str why;
    if (!step_apply(ctx, k->func, s, &why))
        return false;
    vec_push(ctx, &k->sched->steps, *s);
    return true;
}

bool kernel_steps_add(Ctx *ctx, Kernel *k, const Kernel *from) {
    for (int i = 0; i < from->sched->steps.len; i++) {
        Step s = from->sched->steps.at[i];
        s.loop = ctx_copy(ctx, s.loop, (size_t)s.nloop * sizeof *s.loop);
        for (int l = 0; l < s.nloop; l++)
            s.loop[l].def = s.loop[l].def ? s.loop[l].def : kernel_root(from)->name;
        if (s.op != STEP_PARALLEL && !kernel_step_add(ctx, k, &s))
            return false;
    }
    return true;
}

void module_drop_kernel(Module *m, const Kernel *k) {
    int n = 0;
    for (int i = 0; i < m->kernels.len; i++)
        if (m->kernels.at[i] != k)
            m->kernels.at[n++] = m->kernels.at[i];
    m->kernels.len = n;
}
