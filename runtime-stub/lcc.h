/* runtime-stub/lcc.h — what generated code and the stub's functions share.
 *
 * Stub sources are never linked: lcc pastes the pieces a model needs into its model.c (codegen/paste.c).
 * A piece starts at a line `lcc:piece NAME needs A B` in a comment of its own and ends where the next
 * one starts, or at `lcc:end`; what stands before the first and behind lcc:end is only for compiling that
 * file alone. Pieces are ISO C99, take nothing from libc but what codegen/libc.def lists, allocate nothing,
 * and are `static`. Names start with lcc_. This text belongs to whoever has the generated file (0BSD). */
#ifndef LCC_STUB_H
#define LCC_STUB_H
#include <stddef.h>
#include <stdint.h>

/* lcc:piece lcc_codes */
#ifndef LCC_EINDEX
#define LCC_EINDEX 1    /* a run-time index or length is out of range */
#define LCC_ECAPACITY 2 /* an output does not fit where the caller wants it */
#define LCC_EDIM 3      /* a dimension contradicts the model */
#define LCC_ENOMEM 4    /* the caller's allocator refused */
#endif

/* lcc:piece lcc_str */
#ifndef LCC_STR_DEFINED
#define LCC_STR_DEFINED
/* One element of a string tensor: UTF-8, may hold NUL bytes, not terminated. */
typedef struct lcc_str {
    const char *data;
    int64_t len;
} lcc_str;
#endif

/* lcc:piece lcc_complex */
#ifndef LCC_COMPLEX_DEFINED
#define LCC_COMPLEX_DEFINED
typedef struct lcc_c64 {
    float re, im;
} lcc_c64;
typedef struct lcc_c128 {
    double re, im;
} lcc_c128;
#endif

/* lcc:piece lcc_arg */
/* A tensor as a stub function sees it: row-major, one element as docs/bridge.md lays it out.
 *   int lcc_topk(const lcc_arg *in, int nin, lcc_arg *out, int nout, const int64_t *attr,
 *                const double *fattr)
 * is the form of every function called by a HOST node; it returns 0 or an LCC_E code. An absent optional
 * input has data NULL and rank -1. String attributes arrive as one more input behind the others, of
 * type str and rank 1. Of an output the function gets data, type and count = elements that fit; rank
 * and dims hold the extents known before the call (-1: not known). It writes the true dims, also when it
 * returns LCC_ECAPACITY. data may be NULL only when count is 0. Inputs and outputs never overlap. */
typedef struct lcc_arg {
    void *data;
    int64_t count;
    int64_t dims[8];
    int32_t rank;
    int32_t type; /* ONNX TensorProto.DataType */
} lcc_arg;

/* lcc:end */
#endif
