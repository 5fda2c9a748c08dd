/* A model into this process: by libtcc, which starts at once, or by the C compiler and dlopen.
 *
 * For libtcc the generated C includes no header and links nothing: what it calls is given to it by
 * name. So it works where no compiler and no header is installed. */
#include "driver/run.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef LCC_HAVE_TCC
#include <libtcc.h>
#endif

enum { ARENA_ALIGN = 64, TRIES = 40 };
enum { CODE_CAPACITY = 2, CODE_MEMORY = 4 }; /* of runtime-stub/lcc.h */

/* Room beyond the least, where the data decides how large the arena has to be. */
#define ARENA_FIRST ((size_t)1 << 20)

bool jit_choose(Args *a, Compiled *c, Jit *j) {
    const char *cc = toolchain_find(a);
#ifdef LCC_HAVE_TCC
    bool tcc = true;
#else
    bool tcc = false;
#endif
    j->kind = a->jit ? a->jit : cc ? "cc" : "tcc";
    if (!strcmp(j->kind, "tcc") && !tcc) {
        diag_error(a->ctx, EXIT_TOOLCHAIN, NULL,
                   a->jit ? "this lcc was built without libtcc"
                          : "no C compiler found, and this lcc was built without libtcc");
        diag_note(a->ctx, "apt install gcc");
        return false;
    }
    if (strcmp(j->kind, "cc") && a->opt.profile)
        return diag_error(a->ctx, EXIT_USAGE, NULL, "--profile needs the C compiler (--jit=cc)");
    if (!strcmp(j->kind, "cc"))
        return compile_target(a, c, a->opt.target ? a->opt.target : "native");
    if (!compile_target(a, c, NULL))
        return false;
    if (c->machine->vec)
        return diag_error(a->ctx, EXIT_USAGE, NULL, "--jit=tcc compiles --target=c only, not %s",
                          c->machine->name);
    return true;
}

void run_limit(Args *a) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (!a->opt.max_memory && pages > 0 && size > 0)
        arena_limit(a->ctx->arena, (size_t)pages * (size_t)size);
}

/* The three functions of the bridge, as the loader found them. */
static bool jit_bind(Args *a, Jit *j, void *signature, void *arena, void *run) {
    if (!signature || !arena || !run)
        return diag_error(a->ctx, EXIT_TOOLCHAIN, NULL, "the compiled model has no bridge");
    memcpy(&j->signature, &signature, sizeof signature);
    memcpy(&j->arena_bytes, &arena, sizeof arena);
    memcpy(&j->run, &run, sizeof run);
    return true;
}

/* ---- tcc --------------------------------------------------------------------------------------------- */

#ifdef LCC_HAVE_TCC

static const struct Known {
    const char *name;
    void (*address)(void);
} KNOWN[] = {
#define LIBC(name, header, declaration) {#name, (void (*)(void))name},
#include "codegen/libc.def"
#undef LIBC
};

/* Its first words are enough: the generated code, not the user's, is at fault. */
static void tcc_failed(void *opaque, const char *message) {
    Args *a = opaque;
    diag_error(a->ctx, EXIT_TOOLCHAIN, NULL, "tcc: %s", message);
}

static bool tcc_symbols(TCCState *s, const Out *o) {
    bool ok = true;
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        void *address;
        memcpy(&address, &KNOWN[i].address, sizeof address);
        ok &= tcc_add_symbol(s, KNOWN[i].name, address) == 0;
    }
    size_t n;
    const void *weights = spans_join(o->source.ctx, &o->blob, &n);
    return ok && tcc_add_symbol(s, str_f(o->source.ctx, "%s_weights", o->prefix), weights) == 0;
}

static bool load_tcc(Args *a, Compiled *c, Jit *j) {
    Text whole = text_new(a->ctx);
    c->out.jit = c->out.want_bridge = true;
    if (!compile_emit(a, c, "model.c", "auto"))
        return false;
    text_n(&whole, c->out.source.at, c->out.source.len);
    text_n(&whole, c->out.bridge.at, c->out.bridge.len);
    TCCState *s = tcc_new();
    if (!s)
        return diag_error(a->ctx, EXIT_LIMIT, NULL, "no memory for tcc");
    j->handle = s;
    tcc_set_error_func(s, a, tcc_failed);
    tcc_set_options(s, "-nostdlib -nostdinc -w");
    if (tcc_set_output_type(s, TCC_OUTPUT_MEMORY) < 0 || tcc_compile_string(s, whole.at) < 0 ||
        !tcc_symbols(s, &c->out) || tcc_relocate(s, TCC_RELOCATE_AUTO) < 0)
        return a->ctx->diag.errors ? false : diag_error(a->ctx, EXIT_TOOLCHAIN, NULL, "tcc failed");
    return jit_bind(a, j, tcc_get_symbol(s, "lepton_signature"),
                    tcc_get_symbol(s, "lepton_arena_bytes"), tcc_get_symbol(s, "lepton_run"));
}

#else

static bool load_tcc(Args *a, Compiled *c, Jit *j) {
    (void)c;
    return diag_error(a->ctx, EXIT_TOOLCHAIN, NULL, "this lcc was built without libtcc (%s)",
                      j->kind);
}

