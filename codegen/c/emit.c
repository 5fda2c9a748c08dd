/* codegen/c/emit.c — a Module as model.c and model.h.
 *
 * Order in the source: what it is, defences, headers, stub pieces, weights, kernels, entry. Kernels and entry
 * are printed first, since they decide which pieces are needed. Everything is deterministic: no time,
 * no path, no pointer order. Precondition: module_verify holds. */
#include "codegen/c/emit.h"

#include "ir/graph.h"

#include <string.h>

/* ---- comments ------------------------------------------------------------------------------------ */

enum { COMMENT_MAX = 400, EQUATIONS_MAX = 8 };

static void comment_nodes(Emit *em, const Kernel *k) {
    for (int i = 0; i < k->nodes.len && i < EQUATIONS_MAX; i++) {
        const Node *n = k->nodes.at[i];
        Str name = n->loc.name ? n->loc.name : n->name;
        text_f(em->pr.t, "%s%s", i ? " + " : "  ", safe_text(em->ctx, name, 60));
    }
    if (k->nodes.len > EQUATIONS_MAX)
        text_f(em->pr.t, " + %d more", k->nodes.len - EQUATIONS_MAX);
}

static void comment_kernel(Emit *em, const Func *f, Str name) {
    Text *t = em->pr.t;
    const Kernel *k = f->kernel;
    text_f(t, "/* %s", name);
    if (k)
        comment_nodes(em, k);
    text_c(t, '\n');
    for (int i = 0; k && i < k->defs.len && i < EQUATIONS_MAX; i++)
        text_f(t, " * %s\n", safe_comment(em->ctx, def_str(em->ctx, k->defs.at[i]), COMMENT_MAX));
    text_f(t, " * %s%s", k && k->rule ? "rule " : "naive loops",
           k && k->rule ? safe_text(em->ctx, k->rule, 60) : "");
    if (f->flop > 0)
        text_f(t, ", %.3g FLOP", f->flop);
    if (f->macs > 0)
        text_f(t, ", %.3g integer MAC", f->macs);
    if (f->bytes_in > 0)
        text_f(t, ", reads %.3g bytes, writes %.3g", f->bytes_in, f->bytes_out);
    if (f->uses > 1)
        text_f(t, ", used by %d nodes", f->uses);
    text_s(t, " */\n");
}

/* ---- may a function's pointers be restrict? --------------------------------------------------------- */

static bool bytes_of(const Emit *em, const Buf *b, int64_t *first, int64_t *end) {
    int64_t n;
    const Expr *size = b->size ? b->size : buf_count(em->ctx, b);
    return b->offset && expr_is_int(b->offset, first) && expr_is_int(size, &n) &&
           mul_ok(n, type_bytes(type_dtype(b->type)), &n) && add_ok(*first, n, end);
}

static bool overlap(const Emit *em, const Buf *a, const Buf *b) {
    if (a == b)
        return true;
    if (a->space != SPACE_ARENA || b->space != SPACE_ARENA)
        return false;
    int64_t a0, a1, b0, b1;
    if (bytes_of(em, a, &a0, &a1) && bytes_of(em, b, &b0, &b1))
        return a0 < b1 && b0 < a1;
    return a->offset == b->offset;
}

typedef struct Calls {
    const Emit *em;
    Map *shared; /* Func → itself: some call's buffers overlap */
} Calls;

static void note_call(void *data, Stmt *s) {
    Calls *c = data;
    for (int i = 0; s->op == STMT_CALL && i < s->func->params.len; i++)
        for (int j = 0; j < i; j++)
            if (overlap(c->em, s->arg[i], s->arg[j]) &&
                stmt_uses_buf(s->func->body, s->func->params.at[i]) &&
                stmt_uses_buf(s->func->body, s->func->params.at[j]))
                map_put(c->shared, s->func, s->func);
}

/* The buffer whose values a step stores past the caches; NULL. */
static const Buf *func_stream(const Func *f) {
    const Kernel *k = f->kernel;
    for (int i = 0; k && k->sched && i < k->sched->steps.len; i++)
        for (int j = 0; k->sched->steps.at[i].op == STEP_STREAM && j < k->defs.len; j++)
            if (k->defs.at[j]->name == k->sched->steps.at[i].def)
                return k->defs.at[j]->buf;
    return NULL;
}

