/* Gives every kernel its schedule: the first rule of the target that fits.
 *
 *   before  kernel { t ; y }        after  schedule compute_at t in y at n ; stage t at y.n in reg */
#include "lower/lower.h"

static Step *add_step(Ctx *ctx, Sched *s, StepOp op) {
    Step step = {.op = (uint8_t)op};
    vec_push(ctx, &s->steps, step);
    return &s->steps.at[s->steps.len - 1];
}

static LoopRef *loop_ref(Ctx *ctx, Str def, Str axis) {
    LoopRef *r = ctx_new(ctx, LoopRef);
    r->def = def;
    r->axis = axis;
    return r;
}

/* The fallback of every target: each inner Def right where its values are needed. */
static Sched *schedule_nested(Ctx *ctx, const Kernel *k) {
    Sched *s = ctx_new(ctx, Sched);
    const Def *root = kernel_root(k);
    for (int i = k->defs.len - 2; i >= 0; i--) {
        const Def *d = k->defs.at[i];
        int depth = kernel_attach(ctx, k, d);
        if (depth < 1)
            continue;
        Str axis = root->axis[depth - 1].var->name;
        Step *at = add_step(ctx, s, STEP_COMPUTE_AT);
        at->def = d->name;
        at->in = root->name;
        at->nloop = 1;
        at->loop = loop_ref(ctx, root->name, axis);
        if (depth < d->buf->rank)
            continue;
        Step *stage = add_step(ctx, s, STEP_STAGE);
        stage->def = d->name;
        stage->space = SPACE_REG;
        stage->nloop = 1;
        stage->loop = loop_ref(ctx, root->name, axis);
    }
    return s;
}

bool sched_choose(Lower *lo) {
    for (int i = 0; i < lo->module->kernels.len; i++) {
        Kernel *k = lo->module->kernels.at[i];
        if (!lo->o0 && !k->defs.at[0]->scan) {
            k->sched = schedule_nested(lo->ctx, k);
            k->rule = str(lo->ctx, "nested");
        }
    }
    return true;
}
