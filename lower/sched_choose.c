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

/* Matches one rule and runs its steps. False: t->why says what does not fit, or an error was reported. */
static bool try_rule(Lower *lo, Kernel *k, const Rule *r, const Tile *tile, RuleTry *t) {
    Sched *s = ctx_new(lo->ctx, Sched);
    Str why = NULL;
    if (!rule_match(lo, k, r, tile, s, t))
        return false;
    if (try_schedule(lo->ctx, k, s, r->name, &why))
        return true;
    t->why = why ? why : str(lo->ctx, "a step is refused");
    return false;
}

/* What is built in, for what no rule fits. */
static bool choose_builtin(Lower *lo, Kernel *k) {
    Ctx *ctx = lo->ctx;
    Str why = NULL;
    bool naive = lo->o0 || lo->rule == RULE_NAIVE;
    bool plain = naive || lo->rule == RULE_NESTED;
    Sched *lanes = plain ? NULL : schedule_lanes(lo, k, true);
    if (lanes && try_schedule(ctx, k, lanes, str(ctx, "nested_lanes"), &why))
        return true;
    lanes = plain ? NULL : schedule_lanes(lo, k, false);
    if (lanes && try_schedule(ctx, k, lanes, str(ctx, "nested_lanes"), &why))
        return true;
    if (!naive && !k->defs.at[0]->scan &&
        try_schedule(ctx, k, schedule_nested(ctx, k), str(ctx, "nested"), &why))
        return true;
    return try_schedule(ctx, k, ctx_new(ctx, Sched), str(ctx, "naive"), &why);
}

/* The rule and the tile of a tune file's line; false, with a note, when they do not fit the kernel. */
static bool choose_tuned(Lower *lo, const RuleList *rules, Kernel *k, const TuneLine *line) {
    Ctx *ctx = lo->ctx;
    RuleTry t = {.why = str(ctx, "the target has no such rule")};
    for (int i = 0; line && i < rules->len; i++) {
        const Rule *r = &rules->at[i];
        if (strcmp(r->name, line->rule) != 0)
            continue;
        bool same = !line->names[0] == !r->choose[0];
        for (int n = 0; same && r->choose[0] && n < 2; n++)
            same = !strcmp(r->choose[n], line->names[n]);
        t.why = str(ctx, "the rule chooses other numbers");
        if (same && try_rule(lo, k, r, line->names[0] ? &line->tile : NULL, &t))
            return true;
    }
    if (line && !ctx->opt->quiet)
        diag_note(ctx, "%s, line %d: rule %s is not used for kernel %s: %s", ctx->opt->tune_file,
                  line->line, line->rule, k->name, t.why);
    return false;
}

/* The first rule that fits; with a record, those behind it are tried, too, and undone. */
static bool choose_rule(Lower *lo, const RuleList *rules, Kernel *k, SchedChoice *record) {
    const char *only = rule_schedule(lo->ctx->opt);
    Kernel before = *k, done = *k;
    bool found = false;
    for (int i = 0; i < rules->len && !lo->o0; i++) {
        RuleTry t;
        if (only && strcmp(only, rules->at[i].name) != 0)
            continue;
        bool fits = try_rule(lo, k, &rules->at[i], NULL, &t);
        if (fits && !found) {
            done = *k;
            if (record) {
                record->chosen = record->tries.len;
                record->tile = t.ntile ? t.tile[0] : (Tile){0};
            }
        }
        found |= fits;
        if (lo->ctx->diag.errors || (found && !record))
            break;
        if (record)
            vec_push(lo->ctx, &record->tries, t);
        *k = before;
    }
    *k = found ? done : *k;
    return found;
}