/* ---- kernels ----------------------------------------------------------------------------------------- */

static void emit_kernel(Emit *em, const Func *f, bool restrict_ok) {
    FuncInfo *info = ctx_new(em->ctx, FuncInfo);
    Text *file = em->pr.t, head = text_new(em->ctx), body = text_new(em->ctx);
    info->name = safe_name(em->ctx, em->names, f, f->name);
    info->returns = func_returns(f);
    info->used = ctx_newn(em->ctx, bool, f->params.len + f->syms.len);
    info->shares = func_shares(em, f);
    em->pr.t = &body;
    em->pr.stream = func_stream(f);
    if (info->shares)
        print_shared(em, f, info->name, restrict_ok);
    else
        print_func(&em->pr, f, info->name, restrict_ok);
    for (int i = 0; i < f->params.len; i++)
        info->used[i] = map_get(em->pr.used, f->params.at[i]) != NULL;
    for (int i = 0; i < f->syms.len; i++)
        info->used[f->params.len + i] = map_get(em->pr.used, f->syms.at[i]) != NULL;
    em->pr.t = &head;
    comment_kernel(em, f, info->name);
    em->pr.t = file;
    text_n(file, head.at, head.len);
    text_n(file, body.at, body.len);
    map_put(em->funcs, f, info);
}

static void emit_kernels(Emit *em) {
    Calls calls = {em, map_new(em->ctx)};
    stmt_walk(em->m->entry->body, note_call, &calls);
    for (int i = 0; i < em->m->kernels.len; i++) {
        const Func *f = em->m->kernels.at[i]->func;
        if (f && !map_get(em->funcs, f))
            emit_kernel(em, f, !map_get(calls.shared, f));
    }
}

/* ---- the file's frame ------------------------------------------------------------------------ */

static void print_made_by(Emit *em, Text *t, const char *suffix) {
    const Out *o = em->out;
    text_f(t, "/* %s%s: made by lcc %s from %s", o->stem, suffix,
           o->version ? o->version : LCC_VERSION,
           safe_text(em->ctx, o->model_file ? o->model_file : "a model", 100));
    text_f(t, ",\n * sha256 %s,\n * target %s",
           o->sha256 ? safe_text(em->ctx, o->sha256, 64) : "unknown", em->mach->name);
    if (o->flags && *o->flags)
        text_f(t, ", flags %s", safe_comment(em->ctx, o->flags, 300));
    text_f(t, ". Do not edit.\n * build: %s\n", safe_comment(em->ctx, o->build_line, 300));
    if (o->blob_name && em->mode == WEIGHTS_OBJ && em->weight_bytes > 0)
        text_f(t, " * link with %s\n", safe_comment(em->ctx, o->blob_name, 200));
    if (em->parts.len > 1)
        text_s(t, " * (-Wl,--build-id=none: the linker then reads it once only)\n");
    text_s(t, " *\n"
              " * This file belongs to whoever has it, without conditions (0BSD): permission to "
              "use, copy,\n"
              " * modify and distribute it for any purpose, with or without fee, is granted. It "
              "comes as it\n"
              " * is, without any warranty. */\n");
}

/* Rounding must be as written: no contraction, no fast-math; and the vector instructions of the machine
 * without any compiler flag. */
static void print_defences(Emit *em, Text *t) {
    text_s(t, "#if defined(__FAST_MATH__)\n"
              "#error \"results would not be the model's: compile without -ffast-math\"\n#endif\n"
              "#if defined(__clang__)\n#pragma STDC FP_CONTRACT OFF\n"
              "#elif defined(__GNUC__)\n#pragma GCC optimize(\"fp-contract=off\")\n");
    if (*em->mach->attr) {
        text_s(t, "#pragma GCC target(\"");
        for (const char *p = em->mach->attr; *p; p++)
            if (*p == ',')
                text_s(t, "\", \"");
            else
                text_c(t, *p);
        text_s(t, "\")\n");
    }
    text_s(t, "#endif\n\n");
}

