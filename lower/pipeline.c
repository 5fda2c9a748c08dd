/* Runs the passes of passes.def in order, with dumps, timing and the verifier between them. */
#include "lower/lower.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const Pass PASSES[] = {
#define PASS(level, fn, holds) {level, #fn, holds, fn},
#include "lower/passes.def"
#undef PASS
};

enum { NPASS = (int)(sizeof PASSES / sizeof PASSES[0]) };
enum { FRONT_STAGES = 3 }; /* dumps of the front end come first */

const Pass *pass_table(int *count) {
    *count = NPASS;
    return PASSES;
}

static bool wanted(const char *list, const char *name) {
    if (!list)
        return false;
    if (!strcmp(list, "all"))
        return true;
    size_t n = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += n)
        if ((at == list || at[-1] == ',') && (at[n] == 0 || at[n] == ','))
            return true;
    return false;
}

static Text state_text(Lower *lo) {
    Text t = text_new(lo->ctx);
    if (lo->module)
        module_print(&t, lo->module);
    else
        program_print(&t, lo->prog);
    return t;
}

static bool dump(Lower *lo, int number, const char *name) {
    Text t = state_text(lo);
    Str path = str_f(lo->ctx, "%02d.%s.lcc", number, name);
    return file_write(lo->ctx, path, t.at ? t.at : "", t.len);
}

static double now_ms(void) {
    return (double)clock() * 1000.0 / CLOCKS_PER_SEC;
}

static bool run_pass(Lower *lo, int i) {
    const Pass *p = &PASSES[i];
    const Options *opt = lo->ctx->opt;
    double start = now_ms();
    size_t used = arena_used(lo->ctx->arena);
    lo->ctx->pass = p->name;
    if (!p->run(lo))
        return false;
    if (opt && opt->time)
        fprintf(stderr, "%8.2f ms %8zu KiB  %-18s %s\n", now_ms() - start,
                (arena_used(lo->ctx->arena) - used) >> 10, p->name, p->holds);
    bool ok = lo->module && lo->module->entry ? module_verify(lo->ctx, lo->module, p->name)
              : !lo->module                   ? program_verify(lo->ctx, lo->prog, p->name)
                                              : true;
    if (!ok)
        return false;
    return !opt || !wanted(opt->dump, p->name) || dump(lo, i + FRONT_STAGES + 1, p->name);
}

static int pass_index(const char *name) {
    int i = 0;
    while (i < NPASS && strcmp(PASSES[i].name, name) != 0)
        i++;
    return i;
}

static bool plan_has_loops(const Plan *plan, bool flat) {
    for (int i = 0; i < plan->items.len; i++) {
        const PlanItem *pi = &plan->items.at[i];
        if (pi->kernel && (!pi->kernel->func || pi->kernel->func->flat != flat))
            return false;
        for (int b = 0; b < 2; b++)
            if (pi->body[b] && !plan_has_loops(pi->body[b], flat))
                return false;
    }
    return true;
}

/* What pass i reads and the text does not have; NULL: nothing is missing. */
static const char *missing(const Lower *lo, int i) {
    const Module *m = lo->module;
    int host = pass_index("host_plan");
    if (i <= pass_index("kernel_partition"))
        return m ? "a program" : NULL;
    if (i > host)
        return m && m->entry ? NULL : "a module with its entry function";
    if (!m || !m->plan)
        return "a module with its plan";
    if (i > pass_index("sched_choose") && !plan_has_loops(m->plan, i == host))
        return i == host ? "flat loops for every kernel" : "scheduled loops for every kernel";
    return NULL;
}

Lower lower_start(Ctx *ctx, const Target *target, const Machine *machine) {
    const Options *opt = ctx->opt;
    return (Lower){.ctx = ctx,
                   .target = target,
                   .machine = machine,
                   .rule = rule_asked(opt),
                   .strict = opt && opt->strict,
                   .o0 = opt && opt->o0,
                   .min_ram = opt && opt->min_ram};
}

Module *lower_program(Ctx *ctx, Program *p, const Target *target, const Machine *machine) {
    return lower_from(ctx, PASSES[0].name, p, NULL, target, machine);
}

Module *lower_from(Ctx *ctx, const char *pass, Program *p, Module *m, const Target *target,
                   const Machine *machine) {
    const Options *opt = ctx->opt;
    Lower *lo = ctx_new(ctx, Lower);
    *lo = lower_start(ctx, target, machine);
    lo->prog = p;
    lo->module = m;
    lo->plan = m ? m->plan : NULL;
    lo->nkernel = m ? m->kernels.len : 0;
    int first = pass_index(pass), last = pass_index("const_pack"); /* packed data is in no text */
    first = first > last ? last : first;
    const char *lacks = missing(lo, first);
    if (lacks) {
        diag_error(ctx, EXIT_USAGE, NULL, "--start-from=%s needs %s", pass, lacks);
        return NULL;
    }
    for (int i = first; i < NPASS; i++) {
        if (!run_pass(lo, i))
            return NULL;
        if (opt && opt->stop_after && !strcmp(opt->stop_after, PASSES[i].name)) {
            Text t = state_text(lo);
            fwrite(t.at, 1, t.len, stdout);
            return NULL;
        }
    }
    return lo->module;
}