/* Candidate opt->tune_try instead of the rule that was chosen. */
static bool choose_candidate(Lower *lo, const RuleList *rules, Kernel *k, SchedChoice *record) {
    const RuleTry *rule;
    const Tile *tile;
    RuleTry t;
    Kernel chosen = *k, *other = ctx_new(lo->ctx, Kernel);
    int n = lo->ctx->opt ? lo->ctx->opt->tune_try : 0;
    if (n <= 0 || !choice_candidate(record, n, &rule, &tile))
        return true;
    *other = chosen;
    for (int i = 0; i < rules->len; i++)
        if (!strcmp(rules->at[i].name, rule->rule) &&
            try_rule(lo, other, &rules->at[i], tile, &t)) {
            *k = *other;
            record->tile = tile ? *tile : (Tile){0};
            return true;
        }
    return !lo->ctx->diag.errors;
}

static bool choose(Lower *lo, const RuleList *rules, const TuneList *tuned, Kernel *k) {
    Ctx *ctx = lo->ctx;
    SchedChoice *record = NULL;
    const TuneLine *line = NULL;
    Str key = tuned->len || lo->module->choices ? func_key(ctx, loop_build(ctx, k)) : NULL;
    if (tuned->len && !lo->o0 && !rule_schedule(ctx->opt))
        line = tune_find(tuned, key);
    if (lo->module->choices) {
        record = choice_new(lo, k, key);
        map_put(lo->module->choices, k, record);
    }
    Kernel before = *k;
    bool found = choose_rule(lo, rules, k, record);
    if (ctx->diag.errors)
        return false;
    if (line) {
        Kernel by_rules = *k;
        *k = before;
        if (choose_tuned(lo, rules, k, line)) {
            if (record) {
                record->tuned = str_f(ctx, "%s, line %d", ctx->opt->tune_file, line->line);
                record->tile = line->names[0] ? line->tile : (Tile){0};
            }
            return true;
        }
        *k = by_rules;
        if (ctx->diag.errors)
            return false;
    }
    if (!found)
        return choose_builtin(lo, k);
    return !record || choose_candidate(lo, rules, k, record);
}

enum { NAMES_LINE = 400 };

/* --rule names a rule of the target or a word of rule_words.def. */
static bool rule_known(Lower *lo, const RuleList *rules) {
    Ctx *ctx = lo->ctx;
    bool known = lo->rule != RULE_OF_TARGET;
    for (int i = 0; i < rules->len && !known; i++)
        known = !strcmp(ctx->opt->rule, rules->at[i].name);
    if (known)
        return true;
    Text names = text_new(ctx), others = text_new(ctx);
    rule_names(&names, lo->target);
    int n;
    const RuleWord *words = rule_words(&n);
    for (int i = 0; i < n; i++)
        text_f(&others, " %s", words[i].word);
    diag_error(ctx, EXIT_USAGE, NULL, "--rule=%s: the target has no such rule", ctx->opt->rule);
    for (const char *at = names.at, *end; *at; at = end + (*end == ' ')) {
        size_t line = strlen(at); /* a note is cut when it is longer */
        for (end = at + (line < NAMES_LINE ? line : NAMES_LINE); *end && *end != ' ' && end > at;)
            end--;
        diag_note(ctx, "it has %s", str_n(ctx, at, (size_t)(end - at)));
    }
    diag_note(ctx, "beside them --rule takes%s", others.at);
    return false;
}

bool sched_choose(Lower *lo) {
    RuleList rules = rules_parse(lo->ctx, lo->target->rules ? lo->target->rules : "");
    TuneList tuned = {0};
    if (!rule_known(lo, &rules) || !tune_read(lo, &tuned))
        return false;
    if (lo->ctx->opt && lo->ctx->opt->explain)
        lo->module->choices = map_new(lo->ctx);
    for (int i = 0; i < lo->module->kernels.len; i++) {
        Map *caller = NULL;
        Kernel *k = lo->module->kernels.at[i], *twin = pixels_twin(lo, k, &caller);
        lo->module->kernels.at[i] = twin ? twin : k;
        if (!choose(lo, &rules, &tuned, lo->module->kernels.at[i]))
            return false;
        schedule_parallel(lo, lo->module->kernels.at[i]);
        if (twin)
            pixels_lend(lo->ctx, k, twin, caller);
    }
    tune_unused(lo, &tuned);
    return true;
}
