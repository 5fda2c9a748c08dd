/* codegen/names.c — the sanitisers: the only way for a model's text into an output.
 *
 * A name such as `x * / int f(void){} / *` or `a??/` must come out harmless wherever it lands: in a
 * comment, a string or as an identifier. Precondition: none; any bytes may come in. */
#include "codegen/codegen.h"

#include <stdlib.h>
#include <string.h>

/* Sorted. Keywords of C and C++, predefined macros, and the lower-case names of the standard headers
 * that a generated file may include or declare. */
static const char *const RESERVED[] = {
#define WORD(w) #w,
#include "codegen/reserved.def"
#undef WORD
};

static bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

Str safe_text(Ctx *ctx, const char *s, int max) {
    Text t = text_new(ctx);
    text_s(&t, "");
    for (int i = 0; s && s[i] && i < max; i++) {
        bool keep = is_lower(s[i]) || is_upper(s[i]) || is_digit(s[i]) || strchr("_.:/-", s[i]);
        /* `//` and `/.` stay; no comment can be opened or closed without a star */
        text_c(&t, keep ? s[i] : '_');
    }
    return str_n(ctx, t.at, t.len);
}

Str safe_comment(Ctx *ctx, const char *s, int max) {
    Text t = text_new(ctx);
    text_s(&t, "");
    char last = 0;
    for (int i = 0; s && s[i]; i++) {
        if (i >= max) {
            text_s(&t, " ...");
            break;
        }
        char c = s[i] == '\n' || s[i] == '\t' ? ' ' : s[i];
        if (c < ' ' || c > '~' || c == '\\' || c == '?' || c == '`' || c == '$' || c == '"')
            c = '_';
        if ((last == '*' && c == '/') || (last == '/' && c == '*'))
            text_c(&t, ' ');
        text_c(&t, c);
        last = c;
    }
    return str_n(ctx, t.at, t.len);
}

static int word_compare(const void *key, const void *row) {
    return strcmp(key, *(const char *const *)row);
}

static bool is_reserved(const char *s) {
    return strncmp(s, "lcc_", 4) == 0 || strncmp(s, "lepton_", 7) == 0 ||
           strncmp(s, "w_", 2) == 0 ||
           bsearch(s, RESERVED, sizeof RESERVED / sizeof *RESERVED, sizeof *RESERVED, word_compare);
}

/* Of a long name the end says most: `/encoder/layer.3/attention/query/MatMul`. */
static const char *name_end(const char *s, size_t longest) {
    size_t n = s ? strlen(s) : 0;
    if (n <= longest)
        return s;
    const char *at = s + n - longest, *sep = at + strcspn(at, "/.:_");
    return *sep && sep[1] && sep < at + longest / 2 ? sep + 1 : at;
}

Str safe_ident(Ctx *ctx, const char *s) {
    enum { LONGEST = 32 };
    char buf[LONGEST + 4];
    int n = 0;
    s = name_end(s, LONGEST);
    for (int i = 0; s && s[i] && n < LONGEST; i++) {
        char c = is_upper(s[i]) ? (char)(s[i] - 'A' + 'a') : s[i];
        if (!is_lower(c) && !is_digit(c))
            c = '_';
        if (c == '_' && (n == 0 || buf[n - 1] == '_'))
            continue;
        buf[n++] = c;
    }
    while (n && buf[n - 1] == '_')
        n--;
    buf[n] = 0;
    if (n == 0)
        return str(ctx, "v");
    if (is_digit(buf[0]) || is_reserved(buf))
        return str_f(ctx, "v_%s", buf);
    return str(ctx, buf);
}

Str safe_name(Ctx *ctx, Names *used, const void *obj, const char *s) {
    return names_of(used, obj, safe_ident(ctx, s));
}
