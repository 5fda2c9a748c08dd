/* driver/driver.h — the command: options, verbs, files, the C compiler. Only the driver sees all levels. */
#ifndef LCC_DRIVER_H
#define LCC_DRIVER_H

#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "frontend/load.h"

typedef struct Args {
    Ctx *ctx;
    Options opt;          /* what the library reads */
    DefineOptions define;
    const char *data, *save, *jit, *verb;
    bool help, version;
    VEC(const char *) words; /* positional arguments after the verb */
} Args;

/* Fills a from the command line. False: a usage error was reported. */
bool args_parse(Ctx *ctx, Args *a, int argc, char **argv);
void help_print(Text *t, bool all);

/* A verb returns the exit code; errors are in ctx->diag. */
typedef struct Verb {
    const char *name;
    int (*run)(Args *a);
    const char *usage, *help;
} Verb;
const Verb *verb_find(const char *name); /* NULL: not a verb */
const Verb *verb_table(int *count);

int verb_compile(Args *a); /* the main form */
int verb_info(Args *a);
int verb_ops(Args *a);
int verb_targets(Args *a);
int verb_run(Args *a);
int verb_check(Args *a);

/* What the verbs share: one model on its way. */
typedef struct Compiled {
    OnnxFile file;
    Program *prog;
    Module *module;
    const Target *target;
    const Machine *machine;
    Out out;
} Compiled;
bool compile_load(Args *a, const char *path, Compiled *c); /* to the Program */
bool compile_lower(Args *a, Compiled *c);                  /* to the Module */
bool compile_emit(Args *a, Compiled *c, const char *output); /* to texts in c->out, named after `output` */


/* Runs the C compiler on out's source, bridge and weights to make `kind` (so, obj, exe) at `path`. */
bool toolchain_build(Args *a, const Machine *m, const Out *out, const char *kind, const char *path);
/* Name of the best row of machines.def that this processor can run. */
const char *native_machine(void);

#endif
