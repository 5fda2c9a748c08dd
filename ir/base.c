/* ir/base.c — arena, interned strings, growable arrays, maps, text, checked arithmetic, contexts.
 *
 * Everything a compilation allocates comes from here and dies with its Arena. Hash tables are
 * keyed with bytes the model's author cannot know, so no model can make them quadratic; nothing
 * that is printed ever depends on their order. Precondition: none; this is the lowest file.
 * (SHA-256 and hashing: hash.c; diagnostics: diag.c.) */
#define _DEFAULT_SOURCE
#include "ir/base.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ALIGN = 16,
    CHUNK_FIRST = 1 << 16,
    CHUNK_MAX = 1 << 20,
};

/* Under ASan every request gets its own block, so that reads past its end are seen. */
#if defined(__SANITIZE_ADDRESS__)
#define OWN_BLOCK(n, chunk) ((void)(chunk), (n) > 0)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_BLOCK(n, chunk) ((void)(chunk), (n) > 0)
#endif
#endif
#ifndef OWN_BLOCK
#define OWN_BLOCK(n, chunk) ((n) > (chunk) / 4)
#endif

/* ---- arena --------------------------------------------------------------------------------- */

typedef struct Chunk {
    struct Chunk *next;
    size_t size; /* pads the header to 16 bytes; the payload follows */
} Chunk;

struct Arena {
    Ctx *ctx;
    Chunk *chunks;
    char *at, *end; /* the free rest of the current chunk */
    size_t chunk;   /* size of the next ordinary chunk */
    size_t used, limit;
    uint64_t fail_at; /* for tests: requests left until one fails; 0: never */
};

/* Leaves through ctx->oom. The message goes into room that ctx_create reserved, so that reporting
 * "no memory" needs none. */
static _Noreturn void arena_exhausted(Arena *a, size_t n) {
    Ctx *ctx = a->ctx;
    if (!ctx || !ctx->oom) {
        fprintf(stderr, "lcc: out of memory\n");
        abort();
    }
    Diag *d = &ctx->diag;
    d->errors++;
    if (!d->exit_code)
        d->exit_code = EXIT_LIMIT;
    bool limit = a->limit && (n > a->limit || a->used > a->limit - n);
    const char *file = ctx->file && strlen(ctx->file) < 100 ? ctx->file : "lcc";
    if (d->text.at && d->text.cap - d->text.len > 256) {
        size_t room = d->text.cap - d->text.len;
        int put = limit ? snprintf(d->text.at + d->text.len, room,
                                   "%s: error: needs more than the limit of %zu MiB of memory\n"
                                   "note: --max-memory=BYTES sets another limit\n",
                                   file, a->limit >> 20)
                        : snprintf(d->text.at + d->text.len, room,
                                   "%s: error: out of memory after %zu MiB\n", file, a->used >> 20);
        if (put > 0)
            d->text.len += (size_t)put;
    }
    longjmp(*ctx->oom, EXIT_LIMIT);
}

Arena *arena_new(Ctx *ctx, size_t limit) {
    Arena *a = calloc(1, sizeof *a);
    if (!a) {
        Arena none = {.ctx = ctx};
        arena_exhausted(&none, sizeof *a);
    }
    a->ctx = ctx;
    a->limit = limit;
    a->chunk = CHUNK_FIRST;
    return a;
}

