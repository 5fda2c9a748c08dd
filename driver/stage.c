/* What --time, --dump and --stop-after do for the steps before and after lower_program, which serves its
 * own; and the names of all. */
#include "driver/driver.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct Stage {
    const char *name, *holds;
    bool text; /* has a text form */
} STAGES[] = {
    {"onnx_load", "the file is a model", false},
    {"graph_import", "names are resolved, functions expanded", true},
    {"graph_upgrade", "every node is at its op's newest version", true},
    {"graph_define", "every value is an equation", true},
    {"emit", "the program is text in the target's language", false},
    {"toolchain", "the C compiler has run", false},
};
enum { NSTAGES = (int)(sizeof STAGES / sizeof STAGES[0]) };

Clock clock_start(const Args *a) {
    return (Clock){(double)clock() * 1000.0 / CLOCKS_PER_SEC, arena_used(a->ctx->arena)};
}

void stage_names(Text *t) {
    int n, col = 2;
    const Pass *p = pass_table(&n);
    text_s(t, "  ");
    for (int i = 1; i < 4 + n; i++) {
        const char *name = i < 4 ? STAGES[i].name : p[i - 4].name;
        if (col + strlen(name) > 90) {
            text_s(t, "\n  ");
            col = 2;
        }
        text_f(t, "%s%s", col > 2 ? " " : "", name);
        col += (int)strlen(name) + 1;
    }
    text_c(t, '\n');
}

/* Reports a name of `len` bytes that is no pass. */
static bool name_check(Ctx *ctx, const char *option, const char *name, size_t len) {
    int n;
    const Pass *p = pass_table(&n);
    const char *best = p[0].name;
    Str word = str_n(ctx, name, len);
    for (int i = 0; i < n + NSTAGES; i++) {
        const char *is = i < n ? p[i].name : STAGES[i - n].name;
        if (i >= n && !STAGES[i - n].text)
            continue;
        if (!strcmp(is, word))
            return true;
        if (word_distance(is, word) < word_distance(best, word))
            best = is;
    }
    diag_error(ctx, EXIT_USAGE, NULL, "%s=%s: there is no such pass", option, word);
    if (word_distance(best, word) <= (int)strlen(word) / 2)
        diag_note(ctx, "did you mean %s? lcc --help lists the passes", best);
    else
        diag_note(ctx, "lcc --help lists the passes");
    return false;
}

bool stage_check(Args *a) {
    const char *stop = a->opt.stop_after, *start = a->opt.start_from;
    if (stop && !name_check(a->ctx, "--stop-after", stop, strlen(stop)))
        return false;
    if (start && !name_check(a->ctx, "--start-from", start, strlen(start)))
        return false;
    for (const char *at = a->opt.dump; at && *at;) {
        size_t n = strcspn(at, ",");
        if ((n != 3 || strncmp(at, "all", 3)) && !name_check(a->ctx, "--dump", at, n))
            return false;
        at += n + (at[n] == ',');
    }
    return true;
}

/* Is `name` one of the words of the list, or is the list "all"? */
static bool listed(const char *list, const char *name) {
    size_t len = strlen(name);
    for (const char *at = list; at && *at;) {
        size_t n = strcspn(at, ",");
        if ((n == len && !strncmp(at, name, n)) || (n == 3 && !strncmp(at, "all", 3)))
            return true;
        at += n + (at[n] == ',');
    }
    return false;
}

bool stage_done(Args *a, const char *name, Clock start, const Text *state) {
    int i = 0;
    while (i < NSTAGES && strcmp(STAGES[i].name, name))
        i++;
    Clock now = clock_start(a);
    if (a->opt.time)
        fprintf(stderr, "%8.2f ms %8zu KiB  %-18s %s\n", now.ms - start.ms,
                (now.used - start.used) >> 10, name, STAGES[i].holds);
    if (!state)
        return true;
    if (listed(a->opt.dump, name) &&
        !file_write(a->ctx, str_f(a->ctx, "%02d.%s.lcc", i, name), state->at, state->len))
        return false;
    if (!a->opt.stop_after || strcmp(a->opt.stop_after, name))
        return true;
    file_write(a->ctx, "-", state->at, state->len);
    return false;
}
