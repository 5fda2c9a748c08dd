/* ir/lex.c — the lexer shared by all texts, and the names in them.
 *
 * Tokens: integers 3 0x1f; floats 0.5 1e-3; names (letters, digits, _ ' and inner dots); strings "…"
 * with \n \t \" \\ \xNN; punctuation, the longest of the list below. # starts a comment to the end of the
 * line. Signs are punctuation. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ir/expr.h"

/* ---- characters -------------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool is_word(char c) {
    return is_letter(c) || is_digit(c) || c == '\'';
}

/* ---- tokens ------------------------------------------------------------------------------------ */

void lex_init(Lex *lex, Ctx *ctx, const char *file, const char *text) {
    memset(lex, 0, sizeof *lex);
    lex->ctx = ctx;
    lex->file = file;
    lex->at = text;
    lex->line = 1;
    lex_next(lex);
}

bool lex_error(Lex *lex, const char *fmt, ...) {
    if (lex->failed)
        return false;
    Text message = text_new(lex->ctx);
    va_list ap;
    va_start(ap, fmt);
    text_v(&message, fmt, ap);
    va_end(ap);
    Loc loc = {.file = lex->file, .node = -1, .line = lex->line};
    if (lex->kind)
        diag_error(lex->ctx, EXIT_MALFORMED, &loc, "%s, at '%s'", message.at, lex->tok);
    else
        diag_error(lex->ctx, EXIT_MALFORMED, &loc, "%s, at the end", message.at);
    lex->failed = true;
    lex->kind = 0;
    lex->tok[0] = 0;
    return false;
}

static void skip_space(Lex *lex) {
    for (;; lex->at++) {
        if (*lex->at == '#')
            while (*lex->at && *lex->at != '\n')
                lex->at++;
        if (*lex->at == '\n')
            lex->line++;
        else if (*lex->at != ' ' && *lex->at != '\t' && *lex->at != '\r')
            return;
    }
}

/* The n bytes at lex->at become the token. */
static void take(Lex *lex, char kind, size_t n) {
    lex->kind = kind;
    if (n >= sizeof lex->tok) {
        memcpy(lex->tok, lex->at, 20);
        lex->tok[20] = 0;
        lex_error(lex, "token of more than %zu characters", sizeof lex->tok - 1);
        return;
    }
    memcpy(lex->tok, lex->at, n);
    lex->tok[n] = 0;
    lex->at += n;
}

static void lex_number(Lex *lex) {
    const char *s = lex->at, *p = s;
    bool hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X'), flt = false;
    if (hex)
        for (p += 2; is_digit(*p) || (*p >= 'a' && *p <= 'f') || (*p >= 'A' && *p <= 'F'); p++)
            ;
    else
        while (is_digit(*p))
            p++;
    if (!hex && *p == '.' && is_digit(p[1]))
        for (flt = true, p++; is_digit(*p); p++)
            ;
    const char *e = p + 1;
    if (!hex && (*p == 'e' || *p == 'E')) {
        e += *e == '+' || *e == '-';
        if (is_digit(*e))
            for (flt = true, p = e; is_digit(*p); p++)
                ;
    }
    take(lex, flt ? 'f' : 'i', (size_t)(p - s));
    errno = 0;
    if (flt)
        lex->f = strtod(lex->tok, NULL);
    else
        lex->i = (int64_t)strtoull(lex->tok, NULL, hex ? 16 : 10);
    if (!flt && errno == ERANGE)
        lex_error(lex, "integer beyond 64 bits");
}

