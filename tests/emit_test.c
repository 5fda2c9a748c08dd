/* tests/emit_test.c — modules built by hand and written as C, with what they must compute.
 *
 *   emit_test FOLDER MACHINE   writes NAME.c NAME.h NAME.in NAME.expect NAME_main.c … for tests/run_emit.sh
 * One module a dtype: every op on every pair of edge values, and every conversion; the expected bits come from
 * constant folding (ir/fold.c), which shares no code with the C backend. */
#include "codegen/codegen.h"

#include <math.h>
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
    Text expect;              /* bytes of all outputs, one after another */
} Test;

static const double EDGES[] = {0.0,
                               -0.0,
                               1,
                               -1,
                               2,
                               -2,
                               3,
                               -3,
                               7,
                               -7,
                               0.5,
                               -0.5,
                               1.5,
                               2.5,
                               -2.5,
                               0.1,
                               -7.25,
                               31,
                               32,
                               63,
                               64,
                               100,
                               127.5,
                               -128.5,
                               128,
                               255.5,
                               448,
                               464.5,
                               1e-40,
                               -6e-8,
                               2049,
                               65519,
                               65520,
                               16777217,
                               2147483647.0,
                               -2147483648.0,
                               4294967296.5,
                               9.3e18,
                               -9.3e18,
                               1.9e19,
                               1e30,
                               -1e30,
                               3.4028235e38,
                               1e300,
                               INFINITY,
                               -INFINITY,
                               NAN};
enum { NEDGE = sizeof EDGES / sizeof *EDGES };

static void edge_values(Test *t) {
    VEC(const Expr *) v = {0};
    Ctx *ctx = t->ctx;
    for (int i = 0; i < NEDGE; i++)
        if (type_is_float(t->type))
            vec_push(ctx, &v, expr_flt(ctx, t->type, EDGES[i]));
        else if (EDGES[i] == EDGES[i] && fabs(EDGES[i]) < 9e18 && EDGES[i] == floor(EDGES[i]))
            vec_push(ctx, &v, expr_int(ctx, t->type, (int64_t)EDGES[i]));
    if (!type_is_float(t->type)) {
        vec_push(ctx, &v, expr_int(ctx, t->type, type_min(t->type)));
        vec_push(ctx, &v, expr_int(ctx, t->type, type_max(t->type)));
        if (t->type == T_U64)
            vec_push(ctx, &v, expr_int(ctx, T_U64, -1));
    }
    for (int i = 0; i < v.len; i++)
        for (int j = 0; j < v.len; j++) {
            vec_push(ctx, &t->vx, v.at[i]);
            vec_push(ctx, &t->vz, v.at[j]);
        }
    t->vx.len = t->vz.len = t->vx.len / 64 * 64;
}

static void test_open(Test *t, const char *name) {
    Ctx *ctx = t->ctx;
    t->name = str(ctx, name);
    t->prog = ctx_new(ctx, Program);
    t->prog->name = t->name;
    t->module = ctx_new(ctx, Module);
    t->module->prog = t->prog;
    t->module->arena_bytes = expr_i(ctx, 0);
    t->module->entry = t->entry = ctx_new(ctx, Func);
    t->expect = text_new(ctx);
    memset(&t->vx, 0, sizeof t->vx);
    memset(&t->vz, 0, sizeof t->vz);
}

static Buf *test_port(Test *t, const char *name, Dtype type, int64_t n, bool output) {
    Ctx *ctx = t->ctx;
    const Expr *dim = expr_i(ctx, n);
    Port p = {str(ctx, name), NULL};
    p.buf = buf_new(ctx, p.name, type, output ? SPACE_OUTPUT : SPACE_INPUT, 1, &dim);
    if (output)
        vec_push(ctx, &t->prog->outputs, p);
    else
        vec_push(ctx, &t->prog->inputs, p);
    vec_push(ctx, &t->entry->params, p.buf);
    return p.buf;
}

