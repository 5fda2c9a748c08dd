/* The main form: model.onnx in, model.c and model.h (or what --emit names) out. This is the road of a
 * model through the compiler, one call a level. */
#include "driver/driver.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define MEMORY_FLOOR ((size_t)256 << 20)
enum { MEMORY_FACTOR = 4, GROWTH_HOST = 2, GROWTH_PLAIN = 1 };

/* Memory in proportion to the model's files, unless told otherwise (docs: promise). */
static void limit_memory(Args *a, const Compiled *c) {
    size_t limit = a->opt.max_memory, files = c->file.bytes;
    size_t usual = c->machine && c->machine->vec ? GROWTH_HOST : GROWTH_PLAIN;
    size_t growth = a->opt.weights_growth > 0 ? (size_t)ceil(a->opt.weights_growth) : usual;
    size_t factor = MEMORY_FACTOR * growth;
    for (int i = 0; i < c->file.external.len; i++)
        files += c->file.external.at[i]->size;
    if (!limit)
        limit =
            files < (SIZE_MAX - MEMORY_FLOOR) / factor ? factor * files + MEMORY_FLOOR : SIZE_MAX;
    arena_limit(a->ctx->arena, limit);
}

/* Targets the interface names and no backend serves: how their names begin. */
static const char *const LATER_TARGETS[] = {"amx",      "sve",   "rvv", "wasm",
                                            "cortex-m", "cuda:", "cuda"};

bool compile_target(Args *a, Compiled *c, const char *name) {
    name = name ? name : a->opt.target ? a->opt.target : "c";
    if (!strcmp(name, "native"))
        name = native_machine();
    c->target = target_find(name, &c->machine);
    if (c->target)
        return true;
    for (size_t i = 0; i < sizeof LATER_TARGETS / sizeof *LATER_TARGETS; i++)
        if (!strncmp(name, LATER_TARGETS[i], strlen(LATER_TARGETS[i]))) {
            diag_error(a->ctx, EXIT_USAGE, NULL, "--target=%s is not built yet", name);
            diag_note(a->ctx, "`lcc targets` lists what is; --target=c runs everywhere");
            return false;
        }
    diag_error(a->ctx, EXIT_USAGE, NULL, "unknown target %s", name);
    diag_note(a->ctx, "did you mean %s? `lcc targets` lists them all", target_nearest(name));
    return false;
}

static double wall_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* The text of a stage, when somebody asked for it. */
static bool model_done(Args *a, const char *name, Clock start, const Model *m) {
    if (!a->opt.dump && !a->opt.stop_after)
        return stage_done(a, name, start, NULL);
    Text t = text_new(a->ctx);
    graph_print(&t, m);
    return stage_done(a, name, start, &t);
}

bool compile_import(Args *a, const char *path, Compiled *c) {
    Ctx *ctx = a->ctx;
    Clock start = clock_start(a);
    ctx->file = str(ctx, path);
    ctx->pass = "onnx_load";
    if (a->opt.max_memory)
        arena_limit(ctx->arena, a->opt.max_memory);
    Onnx__ModelProto *proto = a->in_memory
                                  ? onnx_load_bytes(ctx, path, a->bytes, a->nbytes, &c->file)
                                  : onnx_load(ctx, path, &c->file);
    if (!proto || !stage_done(a, ctx->pass, start, NULL))
        return false;
    limit_memory(a, c);
    ctx->pass = "graph_import";
    start = clock_start(a);
    c->model = graph_import(ctx, proto, &c->file);
    if (!c->model || !model_done(a, ctx->pass, start, c->model))
        return false;
    limit_memory(a, c);
    return true;
}

bool compile_define(Args *a, Compiled *c) {
    Ctx *ctx = a->ctx;
    Clock start = clock_start(a);
    ctx->pass = "graph_upgrade";
    if (!graph_upgrade(ctx, c->model) || !model_done(a, ctx->pass, start, c->model))
        return false;
    ctx->pass = "graph_define";
    start = clock_start(a);
    c->prog = graph_define(ctx, c->model, &a->define);
    if (!c->prog || !program_verify(ctx, c->prog, "graph_define"))
        return false;
    if (!a->opt.dump && !a->opt.stop_after)
        return stage_done(a, "graph_define", start, NULL);
    Text t = text_new(ctx);
    program_print(&t, c->prog);
    return stage_done(a, "graph_define", start, &t);
}

