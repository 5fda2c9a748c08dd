/* Golden tests: texts before and after passes and schedule steps. How to write one: tests/golden/README.md.
 *
 * Usage: check [--bless] FILE.lcc …; check --texts FILE.lcc …: what `lcc --dump` wrote reads back as itself;
 * check --damage FILE.lcc …: goldens with random mistakes in them are read, or refused with a message.
 * The last line is `N passed, N failed`. */
#include "driver/driver.h"
#include "lower/uses.h"
#include "tests/check_eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a file holds. */
typedef struct Expect {
    Str after; /* a pass; NULL: the last */
    Text want, got;
} Expect;

typedef struct Golden {
    Ctx *ctx;
    const char *path;
    Text head;  /* everything before the first "; expect" */
    Text input; /* what follows "; run:", as many lines down as in the file */
    Words run;  /* the words of "; run:" */
    VEC(Expect) expect;
    Text errors; /* of "; expect-error:", one a line */
    bool bad;
} Golden;

/* What a text is read into and passes work on. */
typedef struct State {
    Ctx *ctx;
    Args args;
    Model *model;
    Lower lo;
    LccText *text; /* kernels without a program */
    Text before;   /* the text so far: what a pass leaves as it is, is not shown again */
    Results meant; /* what the text computed at first */
} State;

/* ---- files --------------------------------------------------------------------------------------- */

static const char *after_prefix(const char *s, const char *prefix) {
    size_t n = strlen(prefix);
    return strncmp(s, prefix, n) ? NULL : s + n;
}

static void split_words(Ctx *ctx, Words *w, const char *s, size_t n) {
    for (size_t i = 0, len; i < n; i += len + 1) {
        len = strcspn(s + i, " \n");
        if (len)
            vec_push(ctx, w, str_n(ctx, s + i, len));
    }
}

/* One line, with its newline; `to` is where lines of text go, and changes at directives. */
static void golden_line(Golden *g, const char *line, size_t n, Text **to) {
    Ctx *ctx = g->ctx;
    const char *rest;
    if ((rest = after_prefix(line, "; expect-error: "))) {
        text_n(&g->errors, rest, n - (size_t)(rest - line));
        *to = NULL;
        return;
    }
    if ((rest = after_prefix(line, "; expect"))) {
        Expect e = {NULL, text_new(ctx), text_new(ctx)};
        if (*rest == ' ')
            e.after = str_n(ctx, rest + 1, n - (size_t)(rest + 1 - line) - 1);
        text_s(&e.want, "");
        vec_push(ctx, &g->expect, e);
        *to = &g->expect.at[g->expect.len - 1].want;
        return;
    }
    bool head = !g->expect.len && !g->errors.len;
    if (head)
        text_n(&g->head, line, n);
    if ((rest = after_prefix(line, "; run:")))
        split_words(ctx, &g->run, rest, n - (size_t)(rest - line));
    if (head && (!g->run.len || rest))
        text_c(&g->input, '\n'); /* so that errors name the file's lines */
    else if (*to)
        text_n(*to, line, n);
    else
        g->bad |= line[0] != '\n';
}

static bool golden_read(Ctx *ctx, const char *path, Golden *g) {
    unsigned char *at;
    size_t n;
    *g = (Golden){.ctx = ctx, .path = path};
    g->head = text_new(ctx);
    g->input = text_new(ctx);
    g->errors = text_new(ctx);
    text_s(&g->errors, "");
    if (!file_read(ctx, path, &at, &n))
        return false;
    Str file = str_n(ctx, (const char *)at, n);
    Text *to = &g->input;
    for (const char *line = file; *line;) {
        size_t len = strcspn(line, "\n");
        len += line[len] == '\n';
        golden_line(g, line, len, &to);
        line += len;
    }
    if (g->bad || !g->run.len || !g->input.len)
        return diag_error(ctx, EXIT_USAGE, NULL, "%s: no golden file: see tests/golden/README.md",
                          path);
    return true;
}

/* ---- the state as text -------------------------------------------------------------------------- */

