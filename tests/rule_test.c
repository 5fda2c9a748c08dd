/* The schedules that lcc chooses for a model, step by step: after each step, and after lowering, the loops of
 * every kernel compute what its equations say.
 *
 * Usage: rule_test [--near] MODEL.onnx [options of lcc]; small numbers as inputs, so that every order of a sum is
 * exact and results have the same bits; --near: within 1e-5, for functions that are not. run_rules.py calls it.
 * A line a kernel: its rule, how many stages were compared (0: its equations read a halo).
 * The last line is `N passed, N failed`. */
#include "driver/driver.h"

#define STEPS_MAX 1e9
#include "tests/check_eval.h"

#include <string.h>

typedef struct Trial {
    Ctx *ctx;
    Args args;
    Compiled c;
    Lower lo;
    bool near;
    int passed, failed;
} Trial;

/* The model as kernels without schedules. */
static bool run_start(Trial *r, int argc, char **argv) {
    Args *a = &r->args;
    int n;
    const Pass *pass = pass_table(&n);
    r->ctx = ctx_create(0);
    if (!args_parse(r->ctx, a, argc, argv) || a->words.len != 1 ||
        !compile_target(a, &r->c, NULL) || !compile_import(a, a->words.at[0], &r->c) ||
        !compile_define(a, &r->c))
        return false;
    r->lo = lower_start(r->ctx, r->c.target, r->c.machine);
    r->lo.prog = r->c.prog;
    for (int i = 0; i < n && strcmp(pass[i].name, "sched_choose") != 0; i++) {
        r->ctx->pass = pass[i].name;
        if (!pass[i].run(&r->lo))
            return false;
    }
    return true;
}

static bool same_bits(const Tensor *a, const Tensor *b) {
    return a && b && a->type == b->type && a->count == b->count &&
           !memcmp(a->data, b->data, (size_t)(a->count * type_bytes(a->type)));
}

static bool stage_equals(Trial *r, const Kernel *k, const Results *want, const char *stage,
                         const char *step) {
    Results got = {0};
    bool ok = func_verify(r->ctx, k->func, "rule_test", k->func->flat);
    if (ok)
        got = eval_kernel(r->ctx, k, true);
    ok = ok && got.known && got.at.len == want->at.len;
    for (int i = 0; ok && i < got.at.len; i++)
        ok = r->near ? tensor_near(r->ctx, want->at.at[i], got.at.at[i])
                     : same_bits(want->at.at[i], got.at.at[i]);
    *(ok ? &r->passed : &r->failed) += 1;
    if (ok)
        return true;
    Text t = text_new(r->ctx);
    kernel_print(&t, k);
    printf("FAILED: %s %s\n%s\n%s\n", stage, step, t.at,
           r->ctx->diag.text.at ? r->ctx->diag.text.at : "");
    return false;
}

static Str step_words(Ctx *ctx, const Step *step) {
    Sched one = {{0}};
    Text t = text_new(ctx);
    vec_push(ctx, &one.steps, *step);
    sched_print(&t, &one);
    return str(ctx, t.at);
}

/* `steps` one by one. Equations that read a halo cannot be evaluated: such a kernel is left out. Loops that go on
 * into padding have no meaning before storage has: they are compared when they are lowered. */
static bool kernel_check(Trial *r, Kernel *k, const char *steps) {
    Ctx *ctx = r->ctx;
    Lex lex;
    Sched all = {{0}};
    bool padded = false;
    Diag diag = ctx->diag;
    Results want = eval_kernel(ctx, k, false);
    if (!want.known) {
        ctx->diag = diag;
        return true;
    }
    lex_init(&lex, ctx, "schedule", steps);
    if (*steps && !sched_parse(&lex, &all))
        return false;
    k->sched = ctx_new(ctx, Sched);
    k->func = loop_build(ctx, k);
    bool ok = stage_equals(r, k, &want, "naive loops", "");
    for (int i = 0; ok && i < all.steps.len; i++) {
        const Step *step = &all.steps.at[i];
        if (!step_apply(ctx, k->func, step, NULL))
            return false;
        vec_push(ctx, &k->sched->steps, *step);
        padded |= step->tail == TAIL_ROUNDUP;
        ok = padded || stage_equals(r, k, &want, "after", step_words(ctx, step));
    }
    return ok && loop_lower(&r->lo, k->func) && stage_equals(r, k, &want, "lowered loops", "");
}

/* Kernels run by rows, once more without their schedules. */
static bool rows_start(Trial *r) {
    if (!sched_choose(&r->lo) || !sched_rows(&r->lo))
        return false;
    for (int i = 0; i < r->lo.module->kernels.len; i++) {
        Kernel *k = r->lo.module->kernels.at[i];
        k->ins.len = k->outs.len = k->temps.len = k->syms.len = k->nodes.len = 0;
        kernel_close(r->ctx, k);
    }
    return true;
}

static bool run_check(Trial *r, const Trial *with) {
    bool ok = true;
    for (int i = 0; ok && i < r->lo.module->kernels.len; i++) {
        const Kernel *chosen = with->lo.module->kernels.at[i];
        Text steps = text_new(r->ctx);
        text_s(&steps, "");
        sched_print(&steps, chosen->sched);
        int before = r->passed;
        ok = kernel_check(r, r->lo.module->kernels.at[i], steps.at);
        printf("%s %d\n", chosen->rule, r->passed - before);
    }
    return ok;
}

int main(int argc, char **argv) {
    Trial *r = &(Trial){0}, *with = &(Trial){0};
    if (argc > 1 && !strcmp(argv[1], "--near")) {
        r->near = true;
        argv[1] = argv[0];
        argv++;
        argc--;
    }
    bool ok = run_start(with, argc, argv) && sched_choose(&with->lo) && sched_rows(&with->lo) &&
              run_start(r, argc, argv) && rows_start(r) && run_check(r, with);
    if (!ok) {
        const Text *said = with->ctx->diag.errors ? &with->ctx->diag.text : &r->ctx->diag.text;
        printf("%s\n", said->at ? said->at : "a kernel was not evaluated");
    }
    r->failed += !ok && !r->failed;
    printf("%d passed, %d failed\n", r->passed, r->failed);
    ctx_free(r->ctx);
    ctx_free(with->ctx);
    return r->failed != 0;
}
