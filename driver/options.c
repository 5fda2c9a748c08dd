/* The command line, by the table options.def. */
#include "driver/driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum Kind { TEXT, FLAG, COUNT, INT, SIZE, DIM, SHAPE };

typedef struct OptRow {
    const char *name;
    char letter;
    const char *arg;
    enum Kind kind;
    size_t field; /* offset in Args */
    const char *section, *help;
} OptRow;

static const OptRow ROWS[] = {
#define OPT(name, letter, arg, kind, field, section, help)                                         \
    {name, letter, arg, kind, offsetof(Args, field), section, help},
#include "driver/options.def"
#undef OPT
};
enum { NROWS = (int)(sizeof ROWS / sizeof ROWS[0]) };

/* ---- values ------------------------------------------------------------------------------------------ */

static bool parse_int(const char **at, int64_t *v) {
    char *end;
    errno = 0;
    long long x = strtoll(*at, &end, 10);
    if (end == *at || errno)
        return false;
    *at = end;
    *v = x;
    return true;
}

/* name=N or name=LO..HI or name=LO..HI%M */
static bool parse_dim(Ctx *ctx, Args *a, const char *text) {
    const char *eq = strrchr(text, '=');
    DimBind b = {NULL, 0, 0, 1};
    const char *at = eq ? eq + 1 : text;
    bool ok = eq && eq > text && parse_int(&at, &b.min);
    b.max = b.min;
    if (ok && !strncmp(at, "..", 2)) {
        at += 2;
        ok = parse_int(&at, &b.max);
        if (ok && *at == '%') {
            at++;
            ok = parse_int(&at, &b.mult);
        }
    }
    if (!ok || *at || b.min < 0 || b.max < b.min || b.mult < 1)
        return diag_error(ctx, EXIT_USAGE, NULL, "--dim %s: expected NAME=N or NAME=LO..HI%%M",
                          text);
    b.name = str_n(ctx, text, (size_t)(eq - text));
    vec_push(ctx, &a->define.dims, b);
    return true;
}

/* 1x3x224x224, `?` leaving an extent as it is; scalar; none */
static bool parse_extents(const char **at, ShapeBind *s) {
    if (!strncmp(*at, "scalar", 6)) {
        *at += 6;
        return true;
    }
    if (!strncmp(*at, "none", 4)) {
        *at += 4;
        s->kind = SHAPE_NONE;
        return true;
    }
    bool ok = true;
    while (ok && **at && s->rank < RANK_MAX) {
        if (**at == '?') {
            s->dim[s->rank++] = -1;
            ++*at;
        } else {
            ok = parse_int(at, &s->dim[s->rank]) && s->dim[s->rank] >= 0;
            s->rank++;
        }
        if (**at != 'x' || !(*at)[1])
            break;
        ++*at;
    }
    return ok;
}

/* input=1x3x224x224; nothing after the = is a scalar; input=[2x3,4]: a sequence; input=none: absent */
static bool parse_shape(Ctx *ctx, Args *a, const char *text) {
    const char *eq = strrchr(text, '='), *at = eq ? eq + 1 : text;
    ShapeBind s = {0};
    bool ok = eq && eq > text;
    if (ok && *at == '[') {
        s.kind = SHAPE_SEQUENCE;
        for (at++; ok && *at && *at != ']'; at += *at == ',') {
            ShapeBind item = {0};
            ok = parse_extents(&at, &item) && (*at == ',' || *at == ']');
            vec_push(ctx, &s.items, item);
        }
        ok = ok && *at++ == ']';
    } else {
        ok = ok && parse_extents(&at, &s);
    }
    if (!ok || *at)
        return diag_error(
            ctx, EXIT_USAGE, NULL,
            "--shape %s: expected INPUT=DxD with at most %d extents, INPUT=[DxD,DxD] or "
            "INPUT=none",
            text, RANK_MAX);
    s.input = str_n(ctx, text, (size_t)(eq - text));
    vec_push(ctx, &a->define.shapes, s);
    return true;
}

static bool set_value(Ctx *ctx, Args *a, const OptRow *r, const char *v) {
    void *field = (char *)a + r->field;
    const char *at = v;
    int64_t n = 0;
    switch (r->kind) {
    case TEXT:
        *(const char **)field = v;
        return true;
    case FLAG:
        *(bool *)field = true;
        return true;
    case COUNT:
        ++*(int *)field;
        return true;
    case INT:
    case SIZE:
        if (!parse_int(&at, &n) || *at || n < 0)
            return diag_error(ctx, EXIT_USAGE, NULL, "--%s %s: expected a number", r->name, v);
        if (r->kind == INT)
            *(int *)field = (int)n;
        else
            *(size_t *)field = (size_t)n;
        return true;
    case DIM:
        return parse_dim(ctx, a, v);
    case SHAPE:
        return parse_shape(ctx, a, v);
    }
    return false;
}

/* ---- words ------------------------------------------------------------------------------------------- */

