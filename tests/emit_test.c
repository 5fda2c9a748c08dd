/* tests/emit_test.c — modules built by hand and written as C, with what they must compute.
 *
 *   emit_test FOLDER MACHINE   writes NAME.c NAME.h NAME.in NAME.expect NAME_main.c … for tests/run_emit.sh
 * One module a dtype: every op on every pair of edge values, and every conversion; the expected bits come from
 * constant folding (ir/fold.c), which shares no code with the C backend. */
#include "tests/emit_common.h"

#include <math.h>

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

static void put_value(Test *t, Text *to, Dtype type, const Expr *e) {
    unsigned char bytes[16] = {0};
    if (!expr_is_const(e))
        internal_error(t->ctx, "%s does not fold", expr_str(t->ctx, e));
    const_put(type, bytes, 0, e);
    text_n(to, (const char *)bytes, (size_t)type_bytes(type));
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
        put_value(t, &t->expect, result_bool ? T_BOOL : to, expr_op(ctx, op, to, op_kids(op), v));
    }
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
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < t->vx.len; i++)
            put_value(t, &t->in, type, (side ? t->vz.at : t->vx.at)[i]);
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
