/* --tune: times what the rules rank next for every kernel, in the whole program, and writes what was best as
 * the lines that --tune-file reads (lower/sched_tune.c).
 *
 * Program i gives every kernel its candidate i, so a few programs are enough; they run in turn, and a kernel's
 * figure is the smallest of its medians. This happens in a process of its own: what is compiled afterwards
 * depends on the file alone. */
#include "driver/profile.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROGRAMS = 4, ROUNDS = 3 };
/* A candidate must be better than the rules' choice by more than noise, and by what a clock can tell. */
#define WORTH 0.97
#define WORTH_US 0.05

typedef struct Trial {
    Compiled c;
    Jit j;
    OnnxTensor *in, *out;
    int64_t *dims;
} Trial;

/* One key: kernels that are equal before they are scheduled. */
typedef struct Tuned {
    Str key;
    int n;               /* candidates */
    double us[PROGRAMS]; /* a run, all calls; HUGE_VAL: not timed */
    Str line[PROGRAMS];
} Tuned;

typedef struct Tuning {
    Args *a;
    Trial trial[PROGRAMS];
    int ntrial;
    Map *by_key; /* Str → Tuned */
    VEC(Tuned *) all;
} Tuning;

/* What nobody gave is random. */
static void fill_inputs(const Compiled *c, Given *given) {
    for (int i = 0; i < c->model->graph->inputs.len; i++)
        if (!given[i].path && !given[i].fill)
            given[i].fill = "random:1";
}

static bool trial_build(Tuning *u, int number) {
    Args *a = u->a;
    Trial *t = &u->trial[number];
    a->opt.tune_try = number;
    t->j.kind = "cc";
    if (!compile_target(a, &t->c, NULL) || !compile_import(a, a->words.at[0], &t->c))
        return false;
    Given *given = inputs_read(a, &t->c, a->data);
    if (!given || !compile_define(a, &t->c) || !compile_lower(a, &t->c))
        return false;
    fill_inputs(&t->c, given);
    t->in = ctx_newn(a->ctx, OnnxTensor, t->c.prog->inputs.len);
    t->out = ctx_newn(a->ctx, OnnxTensor, t->c.prog->outputs.len);
    t->dims = ctx_newn(a->ctx, int64_t, t->c.prog->dims.len);
    return inputs_flatten(a, &t->c, given, t->in, t->dims) && jit_load(a, &t->c, &t->j);
}

/* The keys of program 0 and their candidates; more programs than candidates are not built. */
static int list_kernels(Tuning *u) {
    Ctx *ctx = u->a->ctx;
    const Compiled *c = &u->trial[0].c;
    int most = 1;
    for (int i = 0; i < c->module->kernels.len; i++) {
        const Kernel *k = c->module->kernels.at[i];
        const SchedChoice *choice = kernel_choice(c->module, k);
        const RuleTry *rule;
        const Tile *tile;
        if (!choice || map_get(u->by_key, choice->key))
            continue;
        Tuned *t = ctx_new(ctx, Tuned);
        t->key = choice->key;
        while (t->n < PROGRAMS && choice_candidate(choice, t->n, &rule, &tile)) {
            t->us[t->n] = HUGE_VAL;
            t->line[t->n++] = tune_line(ctx, choice, c->machine->name, rule, tile);
        }
        map_put(u->by_key, t->key, t);
        vec_push(ctx, &u->all, t);
        most = t->n > most ? t->n : most;
    }
    return most;
}

/* Adds up the calls of each key. */
static void trial_count(Tuning *u, int number, const Profile *p) {
    const Module *m = u->trial[number].c.module;
    for (int i = 0; i < u->all.len; i++) {
        Tuned *t = u->all.at[i];
        double us = 0;
        for (int k = 0; k < m->kernels.len; k++) {
            const SchedChoice *choice = kernel_choice(m, m->kernels.at[k]);
            for (int r = 0; choice && choice->key == t->key && r < p->n; r++)
                us += strcmp(p->row[r].kernel, m->kernels.at[k]->func->name) ? 0 : p->row[r].us;
        }
        if (number < t->n && us < t->us[number])
            t->us[number] = us;
    }
}

static bool trials_time(Tuning *u) {
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < u->ntrial; i++) {
            Trial *t = &u->trial[i];
            Profile p;
            if (!profile_run(u->a, &t->c, &t->j, t->dims, t->in, t->out, &p))
                return false;
            trial_count(u, i, &p);
        }
    return true;
}

