/* lower/sched_in.h — shared by the files that apply schedule steps. */
#ifndef LCC_SCHED_IN_H
#define LCC_SCHED_IN_H

#include "lower/lower.h"

typedef VEC(Stmt *) LoopList;

/* Every loop of that name, outer ones first. */
LoopList loops_find(Ctx *ctx, const Func *f, const LoopRef *ref);
/* Sets *why; returns false. */
bool step_fails(Ctx *ctx, Str *why, const char *fmt, ...) LCC_PRINTF(3, 4);

/* One function a row of steps.def; false with *why when the step does not apply. */
typedef bool StepFn(Ctx *ctx, Func *f, const Step *step, Str *why);
StepFn sched_split, sched_fuse, sched_reorder, sched_unroll, sched_vectorize, sched_parallel,
    sched_compute_at, sched_stage, sched_pack, sched_tensorize;

#endif