bool compile_lower(Args *a, Compiled *c) {
    c->module = lower_program(a->ctx, c->prog, c->target, c->machine);
    return c->module != NULL;
}

/* What may stand in `#include "stem.h"` and in a comment under every compiler. */
static Str safe_stem(Ctx *ctx, Str stem) {
    Text t = text_new(ctx);
    for (const char *s = stem; *s; s++) {
        bool ok = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
                  (*s >= '0' && *s <= '9') || strchr("_.+- ", *s);
        text_c(&t, ok ? *s : '_');
    }
    return str(ctx, t.at);
}

static bool set_prefix(Args *a, Out *o) {
    const char *wish = a->opt.prefix ? a->opt.prefix : o->stem;
    o->prefix = safe_name(a->ctx, names_new(a->ctx), o, wish);
    if (!a->opt.prefix || !strcmp(o->prefix, wish))
        return true;
    diag_error(a->ctx, EXIT_USAGE, NULL, "--prefix=%s cannot start the names of C functions", wish);
    diag_note(a->ctx, "lower-case letters, digits and _ can: --prefix=%s", o->prefix);
    return false;
}

bool compile_emit(Args *a, Compiled *c, const char *output, const char *weights) {
    Ctx *ctx = a->ctx;
    Out *o = &c->out;
    Clock start = clock_start(a);
    bool standard = !strcmp(output, "-");
    o->stem = safe_stem(ctx, path_stem(ctx, standard ? c->file.path : output));
    if (!set_prefix(a, o))
        return false;
    o->source = text_new(ctx);
    o->header = text_new(ctx);
    o->bridge = text_new(ctx);
    o->blob = (Spans){0};
    o->blob_name = NULL;
    o->profile = a->opt.profile && !o->jit;
    o->weights = a->opt.weights && strcmp(a->opt.weights, "auto") ? a->opt.weights : weights;
    o->sha256 = str(ctx, c->file.sha256);
    o->flags = str(ctx, a->opt.flags);
    o->version = str(ctx, LCC_VERSION);
    o->model_file = path_stem(ctx, c->file.path);
    ctx->pass = "emit";
    if (!c->target->emit(ctx, c->module, c->machine, o))
        return false;
    return stage_done(a, "emit", start, NULL);
}

/* ---- outputs ------------------------------------------------------------------------------------ */

/* What --emit asks for, and where it goes. */
typedef struct Job {
    bool c, h, so, obj;
    int kinds;
    const char *output; /* -o, or the default */
    bool stream; /* the output is standard output, a device, a FIFO: one text, nothing beside it */
    VEC(const char *) written;
} Job;

static const struct Kind {
    const char *name, *suffix;
    size_t field;
} KINDS[] = {{"c", ".c", offsetof(Job, c)},
             {"h", ".h", offsetof(Job, h)},
             {"so", ".so", offsetof(Job, so)},
             {"obj", ".o", offsetof(Job, obj)}};
enum { NKINDS = (int)(sizeof KINDS / sizeof KINDS[0]) };

static const char *const LATER_KINDS[] = {"asm",   "llvm", "bc",   "cu", "ptx",
                                          "cubin", "exe",  "json", "dot"};

static bool emit_kind(Ctx *ctx, Job *job, Str kind) {
    for (int i = 0; i < NKINDS; i++)
        if (!strcmp(KINDS[i].name, kind))
            return *(bool *)((char *)job + KINDS[i].field) = true;
    for (size_t i = 0; i < sizeof LATER_KINDS / sizeof *LATER_KINDS; i++)
        if (!strcmp(LATER_KINDS[i], kind))
            return diag_error(ctx, EXIT_USAGE, NULL, "--emit=%s is not built yet", kind);
    return diag_error(ctx, EXIT_USAGE, NULL, "--emit=%s: expected c, h, so or obj", kind);
}

/* What would fail at the end is said at the beginning. */
static bool output_check(Args *a, Job *job, const char *emit) {
    Ctx *ctx = a->ctx;
    struct stat st;
    const char *o = job->output;
    bool there = stat(o, &st) == 0;
    job->stream = !strcmp(o, "-") || (there && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode));
    if (job->stream && (job->so || job->obj))
        return diag_error(ctx, EXIT_USAGE, NULL, "--emit=%s cannot go to %s", emit,
                          strcmp(o, "-") ? o : "standard output");
    if (there && S_ISDIR(st.st_mode))
        return diag_error(ctx, EXIT_IO, NULL, "-o %s is a folder: expected the name of a file", o);
    if (!o[0] || o[strlen(o) - 1] == '/')
        return diag_error(ctx, EXIT_USAGE, NULL, "-o %s: expected the name of a file", o);
    Str folder = path_folder(ctx, o);
    if (!folder[0] || a->print_outputs || (stat(folder, &st) == 0 && S_ISDIR(st.st_mode)))
        return true;
    diag_error(ctx, EXIT_IO, NULL, "-o %s: there is no folder %s", o, folder);
    diag_note(ctx, "mkdir -p %s", folder);
    return false;
}