/* clang has no target pragma of its own: the attribute goes to every function that follows. */
static void print_target(Emit *em, Text *t, bool open) {
    if (!*em->mach->attr)
        return;
    if (open)
        text_f(
            t,
            "#if defined(__clang__)\n#pragma clang attribute push(__attribute__((target(\"%s\"))), "
            "apply_to = function)\n#endif\n\n",
            em->mach->attr);
    else
        text_s(t, "#if defined(__clang__)\n#pragma clang attribute pop\n#endif\n");
}

static void print_jit_types(Text *t) {
    text_s(t, "typedef signed char int8_t;\ntypedef short int16_t;\ntypedef int int32_t;\n"
              "typedef long long int64_t;\ntypedef unsigned char uint8_t;\n"
              "typedef unsigned short uint16_t;\ntypedef unsigned int uint32_t;\n"
              "typedef unsigned long long uint64_t;\ntypedef __SIZE_TYPE__ size_t;\n"
              "#define NULL ((void *)0)\n#define INT32_MIN (-2147483647 - 1)\n"
              "#define INT64_MAX 9223372036854775807LL\n#define INT64_MIN (-INT64_MAX - 1)\n\n");
}

/* Types of the stub that the prototype mentions. */
static void print_port_types(Emit *em, Text *t) {
    Paste *types = paste_new(em->ctx);
    const Program *prog = em->m->prog;
    for (int side = 0; side < 2; side++) {
        int n = side ? prog->outputs.len : prog->inputs.len;
        for (int i = 0; i < n; i++) {
            const Buf *b = (side ? prog->outputs.at : prog->inputs.at)[i].buf;
            char kind = type_kind(type_dtype(b->type));
            if (kind == 'S')
                paste_need(types, "lcc_str");
            if (kind == 'C')
                paste_need(types, "lcc_complex");
        }
    }
    paste_need(types, "lcc_codes");
    if (em->threads)
        paste_need(types, "lcc_pool_type");
    paste_pieces(types, t);
}

static void print_api(Emit *em, Text *t) {
    const Out *o = em->out;
    const Program *prog = em->m->prog;
    int64_t bytes = 0;
    if (prog->dims.len) {
        text_f(t, "/* Symbolic dimensions. */\ntypedef struct %s_dims {\n", o->prefix);
        for (int i = 0; i < prog->dims.len; i++) {
            const Sym *s = prog->dims.at[i];
            text_f(t, "    int64_t %s;", dim_name(em, s));
            if (s->min != INT64_MIN && s->max != INT64_MAX)
                text_f(t, " /* %lld..%lld", (long long)s->min, (long long)s->max);
            else
                text_f(t, " /* at least %lld", (long long)(s->min < 0 ? 0 : s->min));
            text_f(t, s->mult > 1 ? ", a multiple of %lld */\n" : " */\n", (long long)s->mult);
        }
        text_f(t, "} %s_dims;\n\n", o->prefix);
    }
    if (!em->m->arena_bytes)
        text_f(
            t,
            "/* How much memory the arena needs depends on the inputs' data: at least %lld bytes.\n"
            " * LCC_ENOMEM: try again with more. */\n",
            (long long)em->m->arena_fixed);
    else if (expr_is_int(em->m->arena_bytes, &bytes))
        text_f(t, "#define %s_ARENA_BYTES ((size_t)%lld)\n", em->upper, (long long)bytes);
    else
        text_f(t, "size_t %s_arena_bytes(const %s_dims *dims);\n", o->prefix, o->prefix);
    text_f(t, "#define %s_WEIGHTS_BYTES ((size_t)%lld)\n\n", em->upper,
           (long long)em->weight_bytes);
    states_api(em, t);
    text_s(t, "/* 0 or an LCC_E code. The arena is scratch memory, 64-byte aligned, for one call "
              "at a time; no\n"
              " * two buffers may overlap. Nothing is kept between calls, nothing allocated.\n");
    text_f(t, " * On the stack: at most %lld bytes of buffers, and ordinary frames.",
           (long long)module_stack(em->m));
    if (em->mode == WEIGHTS_FILE)
        text_f(t, " weights points to the\n * bytes of %s, 64-byte aligned.", o->blob_name);
    text_s(t, " */\n");
    entry_prototype(em, t, true);
    text_s(t, ";\n");
    threads_api(em, t);
    profile_api(em, t);
}