void arena_free(Arena *a) {
    if (!a)
        return;
    for (Chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(a);
}

void arena_limit(Arena *a, size_t limit) {
    a->limit = limit;
}

void arena_fail_at(Arena *a, uint64_t n) {
    a->fail_at = n;
}

static char *chunk_add(Arena *a, size_t n) {
    Chunk *c = n > SIZE_MAX - sizeof *c ? NULL : calloc(1, sizeof *c + n);
    if (!c)
        arena_exhausted(a, n);
    c->size = n;
    c->next = a->chunks;
    a->chunks = c;
    return (char *)(c + 1);
}

void *arena_alloc(Arena *a, size_t n) {
    if (n > SIZE_MAX / 2)
        arena_exhausted(a, n);
    n = n ? (n + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
    if (a->fail_at && --a->fail_at == 0)
        arena_exhausted(a, 0);
    if (a->limit && (n > a->limit || a->used > a->limit - n))
        arena_exhausted(a, n);
    a->used += n;
    if (OWN_BLOCK(n, a->chunk))
        return chunk_add(a, n);
    if ((size_t)(a->end - a->at) < n) {
        a->at = chunk_add(a, a->chunk);
        a->end = a->at + a->chunk;
        if (a->chunk < CHUNK_MAX)
            a->chunk *= 2;
    }
    void *p = a->at;
    a->at += n;
    return p;
}

size_t arena_used(const Arena *a) {
    return a->used;
}

size_t arena_room(const Arena *a) {
    return !a->limit ? SIZE_MAX : a->limit > a->used ? a->limit - a->used : 0;
}

void *ctx_alloc(Ctx *ctx, size_t n) {
    return arena_alloc(ctx->arena, n);
}

void *ctx_allocn(Ctx *ctx, size_t n, size_t size) {
    if (size && n > SIZE_MAX / size)
        arena_exhausted(ctx->arena, SIZE_MAX);
    return arena_alloc(ctx->arena, n * size);
}

void *ctx_copy(Ctx *ctx, const void *p, size_t n) {
    void *copy = ctx_alloc(ctx, n);
    if (n)
        memcpy(copy, p, n);
    return copy;
}

/* ---- interned strings ------------------------------------------------------------------------ */

typedef struct Slot {
    uint64_t hash;
    Str s; /* NULL: free */
} Slot;

/* Open addressing, at most 2/3 full. Strings live in the arena the Ctx was made with, also while
 * a scratch arena stands in for it. */
struct Interner {
    Arena *arena;
    Slot *slot;
    size_t cap, len; /* cap is a power of two */
    uint64_t key;
};

/* Unknown to whoever wrote the model. Where the system gives no entropy, addresses must do. */
static uint64_t secret_key(const void *p) {
    uint64_t key;
    if (getentropy(&key, sizeof key) != 0)
        key = hash_bytes(&p, sizeof p, 0);
    return key;
}

static struct Interner *interner_new(Arena *arena) {
    struct Interner *in = arena_alloc(arena, sizeof *in);
    in->arena = arena;
    in->cap = 256;
    in->slot = arena_alloc(arena, in->cap * sizeof *in->slot);
    in->key = secret_key(in);
    return in;
}

static void interner_grow(struct Interner *in) {
    size_t cap = in->cap * 2;
    Slot *slot = arena_alloc(in->arena, cap * sizeof *slot);
    for (size_t i = 0; i < in->cap; i++) {
        if (!in->slot[i].s)
            continue;
        size_t j = in->slot[i].hash & (cap - 1);
        while (slot[j].s)
            j = (j + 1) & (cap - 1);
        slot[j] = in->slot[i];
    }
    in->slot = slot;
    in->cap = cap;
}

Str str_n(Ctx *ctx, const char *s, size_t n) {
    if (!s)
        return NULL;
    const char *nul = n ? memchr(s, 0, n) : NULL;
    if (nul)
        n = (size_t)(nul - s);
    struct Interner *in = ctx->strings;
    uint64_t hash = hash_bytes(s, n, in->key);
    size_t i = hash & (in->cap - 1);
    for (; in->slot[i].s; i = (i + 1) & (in->cap - 1)) {
        const Slot *slot = &in->slot[i];
        if (slot->hash == hash && strncmp(slot->s, s, n) == 0 && slot->s[n] == 0)
            return slot->s;
    }
    char *copy = arena_alloc(in->arena, n + 1);
    if (n)
        memcpy(copy, s, n);
    in->slot[i] = (Slot){hash, copy};
    if (++in->len > in->cap / 3 * 2)
        interner_grow(in);
    return copy;
}

Str str(Ctx *ctx, const char *s) {
    return s ? str_n(ctx, s, strlen(s)) : NULL;
}

Str str_f(Ctx *ctx, const char *fmt, ...) {
    char small[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < (int)sizeof small)
        return str_n(ctx, small, n < 0 ? 0 : (size_t)n);
    Text t = text_new(ctx);
    va_start(ap, fmt);
    text_v(&t, fmt, ap);
    va_end(ap);
    return str_n(ctx, t.at, t.len);
}

/* ---- growable arrays ------------------------------------------------------------------------- */

void *vec_grow(Ctx *ctx, void *at, int *cap, size_t size) {
    if (*cap > INT32_MAX / 2)
        arena_exhausted(ctx->arena, SIZE_MAX);
    int wider = *cap ? *cap * 2 : 8;
    void *copy = ctx_allocn(ctx, (size_t)wider, size);
    if (*cap)
        memcpy(copy, at, (size_t)*cap * size);
    *cap = wider;
    return copy;
}

/* ---- pointer maps ---------------------------------------------------------------------------- */

typedef struct Pair {
    const void *key;
    void *value;
} Pair;

struct Map {
    Ctx *ctx;
    Pair *pair;
    size_t cap, len; /* cap is a power of two */
};

Map *map_new(Ctx *ctx) {
    Map *m = ctx_new(ctx, Map);
    m->ctx = ctx;
    m->cap = 16;
    m->pair = ctx_newn(ctx, Pair, m->cap);
    return m;
}

static Pair *map_find(const Map *m, const void *key) {
    uint64_t h = (uint64_t)(uintptr_t)key;
    h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    size_t i = (h ^ h >> 32) & (m->cap - 1);
    while (m->pair[i].key && m->pair[i].key != key)
        i = (i + 1) & (m->cap - 1);
    return &m->pair[i];
}

void *map_get(const Map *m, const void *key) {
    return map_find(m, key)->value;
}

void map_put(Map *m, const void *key, void *value) {
    Pair *p = map_find(m, key);
    if (p->key) {
        p->value = value;
        return;
    }
    if (++m->len > m->cap / 3 * 2) {
        Map old = *m;
        m->cap *= 2;
        m->pair = ctx_newn(m->ctx, Pair, m->cap);
        for (size_t i = 0; i < old.cap; i++)
            if (old.pair[i].key)
                *map_find(m, old.pair[i].key) = old.pair[i];
        p = map_find(m, key);
    }
    *p = (Pair){key, value};
}

/* ---- text ------------------------------------------------------------------------------------ */

Text text_new(Ctx *ctx) {
    return (Text){.ctx = ctx};
}

/* Room for n more bytes and the NUL. */
static void text_room(Text *t, size_t n) {
    if (t->cap - t->len > n)
        return;
    if (n > SIZE_MAX / 4 || t->cap > SIZE_MAX / 4)
        arena_exhausted(t->ctx->arena, SIZE_MAX);
    size_t cap = t->cap ? t->cap * 2 : 64;
    while (cap - t->len <= n)
        cap *= 2;
    char *at = ctx_alloc(t->ctx, cap);
    if (t->len)
        memcpy(at, t->at, t->len);
    t->at = at;
    t->cap = cap;
}

void text_n(Text *t, const char *s, size_t n) {
    text_room(t, n);
    if (n)
        memcpy(t->at + t->len, s, n);
    t->len += n;
    t->at[t->len] = 0;
}

void text_s(Text *t, const char *s) {
    text_n(t, s, strlen(s));
}

void text_c(Text *t, char c) {
    text_n(t, &c, 1);
}

void text_v(Text *t, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    text_room(t, 80);
    size_t room = t->cap - t->len;
    int n = vsnprintf(t->at + t->len, room, fmt, ap);
    if (n >= 0 && (size_t)n >= room) {
        text_room(t, (size_t)n);
        vsnprintf(t->at + t->len, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    if (n > 0)
        t->len += (size_t)n;
    t->at[t->len] = 0;
}

void text_f(Text *t, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    text_v(t, fmt, ap);
    va_end(ap);
}

/* Prints with `digits` significant digits; whether that reads back as f. */
static bool float_exact(char *out, size_t room, double f, bool f32, int digits) {
    snprintf(out, room, "%.*g", digits, f);
    return f32 ? strtof(out, NULL) == (float)f : strtod(out, NULL) == f;
}

void text_float(Text *t, double f, bool f32) {
    char buf[64];
    if (isnan(f) || isinf(f)) {
        text_s(t, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    if (f == floor(f) && fabs(f) < 1e7) {
        snprintf(buf, sizeof buf, "%.1f", f);
    } else {
        /* Most weights need nearly all digits: short spellings are tried only where one exists. */
        int most = f32 ? 6 : 15;
        int digits = float_exact(buf, sizeof buf, f, f32, most) ? 1 : most + 1;
        while (!float_exact(buf, sizeof buf, f, f32, digits) && digits < 17)
            digits++;
    }
    bool point = false, was_point = false;
    for (const char *p = buf; *p; p++) { /* a locale may spell the point in its own way */
        bool plain = (*p >= '0' && *p <= '9') || *p == 'e' || *p == '+' || *p == '-';
        if (plain)
            text_c(t, *p);
        else if (!was_point)
            text_c(t, '.');
        was_point = !plain;
        point |= !plain || *p == 'e';
    }
    if (!point)
        text_s(t, ".0");
}

/* ---- checked sizes --------------------------------------------------------------------------- */

bool add_ok(int64_t a, int64_t b, int64_t *sum) {
    if (b > 0 ? a > INT64_MAX - b : a < INT64_MIN - b)
        return false;
    *sum = a + b;
    return true;
}

bool sub_ok(int64_t a, int64_t b, int64_t *diff) {
    if (b > 0 ? a < INT64_MIN + b : a > INT64_MAX + b)
        return false;
    *diff = a - b;
    return true;
}

bool mul_ok(int64_t a, int64_t b, int64_t *product) {
    bool fits = a == 0 || b == 0;
    if (!fits && a > 0)
        fits = b > 0 ? a <= INT64_MAX / b : b >= INT64_MIN / a;
    else if (!fits)
        fits = b > 0 ? a >= INT64_MIN / b : a >= INT64_MAX / b;
    if (!fits)
        return false;
    *product = a * b;
    return true;
}

/* ---- the context ----------------------------------------------------------------------------- */

Ctx *ctx_create(size_t limit) {
    Ctx *ctx = calloc(1, sizeof *ctx);
    if (!ctx) {
        fprintf(stderr, "lcc: out of memory\n");
        abort();
    }
    ctx->arena = ctx->home = arena_new(ctx, limit);
    ctx->strings = interner_new(ctx->arena);
    ctx->diag.text = text_new(ctx);
    text_room(&ctx->diag.text, 1000); /* what arena_exhausted writes into */
    return ctx;
}

void ctx_free(Ctx *ctx) {
    if (!ctx)
        return;
    arena_free(ctx->home);
    free(ctx);
}
