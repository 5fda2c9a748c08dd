/* driver/driver.h — the command: options, verbs, files, the C compiler. Only the driver sees all levels. */
#ifndef LCC_DRIVER_H
#define LCC_DRIVER_H

#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "frontend/load.h"

/* The words of the command line; the first nflags come from $LCC_FLAGS. A VEC(const char *). */
typedef struct Words {
    const char **at;
    int len, cap, nflags;
} Words;
/* flags: those of $LCC_FLAGS, or NULL. */
bool words_read(Ctx *ctx, Words *w, const char *flags, int argc, char **argv);

typedef struct Args {
    Ctx *ctx;
    Options opt; /* what the library reads */
    DefineOptions define;
    const char *verb;        /* NULL: the main form */
    VEC(const char *) words; /* positional arguments after the verb */
    bool help, version, print_outputs, dep, per_node;
    const char *dep_file, *dep_target, *json, *color;
    const char *kernel, *measured, *tune;
    const char *data, *save, *save_as, *jit, *tolerance, *tol, *against, *manual;
    bool library;   /* called by lepton.c: the environment says nothing */
    bool in_memory; /* the model is bytes, not a file */
    const void *bytes;
    size_t nbytes;
    Str scratch; /* temporary folder; whoever ends early removes it (scratch_remove) */
} Args;

/* Fills a from the command line. False: a usage error was reported. */
bool args_parse(Ctx *ctx, Args *a, int argc, char **argv);
/* help.c: --help (`all`) or just the usage; the manual page or completions: man, bash, zsh, fish. */
void help_print(Text *t, bool all);
void manual_print(Text *t, const char *form);

/* shapes.c: decimal at *at, moved behind it; the values of --dim, --shape and --state, and a shape as text. */
bool parse_int(const char **at, int64_t *v);
bool parse_dim(Args *a, const char *text);
bool parse_shape(Args *a, const char *text);
bool parse_state(Args *a, const char *text);
void shape_text(Text *t, const ShapeBind *s);

/* A verb returns the exit code; errors are in ctx->diag. */
typedef struct Verb {
    const char *name;
    int (*run)(Args *a);
    const char *usage, *help;
} Verb;
const Verb *verb_find(const char *name); /* NULL: not a verb */
const Verb *verb_table(int *count);
bool verb_later(const char *name); /* one of the interface's verbs that is not built yet */

int verb_compile(Args *a); /* the main form */
int verb_info(Args *a);
int verb_ops(Args *a);
int verb_targets(Args *a);
int verb_explain(Args *a);
int verb_run(Args *a);
int verb_check(Args *a);

/* ---- one model on its way (compile.c) ----------------------------------------------------------- */

typedef struct Compiled {
    OnnxFile file;
    Model *model;
    Program *prog;
    Module *module;
    const Target *target;
    const Machine *machine;
    Out out;
    double start; /* ms of the wall clock, at the beginning */
} Compiled;
/* `name` NULL: --target, else c. Reports an unknown one. */
bool compile_target(Args *a, Compiled *c, const char *name);
bool compile_import(Args *a, const char *path, Compiled *c); /* to the Model */
bool compile_resume(Args *a, const char *path,
                    Compiled *c);          /* a text of --start-from, to the Module */
bool compile_define(Args *a, Compiled *c); /* to the Program */
bool compile_lower(Args *a, Compiled *c);  /* to the Module */
/* To texts in c->out, for a file named `output`; weights as asked, or `weights` where auto. */
bool compile_emit(Args *a, Compiled *c, const char *output, const char *weights);
int64_t module_weights(const Module *m);         /* bytes of all constants */
void module_summary(Text *t, const Compiled *c); /* "target avx2, 20 kernels, …" */
void module_json(Text *t, const Compiled *c);    /* the same as members of an object */

/* Where a step began: processor time, memory. */
typedef struct Clock {
    double ms;
    size_t used;
} Clock;
/* After a step of the front end or the backend: --time, --dump, --stop-after. `state` may be NULL.
 * False: stop (without an error, or one was reported). */
bool stage_done(Args *a, const char *name, Clock start, const Text *state);
bool stage_check(Args *a); /* do --dump, --stop-after and --start-from name passes? */
void stage_names(Text *t); /* for --help */
Clock clock_start(const Args *a);

/* tune.c: --tune; then opt.tune_file is what was written. False: end with *code, in the process that timed
 * (which ends so, too, when all went well) or after an error. */
bool tune_run(Args *a, int *code);

/* ---- files ---------------------------------------------------------------------------------------- */

Str path_stem(Ctx *ctx, const char *path);     /* "dir/model.c" → "model" */
Str path_folder(Ctx *ctx, const char *path);   /* "dir/model.c" → "dir/"; "" in the current one */
Str path_absolute(Ctx *ctx, const char *path); /* for programs that run in another folder */
/* Is `path` the model, one of its external files or the tune file? Reports that it would be overwritten. */
bool path_is_input(Args *a, const Compiled *c, const char *path);
/* The depfile of -MD, named after `output`, which -o gave. */
bool depfile_write(Args *a, const Compiled *c, const char *output, int n,
                   const char *const *outputs);
/* A private folder, named in a->scratch; NULL after an error. `where`: "" or ending in '/'. */
Str scratch_make(Args *a, const char *where);
void scratch_remove(Args *a);

/* ---- JSON ------------------------------------------------------------------------------------------ */

void json_text(Text *t, const char *s); /* quoted; bytes that are no UTF-8 count as Latin-1 */
void json_bytes(Text *t, const char *s, size_t n);
void json_shape(Text *t, const Buf *b);       /* [1, "N", null] */
bool extent_is_open(Ctx *ctx, const Expr *e); /* known only while the model runs? */
void text_str(Text *t, const char *s);        /* text_clean of the whole string */
bool json_write(Args *a, const Text *t);      /* to where --json says */

/* ---- the C compiler (toolchain.c) ------------------------------------------------------------------ */

/* First of --cc, $CC, cc, gcc, clang that exists; NULL. */
const char *toolchain_find(Args *a);
/* Compiles out's source (and bridge) to `kind` (so, obj, asm) at `path`. */
bool toolchain_build(Args *a, const Machine *m, const Out *out, const char *kind, const char *path);
/* Path of a program: in $PATH, or itself when it holds a slash. NULL: not there. */
const char *program_find(Ctx *ctx, const char *name);
/* Runs the program w[0] with its words in `folder` and waits. False: it could not be run. */
bool program_run(Ctx *ctx, const Words *w, const char *folder, int *status);
/* The same to folder/result, with its sources beside it. */
bool toolchain_compile(Args *a, const Machine *m, const Out *out, const char *kind, Str folder);
/* How weights go into that kind of output, where the user did not say. */
const char *toolchain_weights(const char *kind, int64_t bytes);
/* Name of the best row of machines.def that this processor can run. */
const char *native_machine(void);

#endif