#endif

/* ---- cc ---------------------------------------------------------------------------------------------- */

static bool load_cc(Args *a, Compiled *c, Jit *j) {
    const char *tmp = getenv("TMPDIR");
    c->out.want_bridge = true;
    if (!compile_emit(a, c, "model.so", toolchain_weights("so", module_weights(c->module))))
        return false;
    Str folder = scratch_make(a, str_f(a->ctx, "%s/", tmp && tmp[0] ? tmp : "/tmp"));
    if (!folder || !toolchain_compile(a, c->machine, &c->out, "so", folder))
        return false;
    j->handle = dlopen(str_f(a->ctx, "%s/result", folder), RTLD_NOW | RTLD_LOCAL);
    if (!j->handle)
        return diag_error(a->ctx, EXIT_TOOLCHAIN, NULL, "cannot load the compiled model: %s",
                          dlerror());
    scratch_remove(a);
    j->profile = dlsym(j->handle, str_f(a->ctx, "%s_profile", c->out.prefix));
    return jit_bind(a, j, dlsym(j->handle, "lepton_signature"),
                    dlsym(j->handle, "lepton_arena_bytes"), dlsym(j->handle, "lepton_run"));
}

/* Starts as many threads as --threads says, or as there are processors. libtcc's code runs on this one alone. */
static void start_threads(Args *a, Jit *j) {
    int n = a->opt.threads < 0 ? (int)sysconf(_SC_NPROCESSORS_ONLN) : a->opt.threads;
    void *bytes, *start, *stop, *run;
    if (n < 2 || strcmp(j->kind, "cc") != 0)
        return;
    bytes = dlsym(j->handle, "lepton_pool_bytes");
    start = dlsym(j->handle, "lepton_pool_start");
    stop = dlsym(j->handle, "lepton_pool_stop");
    run = dlsym(j->handle, "lepton_run_on");
    if (!bytes || !start || !stop || !run)
        return;
    size_t (*pool_bytes)(int threads);
    void *(*pool_start)(void *memory, int threads);
    memcpy(&pool_bytes, &bytes, sizeof bytes);
    memcpy(&pool_start, &start, sizeof start);
    memcpy(&j->pool_stop, &stop, sizeof stop);
    memcpy(&j->run_on, &run, sizeof run);
    j->pool = pool_start(ctx_alloc(a->ctx, pool_bytes(n)), n);
}

bool jit_load(Args *a, Compiled *c, Jit *j) {
    Clock start = clock_start(a);
    bool ok = !strcmp(j->kind, "tcc") ? load_tcc(a, c, j) : load_cc(a, c, j);
    if (ok)
        start_threads(a, j);
    return ok && stage_done(a, "toolchain", start, NULL);
}

void jit_close(Jit *j) {
    if (j->pool)
        j->pool_stop(j->pool);
    j->pool = NULL;
#ifdef LCC_HAVE_TCC
    if (j->handle && !strcmp(j->kind, "tcc"))
        tcc_delete(j->handle);
#endif
    if (j->handle && !strcmp(j->kind, "cc"))
        dlclose(j->handle);
    j->handle = NULL;
}

/* ---- a run --------------------------------------------------------------------------------------------- */

static bool run_failed(Args *a, int code) {
    static const struct {
        int exit;
        const char *what;
    } CODES[] = {{EXIT_INTERNAL, "it ended without a code"},
                 {EXIT_MALFORMED, "an index in the data is out of range (LCC_EINDEX)"},
                 {EXIT_LIMIT, "an output is larger than its bound (LCC_ECAPACITY)"},
                 {EXIT_USAGE, "a dimension contradicts the model (LCC_EDIM)"},
                 {EXIT_LIMIT, "no memory (LCC_ENOMEM)"}};
    if (code < 1 || code > 4)
        return diag_error(a->ctx, EXIT_INTERNAL, NULL, "the model returned %d", code);
    return diag_error(a->ctx, CODES[code].exit, NULL, "the model cannot run on this data: %s",
                      CODES[code].what);
}

