/* driver/lepton.h — lcc as a C library: a model in memory or in a file becomes C text, or runs at once.
 *
 * Everything hangs off one lepton_model; two of them may be used in two threads (but libtcc compiles for one at a
 * time). Nothing is printed and no file is written; errors are texts and the command's exit codes.
 * Link with what `pkg-config --static --libs lepton` says. docs/library.md has a program. */
#ifndef LEPTON_H
#define LEPTON_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lepton_model lepton_model;

/* Compiles `bytes` bytes of an ONNX file, or the file `path` (external data is read beneath its folder only).
 * options: words as the command takes them, NULL at the end, or NULL: --target --dim --shape --prefix
 * --weights --strict -O0 --rule --max-memory --jit --cc. Others are refused. $LCC_FLAGS does not count.
 * Never NULL but without memory for the struct itself; ask lepton_status. */
lepton_model *lepton_compile(const void *onnx, size_t bytes, const char *const *options);
lepton_model *lepton_compile_file(const char *path, const char *const *options);
void lepton_free(lepton_model *m);

/* 0, or the exit code of the first error: 2 usage, 3 malformed model, 4 unsupported, 5 limit, 6 input/output,
 * 7 toolchain, 70 internal. */
int lepton_status(const lepton_model *m);
/* Errors and notes, one a line; "" when there are none. */
const char *lepton_messages(const lepton_model *m);
/* model.c and model.h as the command writes them; NULL after an error. Every text lives until lepton_free. */
const char *lepton_source(const lepton_model *m);
const char *lepton_header(const lepton_model *m);
/* The weights' file and the name it wants beside the source (--weights=obj, incbin, file); NULL when they
 * are in the source. */
const void *lepton_weights(lepton_model *m, const char **name, size_t *bytes);
/* Scratch memory one run needs; -1: it depends on shapes. */
int64_t lepton_arena(const lepton_model *m);

/* A tensor, as docs/bridge.md describes it. */
#ifndef LEPTON_TENSOR_DEFINED
#define LEPTON_TENSOR_DEFINED
typedef struct lepton_tensor {
    void *data;      /* elements, contiguous; never NULL */
    int64_t count;   /* input: elements; output: elements that fit */
    int64_t dims[8]; /* outputs: filled in */
    int32_t rank;
    int32_t reserved;
} lepton_tensor;
#endif

/* The three functions of docs/bridge.md. */
typedef struct lepton_entry {
    const char *(*signature)(void);             /* JSON */
    size_t (*arena_bytes)(const int64_t *dims); /* for these values of the symbolic dims */
    int (*run)(const int64_t *dims, const lepton_tensor *in, lepton_tensor *out, void *arena,
               size_t arena_bytes);
} lepton_entry;

/* Compiles the model into this process: by libtcc for --target=c where lcc was built with it, else (or with
 * --jit=cc) by the C compiler. NULL after an error. The code goes with lepton_free. */
const lepton_entry *lepton_load(lepton_model *m);

#ifdef __cplusplus
}
#endif
#endif
