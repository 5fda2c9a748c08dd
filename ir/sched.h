/* ir/sched.h — schedules: data with one text form, applied step by step to loops (docs/schedules.md). */
#ifndef LCC_SCHED_H
#define LCC_SCHED_H

#include "ir/loop.h"

typedef enum StepOp {
#define STEP(id, text, operands, class, help) STEP_##id,
#include "ir/steps.def"
#undef STEP
    STEP_COUNT
} StepOp;

typedef struct LoopRef {
    Str def, axis; /* def NULL: the kernel's output Def */
} LoopRef;

typedef struct Step {
    uint8_t op, tail, space;
    Str def, in; /* Defs or buffers named by the step */
    int nloop, nnum, nword;
    LoopRef *loop;
    int64_t *num;
    Str *word; /* W operands: names of new loops, an axis order, an instruction */
    Dtype as;
    Loc loc;
} Step;

typedef struct Sched {
    VEC(Step) steps;
} Sched;

const char *step_text(StepOp op);
void sched_print(Text *t, const Sched *s); /* steps separated by " ; " */
bool sched_parse(Lex *lex, Sched *s);
/* Applies one step to f's loops, or reports why it can't (the loops are then unchanged). With `why` non-NULL
 * the reason goes there and no diagnostic is recorded. */
bool step_apply(Ctx *ctx, Func *f, const Step *step, Str *why);
bool sched_apply(Ctx *ctx, Func *f, const Sched *s, Str *why);

#endif
