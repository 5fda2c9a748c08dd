/* The C library: lepton.h on top of the road that compile.c goes for the command. */
#include "driver/lepton.h"
#include "driver/run.h"

#include <stdlib.h>
#include <string.h>

struct lepton_model {
    Ctx *ctx;
    Args args;
    Compiled compiled;
    Out out; /* as first emitted; loading emits once more */
    bool ok; /* out is whole */
    Jit jit;
    lepton_entry entry;
    jmp_buf out_of_memory;
};

/* Options that say where things go or what is printed mean nothing here. */
static bool options_check(Args *a) {
    bool other = a->help || a->version || a->print_outputs || a->dep || a->dep_file ||
                 a->dep_target || a->data || a->save || a->save_as || a->json || a->color ||
                 a->manual || a->tolerance || a->tol || a->against || a->per_node ||
                 a->opt.output || a->opt.emit || a->opt.dump || a->opt.stop_after || a->opt.time ||
                 a->opt.verbose || a->opt.quiet;
    if (a->words.len || a->verb)
        return diag_error(a->ctx, EXIT_USAGE, NULL, "%s is no option",
                          a->verb ? a->verb : a->words.at[0]);
    return !other || diag_error(a->ctx, EXIT_USAGE, NULL,
                                "an option that only the command has (lepton.h lists the others)");
}

static bool options_parse(lepton_model *m, const char *const *options) {
    int n = 0;
    while (options && options[n])
        n++;
    char **word = ctx_newn(m->ctx, char *, n + 2);
    word[0] = (char *)(uintptr_t) "lepton";
    for (int i = 0; i < n; i++)
        word[i + 1] = (char *)(uintptr_t)str(m->ctx, options[i]);
    m->args.library = true;
    return args_parse(m->ctx, &m->args, n + 1, word) && options_check(&m->args);
}

static void compile(lepton_model *m, const char *path, const char *const *options) {
    Args *a = &m->args;
    Compiled *c = &m->compiled;
    const char *output = path ? str_f(m->ctx, "%s.c", path_stem(m->ctx, path)) : "model.c";
    if (!options_parse(m, options) || !compile_target(a, c, NULL) ||
        !compile_import(a, path ? path : "model", c) || !compile_define(a, c) ||
        !compile_lower(a, c) || !compile_emit(a, c, output, "auto"))
        return;
    m->out = c->out;
    m->ok = true;
}

/* Everything that may run out of memory happens between these two. */
static void leave(lepton_model *m) {
    m->ctx->oom = NULL;
    scratch_remove(&m->args);
}

static lepton_model *model_new(void) {
    lepton_model *m = calloc(1, sizeof *m);
    if (m)
        m->ctx = m->args.ctx = ctx_create(0);
    return m;
}

static lepton_model *model_compile(lepton_model *m, const char *path, const char *const *options) {
    m->ctx->oom = &m->out_of_memory;
    if (!setjmp(m->out_of_memory))
        compile(m, path, options);
    leave(m);
    return m;
}

lepton_model *lepton_compile(const void *onnx, size_t bytes, const char *const *options) {
    lepton_model *m = model_new();
    if (!m)
        return NULL;
    m->args.bytes = onnx;
    m->args.nbytes = bytes;
    m->args.in_memory = true;
    return model_compile(m, NULL, options);
}

lepton_model *lepton_compile_file(const char *path, const char *const *options) {
    lepton_model *m = model_new();
    return m ? model_compile(m, path, options) : NULL;
}

void lepton_free(lepton_model *m) {
    if (!m)
        return;
    jit_close(&m->jit);
    onnx_close(&m->compiled.file);
    ctx_free(m->ctx);
    free(m);
}

int lepton_status(const lepton_model *m) {
    return m->ctx->diag.exit_code;
}

const char *lepton_messages(const lepton_model *m) {
    return m->ctx->diag.text.at && m->ctx->diag.errors ? m->ctx->diag.text.at : "";
}

const char *lepton_source(const lepton_model *m) {
    return m->ok ? m->out.source.at : NULL;
}

const char *lepton_header(const lepton_model *m) {
    return m->ok ? m->out.header.at : NULL;
}

const void *lepton_weights(lepton_model *m, const char **name, size_t *bytes) {
    const void *volatile at = NULL;
    if (!m->ok || !m->out.blob.len)
        return NULL;
    m->ctx->oom = &m->out_of_memory;
    if (!setjmp(m->out_of_memory))
        at = spans_join(m->ctx, &m->out.blob, bytes);
    leave(m);
    *name = m->out.blob_name;
    return at;
}

int64_t lepton_arena(const lepton_model *m) {
    int64_t n;
    const Expr *bytes = m->ok ? m->compiled.module->arena_bytes : NULL;
    return bytes && expr_is_int(bytes, &n) ? n : -1;
}

static bool load(lepton_model *m) {
    Args *a = &m->args;
    Jit *j = &m->jit;
#ifdef LCC_HAVE_TCC
    bool tcc = true;
#else
    bool tcc = false;
#endif
    bool vectors = m->compiled.machine->vec > 0;
    j->kind = a->jit ? a->jit : tcc && !vectors ? "tcc" : "cc";
    if (!strcmp(j->kind, "tcc") && vectors)
        return diag_error(a->ctx, EXIT_USAGE, NULL, "--jit=tcc compiles --target=c only, not %s",
                          m->compiled.machine->name);
    return jit_load(a, &m->compiled, j);
}

const lepton_entry *lepton_load(lepton_model *m) {
    if (m->entry.run)
        return &m->entry;
    if (!m->ok)
        return NULL;
    m->ctx->oom = &m->out_of_memory;
    bool done = !setjmp(m->out_of_memory) && load(m);
    leave(m);
    if (!done)
        return NULL;
    m->entry = (lepton_entry){m->jit.signature, m->jit.arena_bytes, m->jit.run};
    return &m->entry;
}
