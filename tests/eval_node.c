/* eval_node.c — the frontend and the evaluator against test folders (model.onnx + test_data_set_N).
 *
 *   eval_node [-c] [-d] FOLDER…      one line a folder: "pass NAME" or "FAIL NAME: why"
 * -c: inputs but the first become constants. -d: extents of the inputs become symbolic, but for the
 * last of integers (it may fix a rank). Rule: same type and shape, |d| <= 1e-7 + 1e-3 |ref|. */
#include "frontend/load.h"
#include "frontend/frontend.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Mode {
    bool constants, dynamic;
} Mode;

typedef struct Run {
    Ctx *ctx;
    const char *dir;
    Model *model;
    Program *prog;
    Mode mode;
    VEC(const OnnxValue *) values;   /* of the inputs */
    VEC(const OnnxTensor *) in, ref; /* flat */
    char why[400];
} Run;

static bool fail(Run *r, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->why, sizeof r->why, fmt, ap);
    va_end(ap);
    return false;
}

static void flatten(Run *r, const OnnxValue *v, bool in) {
    if (v->kind == ONNX_TENSOR && in)
        vec_push(r->ctx, &r->in, &v->tensor);
    else if (v->kind == ONNX_TENSOR)
        vec_push(r->ctx, &r->ref, &v->tensor);
    for (int i = 0; v->kind != ONNX_TENSOR && i < v->nitem; i++)
        flatten(r, &v->item[i], in);
}

static bool read_values(Run *r, int set, const char *what) {
    bool in = !strcmp(what, "input");
    int n = in ? r->model->graph->inputs.len : r->model->graph->outputs.len;
    for (int i = 0; i < n; i++) {
        const Value *v = in ? r->model->graph->inputs.at[i] : r->model->graph->outputs.at[i];
        Str path = str_f(r->ctx, "%s/test_data_set_%d/%s_%d.pb", r->dir, set, what, i), name;
        OnnxValue *val = ctx_new(r->ctx, OnnxValue);
        int kind = v->info ? v->info->kind : VALUE_TENSOR;
        if (access(path, R_OK))
            return fail(r, "no %s", path);
        if (!onnx_value_file(r->ctx, path,
                             kind == VALUE_SEQUENCE   ? ONNX_SEQUENCE
                             : kind == VALUE_OPTIONAL ? ONNX_OPTIONAL
                                                      : ONNX_TENSOR,
                             val, &name))
            return fail(r, "bad %s", path);
        if (in)
            vec_push(r->ctx, &r->values, val);
        flatten(r, val, in);
    }
    return true;
}

static Tensor *tensor_of(Ctx *ctx, const OnnxTensor *t) {
    Tensor *o = ctx_new(ctx, Tensor);
    o->type = type_from_onnx(t->type);
    o->rank = t->rank;
    o->count = t->count;
    for (int i = 0; i < t->rank && i < RANK_MAX; i++)
        o->dim[i] = t->dims[i];
    o->data = (void *)(uintptr_t)t->data;
    return o;
}

static bool bind_inputs(Run *r, Eval *ev) {
    for (int i = 0; i < r->prog->inputs.len; i++) {
        Buf *b = r->prog->inputs.at[i].buf;
        Tensor *t = tensor_of(r->ctx, r->in.at[i]);
        if (t->rank != b->rank)
            return fail(r, "input %d has rank %d, not %d", i, t->rank, b->rank);
        eval_bind(ev, b, t);
        for (int a = 0; a < b->rank; a++)
            if (b->dim[a]->op == OP_SYM)
                eval_set(ev, b->dim[a]->u.sym, t->dim[a]);
    }
    return true;
}

static bool close_to(double a, double b) {
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-7 + 1e-3 * fabs(b);
}

static bool compare_strings(Run *r, int i, const Tensor *t, const OnnxTensor *ref) {
    const ConstStr *a = t->data;
    const OnnxString *b = ref->data;
    for (int64_t k = 0; k < t->count; k++)
        if (a[k].len != (int64_t)b[k].len || memcmp(a[k].at, b[k].at, b[k].len))
            return fail(r, "output %d[%lld]: '%.*s' for '%.*s'", i, (long long)k, (int)a[k].len,
                        a[k].at, (int)b[k].len, b[k].at);
    return true;
}