/* Length of what differs between two words once their common ends are cut. */
static size_t difference(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b), front = 0, back = 0;
    while (front < n && front < m && a[front] == b[front])
        front++;
    while (back < n - front && back < m - front && a[n - 1 - back] == b[m - 1 - back])
        back++;
    size_t x = n - front - back, y = m - front - back;
    return x > y ? x : y;
}

static bool unknown_option(Ctx *ctx, const char *name) {
    const OptRow *best = &ROWS[0];
    for (int i = 1; i < NROWS; i++)
        if (difference(name, ROWS[i].name) < difference(name, best->name))
            best = &ROWS[i];
    diag_error(ctx, EXIT_USAGE, NULL, "unknown option --%s", name);
    if (difference(name, best->name) <= 3)
        diag_note(ctx, "did you mean --%s?", best->name);
    return false;
}

static bool long_option(Ctx *ctx, Args *a, int argc, char **argv, int *i) {
    const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1), *eq = strchr(name, '=');
    size_t n = eq ? (size_t)(eq - name) : strlen(name);
    for (int r = 0; r < NROWS; r++) {
        if (strlen(ROWS[r].name) != n || strncmp(ROWS[r].name, name, n) != 0)
            continue;
        if (!ROWS[r].arg && eq)
            return diag_error(ctx, EXIT_USAGE, NULL, "--%s takes no value", ROWS[r].name);
        if (!ROWS[r].arg || eq)
            return set_value(ctx, a, &ROWS[r], eq ? eq + 1 : NULL);
        if (*i + 1 >= argc)
            return diag_error(ctx, EXIT_USAGE, NULL, "--%s needs a value: --%s=%s", ROWS[r].name,
                              ROWS[r].name, ROWS[r].arg);
        return set_value(ctx, a, &ROWS[r], argv[++*i]);
    }
    return unknown_option(ctx, str_n(ctx, name, n));
}

static bool short_option(Ctx *ctx, Args *a, int argc, char **argv, int *i) {
    for (const char *c = argv[*i] + 1; *c; c++) {
        const OptRow *row = NULL;
        for (int r = 0; r < NROWS; r++)
            if (ROWS[r].letter == *c)
                row = &ROWS[r];
        if (!row)
            return diag_error(ctx, EXIT_USAGE, NULL, "unknown option -%c", *c);
        if (row->arg && c[1])
            return set_value(ctx, a, row, c + 1);
        if (row->arg && *i + 1 >= argc)
            return diag_error(ctx, EXIT_USAGE, NULL, "-%c needs a value: %s", *c, row->arg);
        if (row->arg)
            return set_value(ctx, a, row, argv[++*i]);
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
    if (a->opt.weights)
        text_f(&t, " --weights=%s", a->opt.weights);
    for (int i = 0; i < a->define.dims.len; i++)
        text_f(&t, " --dim %s=%lld..%lld", a->define.dims.at[i].name,
               (long long)a->define.dims.at[i].min, (long long)a->define.dims.at[i].max);
    return t.at;
}

bool args_parse(Ctx *ctx, Args *a, int argc, char **argv) {
    bool only_words = false;
    a->ctx = ctx;
    for (int i = 1; i < argc; i++) {
        const char *w = argv[i];
        if (only_words || w[0] != '-' || !w[1]) {
            vec_push(ctx, &a->words, w);
        } else if (!strcmp(w, "--")) {
            only_words = true;
        } else if (w[1] == '-' || !strcmp(w, "-O0")) {
            if (!long_option(ctx, a, argc, argv, &i))
                return false;
        } else if (!short_option(ctx, a, argc, argv, &i)) {
            return false;
        }
    }
    if (a->words.len && verb_find(a->words.at[0])) {
        a->verb = a->words.at[0];
        a->words.at++;
        a->words.len--;
        a->words.cap--;
    }
    a->opt.flags = flags_text(ctx, a);
    ctx->opt = &a->opt;
    return true;
}

/* ---- help -------------------------------------------------------------------------------------------- */

void help_print(Text *t, bool all) {
    int n;
    const Verb *v = verb_table(&n);
    text_s(t, "usage: lcc MODEL.onnx [--target=NAME] [-o OUT.c]\n");
    for (int i = 0; i < n; i++)
        text_f(t, "       lcc %s\n", v[i].usage);
    text_s(t, "example: lcc model.onnx --target=avx2 -o model.c\n");
    if (!all)
        return;
    for (int i = 0; i < n; i++)
        text_f(t, "\n  %-8s %s", v[i].name, v[i].help);
    text_c(t, '\n');
    const char *section = "";
    for (int i = 0; i < NROWS; i++) {
        const OptRow *r = &ROWS[i];
        if (strcmp(section, r->section) != 0)
            text_f(t, "\n%s\n", r->section);
        section = r->section;
        Str letter = r->letter ? str_f(t->ctx, "-%c, ", r->letter) : "    ";
        Str left =
            str_f(t->ctx, "%s--%s%s%s", letter, r->name, r->arg ? "=" : "", r->arg ? r->arg : "");
        text_f(t, "  %-28s %s\n", left, r->help);
    }
}