static Text module_text(Ctx *ctx, const Lower *lo, const LccText *text) {
    Text t = text_new(ctx);
    text_s(&t, "");
    if (lo->prog && lo->module) {
        module_print(&t, lo->module);
        return t;
    }
    for (int i = 0; i < text->kernels.len; i++)
        kernel_print(&t, text->kernels.at[i]);
    for (int i = 0; i < text->funcs.len; i++)
        if (!text->funcs.at[i]->instr) /* it stands before the kernel that calls it */
            func_print(&t, text->funcs.at[i]);
    return t;
}

static Text state_text(const State *s) {
    Text t = text_new(s->ctx);
    if (s->text || s->lo.module)
        return module_text(s->ctx, &s->lo, s->text);
    if (s->lo.prog)
        program_print(&t, s->lo.prog);
    else
        graph_print(&t, s->model);
    return t;
}

/* Reads a text of any level into s. */
static bool state_read(State *s, const char *file, const char *text) {
    Ctx *ctx = s->ctx;
    const char *start = text + strspn(text, " \n");
    while (*start == '#')
        start += strcspn(start, "\n"), start += strspn(start, " \n");
    if (after_prefix(start, "program"))
        return (s->lo.prog = program_parse(ctx, file, text)) != NULL;
    if (after_prefix(start, "module")) {
        s->lo.module = module_parse(ctx, file, text);
        s->lo.prog = s->lo.module ? s->lo.module->prog : NULL;
        s->lo.plan = s->lo.module ? s->lo.module->plan : NULL;
        return s->lo.module != NULL;
    }
    if (*start == '<')
        return (s->model = graph_parse(ctx, file, text)) != NULL;
    s->text = lcc_parse(ctx, file, text);
    if (!s->text)
        return false;
    s->lo.module = ctx_new(ctx, Module);
    for (int i = 0; i < s->text->kernels.len; i++)
        vec_push(ctx, &s->lo.module->kernels, s->text->kernels.at[i]);
    return true;
}

/* The lines from the first that differs on. */
static void difference(const char *want, const char *got) {
    size_t i = 0, line = 0;
    for (; want[i] && want[i] == got[i]; i++)
        line = want[i] == '\n' ? i + 1 : line;
    printf("a text does not read back:\n%.600s\nis read as\n%.600s\n", want + line, got + line);
}

/* The text as lcc writes it once it was read: the terms of integer sums are in the order in which they first
 * appear. Reading that must give the same text again; false when not. */
static bool settle(Ctx *ctx, Text *text) {
    Diag diag = ctx->diag;
    for (int i = 0; i < 2; i++) {
        State s = {.ctx = ctx};
        bool ok = state_read(&s, "text", text->at);
        Text t = ok ? state_text(&s) : ctx->diag.text;
        bool same = ok && !strcmp(t.at, text->at);
        if (!ok || (i == 1 && !same)) {
            difference(text->at, t.at ? t.at : "");
            ctx->diag = diag;
            return false;
        }
        *text = t;
    }
    return true;
}

/* ---- passes ---------------------------------------------------------------------------------------- */

static bool each_func(State *s, bool (*fn)(State *s, Func *f)) {
    bool ok = true;
    for (int i = 0; ok && i < s->text->kernels.len; i++)
        if (s->text->kernels.at[i]->func)
            ok = fn(s, s->text->kernels.at[i]->func);
    for (int i = 0; ok && i < s->text->funcs.len; i++)
        ok = s->text->funcs.at[i]->instr || fn(s, s->text->funcs.at[i]);
    return ok;
}