/* Reads --emit and -o. */
static bool job_read(Args *a, const char *model, Job *job) {
    Ctx *ctx = a->ctx;
    const char *emit = a->opt.emit ? a->opt.emit : "c,h", *suffix = ".c";
    for (const char *at = emit; *at || at == emit;) {
        size_t n = strcspn(at, ",");
        if (!emit_kind(ctx, job, str_n(ctx, at, n)))
            return false;
        at += n + (at[n] == ',');
    }
    job->h |= job->c;
    job->kinds = job->so + job->obj + (job->h || job->c);
    if (!job->c)
        suffix = job->so ? ".so" : job->obj ? ".o" : ".h";
    job->output = a->opt.output;
    if (!job->output)
        job->output = str_f(ctx, "%s%s", path_stem(ctx, model), suffix);
    return output_check(a, job, emit);
}

/* Where a kind goes: -o itself when it is the only one. */
static Str job_path(Ctx *ctx, const Job *job, const char *suffix) {
    if (job->kinds == 1)
        return job->output;
    return str_f(ctx, "%s%s%s", path_folder(ctx, job->output), path_stem(ctx, job->output), suffix);
}

/* One text for a stream: the header takes the place of its #include. */
static bool write_stream(Args *a, const Out *o, const char *path) {
    Text t = text_new(a->ctx);
    Str line = str_f(a->ctx, "#include \"%s.h\"\n", o->stem);
    const char *at = strstr(o->source.at, line);
    if (!at)
        internal_error(a->ctx, "the source does not include its header");
    text_n(&t, o->source.at, (size_t)(at - o->source.at));
    text_n(&t, o->header.at, o->header.len);
    text_s(&t, at + strlen(line));
    return file_write(a->ctx, path, t.at, t.len);
}

/* Weights, header and source: all of them or none. */
static bool write_files(Args *a, const Compiled *c, Job *job, Str path) {
    Ctx *ctx = a->ctx;
    const Out *o = &c->out;
    Str folder = path_folder(ctx, path), header = str_f(ctx, "%s%s.h", folder, o->stem);
    if (job->c && !strcmp(header, path))
        return diag_error(ctx, EXIT_USAGE, NULL, "-o %s is the header's name too; use .c", path);
    Span head = {.at = o->header.at, .len = o->header.len};
    Span body = {.at = o->source.at, .len = o->source.len};
    Spans one = {&head, 1, 1}, two = {&body, 1, 1};
    FileOut file[3];
    int n = 0;
    if (job->c && o->blob.len)
        file[n++] = (FileOut){str_f(ctx, "%s%s", folder, o->blob_name), &o->blob};
    file[n++] = (FileOut){job->c ? header : path, &one};
    if (job->c)
        file[n++] = (FileOut){path, &two};
    for (int i = 0; i < n; i++) {
        if (path_is_input(a, c, file[i].path))
            return false;
        vec_push(ctx, &job->written, file[i].path);
    }
    return a->print_outputs || files_write(ctx, n, file);
}

static bool write_c(Args *a, Compiled *c, Job *job) {
    Str path = job_path(a->ctx, job, ".c");
    if (!job->stream)
        return write_files(a, c, job, path);
    vec_push(a->ctx, &job->written, path);
    if (c->out.blob.len)
        return diag_error(a->ctx, EXIT_USAGE, NULL,
                          "--weights=%s needs a file beside the source; use c or string with -o %s",
                          c->out.weights_mode, path);
    return a->print_outputs ||
           (job->c ? write_stream(a, &c->out, path)
                   : file_write(a->ctx, path, c->out.header.at, c->out.header.len));
}

static bool write_built(Args *a, Compiled *c, Job *job, const char *kind, const char *suffix) {
    Str path = job_path(a->ctx, job, suffix);
    if (path_is_input(a, c, path))
        return false;
    c->out.want_bridge = !strcmp(kind, "so");
    if (!compile_emit(a, c, path, toolchain_weights(kind, module_weights(c->module))))
        return false;
    vec_push(a->ctx, &job->written, path);
    if (a->print_outputs)
        return true;
    Clock start = clock_start(a);
    return toolchain_build(a, c->machine, &c->out, kind, path) &&
           stage_done(a, "toolchain", start, NULL);
}

