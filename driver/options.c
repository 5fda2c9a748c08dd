/* The command line, by the table options.def. */
#include "driver/options.h"

#include <stdlib.h>
#include <string.h>

#define OPT(name, letter, arg, kind, field, section, help)                                         \
    {name, letter, arg, kind, offsetof(Args, field), section, help},
#define LATER(name)
static const OptRow ROWS[] = {
#include "driver/options.def"
};
#undef OPT
#undef LATER
#define OPT(name, letter, arg, kind, field, section, help)
#define LATER(name) name,
static const char *const LATER_NAMES[] = {
#include "driver/options.def"
};
#undef OPT
#undef LATER
enum {
    NROWS = (int)(sizeof ROWS / sizeof ROWS[0]),
    NLATER = (int)(sizeof LATER_NAMES / sizeof LATER_NAMES[0])
};

const OptRow *option_table(int *count) {
    *count = NROWS;
    return ROWS;
}

const char *option_dashes(const OptRow *r) {
    return r->name[0] >= 'A' && r->name[0] <= 'Z' ? "-" : "--";
}

enum { THREADS_MAX = 1024 };

/* ---- values ------------------------------------------------------------------------------------------ */

/* A number of bytes: 500, 64K, 2G. */
static bool parse_size(Ctx *ctx, const OptRow *r, const char *text, size_t *field) {
    static const char units[] = "KMGT";
    const char *at = text, *unit;
    int64_t n = 0;
    bool ok = parse_int(&at, &n) && n >= 0;
    if (ok && *at && (unit = strchr(units, *at))) {
        ok = mul_ok(n, (int64_t)1 << (10 * (unit - units + 1)), &n);
        at++;
    }
    if (!ok || *at)
        return diag_error(ctx, EXIT_USAGE, NULL,
                          "--%s=%s: expected a number, or one with K, M or G", r->name, text);
    *field = (size_t)n;
    return true;
}

/* A number of threads; -1: auto. */
static bool parse_threads(Ctx *ctx, const char *text, int *field) {
    const char *at = text;
    int64_t n = -1;
    if (strcmp(text, "auto") != 0 && (!parse_int(&at, &n) || *at || n < 0 || n > THREADS_MAX))
        return diag_error(ctx, EXIT_USAGE, NULL, "--threads=%s: expected 0 to %d, or auto", text,
                          THREADS_MAX);
    *field = (int)n;
    return true;
}

enum { RATIO_MAX = 100 };

static bool parse_ratio(Ctx *ctx, const OptRow *r, const char *text, double *field) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= 1 && v <= RATIO_MAX))
        return diag_error(ctx, EXIT_USAGE, NULL, "--%s=%s: expected a number from 1 to %d", r->name,
                          text, RATIO_MAX);
    *field = v;
    return true;
}

/* v must be one of the words of r->arg, "a|b|c". */
static bool parse_choice(Ctx *ctx, const OptRow *r, const char *v, const char **field) {
    size_t n = strlen(v);
    for (const char *at = r->arg; *at;) {
        size_t len = strcspn(at, "|");
        if (len == n && !strncmp(at, v, n)) {
            *field = v;
            return true;
        }
        at += len + (at[len] == '|');
    }
    return diag_error(ctx, EXIT_USAGE, NULL, "--%s=%s: expected %s", r->name, v, r->arg);
}

/* v: NULL where the option stood alone. */
static bool set_value(Ctx *ctx, Args *a, const OptRow *r, const char *v) {
    void *field = (char *)a + r->field;
    switch (r->kind) {
    case TEXT:
    case MAYBE:
        *(const char **)field = v ? v : "-";
        return true;
    case CHOICE:
        return parse_choice(ctx, r, v, field);
    case FLAG:
        *(bool *)field = true;
        return true;
    case COUNT:
        ++*(int *)field;
        return true;
    case SIZE:
        return parse_size(ctx, r, v, field);
    case RATIO:
        return parse_ratio(ctx, r, v, field);
    case THREADS:
        return parse_threads(ctx, v, field);
    case DIM:
        return parse_dim(a, v);
    case SHAPE:
        return parse_shape(a, v);
    case STATE:
        return parse_state(a, v);
    }
    return false;
}

/* ---- words ------------------------------------------------------------------------------------------- */

static bool unknown_option(Ctx *ctx, const char *name, const char *dashes) {
    const OptRow *best = &ROWS[0];
    for (int i = 0; i < NLATER; i++)
        if (!strcmp(LATER_NAMES[i], name))
            return diag_error(ctx, EXIT_USAGE, NULL, "--%s is not built yet", name);
    for (int i = 1; i < NROWS; i++)
        if (word_distance(name, ROWS[i].name) < word_distance(name, best->name))
            best = &ROWS[i];
    diag_error(ctx, EXIT_USAGE, NULL, "unknown option %s%s", dashes, name);
    if (word_distance(name, best->name) <= 3)
        diag_note(ctx, "did you mean %s%s?", option_dashes(best), best->name);
    else
        diag_note(ctx, "lcc --help lists the options");
    return false;
}