static bool one_flatten(State *s, Func *f) {
    return loop_flatten(s->ctx, f);
}
static bool one_vector(State *s, Func *f) {
    return loop_vector(&s->lo, f);
}
static bool one_unroll(State *s, Func *f) {
    return loop_unroll(s->ctx, f);
}
static bool one_order(State *s, Func *f) {
    return loop_order(s->ctx, f);
}
static bool one_round(State *s, Func *f) {
    return loop_round(&s->lo, f);
}
static bool one_prefetch(State *s, Func *f) {
    return loop_prefetch(&s->lo, f);
}
static bool one_let(State *s, Func *f) {
    return loop_let(s->ctx, f);
}
static bool one_verify(State *s, Func *f) {
    return func_verify(s->ctx, f, "reading", f->flat);
}
static bool run_flatten(State *s) {
    return each_func(s, one_flatten);
}
static bool run_vector(State *s) {
    return each_func(s, one_vector);
}
static bool run_unroll(State *s) {
    return each_func(s, one_unroll);
}
static bool run_order(State *s) {
    return each_func(s, one_order);
}
static bool run_round(State *s) {
    return each_func(s, one_round);
}
static bool run_prefetch(State *s) {
    return each_func(s, one_prefetch);
}
static bool run_let(State *s) {
    return each_func(s, one_let);
}

static bool run_print(State *s) {
    (void)s;
    return true;
}

static bool run_upgrade(State *s) {
    return graph_upgrade(s->ctx, s->model);
}

static bool run_define(State *s) {
    s->lo.prog = graph_define(s->ctx, s->model, &s->args.define);
    return s->lo.prog != NULL;
}

static const Expr *simplify_node(Ctx *ctx, const Expr *e, void *data) {
    (void)data;
    return expr_simplify(ctx, e);
}

static bool run_simplify(State *s) {
    for (int i = 0; i < s->text->kernels.len; i++)
        for (int k = 0; k < s->text->kernels.at[i]->defs.len; k++)
            def_map(s->ctx, s->text->kernels.at[i]->defs.at[k], simplify_node, NULL);
    return true;
}

static bool run_normalise(State *s) {
    for (int i = 0; i < s->text->kernels.len; i++) {
        Kernel *k = s->text->kernels.at[i];
        k->ins.len = k->outs.len = k->temps.len = k->syms.len = 0;
        kernel_normalise(s->ctx, k);
        kernel_close(s->ctx, k);
    }
    return true;
}

static bool run_build(State *s) {
    for (int i = 0; i < s->text->kernels.len; i++)
        s->text->kernels.at[i]->func = loop_build(s->ctx, s->text->kernels.at[i]);
    return true;
}

static bool run_apply(State *s) {
    for (int i = 0; i < s->text->kernels.len; i++) {
        Kernel *k = s->text->kernels.at[i];
        k->func = k->func ? k->func : loop_build(s->ctx, k);
        if (k->sched && !sched_apply(s->ctx, k->func, k->sched, NULL))
            return false;
    }
    return true;
}

static bool run_lower(State *s) {
    return run_apply(s) && kernel_loops(&s->lo);
}

/* Beside the rows of passes.def. */
static const struct Extra {
    const char *name;
    bool (*run)(State *s);
} RUNS[] = {
    {"print", run_print},
    {"graph_upgrade", run_upgrade},
    {"graph_define", run_define},
    {"expr_simplify", run_simplify},
    {"kernel_normalise", run_normalise},
    {"loop_build", run_build},
    {"sched_apply", run_apply},
    {"loop_flatten", run_flatten},
    {"loop_vector", run_vector},
    {"loop_unroll", run_unroll},
    {"loop_order", run_order},
    {"loop_round", run_round},
    {"loop_prefetch", run_prefetch},
    {"loop_let", run_let},
    {"loop_lower", run_lower},
};

static bool run_named(State *s, const char *name) {
    int n;
    const Pass *pass = pass_table(&n);
    for (size_t i = 0; i < sizeof RUNS / sizeof *RUNS; i++)
        if (!strcmp(RUNS[i].name, name))
            return RUNS[i].run(s);
    for (int i = 0; i < n; i++)
        if (!strcmp(pass[i].name, name))
            return pass[i].run(&s->lo);
    return diag_error(s->ctx, EXIT_USAGE, NULL, "there is no pass %s", name);
}