static bool job_run(Args *a, Compiled *c, Job *job) {
    bool ok = true;
    if (job->h || job->c)
        ok = compile_emit(a, c, job->stream ? "-" : job_path(a->ctx, job, ".c"),
                          job->stream && c->machine->vec ? "string" : "auto") &&
             write_c(a, c, job);
    if (ok && job->obj)
        ok = write_built(a, c, job, "obj", ".o");
    if (ok && job->so)
        ok = write_built(a, c, job, "so", ".so");
    return ok && (!a->dep || a->print_outputs ||
                  depfile_write(a, c, job->output, job->written.len, job->written.at));
}

/* ---- what is said about it --------------------------------------------------------------------- */

static void summary_json(Args *a, const Compiled *c, const Job *job) {
    Text t = text_new(a->ctx);
    text_s(&t, "{\"schema\": 1, \"outputs\": [");
    for (int i = 0; i < job->written.len; i++) {
        text_s(&t, i ? ", " : "");
        json_text(&t, job->written.at[i]);
    }
    text_s(&t, "],\n ");
    module_json(&t, c);
    text_s(&t, "}\n");
    json_write(a, &t);
}

static void summary(Args *a, const Compiled *c, const Job *job) {
    Text t = text_new(a->ctx);
    if (a->json)
        summary_json(a, c, job);
    for (int i = 0; a->print_outputs && i < job->written.len; i++)
        printf("%s\n", job->written.at[i]);
    if (a->opt.quiet || a->print_outputs)
        return;
    module_summary(&t, c);
    fprintf(stderr, "%s: %s, %.2f s\n", job->output, t.at, (wall_ms() - c->start) / 1e3);
    if (!a->opt.target && strcmp(native_machine(), c->machine->name))
        fprintf(stderr, "note: portable C; --target=%s is faster on this machine\n",
                native_machine());
}

static int usage_error(Args *a, Str message) {
    diag_error(a->ctx, EXIT_USAGE, NULL, "%s", message);
    return EXIT_USAGE;
}

/* A first word that is neither a file nor looks like one was meant as a verb: reported. */
static bool is_stray(Args *a, const char *word) {
    struct stat st;
    int n;
    const Verb *v = verb_table(&n), *best = v;
    if (strpbrk(word, "./") || !strcmp(word, "-") || stat(word, &st) == 0)
        return false;
    for (int i = 1; i < n; i++)
        if (word_distance(word, v[i].name) < word_distance(word, best->name))
            best = &v[i];
    diag_error(a->ctx, EXIT_USAGE, NULL, "%s is neither a verb nor a file", word);
    if (word_distance(word, best->name) <= 2)
        diag_note(a->ctx, "did you mean lcc %s?", best->name);
    else
        diag_note(a->ctx, "lcc --help lists the verbs");
    return true;
}

/* The model's road to the Module. */
static bool compile_model(Args *a, const char *model, Compiled *c) {
    c->start = wall_ms();
    if (!compile_target(a, c, NULL))
        return false;
    if (a->opt.start_from)
        return compile_resume(a, model, c);
    return compile_import(a, model, c) && compile_define(a, c) && compile_lower(a, c);
}

int verb_compile(Args *a) {
    Ctx *ctx = a->ctx;
    Compiled c = {0};
    Job job = {0};
    const char *model = a->words.len ? a->words.at[0] : NULL;
    if (!model || is_stray(a, model))
        return model ? EXIT_USAGE : usage_error(a, "no model is given: lcc model.onnx -o model.c");
    if (a->words.len != 1)
        return usage_error(a, str_f(ctx, "one model at a time; got %d file names", a->words.len));
    if (a->tune && a->opt.start_from)
        return usage_error(a, "--tune needs a model, not a text of --start-from");
    bool ok = job_read(a, model, &job);
    int code = EXIT_OK;
    if (ok && a->tune && !tune_run(a, &code))
        return ctx->diag.errors ? ctx->diag.exit_code : code;
    ok = ok && compile_model(a, model, &c) && job_run(a, &c, &job);
    if (ok)
        summary(a, &c, &job);
    onnx_close(&c.file);
    return ok ? EXIT_OK : ctx->diag.exit_code;
}