static void emit_header(Emit *em) {
    Text *t = &em->out->header;
    print_made_by(em, t, ".h");
    text_f(t, "#ifndef %s_H\n#define %s_H\n", em->upper, em->upper);
    text_s(t, "#include <stddef.h>\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" "
              "{\n#endif\n\n");
    print_port_types(em, t);
    print_api(em, t);
    text_f(t, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}

static void emit_source(Emit *em, const Text *kernels, const Text *entry) {
    Text *t = &em->out->source;
    print_made_by(em, t, ".c");
    if (!em->out->jit)
        print_defences(em, t);
    if (em->out->jit)
        print_jit_types(t);
    else
        profile_system(em, t);
    if (!em->out->jit)
        text_f(t, "#include \"%s.h\"\n", em->out->stem);
    paste_libc(em->pr.paste, t, em->out->jit);
    threads_headers(em, t);
    text_c(t, '\n');
    if (em->out->jit) {
        print_port_types(em, t);
        print_api(em, t);
    }
    print_target(em, t, true);
    paste_pieces(em->pr.paste, t);
    weights_define(em, t);
    text_n(t, kernels->at, kernels->len);
    threads_define(em, t);
    profile_define(em, t);
    text_n(t, entry->at, entry->len);
    print_target(em, t, false);
}

/* A constant or a place in the arena, as a pointer. */
static void print_outside(Printer *p, const Buf *b, int prec) {
    Emit *em = p->data;
    const WeightRef *w = map_get(em->weights, b);
    if (w) {
        em->uses_weights = true;
        text_s(p->t, w->expr);
        return;
    }
    if (b->space != SPACE_ARENA || !b->offset)
        internal_error(p->ctx, "buffer %s has no place", b->name ? b->name : "?");
    em->uses_arena = true;
    text_f(p->t, "%s(%s *)(void *)(mem", prec == P_POST ? "(" : "", type_c(type_dtype(b->type)));
    if (!expr_is(b->offset, 0)) {
        text_s(p->t, " + ");
        print_expr(p, b->offset, P_MUL);
    }
    text_s(p->t, prec == P_POST ? "))" : ")");
}

bool c_emit(Ctx *ctx, const Module *m, const Machine *mach, Out *out) {
    Emit em = {.ctx = ctx, .m = m, .mach = mach, .out = out};
    Text kernels = text_new(ctx), entry = text_new(ctx), upper = text_new(ctx);
    em.pr = (Printer){.ctx = ctx,
                      .t = &kernels,
                      .paste = paste_new(ctx),
                      .mach = mach,
                      .outside = print_outside,
                      .statement = print_statement,
                      .data = &em};
    em.names = names_new(ctx);
    em.funcs = map_new(ctx);
    em.weights = map_new(ctx);
    for (const char *p = out->prefix; *p; p++)
        text_c(&upper, *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p);
    em.upper = str(ctx, upper.at);
    out->source = text_new(ctx);
    out->header = text_new(ctx);
    out->bridge = text_new(ctx);
    em.threads = ctx->opt && ctx->opt->threads != 0 && ctx->opt->threads != 1;
    entry_reserve(&em);
    if (em.threads)
        paste_need(em.pr.paste, "lcc_pool");
    out->build_line = str_f(ctx, "cc -O2 -std=c99 -ffp-contract=off%s%s -c %s.c",
                            *mach->cflags ? " " : "", mach->cflags, out->stem);
    if (!weights_plan(&em))
        return false;
    emit_kernels(&em);
    em.pr.t = &entry;
    entry_print(&em, &entry);
    emit_header(&em);
    if (out->want_bridge)
        bridge_print(&em);
    emit_source(&em, &kernels, &entry);
    weights_blob(&em);
    return true;
}