static bool state_verify(State *s, const char *when) {
    if (s->text)
        return each_func(s, one_verify);
    if (s->lo.module && s->lo.module->entry)
        return module_verify(s->ctx, s->lo.module, when);
    return !s->lo.prog || s->lo.module || program_verify(s->ctx, s->lo.prog, when);
}

/* ---- what it computes ------------------------------------------------------------------------------ */

/* The Defs of the plan, where kernels stand. */
static Block *plan_block(Ctx *ctx, const Plan *plan) {
    Block *b = ctx_new(ctx, Block);
    for (int i = 0; plan && i < plan->items.len; i++) {
        const PlanItem *pi = &plan->items.at[i];
        for (int k = 0; pi->kernel && k < pi->kernel->defs.len; k++)
            item_new(ctx, b, ITEM_DEF)->def = pi->kernel->defs.at[k];
        if (!pi->item)
            continue;
        Item *it = item_new(ctx, b, (ItemKind)pi->item->kind);
        *it = *pi->item;
        for (int k = 0; k < 2; k++)
            it->body[k] = pi->body[k] ? plan_block(ctx, pi->body[k]) : NULL;
    }
    return b;
}

static Results state_eval(const State *s) {
    Results all = {.known = true};
    const Module *m = s->lo.module;
    if (s->lo.prog) {
        Program p = *s->lo.prog;
        p.main = m ? plan_block(s->ctx, m->plan) : p.main;
        return eval_ports(s->ctx, &p, m && m->entry ? m : NULL);
    }
    for (int i = 0; s->text && i < s->text->kernels.len; i++) {
        Results r = eval_kernel(s->ctx, s->text->kernels.at[i], false);
        all.known &= r.known;
        for (int k = 0; k < r.at.len; k++)
            vec_push(s->ctx, &all.at, r.at.at[k]);
    }
    all.known &= s->text != NULL;
    return all;
}

/* Loops that go on into padding have no meaning before storage has. */
static bool is_padded(const Kernel *k) {
    for (int i = 0; k->sched && !k->func->flat && i < k->sched->steps.len; i++)
        if (k->sched->steps.at[i].tail == TAIL_ROUNDUP)
            return true;
    return false;
}

/* After state_bind and memory_plan such a kernel finds an input in the place of its result:
 * only the whole module has it there. */
static bool is_in_place(const Kernel *k) {
    for (int i = 0; i < k->ins.len; i++)
        if (k->func->flat && (k->ins.at[i]->offset || k->ins.at[i]->space == SPACE_INPUT) &&
            !stmt_uses_buf(k->func->body, k->ins.at[i]))
            return true;
    return false;
}

/* Does the text mean what it meant at first, and do the loops compute what the equations say? */
static bool means_the_same(State *s, const char *when) {
    Ctx *ctx = s->ctx;
    Diag diag = ctx->diag;
    Results now = state_eval(s);
    bool ok = results_agree(ctx, &s->meant, &now);
    s->meant = s->meant.known ? s->meant : now;
    for (int i = 0; s->lo.module && i < s->lo.module->kernels.len; i++) {
        const Kernel *k = s->lo.module->kernels.at[i];
        if (!k->func || k->func->kernel != k || is_in_place(k))
            continue;
        Results want = eval_kernel(ctx, k, false), got = eval_kernel(ctx, k, true);
        ok &= results_agree(ctx, &want, &got) && (want.known == got.known || is_padded(k));
    }
    if (!ok)
        printf("after %s it computes something else\n", when);
    ctx->diag = diag;
    return ok;
}

/* ---- one file ---------------------------------------------------------------------------------------- */

/* One option of "; run:", spelled as for lcc. */
static bool read_option(State *s, const char *word, const char **target) {
    Options *opt = &s->args.opt;
    const char *value;
    if (!strcmp(word, "-O0"))
        opt->o0 = true;
    else if (!strcmp(word, "--strict"))
        opt->strict = true;
    else if ((value = after_prefix(word, "--target=")))
        *target = value;
    else if (!strcmp(word, "--threads=2"))
        opt->threads = 2;
    else if ((value = after_prefix(word, "--rule=")))
        opt->rule = value;
    else if ((value = after_prefix(word, "--dim=")))
        return parse_dim(&s->args, value);
    else if ((value = after_prefix(word, "--state=")))
        return parse_state(&s->args, value);
    else
        return diag_error(s->ctx, EXIT_USAGE, NULL, "there is no option %s for golden tests", word);
    return true;
}

