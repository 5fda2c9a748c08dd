/* ir/base.h — memory, names, text, diagnostics: what every other file stands on.
 *
 * One Arena per compilation: nothing is freed singly, so there is no ownership to think about
 * beyond "it lives as long as its Ctx". There are no globals: everything hangs off the Ctx that is
 * the first argument of every function that allocates or reports. */
#ifndef LCC_BASE_H
#define LCC_BASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define LCC_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define LCC_PRINTF(f, a)
#endif

typedef struct Ctx Ctx;
typedef struct Arena Arena;

/* ---- arena --------------------------------------------------------------------------------- */

/* `limit` bytes at most (0: no limit); a request past it, or one the system refuses, records an
 * error with exit code 5 and longjmps to ctx->oom (value EXIT_LIMIT) when set, else aborts. */
Arena *arena_new(Ctx *ctx, size_t limit);
void arena_free(Arena *);
/* Zeroed and 16-byte aligned; never NULL. n = 0 gives a valid unique pointer. */
void *arena_alloc(Arena *, size_t n);
/* Bytes handed out so far, for `--time` and the memory limit. */
size_t arena_used(const Arena *);
/* Bytes left below the limit; SIZE_MAX without one. */
size_t arena_room(const Arena *);
/* Raises or lowers the limit (0: none), once the size of the model is known. */
void arena_limit(Arena *, size_t limit);
/* For tests: the n-th request from now fails as if the system had no memory (0: none). */
void arena_fail_at(Arena *, uint64_t n);

#define ctx_new(ctx, T) ((T *)ctx_alloc((ctx), sizeof(T)))
#define ctx_newn(ctx, T, n) ((T *)ctx_allocn((ctx), (size_t)(n), sizeof(T)))
void *ctx_alloc(Ctx *ctx, size_t n);
void *ctx_allocn(Ctx *ctx, size_t n, size_t size); /* overflow-checked n * size */
void *ctx_copy(Ctx *ctx, const void *p, size_t n);

/* ---- interned strings: equality is == -------------------------------------------------------- */

typedef const char *Str;
Str str(Ctx *ctx, const char *s);             /* NULL gives NULL */
Str str_n(Ctx *ctx, const char *s, size_t n); /* the first n bytes, cut at a NUL */
Str str_f(Ctx *ctx, const char *fmt, ...) LCC_PRINTF(2, 3);

/* ---- growable arrays: VEC(int) v = {0}; vec_push(ctx, &v, 7); v.at[i], v.len ------------------- */

#define VEC(T)                                                                                     \
    struct {                                                                                       \
        T *at;                                                                                     \
        int len, cap;                                                                              \
    }
#define vec_push(ctx, v, x)                                                                        \
    (((v)->len == (v)->cap                                                                         \
          ? (void)((v)->at = vec_grow((ctx), (v)->at, &(v)->cap, sizeof *(v)->at))                 \
          : (void)0),                                                                              \
     (v)->at[(v)->len++] = (x))
void *vec_grow(Ctx *ctx, void *at, int *cap, size_t size);

/* ---- pointer-keyed map (side tables of a pass); keys are never NULL ---------------------------- */

typedef struct Map Map;
Map *map_new(Ctx *ctx);
void *map_get(const Map *m, const void *key);       /* NULL when absent */
void map_put(Map *m, const void *key, void *value); /* replaces */

/* ---- text buffer ----------------------------------------------------------------------------- */

typedef struct Text {
    Ctx *ctx;
    char *at; /* NUL-terminated once anything was written */
    size_t len, cap;
} Text;
Text text_new(Ctx *ctx);
void text_f(Text *t, const char *fmt, ...) LCC_PRINTF(2, 3);
void text_v(Text *t, const char *fmt, va_list ap);
void text_s(Text *t, const char *s);
void text_n(Text *t, const char *s, size_t n);
void text_c(Text *t, char c);
/* Shortest decimal that reads back to the same double (or float when `f32`); always with a point or
 * exponent; inf, -inf, nan spelled so. */
void text_float(Text *t, double f, bool f32);

/* ---- checked sizes: the only arithmetic allowed on numbers that come from a model -------------- */

bool add_ok(int64_t a, int64_t b, int64_t *sum); /* false on overflow; *sum untouched then */
bool sub_ok(int64_t a, int64_t b, int64_t *diff);
bool mul_ok(int64_t a, int64_t b, int64_t *product);

/* ---- hash ------------------------------------------------------------------------------------ */

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
/* SHA-256 of n bytes as 64 lower-case hex digits and a NUL. */
void sha256_hex(const void *p, size_t n, char hex[65]);
/* The same while the bytes arrive: `more` says that at p there are `have` of them by now, `end` that n are all. */
typedef struct Sha256 {
    uint32_t state[8];
    size_t done; /* bytes that are in the state, a multiple of 64 */
} Sha256;
void sha256_start(Sha256 *s);
void sha256_more(Sha256 *s, const void *p, size_t have);
void sha256_end(Sha256 *s, const void *p, size_t n, char hex[65]);

