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

enum { FRONT_STAGES = 3 }; /* dumps of the front end come first */

const Pass *pass_table(int *count) {
    *count = (int)(sizeof PASSES / sizeof PASSES[0]);
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

Module *lower_program(Ctx *ctx, Program *p, const Target *target, const Machine *machine) {
    const Options *opt = ctx->opt;
    Lower *lo = ctx_new(ctx, Lower);
    lo->ctx = ctx;
    lo->target = target;
    lo->machine = machine;
    lo->prog = p;
    lo->strict = opt && opt->strict;
    lo->o0 = opt && opt->o0;
    int n;
    pass_table(&n);
    for (int i = 0; i < n; i++) {
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