static bool read_run(Golden *g, State *s) {
    const char *target = "c";
    s->args.ctx = g->ctx;
    g->ctx->opt = &s->args.opt;
    for (int i = 0; i < g->run.len; i++) {
        if (g->run.at[i][0] != '-')
            vec_push(g->ctx, &s->args.words, g->run.at[i]);
        else if (!read_option(s, g->run.at[i], &target))
            return false;
    }
    const Machine *machine;
    const Target *found = target_find(target, &machine);
    s->lo = lower_start(g->ctx, found, machine);
    return found || diag_error(g->ctx, EXIT_USAGE, NULL, "unknown target %s", target);
}

/* The state's text where it has changed: what comes before the loops is not repeated. */
static void shown(const State *s, const Text *text, Text *out) {
    const char *rest = s->before.at ? after_prefix(text->at, s->before.at) : NULL;
    text_s(out, rest && *rest ? rest : text->at);
}

static bool run_passes(Golden *g, State *s) {
    for (int i = 0; i < s->args.words.len; i++) {
        const char *name = s->args.words.at[i];
        g->ctx->pass = name;
        if (!run_named(s, name) || !state_verify(s, name))
            return false;
        Text t = state_text(s);
        g->bad |= !settle(g->ctx, &t) || !means_the_same(s, name);
        for (int k = 0; k < g->expect.len; k++)
            if (g->expect.at[k].after ? !strcmp(g->expect.at[k].after, name)
                                      : i + 1 == s->args.words.len)
                shown(s, &t, &g->expect.at[k].got);
    }
    return true;
}

static bool golden_run(Golden *g) {
    State *s = ctx_new(g->ctx, State);
    s->ctx = g->ctx;
    if (!read_run(g, s) || !state_read(s, strrchr(g->path, '/') + 1, g->input.at) ||
        (!s->text && !state_verify(s, "reading")))
        return false;
    s->before = state_text(s);
    g->bad |= !settle(g->ctx, &s->before) || !means_the_same(s, "reading");
    return run_passes(g, s);
}

static const char *error_text(const Ctx *ctx) {
    return ctx->diag.text.at ? ctx->diag.text.at : "a pass failed without a message\n";
}

static bool golden_write(Golden *g, bool ran) {
    Ctx *ctx = g->ctx;
    Text t = text_new(ctx);
    text_n(&t, g->head.at, g->head.len);
    for (int i = 0; ran && i < g->expect.len; i++)
        text_f(&t, "; expect%s%s\n%s", g->expect.at[i].after ? " " : "",
               g->expect.at[i].after ? g->expect.at[i].after : "", g->expect.at[i].got.at);
    const char *at = ran ? "" : error_text(ctx);
    for (size_t n; *at; at += n + (at[n] == '\n')) {
        n = strcspn(at, "\n");
        text_f(&t, "; expect-error: %.*s\n", (int)n, at);
    }
    return file_write(ctx, g->path, t.at, t.len);
}

static bool as_expected(const Golden *g, bool ran) {
    bool ok = true;
    const char *errors = ran ? "" : error_text(g->ctx);
    if (strcmp(g->errors.at, errors)) {
        printf("expected errors:\n%serrors:\n%s", g->errors.at, errors);
        ok = false;
    }
    for (int i = 0; ran && i < g->expect.len; i++) {
        const Expect *e = &g->expect.at[i];
        if (e->got.at && !strcmp(e->want.at, e->got.at))
            continue;
        printf("expected after %s:\n%sfound:\n%s", e->after ? e->after : "the last pass",
               e->want.at, e->got.at ? e->got.at : "(no such pass)\n");
        ok = false;
    }
    return ok && (g->expect.len || g->errors.len);
}

