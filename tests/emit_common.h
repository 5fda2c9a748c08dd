/* tests/emit_common.h — shared by emit_test.c and emit_more.c: a module built by hand, written as C with a
 * program that runs it and compares. */
#ifndef EMIT_COMMON_H
#define EMIT_COMMON_H

#include "codegen/codegen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Test {
    Ctx *ctx;
    Str folder, name;
    const Machine *machine;
    const Target *target;
    Program *prog;
    Module *module;
    Func *entry;
    Buf *x, *z;
    Dtype type;
    VEC(const Expr *) vx, vz; /* values of the inputs */
    Str flags, model_file;    /* for the header comment */
    Str blob;                 /* name of the weights file that run wants, or NULL */
    Text in, expect;          /* bytes of all inputs, of all outputs, one after another */
} Test;

static inline void test_open(Test *t, const char *name) {
    Ctx *ctx = t->ctx;
    t->name = str(ctx, name);
    t->prog = ctx_new(ctx, Program);
    t->prog->name = t->name;
    t->module = ctx_new(ctx, Module);
    t->module->prog = t->prog;
    t->module->arena_bytes = expr_i(ctx, 0);
    t->module->entry = t->entry = ctx_new(ctx, Func);
    t->in = text_new(ctx);
    t->expect = text_new(ctx);
    text_s(&t->in, "");
    text_s(&t->expect, "");
    memset(&t->vx, 0, sizeof t->vx);
    memset(&t->vz, 0, sizeof t->vz);
}

static inline Buf *test_port(Test *t, const char *name, Dtype type, int64_t n, bool output) {
    Ctx *ctx = t->ctx;
    const Expr *dim = expr_i(ctx, n);
    Port p = {str(ctx, name), NULL, NULL};
    p.buf = buf_new(ctx, p.name, type, output ? SPACE_OUTPUT : SPACE_INPUT, 1, &dim);
    if (output)
        vec_push(ctx, &t->prog->outputs, p);
    else
        vec_push(ctx, &t->prog->inputs, p);
    vec_push(ctx, &t->entry->params, p.buf);
    return p.buf;
}

static inline void write_file(Test *t, const char *suffix, const char *bytes, size_t n) {
    FILE *f = fopen(str_f(t->ctx, "%s/%s%s", t->folder, t->name, suffix), "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) {
        fprintf(stderr, "cannot write %s%s\n", t->name, suffix);
        exit(6);
    }
}

/* A program that reads NAME.in, runs, and compares with NAME.expect: bits, but any NaN for a NaN and
 * either zero for a zero. */
static inline void write_main(Test *t) {
    Text m = text_new(t->ctx);
    text_f(&m,
           "#include \"%s.h\"\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
           "#include \"emit_compare.h\"\n"
           "int main(void) {\n"
           "    FILE *f = fopen(\"%s.in\", \"rb\"), *g = fopen(\"%s.expect\", \"rb\");\n"
           "    int bad = 0;\n    if (!f || !g)\n        return 6;\n",
           t->name, t->name, t->name);
    int nin = t->prog->inputs.len;
    for (int i = 0; i < t->entry->params.len; i++) {
        const Buf *b = t->entry->params.at[i];
        int64_t n;
        buf_static(b, &n);
        text_f(&m, "    %s *p%d = calloc(%lld, sizeof *p%d);\n", type_c(type_dtype(b->type)), i,
               (long long)(n ? n : 1), i);
        if (i < nin)
            text_f(&m, "    if (fread(p%d, sizeof *p%d, %lld, f) != %lld)\n        return 6;\n", i,
                   i, (long long)n, (long long)n);
    }
    if (t->blob)
        text_f(&m, "    const void *weights = load(\"%s\");\n", t->blob);
    if (t->prog->dims.len)
        text_f(&m, "    %s_dims dims = {5};\n", t->name);
    text_f(&m, "    if (%s_run(%s", t->name, t->prog->dims.len ? "&dims, " : "");
    for (int i = 0; i < t->entry->params.len; i++)
        text_f(&m, "p%d, ", i);
    text_s(&m, t->blob ? "weights, NULL) != 0)\n        return 1;\n"
                       : "NULL) != 0)\n        return 1;\n");
    for (int i = nin; i < t->entry->params.len; i++) {
        const Buf *b = t->entry->params.at[i];
        Dtype type = type_dtype(b->type);
        int64_t n;
        buf_static(b, &n);
        if (type == T_STR)
            continue; /* it is a matter of compiling */
        text_f(&m, "    bad += compare(g, p%d, %lld, %d, \"%s\", \"%s %s\");\n", i, (long long)n,
               type_bytes(type), type_text(type), t->name, safe_text(t->ctx, b->name, 40));
    }
    text_s(&m, "    return bad != 0;\n}\n");
    write_file(t, "_main.c", m.at, m.len);
}

static inline void test_close(Test *t, const char *weights) {
    Out out = {.prefix = t->name, .stem = t->name, .weights = weights};
    out.model_file = t->model_file ? t->model_file : t->name;
    out.flags = t->flags;
    if (!t->target->emit(t->ctx, t->module, t->machine, &out)) {
        fprintf(stderr, "%s", t->ctx->diag.text.at);
        exit(1);
    }
    write_file(t, ".c", out.source.at, out.source.len);
    write_file(t, ".h", out.header.at, out.header.len);
    write_file(t, ".in", t->in.at, t->in.len);
    write_file(t, ".expect", t->expect.at, t->expect.len);
    t->blob = out.blob.len && strcmp(out.weights_mode, "file") == 0 ? out.blob_name : NULL;
    write_main(t);
    size_t n;
    const unsigned char *blob = spans_join(t->ctx, &out.blob, &n);
    if (n)
        write_file(t, out.blob_name + strlen(t->name), (const char *)blob, n);
    printf("%s\n", t->name);
}

#endif
