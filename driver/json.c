/* JSON for --json: texts, shapes, and where it goes. */
#include "driver/driver.h"

#include <string.h>

/* One code point of the n bytes at s; bytes that are no UTF-8 stand for themselves. */
static size_t utf8_read(const unsigned char *s, size_t n, uint32_t *c) {
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 1;
    *c = s[0];
    if (len == 1 || s[0] > 0xf4 || len > n)
        return 1;
    uint32_t v = s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 1;
        v = v << 6 | (s[i] & 0x3f);
    }
    *c = v;
    return len;
}

void json_bytes(Text *t, const char *s, size_t n) {
    text_c(t, '"');
    for (size_t i = 0; i < n;) {
        uint32_t c;
        i += utf8_read((const unsigned char *)s + i, n - i, &c);
        if (c == '"' || c == '\\')
            text_f(t, "\\%c", (int)c);
        else if (c >= 32 && c < 127)
            text_c(t, (char)c);
        else if (c < 0x10000)
            text_f(t, "\\u%04x", (unsigned)c);
        else
            text_f(t, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)),
                   (unsigned)(0xdc00 + (c & 0x3ff)));
    }
    text_c(t, '"');
}

void json_text(Text *t, const char *s) {
    json_bytes(t, s ? s : "", s ? strlen(s) : 0);
}

/* Does e hold a symbol that is known only while the model runs? */
static void find_run(void *data, const Expr *e) {
    if (e->op == OP_LOAD || (e->op == OP_SYM && e->u.sym->kind != SYM_DIM))
        *(bool *)data = true;
}

bool extent_is_open(Ctx *ctx, const Expr *e) {
    bool open = false;
    expr_walk(ctx, e, find_run, &open);
    return open;
}

void json_shape(Text *t, const Buf *b) {
    text_c(t, '[');
    for (int i = 0; i < b->rank; i++) {
        int64_t n;
        text_s(t, i ? ", " : "");
        if (expr_is_int(b->dim[i], &n))
            text_f(t, "%lld", (long long)n);
        else if (extent_is_open(t->ctx, b->dim[i]))
            text_s(t, "null");
        else
            json_text(t, expr_str(t->ctx, b->dim[i]));
    }
    text_c(t, ']');
}

bool json_write(Args *a, const Text *t) {
    return file_write(a->ctx, a->json, t->at, t->len);
}

void text_str(Text *t, const char *s) {
    text_clean(t, s, strlen(s));
}