/* ---- diagnostics ----------------------------------------------------------------------------- */

/* Where something came from. `node` counts from 0 in the graph named by `graph`; -1 when unknown. */
typedef struct Loc {
    Str file; /* model or .lcc file */
    Str name; /* node name, or the name of the node's first output when it has none */
    Str op;   /* "Conv-11" */
    int node;
    int line; /* of a text file; 0 for a model */
} Loc;

/* Exit codes of the command (design: interface). A higher number does not win: the first does. */
enum {
    EXIT_OK = 0,
    EXIT_MISMATCH = 1,
    EXIT_USAGE = 2,
    EXIT_MALFORMED = 3,
    EXIT_UNSUPPORTED = 4,
    EXIT_LIMIT = 5,
    EXIT_IO = 6,
    EXIT_TOOLCHAIN = 7,
    EXIT_INTERNAL = 70
};

#define DIAG_MAX 20 /* user errors reported at once; later ones are counted */

typedef struct Diag {
    int errors; /* all errors, also those beyond DIAG_MAX */
    int exit_code;
    Text text; /* "model.onnx: error: node 12 'Conv_12' (Conv-11): …\n" lines, notes included */
} Diag;

/* Records one error and returns false, so that `return diag_error(…)` reads well. `code` is one of
 * the EXIT_ codes. Bytes of the model inside the message are made printable here: control bytes,
 * bidi marks and invalid UTF-8 become \xNN. Lines are cut at 400 bytes a string. */
bool diag_error(Ctx *ctx, int code, const Loc *loc, const char *fmt, ...) LCC_PRINTF(4, 5);
/* Appends bytes of a model the way messages show them. */
void text_clean(Text *t, const char *s, size_t n);
/* Adds "note: …" to the last error: what to do. */
void diag_note(Ctx *ctx, const char *fmt, ...) LCC_PRINTF(2, 3);
/* Edit distance of the first 40 bytes of two words, for "did you mean". */
int word_distance(const char *a, const char *b);
/* An invariant of lcc itself is broken: prints pass name and message, exit code 70, longjmps to
 * ctx->oom (value EXIT_INTERNAL) when set. Never for anything a model's bytes can cause. */
_Noreturn void internal_error(Ctx *ctx, const char *fmt, ...) LCC_PRINTF(2, 3);

/* ---- files ----------------------------------------------------------------------------------- */

/* All bytes of a regular file, or of standard input when `path` is "-". An empty file, a folder, a
 * FIFO, a device … are errors. */
bool file_read(Ctx *ctx, const char *path, unsigned char **at, size_t *n);
/* The same; sha256_hex of the bytes, by a second thread while they are read. */
bool file_read_hashed(Ctx *ctx, const char *path, unsigned char **at, size_t *n, char *hex);
/* Bytes that nobody keeps: made whenever they are written or read, as often as that is, on any thread. So
 * `make` allocates nothing, changes nothing but out[0 … len) and room[0 … room), and always makes the same. */
typedef struct Maker {
    void (*make)(const void *data, unsigned char *out, unsigned char *room);
    const void *data;
    size_t len, room; /* bytes made; bytes it needs meanwhile */
} Maker;
/* Bytes of a file that lie in several places. */
typedef struct Span {
    const void *at; /* NULL: `by` makes them */
    size_t len;
    const Maker *by;
} Span;
typedef struct Spans { /* a VEC(Span) */
    Span *at;
    int len, cap;
} Spans;
/* One behind the other, 64-byte aligned. */
unsigned char *spans_join(Ctx *ctx, const Spans *p, size_t *n);
typedef struct FileOut {
    const char *path;
    const Spans *bytes;
} FileOut;
/* Writes files by way of temporaries and renames, the renames when all is written; a file that holds its
 * bytes already is not touched. "-" is standard output; devices and FIFOs are written to directly. */
bool files_write(Ctx *ctx, int n, const FileOut *file);
bool file_write_spans(Ctx *ctx, const char *path, const Spans *p);
bool file_write(Ctx *ctx, const char *path, const char *at, size_t n);

/* ---- the context ----------------------------------------------------------------------------- */

struct Options; /* driver/options.def decides the fields; declared in lower/lower.h */

struct Ctx {
    Arena *arena; /* where ctx_alloc takes from; a trial may put a scratch arena here meanwhile */
    Arena *home;  /* the one ctx_create made: strings and diagnostics always live here */
    struct Interner *strings; /* base.c */
    struct ExprTable *exprs;  /* expr.c: hash-consing */
    struct RuleSet *rules;    /* simplify.c: loaded simplify.rules */
    Diag diag;
    const struct Options *opt;
    Str pass;         /* the running pass, for internal errors */
    Str file;         /* the model's file name as given, for Loc */
    uint32_t next_id; /* for Def, Buf, Sym: creation order, deterministic */
    jmp_buf *oom;     /* where to go when memory or an invariant fails; NULL: abort */
};
/* A context with an empty arena; `limit` as for arena_new. Free with ctx_free. */
Ctx *ctx_create(size_t limit);
void ctx_free(Ctx *ctx);

#endif