/* for i { y[at] = value } as a kernel of its own. */
static void test_kernel(Test *t, Str name, Buf *y, Sym *i, const Expr *at, const Expr *value) {
    Ctx *ctx = t->ctx;
    Kernel *k = ctx_new(ctx, Kernel);
    Func *f = ctx_new(ctx, Func);
    k->name = f->name = name;
    k->func = f;
    vec_push(ctx, &f->params, t->x);
    if (t->z)
        vec_push(ctx, &f->params, t->z);
    vec_push(ctx, &f->params, y);
    f->body = stmt_for(ctx, i, i->extent, NULL, NULL, stmt_store(ctx, y, 1, &at, value));
    vec_push(ctx, &t->module->kernels, k);
    Stmt *call = stmt_new(ctx, STMT_CALL);
    call->func = f;
    call->arg = f->params.at;
    t->entry->body = stmt_join(t->entry->body, call);
}

static void expect_value(Test *t, Dtype type, const Expr *e) {
    unsigned char bytes[16] = {0};
    if (!expr_is_const(e))
        internal_error(t->ctx, "%s does not fold", expr_str(t->ctx, e));
    const_put(type, bytes, 0, e);
    text_n(&t->expect, (const char *)bytes, (size_t)type_bytes(type));
}

/* op on (x[i], z[i]) with result type `to`, `lanes` elements at a time. */
static void test_op(Test *t, Op op, Dtype to, int lanes) {
    Ctx *ctx = t->ctx;
    int n = t->vx.len;
    Str name = str_f(ctx, "k_%d_%s_%s", t->module->kernels.len, op == OP_CAST ? "cast" : "op",
                     type_text(to));
    Sym *i = sym_axis(ctx, str(ctx, "i"), expr_i(ctx, n / lanes));
    const Expr *iv = expr_mul(ctx, expr_sym(ctx, i), expr_i(ctx, lanes));
    if (lanes > 1)
        iv = expr_ramp(ctx, iv, expr_i(ctx, 1), lanes);
    const Expr *kid[3] = {expr_load(ctx, t->x, 1, &iv), expr_load(ctx, t->z, 1, &iv), NULL};
    kid[2] = kid[0];
    if (op == OP_SELECT) {
        kid[2] = kid[1];
        kid[1] = kid[0];
        kid[0] = expr_lt(ctx, kid[1], kid[2]);
    }
    bool result_bool = (op >= OP_EQ && op <= OP_LE) || op == OP_ISNAN || op == OP_ISINF;
    Buf *y = test_port(t, str_f(ctx, "y_%d_%d", t->module->kernels.len, (int)op),
                       result_bool ? T_BOOL : to, n, true);
    test_kernel(t, name, y, i, iv, expr_op(ctx, op, TYPE_VEC(to, lanes), op_kids(op), kid));
    for (int j = 0; j < n; j++) {
        const Expr *v[3] = {t->vx.at[j], t->vz.at[j], t->vx.at[j]};
        if (op == OP_SELECT) {
            v[2] = v[1];
            v[1] = v[0];
            v[0] = expr_lt(ctx, v[1], v[2]);
        }
        expect_value(t, result_bool ? T_BOOL : to, expr_op(ctx, op, to, op_kids(op), v));
    }
}

static void write_file(Test *t, const char *suffix, const char *bytes, size_t n) {
    FILE *f = fopen(str_f(t->ctx, "%s/%s%s", t->folder, t->name, suffix), "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) {
        fprintf(stderr, "cannot write %s%s\n", t->name, suffix);
        exit(6);
    }
}

/* A program that reads NAME.in, runs, and compares with NAME.expect: bits, but any NaN for a NaN and
 * either zero for a zero. */
static void write_main(Test *t) {
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
    text_f(&m, "    if (%s_run(", t->name);
    for (int i = 0; i < t->entry->params.len; i++)
        text_f(&m, "p%d, ", i);
    text_s(&m, "NULL) != 0)\n        return 1;\n");
    for (int i = nin; i < t->entry->params.len; i++) {
        const Buf *b = t->entry->params.at[i];
        Dtype type = type_dtype(b->type);
        int64_t n;
        buf_static(b, &n);
        text_f(&m, "    bad += compare(g, p%d, %lld, %d, \"%s\", \"%s %s\");\n", i, (long long)n,
               type_bytes(type), type_text(type), t->name, b->name);
    }
    text_s(&m, "    return bad != 0;\n}\n");
    write_file(t, "_main.c", m.at, m.len);
}