static double number(const Expr *e) {
    return e->op == OP_FLT                ? e->u.f
           : type_dtype(e->type) == T_U64 ? (double)(uint64_t)e->u.i
                                          : (double)e->u.i;
}

static bool compare(Run *r, int i, const Tensor *t, const OnnxTensor *ref) {
    Dtype want = type_from_onnx(ref->type);
    if (!t)
        return fail(r, "output %d was not computed", i);
    if (t->type != want || t->rank != ref->rank)
        return fail(r, "output %d: %s rank %d for %s rank %d", i, type_text(t->type), t->rank,
                    type_text(want), ref->rank);
    for (int a = 0; a < t->rank; a++)
        if (t->dim[a] != ref->dims[a])
            return fail(r, "output %d: axis %d is %lld, not %lld", i, a, (long long)t->dim[a],
                        (long long)ref->dims[a]);
    if (want == T_STR)
        return compare_strings(r, i, t, ref);
    Const *a = const_new(r->ctx, want, t->count, t->data);
    Const *b = const_new(r->ctx, want, t->count, ref->data);
    for (int64_t k = 0; k < t->count; k++) {
        const Expr *x = const_at(r->ctx, a, k), *y = const_at(r->ctx, b, k);
        if (x != y && !close_to(number(x), number(y)))
            return fail(r, "output %d[%lld]: %.9g for %.9g", i, (long long)k, number(x), number(y));
    }
    return true;
}

static const Literal *literal_of(Ctx *ctx, const OnnxTensor *t, Str name) {
    Literal *l = ctx_new(ctx, Literal);
    l->name = name;
    l->rank = t->rank;
    for (int i = 0; i < t->rank && i < RANK_MAX; i++)
        l->dim[i] = t->dims[i];
    l->data = const_new(ctx, type_from_onnx(t->type), t->count, t->data);
    return l;
}

/* Constants mode: the inputs after the first become initialisers. */
static void make_constants(Run *r) {
    Graph *g = r->model->graph;
    int n = g->inputs.len, k = 0;
    g->inputs.len = 0;
    for (int i = 0; i < n; i++) {
        Value *v = g->inputs.at[i];
        if (i == 0 || !v->info || v->info->kind != VALUE_TENSOR) {
            r->values.at[k] = r->values.at[i];
            r->in.at[k++] = r->in.at[i];
            g->inputs.at[g->inputs.len++] = v;
            continue;
        }
        v->init = literal_of(r->ctx, r->in.at[i], v->name);
        vec_push(r->ctx, &g->values, v);
    }
    r->in.len = r->values.len = k;
}

static void make_dynamic(Run *r) {
    Graph *g = r->model->graph;
    for (int i = 0; i < g->inputs.len; i++) {
        TypeInfo *t = (TypeInfo *)(uintptr_t)g->inputs.at[i]->info;
        bool shape = t->kind == VALUE_TENSOR && type_is_int(t->type) && t->rank == 1;
        for (int a = 0; t->kind == VALUE_TENSOR && a < t->rank && !shape; a++)
            if (t->dim[a] > 0 && (a + 1 < t->rank || !type_is_int(t->type)))
                t->dim[a] = -1;
    }
}

static ShapeBind shape_of(Run *r, const OnnxValue *v) {
    ShapeBind sb = {.rank = v->tensor.rank};
    for (int a = 0; v->kind == ONNX_TENSOR && a < sb.rank && a < RANK_MAX; a++)
        sb.dim[a] = v->tensor.dims[a];
    if (v->kind == ONNX_OPTIONAL && v->nitem)
        return shape_of(r, &v->item[0]);
    sb.kind = v->kind == ONNX_TENSOR     ? SHAPE_TENSOR
              : v->kind == ONNX_OPTIONAL ? SHAPE_NONE
                                         : SHAPE_SEQUENCE;
    for (int i = 0; v->kind == ONNX_SEQUENCE && i < v->nitem; i++) {
        ShapeBind item = shape_of(r, &v->item[i]);
        vec_push(r->ctx, &sb.items, item);
    }
    return sb;
}