/* ---- the file --------------------------------------------------------------------------------------------- */

/* What the file held, but for lines that are measured anew. False: it is no tune file. */
static bool keep_lines(Tuning *u, const char *path, Text *out) {
    Ctx *ctx = u->a->ctx;
    unsigned char *bytes;
    size_t n;
    if (access(path, F_OK) != 0)
        return true;
    if (!file_read(ctx, path, &bytes, &n))
        return false;
    const char *at = str_n(ctx, (const char *)bytes, n);
    if (strlen(at) != n)
        return diag_error(ctx, EXIT_USAGE, NULL, "%s is no tune file: it stays as it is", path);
    while (*at) {
        size_t len = strcspn(at, "\n");
        Str line = str_n(ctx, at, len);
        bool again = false;
        if (strncmp(line, "tune ", 5) != 0 && line[0] && line[0] != '#')
            return diag_error(ctx, EXIT_USAGE, NULL, "%s is no tune file: it stays as it is", path);
        for (int i = 0; i < u->all.len; i++) {
            Str start = u->all.at[i]->n > 1 ? u->all.at[i]->line[0] : NULL;
            again |= start && !strncmp(line, start, (size_t)(strstr(start, " rule=") - start));
        }
        if (!again && line[0])
            text_f(out, "%s\n", line);
        at += len + (at[len] == '\n');
    }
    return true;
}

static bool lines_write(Tuning *u, const char *path) {
    Text t = text_new(u->a->ctx);
    int tuned = 0, better = 0;
    double before = 0, after = 0;
    if (!keep_lines(u, path, &t))
        return false;
    if (!t.len)
        text_s(&t, "# lcc --tune: tune KEY TARGET rule=NAME …, the time of all calls in a run\n");
    for (int i = 0; i < u->all.len; i++) {
        const Tuned *k = u->all.at[i];
        int best = 0;
        for (int n = 1; n < k->n; n++)
            if (k->us[n] < WORTH * k->us[0] - WORTH_US && k->us[n] < k->us[best])
                best = n;
        if (k->n < 2 || k->us[0] >= HUGE_VAL)
            continue;
        text_f(&t, "%s # %.2f us", k->line[best], k->us[best]);
        text_f(&t, best ? ", by the rules %.2f\n" : "\n", k->us[0]);
        tuned++;
        better += best > 0;
        before += k->us[0];
        after += k->us[best];
    }
    if (!u->a->opt.quiet)
        fprintf(stderr, "%s: %d kernels timed, %d better than by the rules, %.1f us -> %.1f us\n",
                path, tuned, better, before, after);
    return file_write(u->a->ctx, path, t.at, t.len);
}

/* ---- the process ------------------------------------------------------------------------------------------ */

static bool tune_measure(Args *a, const char *path) {
    Tuning *u = ctx_new(a->ctx, Tuning);
    u->a = a;
    u->by_key = map_new(a->ctx);
    a->opt.explain = true;
    a->opt.profile = "-";
    a->opt.dump = a->opt.stop_after = NULL;
    if (!a->opt.max_memory) /* several programs, and their runs */
        a->opt.max_memory = SIZE_MAX;
    if (!toolchain_find(a)) {
        diag_error(a->ctx, EXIT_TOOLCHAIN, NULL, "--tune found no C compiler");
        diag_note(a->ctx, "apt install gcc");
        return false;
    }
    if (!trial_build(u, 0))
        return false;
    int most = list_kernels(u);
    for (u->ntrial = 1; u->ntrial < most; u->ntrial++)
        if (!trial_build(u, u->ntrial))
            return false;
    return trials_time(u) && lines_write(u, path);
}

bool tune_run(Args *a, int *code) {
    Str path = strcmp(a->tune, "-") ? a->tune
                                    : str_f(a->ctx, "%s.tune", path_stem(a->ctx, a->words.at[0]));
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return diag_error(a->ctx, EXIT_LIMIT, NULL, "--tune cannot start a process");
    if (pid == 0) {
        *code = tune_measure(a, path) ? EXIT_OK : a->ctx->diag.exit_code;
        return false;
    }
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return diag_error(a->ctx, EXIT_TOOLCHAIN, NULL,
                          "--tune: the timed program ended; can this processor run it?");
    *code = WEXITSTATUS(status);
    a->opt.tune_file = path;
    return *code == EXIT_OK;
}