/* The i-th word, without its dashes. */
static bool long_option(Ctx *ctx, Args *a, const Words *w, int *i) {
    const char *word = w->at[*i], *dashes = word[1] == '-' ? "--" : "-";
    const char *name = word + strlen(dashes), *eq = strchr(name, '=');
    size_t n = eq ? (size_t)(eq - name) : strlen(name);
    for (int r = 0; r < NROWS; r++) {
        const OptRow *row = &ROWS[r];
        if (strlen(row->name) != n || strncmp(row->name, name, n) != 0)
            continue;
        if (!row->arg && eq)
            return diag_error(ctx, EXIT_USAGE, NULL, "%s%s takes no value", dashes, row->name);
        if (!row->arg || eq || row->kind == MAYBE)
            return set_value(ctx, a, row, eq ? eq + 1 : NULL);
        if (*i + 1 >= w->len)
            return diag_error(ctx, EXIT_USAGE, NULL, "%s%s needs a value: %s", dashes, row->name,
                              row->arg);
        return set_value(ctx, a, row, w->at[++*i]);
    }
    return unknown_option(ctx, str_n(ctx, name, n), dashes);
}

static bool short_option(Ctx *ctx, Args *a, const Words *w, int *i) {
    for (const char *c = w->at[*i] + 1; *c; c++) {
        const OptRow *row = NULL;
        for (int r = 0; r < NROWS; r++)
            if (ROWS[r].letter == *c)
                row = &ROWS[r];
        if (!row) {
            diag_error(ctx, EXIT_USAGE, NULL, "unknown option -%c", *c);
            diag_note(ctx, "lcc --help lists the options");
            return false;
        }
        if (row->arg && c[1])
            return set_value(ctx, a, row, c + 1);
        if (row->arg && *i + 1 >= w->len)
            return diag_error(ctx, EXIT_USAGE, NULL, "-%c needs a value: %s", *c, row->arg);
        if (row->arg)
            return set_value(ctx, a, row, w->at[++*i]);
        if (!set_value(ctx, a, row, NULL))
            return false;
    }
    return true;
}

/* The flags that shape the code, without paths: what the generated header states. */
static const char *flags_text(Ctx *ctx, const Args *a) {
    Text t = text_new(ctx);
    text_f(&t, "--target=%s", a->opt.target ? a->opt.target : "c");
    if (a->opt.o0)
        text_s(&t, " -O0");
    if (a->opt.strict)
        text_s(&t, " --strict");
    if (a->opt.min_ram)
        text_s(&t, " --min-ram");
    if (a->opt.threads < 0)
        text_s(&t, " --threads=auto");
    else if (a->opt.threads > 1)
        text_f(&t, " --threads=%d", a->opt.threads);
    if (a->opt.rule)
        text_f(&t, " --rule=%s", a->opt.rule);
    if (a->opt.tune_file || a->tune)
        text_s(&t, " --tune-file");
    if (a->opt.profile)
        text_s(&t, " --profile");
    if (a->opt.weights)
        text_f(&t, " --weights=%s", a->opt.weights);
    for (int i = 0; i < a->define.dims.len; i++) {
        const DimBind *b = &a->define.dims.at[i];
        text_f(&t, " --dim %s=%lld", b->name, (long long)b->min);
        if (b->max != b->min)
            text_f(&t, "..%lld", (long long)b->max);
        if (b->mult != 1)
            text_f(&t, "%%%lld", (long long)b->mult);
    }
    for (int i = 0; i < a->opt.states.len; i++) {
        const StateBind *s = &a->opt.states.at[i];
        text_f(&t, s->in ? " --state %s=%s" : " --state auto", s->in, s->out);
    }
    for (int i = 0; i < a->define.shapes.len; i++) {
        text_f(&t, " --shape %s=", a->define.shapes.at[i].input);
        shape_text(&t, &a->define.shapes.at[i]);
    }
    return t.at;
}

static bool word_parse(Ctx *ctx, Args *a, const Words *w, int *i) {
    const char *s = w->at[*i];
    if (s[0] == '-' && (s[1] == '-' || (s[1] >= 'A' && s[1] <= 'Z')))
        return long_option(ctx, a, w, i);
    if (s[0] == '-' && s[1])
        return short_option(ctx, a, w, i);
    if (*i < w->nflags)
        return diag_error(ctx, EXIT_USAGE, NULL, "$LCC_FLAGS may hold options only, not %s", s);
    vec_push(ctx, &a->words, s);
    return true;
}

bool args_parse(Ctx *ctx, Args *a, int argc, char **argv) {
    Words w = {0};
    a->ctx = ctx;
    ctx->opt = &a->opt;
    if (!words_read(ctx, &w, a->library ? NULL : getenv("LCC_FLAGS"), argc, argv))
        return false;
    for (int i = 0; i < w.len; i++) {
        if (i >= w.nflags && !strcmp(w.at[i], "--")) {
            while (++i < w.len)
                vec_push(ctx, &a->words, w.at[i]);
        } else if (!word_parse(ctx, a, &w, &i)) {
            return false;
        }
    }
    if (a->words.len && (verb_find(a->words.at[0]) || verb_later(a->words.at[0]))) {
        a->verb = a->words.at[0];
        a->words.at++;
        a->words.len--;
        a->words.cap--;
    }
    a->opt.flags = flags_text(ctx, a);
    return stage_check(a);
}