/* Shapes the model does not state come from the data. */
static void add_shapes(Run *r, DefineOptions *opt) {
    const Graph *g = r->model->graph;
    for (int i = 0; i < g->inputs.len && i < r->values.len; i++) {
        const TypeInfo *t = g->inputs.at[i]->info;
        if (t && t->kind == VALUE_TENSOR && t->rank >= 0)
            continue;
        ShapeBind sb = shape_of(r, r->values.at[i]);
        sb.input = g->inputs.at[i]->name;
        vec_push(r->ctx, &opt->shapes, sb);
    }
}

static bool run_set(Run *r) {
    Eval *ev = eval_new(r->ctx);
    if (r->prog->inputs.len != r->in.len || r->prog->outputs.len != r->ref.len)
        return fail(r, "%d outputs for %d", r->prog->outputs.len, r->ref.len);
    if (!bind_inputs(r, ev))
        return false;
    if (!eval_block(ev, r->prog->main))
        return fail(r, "eval: %s", r->ctx->diag.text.at ? r->ctx->diag.text.at : "?");
    for (int i = 0; i < r->ref.len; i++) {
        const Buf *b = r->prog->outputs.at[i].buf;
        Tensor *t = eval_tensor(ev, b);
        if (!t && b->data) {
            t = ctx_new(r->ctx, Tensor);
            *t = (Tensor){.type = type_dtype(b->type), .rank = b->rank, .count = b->data->count};
            buf_dims(b, t->dim);
            t->data = (void *)(uintptr_t)b->data->data;
        }
        if (!compare(r, i, t, r->ref.at[i]))
            return false;
    }
    return true;
}

static bool run_folder(Run *r) {
    OnnxFile file = {0};
    Str path = str_f(r->ctx, "%s/model.onnx", r->dir);
    r->ctx->file = path;
    Onnx__ModelProto *proto = onnx_load(r->ctx, path, &file);
    r->model = proto ? graph_import(r->ctx, proto, &file) : NULL;
    if (!r->model)
        return fail(r, "import: %s", r->ctx->diag.text.at);
    if (!graph_upgrade(r->ctx, r->model))
        return fail(r, "upgrade: %s", r->ctx->diag.text.at);
    if (!read_values(r, 0, "input") || !read_values(r, 0, "output"))
        return false;
    DefineOptions opt = {0};
    if (r->mode.constants && r->in.len == r->values.len)
        make_constants(r);
    if (r->mode.dynamic)
        make_dynamic(r);
    add_shapes(r, &opt);
    r->prog = graph_define(r->ctx, r->model, &opt);
    if (!r->prog)
        return fail(r, "define: %s", r->ctx->diag.text.at);
    bool ok = run_set(r);
    onnx_close(&file);
    return ok;
}

/* In a process of its own, so that one crash or endless run is one failure. */
static bool run_child(const char *dir, Mode mode) {
    const char *name = strrchr(dir, '/') ? strrchr(dir, '/') + 1 : dir;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        Run r = {.ctx = ctx_create((size_t)2 << 30), .dir = dir, .mode = mode};
        jmp_buf out;
        r.ctx->oom = &out;
        bool ok = !setjmp(out) ? run_folder(&r) : fail(&r, "internal: %s", r.ctx->diag.text.at);
        for (char *c = r.why; *c; c++)
            *c = *c == '\n' ? ' ' : *c;
        printf(ok ? "pass %s\n" : "FAIL %s: %s\n", name, r.why);
        fflush(stdout);
        _exit(!ok);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status))
        printf("FAIL %s: signal %d\n", name, WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv) {
    Mode mode = {false, false};
    int pass = 0, all = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-c"))
            mode.constants = true;
        else if (!strcmp(argv[i], "-d"))
            mode.dynamic = true;
        else
            all++, pass += run_child(argv[i], mode);
    }
    printf("%d of %d passed\n", pass, all);
    return pass != all;
}
