/* Gives every kernel its schedule: the first rule of the target whose class, guard and steps fit; else each
 * inner Def right where its values are needed (`nested`, which fits every kernel), in vectors where they lie
 * side by side (`nested_lanes`).
 *
 *   before  kernel { t ; y }        after  schedule compute_at t in y at n ; stage t at y.n in reg */
#include "lower/sched_rules.h"

#include <string.h>

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
        bool single = true;
        for (int a = depth; a < d->buf->rank; a++)
            single &= expr_is(d->buf->dim[a], 1);
        if (!single)
            continue;
        Step *stage = add_step(ctx, s, STEP_STAGE);
        stage->def = d->name;
        stage->space = SPACE_REG;
        stage->nloop = 1;
        stage->loop = loop_ref(ctx, root->name, axis);
    }
    return s;
}

/* Builds the loops and applies the schedule; on failure the kernel is as it was. */
static bool try_schedule(Ctx *ctx, Kernel *k, Sched *s, Str rule, Str *why) {
    Kernel before = *k;
    k->ins.at = ctx_copy(ctx, k->ins.at, (size_t)k->ins.len * sizeof *k->ins.at);
    k->temps.at = ctx_copy(ctx, k->temps.at, (size_t)k->temps.len * sizeof *k->temps.at);
    k->func = loop_build(ctx, k);
    k->sched = s;
    k->rule = rule;
    if (sched_apply(ctx, k->func, s, why))
        return true;
    *k = before;
    return false;
}

/* The schedule rule that --rule forces; NULL: none, or it names a rewrite of equations. */
static const char *forced_rule(const Ctx *ctx) {
    const char *rule = ctx->opt ? ctx->opt->rule : NULL;
    return rule && !winograd_named(rule) && !online_named(rule) ? rule : NULL;
}

static bool choose(Lower *lo, const RuleList *rules, Kernel *k) {
    Ctx *ctx = lo->ctx;
    Str why = NULL;
    const char *only = forced_rule(ctx);
    for (int i = 0; i < rules->len && !lo->o0; i++) {
        const Rule *r = &rules->at[i];
        Sched *s = ctx_new(ctx, Sched);
        if (only && strcmp(only, r->name) != 0)
            continue;
        if (rule_match(lo, k, r, s, &why) && try_schedule(ctx, k, s, r->name, &why))
            return true;
        if (ctx->diag.errors)
            return false;
    }
    bool plain = lo->o0 || (only && !strcmp(only, "nested"));
    Sched *lanes = plain ? NULL : schedule_lanes(lo, k);
    if (lanes && try_schedule(ctx, k, lanes, str(ctx, "nested_lanes"), &why))
        return true;
    if (!lo->o0 && !k->defs.at[0]->scan &&
        try_schedule(ctx, k, schedule_nested(ctx, k), str(ctx, "nested"), &why))
        return true;
    return try_schedule(ctx, k, ctx_new(ctx, Sched), str(ctx, "naive"), &why);
}

/* --rule names one of them, or what is built in. */
static bool rule_known(Ctx *ctx, const RuleList *rules) {
    const char *only = forced_rule(ctx);
    bool known =
        !only || !strcmp(only, "nested") || !strcmp(only, "naive") || !strcmp(only, "nested_lanes");
    Text names = text_new(ctx);
    for (int i = 0; i < rules->len; i++) {
        known |= only && !strcmp(only, rules->at[i].name);
        text_f(&names, "%s ", rules->at[i].name);
    }
    if (known)
        return true;
    diag_error(ctx, EXIT_USAGE, NULL, "--rule=%s: the target has no such rule", only);
    diag_note(ctx, "it has %snested_lanes nested naive winograd2 winograd4",
              names.at ? names.at : "");
    return false;
}

bool sched_choose(Lower *lo) {
    RuleList rules = rules_parse(lo->ctx, lo->target->rules ? lo->target->rules : "");
    if (!rule_known(lo->ctx, &rules))
        return false;
    for (int i = 0; i < lo->module->kernels.len; i++)
        if (!choose(lo, &rules, lo->module->kernels.at[i]))
            return false;
    return true;
}
