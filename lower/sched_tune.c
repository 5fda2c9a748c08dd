/* Tune files: what --tune measured, one line a kernel, in place of what the rules would choose.
 *
 *   tune 3f0c9b2a77d1e604 avx2 rule=tile_padded MR=6 NR=16   # 41.2 us
 *   → kernels with that key get the rule with that tile, on that machine
 * The key is the hash of the kernel's loops before any schedule (func_key), so it holds whatever the buffers are
 * called. Lines for other machines are skipped; those that fit no kernel are counted in a note. */
#include "lower/sched_rules.h"

#include <string.h>

Str tune_line(Ctx *ctx, const SchedChoice *c, const char *target, const RuleTry *rule,
              const Tile *tile) {
    Text t = text_new(ctx);
    text_f(&t, "tune %s %s rule=%s", c->key, target, rule->rule);
    if (tile)
        text_f(&t, " %s=%lld %s=%lld", rule->names[0], (long long)tile->m, rule->names[1],
               (long long)tile->n);
    return str(ctx, t.at);
}

static bool line_error(Ctx *ctx, int line, const char *what) {
    return diag_error(ctx, EXIT_MALFORMED, NULL, "%s, line %d: %s", ctx->opt->tune_file, line,
                      what);
}

/* The next word at *at; "" at the end of the line or before a comment. */
static Str word_next(Ctx *ctx, const char **at) {
    *at += strspn(*at, " \t\r");
    size_t n = **at == '#' ? 0 : strcspn(*at, " \t\r\n");
    Str word = str_n(ctx, *at, n);
    *at += n;
    return word;
}

/* NAME=NUMBER. */
static bool number_read(Ctx *ctx, Str word, Str *name, int64_t *v) {
    const char *eq = strchr(word, '=');
    *v = 0;
    if (!eq || eq == word || !eq[1] || strlen(eq) > 7)
        return false;
    *name = str_n(ctx, word, (size_t)(eq - word));
    for (const char *c = eq + 1; *c; c++) {
        if (*c < '0' || *c > '9')
            return false;
        *v = *v * 10 + (*c - '0');
    }
    return *v > 0;
}

/* One line behind `tune`. */
static bool line_read(Lower *lo, const char *at, int number, TuneList *list) {
    Ctx *ctx = lo->ctx;
    TuneLine l = {.key = word_next(ctx, &at), .line = number};
    Str target = word_next(ctx, &at), rule = word_next(ctx, &at), word;
    if (strlen(l.key) != 16 || strspn(l.key, "0123456789abcdef") != 16)
        return line_error(ctx, number, "a key of 16 hexadecimal digits expected behind tune");
    if (!target[0] || strchr(target, '=') || strncmp(rule, "rule=", 5) != 0 || !rule[5])
        return line_error(ctx, number, "a target and rule=NAME expected behind the key");
    l.rule = str(ctx, rule + 5);
    for (int i = 0; *(word = word_next(ctx, &at)); i++)
        if (i == 2 || !number_read(ctx, word, &l.names[i], i ? &l.tile.n : &l.tile.m))
            return line_error(ctx, number,
                              "at most two NAME=NUMBER, from 1 on, expected behind the rule");
    if (l.names[0] && !l.names[1])
        return line_error(ctx, number, "one number of the tile is missing");
    if (!strcmp(target, lo->machine->name))
        vec_push(ctx, list, l);
    else
        list->others++;
    return true;
}

bool tune_read(Lower *lo, TuneList *list) {
    Ctx *ctx = lo->ctx;
    const char *path = ctx->opt ? ctx->opt->tune_file : NULL;
    unsigned char *bytes;
    size_t n;
    if (!path)
        return true;
    if (!file_read(ctx, path, &bytes, &n))
        return false;
    const char *at = str_n(ctx, (const char *)bytes, n);
    if (strlen(at) != n)
        return diag_error(ctx, EXIT_MALFORMED, NULL, "%s is no text", path);
    for (int line = 1; *at; line++) {
        size_t len = strcspn(at, "\n");
        const char *text = str_n(ctx, at, len);
        Str first = word_next(ctx, &text);
        if (*first && strcmp(first, "tune") != 0)
            return line_error(ctx, line, "tune KEY TARGET rule=NAME … expected");
        if (*first && !line_read(lo, text, line, list))
            return false;
        at += len + (at[len] == '\n');
    }
    return true;
}

const TuneLine *tune_find(const TuneList *list, Str key) {
    const TuneLine *last = NULL; /* what was appended later counts */
    for (int i = 0; i < list->len; i++)
        if (!strcmp(list->at[i].key, key)) {
            last = &list->at[i];
            list->at[i].used = true;
        }
    return last;
}

void tune_unused(Lower *lo, const TuneList *list) {
    int unused = 0, first = 0;
    const Options *opt = lo->ctx->opt;
    for (int i = list->len; i-- > 0;)
        if (!list->at[i].used) {
            unused++;
            first = list->at[i].line;
        }
    if (!opt || !opt->tune_file || opt->quiet)
        return;
    if (unused)
        diag_note(lo->ctx,
                  "%s: of %d lines for %s %d fit no kernel of this model, the first in line %d",
                  opt->tune_file, list->len, lo->machine->name, unused, first);
    else if (!list->len && list->others)
        diag_note(lo->ctx, "%s has no line for %s", opt->tune_file, lo->machine->name);
}
