/* Applies the steps of a schedule, in order, by a table from steps.def's rows to functions. */
#include "lower/sched_in.h"

static StepFn *const APPLY[STEP_COUNT] = {
    [STEP_SPLIT] = sched_split,           [STEP_FUSE] = sched_fuse,
    [STEP_REORDER] = sched_reorder,       [STEP_UNROLL] = sched_unroll,
    [STEP_VECTORIZE] = sched_vectorize,   [STEP_PARALLEL] = sched_parallel,
    [STEP_COMPUTE_AT] = sched_compute_at, [STEP_SLIDE] = sched_slide,
    [STEP_CHUNK] = sched_chunk,           [STEP_STORE_AT] = sched_store_at,
    [STEP_STAGE] = sched_stage,           [STEP_PACK] = sched_pack,
    [STEP_STREAM] = sched_stream,         [STEP_INTERLEAVE] = sched_pack,
    [STEP_TENSORIZE] = sched_tensorize,   [STEP_PARTITION] = sched_partition,
};

/* A step that finds none of its loops would pass unnoticed. */
static bool loops_exist(Ctx *ctx, Func *f, const Step *step, Str *why) {
    for (int i = 0; i < step->nloop; i++) {
        const LoopRef *l = &step->loop[i];
        if (!loops_find(ctx, f, l).len)
            return step_fails(ctx, why, "there is no loop %s%s%s", l->def ? l->def : "",
                              l->def ? "." : "", l->axis);
    }
    return true;
}

bool step_apply(Ctx *ctx, Func *f, const Step *step, Str *why) {
    Str reason = NULL;
    bool ok = !APPLY[step->op]
                  ? step_fails(ctx, &reason, "no such step")
                  : loops_exist(ctx, f, step, &reason) && APPLY[step->op](ctx, f, step, &reason);
    if (ok)
        return true;
    if (why)
        *why = reason;
    else
        diag_error(ctx, EXIT_USAGE, &step->loc, "step %s of kernel %s: %s", step_text(step->op),
                   f->name, reason);
    return false;
}

bool sched_apply(Ctx *ctx, Func *f, const Sched *s, Str *why) {
    for (int i = 0; i < s->steps.len; i++)
        if (!step_apply(ctx, f, &s->steps.at[i], why))
            return false;
    return true;
}