static void test_close(Test *t, const char *weights) {
    Out out = {.prefix = t->name, .stem = t->name, .weights = weights};
    if (!t->target->emit(t->ctx, t->module, t->machine, &out)) {
        fprintf(stderr, "%s", t->ctx->diag.text.at);
        exit(1);
    }
    Text in = text_new(t->ctx);
    text_s(&in, "");
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < (side ? t->vz.len : t->vx.len); i++) {
            unsigned char bytes[16] = {0};
            const_put(t->type, bytes, 0, (side ? t->vz.at : t->vx.at)[i]);
            text_n(&in, (const char *)bytes, (size_t)type_bytes(t->type));
        }
    }
    write_file(t, ".c", out.source.at, out.source.len);
    write_file(t, ".h", out.header.at, out.header.len);
    write_file(t, ".in", in.at, in.len);
    write_file(t, ".expect", t->expect.at, t->expect.len);
    write_main(t);
    if (out.blob)
        write_file(t, strchr(out.blob_name, '_'), (const char *)out.blob, out.blob_len);
    printf("%s\n", t->name);
}

/* Ops by the kinds of types that have them: F I U B. */
typedef struct OpRow {
    Op op;
    const char *kinds;
} OpRow;
static const OpRow OPS[] = {
    {OP_ADD, "FIU"},  {OP_SUB, "FIU"}, {OP_MUL, "FIU"},  {OP_DIV, "FIU"},  {OP_FDIV, "IU"},
    {OP_MOD, "FIU"},  {OP_REM, "FIU"}, {OP_MIN, "FIUB"}, {OP_MAX, "FIUB"}, {OP_POW, "IU"},
    {OP_BAND, "IUB"}, {OP_BOR, "IUB"}, {OP_BXOR, "IUB"}, {OP_SHL, "IU"},   {OP_SHR, "IU"},
    {OP_EQ, "FIUB"},  {OP_NE, "FIUB"}, {OP_LT, "FIU"},   {OP_LE, "FIU"},   {OP_SELECT, "FIU"},
    {OP_AND, "B"},    {OP_OR, "B"},    {OP_NOT, "B"},    {OP_FMA, "F"},    {OP_NEG, "FI"},
    {OP_ABS, "FIU"},  {OP_BNOT, "IU"}, {OP_FLOOR, "F"},  {OP_CEIL, "F"},   {OP_RINT, "F"},
    {OP_TRUNC, "F"},  {OP_SQRT, "F"},  {OP_ISNAN, "F"},  {OP_ISINF, "F"}};

/* Scalars; on machines with vectors also 4 lanes and a register full, and more than fills one. */
static void test_type(Test *t, Dtype type) {
    int full = t->machine->vec / type_bytes(type);
    int widths[] = {1, 4, full < 64 ? full : 64, full < 32 ? 2 * full : 64};
    test_open(t, str_f(t->ctx, "ops_%s", type_text(type)));
    t->type = type;
    edge_values(t);
    t->x = test_port(t, "x", type, t->vx.len, false);
    t->z = test_port(t, "z", type, t->vx.len, false);
    for (int w = 0; w < (t->machine->vec ? 4 : 1); w++) {
        for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++)
            if (strchr(OPS[i].kinds, type_kind(type)))
                test_op(t, OPS[i].op, type, widths[w]);
        for (int to = T_F64; to <= T_BOOL; to++)
            if (to != (int)type)
                test_op(t, OP_CAST, (Dtype)to, widths[w]);
        for (int to = T_F8E4M3FN; to <= T_F4E2M1 && type_is_float(type); to++)
            test_op(t, OP_CASTW, (Dtype)to, widths[w]);
    }
    test_close(t, "c");
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    for (int type = T_F64; type <= T_BOOL; type++) {
        Test t = {.ctx = ctx_create(0)};
        t.folder = str(t.ctx, argv[1]);
        t.target = target_find(argv[2], &t.machine);
        if (!t.target)
            return 2;
        test_type(&t, (Dtype)type);
        ctx_free(t.ctx);
    }
    return 0;
}
