/* ir/diag.c — user errors and internal errors.
 *
 * Whatever bytes a model carries, a message is one printable line: control bytes, bidi marks and
 * invalid UTF-8 come out as \xNN and long strings are cut. Precondition: a Ctx from ctx_create. */
#include "ir/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRING_MAX = 400, SPEC_MAX = 32 };

/* Length of the printable UTF-8 character at s (n bytes left), 0 when it must be escaped. */
static size_t utf8_printable(const unsigned char *s, size_t n) {
    if (s[0] < 0x80)
        return s[0] >= 0x20 && s[0] != 0x7f;
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len > n)
        return 0;
    uint32_t c = s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    bool overlong = c < (len == 4 ? 0x10000u : len == 3 ? 0x800u : 0x80u);
    bool hidden = c < 0xa0 || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
                  (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
                  (c >= 0xfff0 && c <= 0xffff) || (c >= 0xe0000 && c <= 0xeffff);
    bool surrogate = c >= 0xd800 && c <= 0xdfff;
    return overlong || hidden || surrogate || c > 0x10ffff ? 0 : len;
}

void text_clean(Text *t, const char *s, size_t n) {
    const unsigned char *at = (const unsigned char *)s;
    size_t shown = n < STRING_MAX ? n : STRING_MAX;
    for (size_t i = 0; i < shown;) {
        size_t len = utf8_printable(at + i, n - i);
        if (len)
            text_n(t, s + i, len);
        else
            text_f(t, "\\x%02X", (unsigned)at[i]);
        i += len ? len : 1;
    }
    if (shown < n)
        text_s(t, "...");
}

typedef struct Args {
    va_list ap;
} Args;

/* Prints the conversion `spec` ("%-5.2lld") with its argument; strings are cleaned. */
static void text_arg(Text *t, const char *spec, int stars[2], int nstar, Args *args) {
    size_t n = strlen(spec);
    char conv = spec[n - 1];
    int longs = 0;
    for (const char *p = spec; *p; p++)
        longs += *p == 'l' || *p == 'z' || *p == 't' || *p == 'j';
#define PUT(v)                                                                                     \
    (nstar == 2   ? text_f(t, spec, stars[0], stars[1], (v))                                       \
     : nstar == 1 ? text_f(t, spec, stars[0], (v))                                                 \
                  : text_f(t, spec, (v)))
    if (conv == 's') {
        const char *s = va_arg(args->ap, const char *);
        const char *dot = strchr(spec, '.');
        size_t most = !dot            ? SIZE_MAX
                      : dot[1] == '*' ? (size_t)stars[nstar - 1]
                                      : (size_t)strtol(dot + 1, NULL, 10);
        size_t len = 0;
        s = s ? s : "(none)";
        while (len < most && len <= STRING_MAX && s[len])
            len++;
        text_clean(t, s, len);
    } else if (conv == 'c') {
        char c = (char)va_arg(args->ap, int);
        text_clean(t, &c, 1);
    } else if (strchr("fFgGeEaA", conv)) {
        double v = va_arg(args->ap, double);
        PUT(v);
    } else if (conv == 'p') {
        va_arg(args->ap, void *);
    } else if (longs) {
        long long v = va_arg(args->ap, long long);
        PUT(v);
    } else {
        int v = va_arg(args->ap, int);
        PUT(v);
    }
#undef PUT
}

/* printf for messages. All sizes wider than int are 64 bits on the hosts lcc runs on. */
static void text_message(Text *t, const char *fmt, va_list ap) {
    Args args;
    va_copy(args.ap, ap);
    while (*fmt) {
        size_t plain = strcspn(fmt, "%");
        text_n(t, fmt, plain);
        fmt += plain;
        if (fmt[0] == '%' && fmt[1] == '%') {
            text_c(t, '%');
            fmt += 2;
        } else if (*fmt) {
            char spec[SPEC_MAX];
            int stars[2], nstar = 0;
            size_t n = strcspn(fmt + 1, "diouxXcsfFgGeEaAp") + 2;
            if (n >= sizeof spec || n > strlen(fmt))
                break;
            memcpy(spec, fmt, n);
            spec[n] = 0;
            for (size_t i = 0; i < n && nstar < 2; i++)
                if (spec[i] == '*')
                    stars[nstar++] = va_arg(args.ap, int);
            text_arg(t, spec, stars, nstar, &args);
            fmt += n;
        }
    }
    va_end(args.ap);
}

int word_distance(const char *a, const char *b) {
    enum { LONGEST = 40 };
    int row[LONGEST + 1];
    int na = (int)strnlen(a, LONGEST), nb = (int)strnlen(b, LONGEST);
    for (int j = 0; j <= nb; j++)
        row[j] = j;
    for (int i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[nb];
}

static void text_where(Ctx *ctx, Text *t, const Loc *loc) {
    Str file = loc && loc->file ? loc->file : ctx->file;
    text_clean(t, file ? file : "lcc", strlen(file ? file : "lcc"));
    if (loc && loc->line)
        text_f(t, ":%d", loc->line);
    text_s(t, ": error: ");
    if (!loc || (!loc->name && !loc->op))
        return;
    text_s(t, "node ");
    if (loc->node >= 0)
        text_f(t, "%d ", loc->node);
    if (loc->name) {
        text_c(t, '\'');
        text_clean(t, loc->name, strlen(loc->name));
        text_s(t, loc->op ? "' " : "'");
    }
    if (loc->op) {
        text_c(t, '(');
        text_clean(t, loc->op, strlen(loc->op));
        text_c(t, ')');
    }
    text_s(t, ": ");
}

bool diag_error(Ctx *ctx, int code, const Loc *loc, const char *fmt, ...) {
    Diag *d = &ctx->diag;
    if (!d->exit_code)
        d->exit_code = code;
    if (d->errors++ >= DIAG_MAX)
        return false;
    Arena *now = ctx->arena;
    ctx->arena = ctx->home;
    va_list ap;
    va_start(ap, fmt);
    text_where(ctx, &d->text, loc);
    text_message(&d->text, fmt, ap);
    text_c(&d->text, '\n');
    va_end(ap);
    ctx->arena = now;
    return false;
}

void diag_note(Ctx *ctx, const char *fmt, ...) {
    Diag *d = &ctx->diag;
    if (d->errors > DIAG_MAX)
        return;
    Arena *now = ctx->arena;
    ctx->arena = ctx->home;
    va_list ap;
    va_start(ap, fmt);
    text_s(&d->text, "note: ");
    text_message(&d->text, fmt, ap);
    text_c(&d->text, '\n');
    va_end(ap);
    ctx->arena = now;
}

_Noreturn void internal_error(Ctx *ctx, const char *fmt, ...) {
    char message[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    for (char *p = message; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
    fprintf(stderr, "lcc: internal error in %s: %s\n", ctx->pass ? ctx->pass : "lcc", message);
    ctx->diag.errors++;
    ctx->diag.exit_code = EXIT_INTERNAL;
    if (ctx->oom)
        longjmp(*ctx->oom, EXIT_INTERNAL);
    abort();
}
