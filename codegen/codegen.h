/* codegen/codegen.h — backends: spelling a flat Module. They never see an ONNX op. */
#ifndef LCC_CODEGEN_H
#define LCC_CODEGEN_H

#include "lower/lower.h"

/* What an emit produces; the driver writes files. */
typedef struct Out {
    Str prefix;          /* C prefix of every public symbol: [a-z_][a-z0-9_]* */
    Str stem;            /* file stem used in #include "stem.h" and for weights files */
    Text source, header; /* model.c, model.h */
    Text bridge;         /* extra C for shared objects and the JIT (docs/bridge.md); empty unless asked */
    bool want_bridge, jit; /* jit: no #include at all, libm and libc functions declared */
    const char *weights; /* mode asked for: c string incbin file obj auto */
    Str weights_mode;    /* mode chosen */
    unsigned char *blob; /* weights file (file, incbin) or the ELF object (obj); NULL: inside the source */
    size_t blob_len;
    Str blob_name;       /* "model_weights.o" */
    Str sha256, flags, version, model_file; /* for the header comment, already sanitised by emit */
    Str build_line;      /* exact C compiler line for this output */
} Out;

/* The one function through which a model's text reaches an output: keeps [A-Za-z0-9_.:/-] and replaces the
 * rest by '_'; at most `max` bytes. */
Str safe_text(Ctx *ctx, const char *s, int max);
/* A C identifier [a-z_][a-z0-9_]*, no keyword of C or C++, not a name of the standard headers, unique in
 * `used` (a Names table of the file). */
Str safe_name(Ctx *ctx, Names *used, const void *obj, const char *s);

bool c_emit(Ctx *ctx, const Module *m, const Machine *mach, Out *out);

#endif
