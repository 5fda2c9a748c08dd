/* The main form: model.onnx in, model.c and model.h (or what --emit names) out. This is the road of a
 * model through the compiler, one call a level. */
#include "driver/driver.h"

#include <stdio.h>
#include <string.h>

#define MEMORY_FLOOR ((size_t)256 << 20)

/* Memory in proportion to the file, unless told otherwise (docs: promise). */
static void limit_memory(Args *a, const OnnxFile *file) {
    size_t limit = a->opt.max_memory;
    if (!limit)
        limit = 4 * file->bytes + MEMORY_FLOOR;
    arena_limit(a->ctx->arena, limit);
}

bool compile_load(Args *a, const char *path, Compiled *c) {
    Ctx *ctx = a->ctx;
    ctx->file = str(ctx, path);
    ctx->pass = "onnx_load";
    Onnx__ModelProto *proto = onnx_load(ctx, path, &c->file);
    if (!proto)
        return false;
    limit_memory(a, &c->file);
    ctx->pass = "graph_import";
    Model *m = graph_import(ctx, proto, &c->file);
    if (!m)
        return false;
    ctx->pass = "graph_upgrade";
    if (!graph_upgrade(ctx, m))
        return false;
    ctx->pass = "graph_define";
    c->prog = graph_define(ctx, m, &a->define);
    return c->prog && program_verify(ctx, c->prog, "graph_define");
}

static bool choose_target(Args *a, Compiled *c) {
    const char *name = a->opt.target ? a->opt.target : "c";
    if (!strcmp(name, "native"))
        name = native_machine();
    c->target = target_find(name, &c->machine);
    if (c->target)
        return true;
    diag_error(a->ctx, EXIT_USAGE, NULL, "unknown target %s", name);
    diag_note(a->ctx, "did you mean %s? `lcc targets` lists them all", target_nearest(name));
    return false;
}

bool compile_lower(Args *a, Compiled *c) {
    c->module = lower_program(a->ctx, c->prog, c->target, c->machine);
    return c->module != NULL;
}

/* "dir/model.c" → "model". */
static Str path_stem(Ctx *ctx, const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    return str_n(ctx, base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

static Str path_folder(Ctx *ctx, const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? str_n(ctx, path, (size_t)(slash - path + 1)) : str(ctx, "");
}

bool compile_emit(Args *a, Compiled *c, const char *output) {
    Ctx *ctx = a->ctx;
    Out *o = &c->out;
    o->stem = path_stem(ctx, output);
    o->prefix = safe_name(ctx, names_new(ctx), o, a->opt.prefix ? a->opt.prefix : o->stem);
    o->source = text_new(ctx);
    o->header = text_new(ctx);
    o->bridge = text_new(ctx);
    o->weights = a->opt.weights ? a->opt.weights : "auto";
    o->sha256 = str(ctx, c->file.sha256);
    o->flags = str(ctx, a->opt.flags);
    o->version = str(ctx, LCC_VERSION);
    o->model_file = path_stem(ctx, c->file.path);
    ctx->pass = "emit";
    return c->target->emit(ctx, c->module, c->machine, o);
}

static bool write_c(Args *a, const Compiled *c, const char *path) {
    Ctx *ctx = a->ctx;
    const Out *o = &c->out;
    if (!strcmp(path, "-"))
        return file_write(ctx, path, o->header.at, o->header.len) &&
               file_write(ctx, path, o->source.at, o->source.len);
    Str folder = path_folder(ctx, path);
    if (o->blob && !file_write(ctx, str_f(ctx, "%s%s", folder, o->blob_name), (const char *)o->blob,
                               o->blob_len))
        return false;
    return file_write(ctx, str_f(ctx, "%s%s.h", folder, o->stem), o->header.at, o->header.len) &&
           file_write(ctx, path, o->source.at, o->source.len);
}

static void summary(const Args *a, const Compiled *c, const char *path) {
    int64_t arena = -1;
    if (a->opt.quiet || !strcmp(path, "-"))
        return;
    expr_is_int(c->module->arena_bytes, &arena);
    fprintf(stderr, "%s: target %s, %d kernels, arena ", path, c->machine->name, c->module->kernels.len);
    if (arena >= 0)
        fprintf(stderr, "%lld bytes", (long long)arena);
    else
        fprintf(stderr, "sized at run time");
    fprintf(stderr, ", weights %s\n", c->out.weights_mode ? c->out.weights_mode : "none");
    if (!a->opt.target)
        fprintf(stderr, "note: portable C; --target=%s is faster on this machine\n", native_machine());
}

int verb_compile(Args *a) {
    Ctx *ctx = a->ctx;
    Compiled c = {0};
    if (a->words.len != 1) {
        diag_error(ctx, EXIT_USAGE, NULL, "one model at a time; got %d file names", a->words.len);
        return EXIT_USAGE;
    }
    const char *model = a->words.at[0], *emit = a->opt.emit ? a->opt.emit : "c";
    bool built = strcmp(emit, "c") != 0 && strcmp(emit, "c,h") != 0;
    const char *path = a->opt.output;
    if (!path)
        path = str_f(ctx, "%s.%s", strcmp(model, "-") ? path_stem(ctx, model) : "model", built ? emit : "c");
    if (built && strcmp(emit, "so") && strcmp(emit, "obj") && strcmp(emit, "exe")) {
        diag_error(ctx, EXIT_USAGE, NULL, "--emit=%s: expected c, so, obj or exe", emit);
        return EXIT_USAGE;
    }
    c.out.want_bridge = !strcmp(emit, "so");
    bool ok = choose_target(a, &c) && compile_load(a, model, &c) && compile_lower(a, &c) &&
              compile_emit(a, &c, path) &&
              (built ? toolchain_build(a, c.machine, &c.out, emit, path) : write_c(a, &c, path));
    onnx_close(&c.file);
    if (ok)
        summary(a, &c, path);
    return ok ? EXIT_OK : ctx->diag.exit_code;
}
