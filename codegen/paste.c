/* codegen/paste.c — pieces of the runtime stub, pasted into a generated file only when it names them.
 *
 * A stub file is cut at lines of the form
 *     / * lcc:piece lcc_fdiv_i64 needs lcc_div_i64 memcpy * /      (without the inner blanks)
 * A piece ends where the next begins, or at `lcc:end` in a comment of its own. What stands before the first
 * (#include lines) and behind lcc:end is only for compiling the stub alone. */
#include "codegen/codegen.h"
#include "embed.h"

#include <stdlib.h>
#include <string.h>

typedef struct Piece {
    Str name, text, needs; /* needs: names separated by blanks */
} Piece;

typedef struct Libc {
    const char *name, *header, *declaration;
} Libc;

static const Libc LIBC_TABLE[] = {
#define LIBC(name, header, declaration) {#name, header, declaration},
#include "codegen/libc.def"
#undef LIBC
};
enum { NLIBC = sizeof LIBC_TABLE / sizeof *LIBC_TABLE };

struct Paste {
    Ctx *ctx;
    Map *stub;        /* Str → Piece: all there are */
    Map *done;        /* Str → Str: asked for already */
    VEC(Str) texts;   /* in the order they are written */
    VEC(Str) headers; /* asked for by name */
    bool libc[NLIBC];
};

static const char MARK[] = "/* lcc:piece ", END[] = "/* lcc:end */";

static void pieces_read(Paste *p, const char *text) {
    const char *at = strstr(text, MARK);
    while (at) {
        const char *head = at + sizeof MARK - 1, *end = strstr(head, "*/");
        const char *body = strchr(head, '\n');
        if (!end || !body)
            internal_error(p->ctx, "a stub piece without end");
        const char *next = strstr(body, MARK), *last = strstr(body, END);
        const char *stop = next ? next : last ? last : body + strlen(body);
        while (stop > body + 1 && stop[-1] == '\n')
            stop--;
        size_t n = strcspn(head, " ");
        const char *needs = strstr(head, " needs ");
        Piece *piece = ctx_new(p->ctx, Piece);
        piece->name = str_n(p->ctx, head, n);
        if (needs && needs < end)
            piece->needs = str_n(p->ctx, needs + 7, (size_t)(end - needs) - 7);
        piece->text = str_n(p->ctx, body + 1, (size_t)(stop - body) - 1);
        map_put(p->stub, piece->name, piece);
        at = next;
    }
}

Paste *paste_new(Ctx *ctx) {
    Paste *p = ctx_new(ctx, Paste);
    p->ctx = ctx;
    p->stub = map_new(ctx);
    p->done = map_new(ctx);
    for (const struct EmbedText *e = embed_stub; e->name; e++)
        pieces_read(p, e->text);
    return p;
}

bool paste_has(const Paste *p, Str name) {
    return map_get(p->done, name) != NULL;
}

void paste_add(Paste *p, Str name, Str text) {
    if (paste_has(p, name))
        return;
    map_put(p->done, name, (void *)(uintptr_t)name);
    vec_push(p->ctx, &p->texts, text);
}

void paste_include(Paste *p, const char *header) {
    Str h = str(p->ctx, header);
    for (int i = 0; i < p->headers.len; i++)
        if (p->headers.at[i] == h)
            return;
    vec_push(p->ctx, &p->headers, h);
}

bool paste_need(Paste *p, const char *name) {
    Str key = str(p->ctx, name);
    if (paste_has(p, key))
        return true;
    const Piece *piece = map_get(p->stub, key);
    if (!piece) {
        for (int i = 0; i < NLIBC; i++)
            if (strcmp(LIBC_TABLE[i].name, name) == 0)
                return p->libc[i] = true;
        return false;
    }
    map_put(p->done, key, (void *)(uintptr_t)key);
    for (const char *at = piece->needs; at && *at;) {
        size_t n = strcspn(at, " ");
        Str need = str_n(p->ctx, at, n);
        if (n && !paste_need(p, need))
            internal_error(p->ctx, "stub piece %s needs %s, which is not there", name, need);
        at += n + strspn(at + n, " ");
    }
    vec_push(p->ctx, &p->texts, piece->text);
    return true;
}

void paste_libc(const Paste *p, Text *t, bool jit) {
    for (int i = 0; i < p->headers.len; i++)
        text_f(t, "#include <%s>\n", p->headers.at[i]);
    for (int i = 0; i < NLIBC; i++) {
        if (!p->libc[i])
            continue;
        bool first = true;
        for (int j = 0; j < i; j++)
            first &= !p->libc[j] || strcmp(LIBC_TABLE[j].header, LIBC_TABLE[i].header) != 0;
        if (jit)
            text_f(t, "%s\n", LIBC_TABLE[i].declaration);
        else if (first)
            text_f(t, "#include <%s>\n", LIBC_TABLE[i].header);
    }
}

void paste_pieces(const Paste *p, Text *t) {
    for (int i = 0; i < p->texts.len; i++)
        text_f(t, "%s\n\n", p->texts.at[i]);
}