static int hex_digit(char c) {
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void lex_string(Lex *lex) {
    size_t n = 0;
    lex->kind = 's';
    lex->tok[0] = 0;
    for (lex->at++; *lex->at && *lex->at != '"' && *lex->at != '\n'; lex->at++) {
        char c = *lex->at;
        if (c == '\\' && lex->at[1] == 'x' && hex_digit(lex->at[2]) >= 0 &&
            hex_digit(lex->at[3]) >= 0) {
            c = (char)(hex_digit(lex->at[2]) * 16 + hex_digit(lex->at[3]));
            lex->at += 3;
        } else if (c == '\\' && lex->at[1]) {
            c = *++lex->at;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        if (n + 1 == sizeof lex->tok || c == 0) {
            lex_error(lex, "string too long, or with a zero byte");
            return;
        }
        lex->tok[n++] = c;
        lex->tok[n] = 0;
    }
    if (*lex->at == '"')
        lex->at++;
    else
        lex_error(lex, "string without an end");
}

static size_t punctuation(const char *s) {
    static const char *const two[] = {
        "//", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "->", "=>", "+:", "..", ":="};
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (s[0] == two[i][0] && s[1] == two[i][1])
            return 2;
    return 1;
}

void lex_next(Lex *lex) {
    lex->kind = 0;
    lex->tok[0] = 0;
    if (lex->failed)
        return;
    skip_space(lex);
    const char *s = lex->at, *p = s;
    if (!*s)
        return;
    if (is_digit(*s)) {
        lex_number(lex);
    } else if (is_letter(*s)) {
        while (is_word(*p) || (*p == '.' && is_word(p[1])))
            p++;
        take(lex, 'n', (size_t)(p - s));
    } else if (*s == '"') {
        lex_string(lex);
    } else {
        take(lex, 'p', punctuation(s));
        if ((unsigned char)*s < ' ' || (unsigned char)*s >= 0x7f)
            lex_error(lex, "unexpected byte 0x%02x", (unsigned)(unsigned char)*s);
    }
}

bool lex_is(const Lex *lex, const char *tok) {
    return (lex->kind == 'p' || lex->kind == 'n') && !strcmp(lex->tok, tok);
}

bool lex_take(Lex *lex, const char *tok) {
    if (!lex_is(lex, tok))
        return false;
    lex_next(lex);
    return true;
}

bool lex_need(Lex *lex, const char *tok) {
    return lex_take(lex, tok) || lex_error(lex, "'%s' expected", tok);
}

/* ---- names ------------------------------------------------------------------------------------- */

typedef struct Named Named;
struct Named {
    void *obj;
    char kind; /* 's', 'b', …; 0: given by names_of, found as any kind */
    Named *next;
};

struct Names {
    Ctx *ctx;
    Map *name_of; /* object → Str */
    Map *objects; /* Str → list of Named */
    Map *last;    /* wished Str → int, the number last tried */
    Names *outer; /* seen through from here; NULL: none */
};

static Names *names_empty(Ctx *ctx) {
    Names *n = ctx_new(ctx, Names);
    n->ctx = ctx;
    n->name_of = map_new(ctx);
    n->objects = map_new(ctx);
    n->last = map_new(ctx);
    return n;
}

Names *names_inner(Names *outer) {
    Names *n = names_empty(outer->ctx);
    n->outer = outer;
    return n;
}

Names *names_new(Ctx *ctx) {
    static const char *const reserved[] = {"true", "false", "inf", "nan"};
    Names *n = names_empty(ctx);
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        names_bind(n, str(ctx, reserved[i]), NULL, 'k');
    return n;
}

void names_bind(Names *n, Str name, void *obj, char kind) {
    Named *item = ctx_new(n->ctx, Named);
    item->obj = obj;
    item->kind = kind;
    item->next = map_get(n->objects, name);
    map_put(n->objects, name, item);
    if (obj && !map_get(n->name_of, obj))
        map_put(n->name_of, obj, (void *)(uintptr_t)name);
}

void *names_find(Names *n, Str name, char kind) {
    for (Named *i = map_get(n->objects, name); i; i = i->next)
        if (i->kind == kind || i->kind == 0)
            return i->obj;
    return n->outer ? names_find(n->outer, name, kind) : NULL;
}

static bool is_taken(const Names *n, Str name) {
    for (; n; n = n->outer)
        if (map_get(n->objects, name))
            return true;
    return false;
}

/* The wish as a name the lexer takes whole. */
static Str lexable(Ctx *ctx, Str wish) {
    Text t = text_new(ctx);
    if (!wish || !*wish)
        return str(ctx, "v");
    if (!is_letter(*wish))
        text_c(&t, '_');
    for (const char *s = wish; *s && t.len < 200; s++) {
        bool dot = *s == '.' && t.len && t.at[t.len - 1] != '.' && is_word(s[1]);
        text_c(&t, is_word(*s) || dot ? *s : '_');
    }
    return str_n(ctx, t.at, t.len);
}

Str names_of(Names *n, const void *sym_or_buf, Str wish) {
    for (const Names *in = n; in; in = in->outer) {
        Str known = map_get(in->name_of, sym_or_buf);
        if (known)
            return known;
    }
    Str base = lexable(n->ctx, wish);
    int *count = map_get(n->last, base);
    if (!count) {
        count = ctx_new(n->ctx, int);
        map_put(n->last, base, count);
        *count = 1;
    }
    Str name = base;
    while (is_taken(n, name))
        name = str_f(n->ctx, "%s_%d", base, ++*count);
    names_bind(n, name, (void *)(uintptr_t)sym_or_buf, 0);
    return name;
}