static bool golden_check(Ctx *ctx, const char *path, bool bless) {
    Golden *g = ctx_new(ctx, Golden);
    if (!golden_read(ctx, path, g))
        return false;
    if (bless && !g->expect.len) {
        Expect e = {NULL, text_new(ctx), text_new(ctx)};
        vec_push(ctx, &g->expect, e);
    }
    bool ran = golden_run(g);
    return (bless ? golden_write(g, ran) : as_expected(g, ran)) && !g->bad;
}

static bool text_check(Ctx *ctx, const char *path) {
    unsigned char *at;
    size_t n;
    if (!file_read(ctx, path, &at, &n))
        return false;
    Text text = text_new(ctx);
    text_n(&text, (const char *)at, n);
    return strstr(text.at, "{...}") || settle(ctx, &text);
}

static uint32_t next(uint64_t *state, uint32_t n) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

/* A few bytes elsewhere, twice, or not at all. */
static Str damaged(Ctx *ctx, const Text *t, uint64_t *state) {
    char *at = ctx_copy(ctx, t->at, t->len + 1);
    for (uint32_t n = 1 + next(state, 3); n; n--) {
        uint32_t from = next(state, (uint32_t)t->len), to = next(state, (uint32_t)t->len);
        uint32_t len = 1 + next(state, 6);
        for (uint32_t i = 0; i < len && from + i < t->len && to + i < t->len; i++)
            at[to + i] = next(state, 8) ? t->at[from + i] : "0}](,*<=9@"[next(state, 10)];
    }
    return str(ctx, at);
}

/* One reading in a context of its own: memory that runs out or a broken invariant ends only this one. */
static bool damage_once(const Text *t, uint64_t *state) {
    Ctx *ctx = ctx_create((size_t)64 << 20);
    jmp_buf leave;
    volatile bool ok = true;
    ctx->oom = &leave;
    Str text = damaged(ctx, t, state);
    int how = setjmp(leave);
    if (how == 0) {
        State s = {.ctx = ctx, .lo = {.ctx = ctx}};
        bool read = state_read(&s, "text", text);
        ok = read ? !s.text || state_text(&s).at : ctx->diag.errors > 0;
        if (read && !s.text)
            state_verify(&s, "reading");
    }
    if (!ok || how == EXIT_INTERNAL)
        printf("%s\n", text);
    ok = ok && how != EXIT_INTERNAL;
    ctx_free(ctx);
    return ok;
}

static bool damage_check(Ctx *ctx, const char *path) {
    Golden *g = ctx_new(ctx, Golden);
    uint64_t state = 1;
    bool ok = golden_read(ctx, path, g);
    for (int i = 0; ok && i < 200; i++)
        ok = damage_once(&g->input, &state);
    return ok;
}

typedef enum Mode { CHECK, BLESS, TEXTS, DAMAGE } Mode;

static bool check_file(const char *path, Mode mode) {
    Ctx *ctx = ctx_create(0);
    jmp_buf leave;
    volatile bool ok = false;
    ctx->oom = &leave;
    if (setjmp(leave) == 0)
        ok = mode == TEXTS    ? text_check(ctx, path)
             : mode == DAMAGE ? damage_check(ctx, path)
                              : golden_check(ctx, path, mode == BLESS);
    if (!ok)
        printf("FAILED %s\n", path);
    ctx_free(ctx);
    return ok;
}

int main(int argc, char **argv) {
    const char *first = argc > 1 ? argv[1] : "";
    Mode mode = !strcmp(first, "--bless")    ? BLESS
                : !strcmp(first, "--texts")  ? TEXTS
                : !strcmp(first, "--damage") ? DAMAGE
                                             : CHECK;
    int count[2] = {0, 0};
    for (int i = 1 + (mode != CHECK); i < argc; i++)
        count[check_file(argv[i], mode)]++;
    printf("%d passed, %d failed\n", count[1], count[0]);
    return count[0] != 0;
}
