/* What --dim and --shape say. Grammar of a shape, after `INPUT=`:
 *   extents   1x3x224x224 · 1x?x? (? keeps what the model says) · scalar, or nothing
 *   sequence  [2x3,4] · [] · [[2],[3]]
 *   optional  none (empty); else what it holds */
#include "driver/driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NESTED_MAX = 8 };

bool parse_int(const char **at, int64_t *v) {
    char *end;
    errno = 0;
    if (!strchr("+-0123456789", **at) || !**at)
        return false;
    long long x = strtoll(*at, &end, 10);
    if (end == *at || errno)
        return false;
    *at = end;
    *v = x;
    return true;
}

/* name=N or name=LO..HI or name=LO..HI%M */
bool parse_dim(Args *a, const char *text) {
    Ctx *ctx = a->ctx;
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
    if (b.max / b.mult * b.mult < b.min)
        return diag_error(ctx, EXIT_USAGE, NULL,
                          "--dim %s: no multiple of %lld is from %lld to %lld", text,
                          (long long)b.mult, (long long)b.min, (long long)b.max);
    b.name = str_n(ctx, text, (size_t)(eq - text));
    vec_push(ctx, &a->define.dims, b);
    return true;
}

/* past=present, or auto */
bool parse_state(Args *a, const char *text) {
    const char *eq = strchr(text, '=');
    StateBind s = {NULL, NULL};
    if (strcmp(text, "auto") != 0) {
        if (!eq || eq == text || !eq[1])
            return diag_error(a->ctx, EXIT_USAGE, NULL, "--state %s: expected INPUT=OUTPUT or auto",
                              text);
        s = (StateBind){str_n(a->ctx, text, (size_t)(eq - text)), eq + 1};
    }
    vec_push(a->ctx, &a->opt.states, s);
    return true;
}

static bool parse_extents(const char **at, ShapeBind *s) {
    if (!strncmp(*at, "scalar", 6)) {
        *at += 6;
        return true;
    }
    if (!**at || **at == ',' || **at == ']')
        return true;
    for (;; ++*at) {
        if (s->rank == RANK_MAX)
            return false;
        int64_t *dim = &s->dim[s->rank++];
        if (**at == '?') {
            *dim = -1;
            ++*at;
        } else if (!parse_int(at, dim) || *dim < 0) {
            return false;
        }
        if (**at != 'x')
            return true;
    }
}

static bool parse_value(Ctx *ctx, const char **at, ShapeBind *s, int depth) {
    if (!strncmp(*at, "none", 4)) {
        s->kind = SHAPE_NONE;
        *at += 4;
        return true;
    }
    if (**at != '[')
        return parse_extents(at, s);
    s->kind = SHAPE_SEQUENCE;
    ++*at;
    while (**at && **at != ']') {
        ShapeBind item = {0};
        if (depth >= NESTED_MAX || !parse_value(ctx, at, &item, depth + 1))
            return false;
        vec_push(ctx, &s->items, item);
        if (**at == ',' && (*at)[1] != ']')
            ++*at;
        else if (**at != ']')
            return false;
    }
    return *(*at)++ == ']';
}

bool parse_shape(Args *a, const char *text) {
    Ctx *ctx = a->ctx;
    const char *eq = strrchr(text, '='), *at = eq ? eq + 1 : text;
    ShapeBind s = {.input = str_n(ctx, text, eq ? (size_t)(eq - text) : 0)};
    if (!eq || eq == text || !parse_value(ctx, &at, &s, 0) || *at)
        return diag_error(
            ctx, EXIT_USAGE, NULL,
            "--shape %s: expected INPUT=DxD with at most %d extents, [DxD,D], scalar or none", text,
            RANK_MAX);
    vec_push(ctx, &a->define.shapes, s);
    return true;
}

void shape_text(Text *t, const ShapeBind *s) {
    if (s->kind == SHAPE_NONE)
        text_s(t, "none");
    if (s->kind == SHAPE_SEQUENCE) {
        text_c(t, '[');
        for (int i = 0; i < s->items.len; i++) {
            text_s(t, i ? "," : "");
            shape_text(t, (const ShapeBind *)s->items.at + i);
        }
        text_c(t, ']');
    }
    if (s->kind != SHAPE_TENSOR)
        return;
    text_s(t, s->rank ? "" : "scalar");
    for (int i = 0; i < s->rank; i++)
        text_f(t, s->dim[i] < 0 ? "%s?" : "%s%lld", i ? "x" : "", (long long)s->dim[i]);
}
