/* codegen/codegen.h — backends: spelling a flat Module. They never see an ONNX op. */
#ifndef LCC_CODEGEN_H
#define LCC_CODEGEN_H

#include "lower/lower.h"

/* What an emit produces; the driver writes files. */
typedef struct Out {
    Str prefix;          /* C prefix of every public symbol: [a-z_][a-z0-9_]* */
    Str stem;            /* file stem used in #include "stem.h" and for weights files */
    Text source, header; /* model.c, model.h */
    Text bridge; /* extra C for shared objects and the JIT (docs/bridge.md), to be put behind the
                            source in one file; empty unless asked */
    bool want_bridge;
    bool jit; /* no #include at all, libm and libc functions declared; weights are the blob, which
                            whoever compiles provides as the symbol PREFIX_weights */
    bool profile;        /* time each call of the entry (C only, not with jit) */
    const char *weights; /* mode asked for: c string incbin file obj auto */
    Str weights_mode;    /* mode chosen */
    Spans blob;    /* weights file (file, incbin) or the ELF object (obj); empty: inside the source.
                            The pieces point into the module's constants */
    Str blob_name; /* "model_weights.o" */
    Str sha256, flags, version, model_file; /* for the header comment, already sanitised by emit */
    Str build_line;                         /* exact C compiler line for this output */
} Out;

/* The one function through which a model's text reaches an output: keeps [A-Za-z0-9_.:/-] and replaces the
 * rest by '_'; at most `max` bytes. */
Str safe_text(Ctx *ctx, const char *s, int max);
/* A C identifier [a-z_][a-z0-9_]*, no keyword of C or C++, not a name of the standard headers, unique in
 * `used` (a Names table of the file). */
Str safe_name(Ctx *ctx, Names *used, const void *obj, const char *s);

/* safe_name without the table: the identifier that s suggests, not yet unique. */
Str safe_ident(Ctx *ctx, const char *s);
/* A line for the inside of a block comment: printable ASCII that cannot close it, splice lines or form a
 * trigraph; at most `max` bytes and " ...". For equations, whose names went nowhere else before. */
Str safe_comment(Ctx *ctx, const char *s, int max);

/* ---- pieces of the runtime stub (paste.c) ------------------------------------------------------- */

/* Stub sources are cut into pieces by lines `lcc:piece NAME needs A B` in a comment of their own; a
 * generated file gets those it names and those they need, each once, what is needed first. A name that
 * starts with neither lcc_ nor LCC_ is a function of libc or libm (libc.def). */
typedef struct Paste Paste;
Paste *paste_new(Ctx *ctx);
/* False when no such piece or libc function exists. */
bool paste_need(Paste *p, const char *name);
/* A piece made while printing, such as a helper for one vector type; its text is written once. */
void paste_add(Paste *p, Str name, Str text);
/* A system header the file needs. */
void paste_include(Paste *p, const char *header);
bool paste_has(const Paste *p, Str name);
/* `#include` lines of the libc functions needed so far, or (jit) their declarations. */
void paste_libc(const Paste *p, Text *t, bool jit);
void paste_pieces(const Paste *p, Text *t);

/* ---- targets ------------------------------------------------------------------------------------ */

/* As many bytes of weights become text unasked on machines without a vector unit; more are refused. */
enum { PLAIN_TEXT_MAX = 1 << 20 };

extern const Target target_c;
bool c_emit(Ctx *ctx, const Module *m, const Machine *mach, Out *out);

#endif