static void *aligned(Ctx *ctx, size_t n) {
    if (n > SIZE_MAX - ARENA_ALIGN)
        n = SIZE_MAX - ARENA_ALIGN; /* no memory is that large: the allocation reports it */
    uintptr_t at = (uintptr_t)ctx_alloc(ctx, n + ARENA_ALIGN);
    return (void *)((at + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN);
}

/* A state with room for rows to come is the corner of a larger array: runs of bytes, and the step between them. */
typedef struct Corner {
    int64_t runs, bytes, step;
} Corner;

/* At most INT64_MAX, for which there is no memory. */
static int64_t times(int64_t a, int64_t b) {
    int64_t n;
    return mul_ok(a, b, &n) ? n : INT64_MAX;
}

static bool corner_of(Ctx *ctx, const Program *p, const Buf *b, const int64_t *dims, Corner *c) {
    int64_t room;
    int along = state_along(ctx, p, b, &room);
    *c = (Corner){1, type_bytes(type_dtype(b->type)), 0};
    if (along < 0)
        return false;
    for (int i = 0; i < along; i++)
        c->runs = times(c->runs, dims[i]);
    for (int i = along + 1; i < b->rank; i++)
        c->bytes = times(c->bytes, dims[i]);
    c->step = times(c->bytes, room);
    c->bytes = times(c->bytes, dims[along]);
    return true;
}

static void corner_copy(const Corner *c, char *to, int64_t to_step, const char *from,
                        int64_t from_step) {
    for (int64_t i = 0; i < c->runs && c->bytes; i++)
        memcpy(to + i * to_step, from + i * from_step, (size_t)c->bytes);
}

static void give_input(Ctx *ctx, const Program *p, int i, const OnnxTensor *in, lepton_tensor *t) {
    const Buf *b = p->inputs.at[i].buf;
    Corner c;
    t->data = (void *)(uintptr_t)in->data;
    t->count = in->count;
    t->rank = in->rank;
    memcpy(t->dims, in->dims, (size_t)in->rank * sizeof *in->dims);
    if (!corner_of(ctx, p, b, in->dims, &c))
        return;
    t->data = aligned(ctx, (size_t)times(c.runs, c.step));
    t->count = times(c.runs, c.step) / type_bytes(type_dtype(b->type));
    corner_copy(&c, t->data, c.step, in->data, c.bytes);
}

/* The elements one after another. */
static const void *take_output(Ctx *ctx, const Program *p, int i, const lepton_tensor *t) {
    Corner c;
    if (!corner_of(ctx, p, p->outputs.at[i].buf, t->dims, &c))
        return t->data;
    char *dense = ctx_alloc(ctx, (size_t)times(c.runs, c.bytes));
    corner_copy(&c, dense, c.bytes, t->data, c.step);
    return dense;
}

/* Makes room for what the last call said; false when nothing was missing. */
static bool grow(Ctx *ctx, const Program *p, lepton_tensor *out) {
    bool grew = false;
    for (int i = 0; i < p->outputs.len; i++) {
        Dtype type = type_dtype(p->outputs.at[i].buf->type);
        Corner c;
        OnnxTensor shape = {.count = 1};
        for (int k = 0; k < out[i].rank; k++)
            if (!mul_ok(shape.count, out[i].dims[k], &shape.count))
                shape.count = INT64_MAX;
        if (corner_of(ctx, p, p->outputs.at[i].buf, out[i].dims, &c))
            shape.count = times(c.runs, c.step) / type_bytes(type);
        if (shape.count <= out[i].count)
            continue;
        int64_t bytes;
        if (!mul_ok(shape.count, type_bytes(type), &bytes))
            bytes = INT64_MAX;
        out[i].data = aligned(ctx, (size_t)bytes);
        out[i].count = shape.count;
        grew = true;
    }
    return grew;
}

static int call(const Jit *j, const int64_t *dims, const lepton_tensor *in, lepton_tensor *out,
                void *arena, size_t bytes) {
    return j->pool ? j->run_on(j->pool, dims, in, out, arena, bytes)
                   : j->run(dims, in, out, arena, bytes);
}

bool jit_run(Args *a, const Compiled *c, const Jit *j, const int64_t *dims, const OnnxTensor *in,
             OnnxTensor *out) {
    Ctx *ctx = a->ctx;
    const Program *p = c->prog;
    lepton_tensor *from = ctx_newn(ctx, lepton_tensor, p->inputs.len);
    lepton_tensor *to = ctx_newn(ctx, lepton_tensor, p->outputs.len);
    for (int i = 0; i < p->inputs.len; i++)
        give_input(ctx, p, i, &in[i], &from[i]);
    for (int i = 0; i < p->outputs.len; i++)
        to[i].data = ctx_alloc(ctx, 1);
    bool open = !c->module->arena_bytes; /* grows until the run is content */
    size_t bytes = j->arena_bytes(dims) + (open ? ARENA_FIRST : 0);
    void *arena = aligned(ctx, bytes);
    int code = CODE_CAPACITY;
    for (int tries = 0; tries < TRIES; tries++) {
        code = call(j, dims, from, to, arena, bytes);
        if (code == CODE_MEMORY && open && bytes < SIZE_MAX / 2)
            arena = aligned(ctx, bytes *= 2);
        else if (code != CODE_CAPACITY || !grow(ctx, p, to))
            break;
    }
    while (!code && j->again && j->again(j->data))
        code = call(j, dims, from, to, arena, bytes);
    if (code)
        return run_failed(a, code);
    for (int i = 0; i < p->outputs.len; i++) {
        Dtype type = type_dtype(p->outputs.at[i].buf->type);
        out[i] = (OnnxTensor){.type = type_onnx(type), .rank = to[i].rank, .count = 1};
        out[i].data = take_output(ctx, p, i, &to[i]);
        out[i].dims = ctx_copy(ctx, to[i].dims, sizeof to[i].dims);
        for (int k = 0; k < to[i].rank; k++)
            out[i].count *= to[i].dims[k];
        out[i].nbytes = (size_t)out[i].count * (size_t)type_bytes(type);
    }
    return true;
}
