/* driver/run.h — values from files and words, and running a model in this process: for run and check. */
#ifndef LCC_RUN_H
#define LCC_RUN_H

#include "driver/driver.h"
#include "driver/lepton.h"

/* ---- trees: sequences and optionals over the flat tensors of a program (docs/bridge.md) ------------ */

typedef enum TreeKind {
    TREE_TENSOR,
    TREE_SEQUENCE,
    TREE_PACKED,
    TREE_NONE,
    TREE_OPTIONAL,
    TREE_ROWS
} TreeKind;
typedef struct Tree {
    uint8_t kind; /* TreeKind */
    Str name;     /* of the outermost trees */
    int tensor;   /* TENSOR, ROWS, PACKED (the elements): flat number */
    int second; /* PACKED: flat number of the shapes; OPTIONAL: of the flag, -1 when known present */
    int nitem;  /* SEQUENCE: any; OPTIONAL: 1 */
    struct Tree *item;
} Tree;
/* Parses Program.args or .results. */
Tree *trees_read(Ctx *ctx, const char *json, int *count);
/* Puts the parts of v where the tree says. False: v does not have that form, reported. */
bool tree_flatten(Ctx *ctx, const Tree *t, const OnnxValue *v, OnnxTensor *flat);
OnnxValue tree_value(Ctx *ctx, const Tree *t, const OnnxTensor *flat);

/* ---- tensors ---------------------------------------------------------------------------------------- */

OnnxTensor tensor_make(Ctx *ctx, Dtype type, int rank,
                       const int64_t *dims); /* zeroed; count by dims */
bool npy_read(Ctx *ctx, const char *path, Dtype want, OnnxTensor *out);
bool npy_write(Ctx *ctx, const char *path, const OnnxTensor *t);
/* Element i of a numeric tensor. */
double tensor_at(const OnnxTensor *t, int64_t i);
/* "f32[1,10]" */
void tensor_type_text(Text *t, const OnnxTensor *v);
/* The first `most` values, separated by blanks (or as JSON, by commas). */
void tensor_values_text(Text *t, const OnnxTensor *v, int64_t most, bool json);

/* folder/<side>_<i>.pb, or .npy; NULL: neither is there. */
Str data_file(Ctx *ctx, const char *folder, const char *side, int i);
/* A value from a .pb or .npy file. */
bool value_read(Ctx *ctx, const char *path, OnnxKind kind, Dtype want, OnnxValue *v);

/* ---- inputs ------------------------------------------------------------------------------------------- */

/* One graph input as the command line gives it. */
typedef struct Given {
    const char *path; /* @file, or of --data; NULL: a fill */
    const char *fill; /* "random:7", "ones", "0.5" */
    bool have;        /* value was read */
    OnnxValue value;
} Given;
/* One Given for every graph input, from a->data (or `folder`) and the words; files are read, and bind
 * the shapes the model leaves open. */
Given *inputs_read(Args *a, Compiled *c, const char *folder);
/* The flat tensors, with fills made; dims gets the values of Program.dims. */
bool inputs_flatten(Args *a, const Compiled *c, const Given *given, OnnxTensor *flat,
                    int64_t *dims);

/* ---- running ------------------------------------------------------------------------------------------ */

typedef struct Jit {
    const char *kind; /* "tcc", "cc" */
    void *handle;
    const struct ProfileCall *profile; /* the table of --profile; NULL: none */
    /* After a run, NULL or: is it to run again? */
    bool (*again)(void *data);
    void *data;
    const char *(*signature)(void);
    size_t (*arena_bytes)(const int64_t *dims);
    int (*run)(const int64_t *dims, const lepton_tensor *in, lepton_tensor *out, void *arena,
               size_t arena_bytes);
    /* with --threads; else NULL */
    int (*run_on)(void *pool, const int64_t *dims, const lepton_tensor *in, lepton_tensor *out,
                  void *arena, size_t arena_bytes);
    void (*pool_stop)(void *pool);
    void *pool;
} Jit;
/* --jit, or what there is; sets the target that goes with it. False: reported. */
bool jit_choose(Args *a, Compiled *c, Jit *j);
/* Compiles c->module into this process. */
bool jit_load(Args *a, Compiled *c, Jit *j);
void jit_close(Jit *j);
/* Runs it once. flat outputs are allocated. */
bool jit_run(Args *a, const Compiled *c, const Jit *j, const int64_t *dims, const OnnxTensor *in,
             OnnxTensor *out);
/* Room for a run: memory of the machine, unless --max-memory says less. */
void run_limit(Args *a);

#endif
