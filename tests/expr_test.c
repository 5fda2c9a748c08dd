/* tests/expr_test.c — expressions: scalar semantics, normal forms, rules, ranges, proofs, text.
 *
 * usage: expr_test [quick|normal|full] [seed]. Random trees are built twice, raw and through the
 * constructors, and must evaluate alike, simplified or not, and stay within their ranges. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ir/expr_in.h"
#include "ir/tensor.h"

typedef struct Tally {
    int passed, failed;
} Tally;

static void check(Tally *t, bool ok, const char *fmt, ...) {
    va_list ap;
    t->passed += ok;
    t->failed += !ok;
    if (ok || t->failed > 40)
        return;
    va_start(ap, fmt);
    printf("FAIL ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
}

/* ---- scalar semantics -------------------------------------------------------------------------- */

typedef struct IntCase {
    Op op;
    Dtype t;
    int64_t a, b, want;
} IntCase;

static const IntCase INT_CASES[] = {
    {OP_ADD, T_I8, 127, 1, -128},
    {OP_MUL, T_U8, 200, 2, 144},
    {OP_SUB, T_U32, 0, 1, 4294967295},
    {OP_ADD, T_I64, INT64_MAX, 1, INT64_MIN},
    {OP_DIV, T_I32, -7, 2, -3},
    {OP_FDIV, T_I32, -7, 2, -4},
    {OP_FDIV, T_I32, 7, -2, -4},
    {OP_MOD, T_I32, -7, 2, 1},
    {OP_MOD, T_I32, 7, -2, -1},
    {OP_REM, T_I32, -7, 2, -1},
    {OP_DIV, T_I32, 5, 0, 0},
    {OP_MOD, T_I64, 5, 0, 0},
    {OP_DIV, T_I64, INT64_MIN, -1, INT64_MIN},
    {OP_MOD, T_I64, INT64_MIN, -1, 0},
    {OP_DIV, T_I8, -128, -1, -128},
    {OP_DIV, T_U64, -1, 2, INT64_MAX},
    {OP_MIN, T_U64, -1, 2, 2},
    {OP_LT, T_U64, -1, 2, 0},
    {OP_POW, T_I32, 3, 4, 81},
    {OP_POW, T_I32, 2, 32, 0},
    {OP_POW, T_I32, -1, -3, -1},
    {OP_POW, T_I32, 2, -1, 0},
    {OP_POW, T_I32, 0, 0, 1},
    {OP_SHL, T_U8, 255, 4, 240},
    {OP_SHL, T_I32, 1, 32, 0},
    {OP_SHL, T_I32, 1, -1, 0},
    {OP_SHR, T_I32, -8, 1, -4},
    {OP_SHR, T_I32, -8, 40, -1},
    {OP_SHR, T_U32, 0x80000000, 31, 1},
    {OP_BXOR, T_I8, -1, 1, -2},
    {OP_BNOT, T_U4, 3, 0, 12},
    {OP_ABS, T_I8, -128, 0, -128},
    {OP_NEG, T_U8, 1, 0, 255},
    {OP_ADD, T_I4, 7, 1, -8},
    {OP_ADD, T_U2, 3, 1, 0},
};

static void test_ints(Tally *t) {
    for (size_t i = 0; i < sizeof INT_CASES / sizeof *INT_CASES; i++) {
        const IntCase *c = &INT_CASES[i];
        Scalar kid[2] = {{.i = c->a}, {.i = c->b}}, out = {.i = 0};
        bool cmp = c->op == OP_LT;
        bool ok = scalar_op(c->op, c->t, cmp ? T_BOOL : c->t, kid, &out);
        check(t, ok && out.i == c->want, "%s of %s %lld, %lld: %lld, not %lld", op_text(c->op),
              type_text(c->t), (long long)c->a, (long long)c->b, (long long)out.i,
              (long long)c->want);
    }
}

typedef struct CastCase {
    Dtype from, to;
    double value, want;
} CastCase;

static const CastCase CAST_CASES[] = {
    {T_F32, T_I8, 300, 127},
    {T_F32, T_I8, -300, -128},
    {T_F32, T_I32, -1.9, -1},
    {T_F64, T_I64, 1e30, 9223372036854775807.0},
    {T_F64, T_U8, -5, 0},
    {T_F64, T_U32, 4e9, 4e9},
    {T_F32, T_BOOL, 0.25, 1},
    {T_I32, T_U8, -1, 255},
    {T_I32, T_I4, 9, -7},
    {T_I32, T_F16, 65519, 65504},
    {T_I32, T_F32, 16777217, 16777216},
    {T_F64, T_F16, 1.00048828125000001, 1.0},
    {T_F64, T_F32, 1e39, (double)INFINITY},
    {T_F32, T_F16, 1e6, (double)INFINITY},
    {T_F32, T_F8E4M3FN, 1000, 448},
    {T_F32, T_F8E5M2, 1e6, 57344},
    {T_F32, T_F4E2M1, 2.5, 2},
    {T_F32, T_BF16, 1.00390625, 1.0},
};

static void test_casts(Tally *t) {
    for (size_t i = 0; i < sizeof CAST_CASES / sizeof *CAST_CASES; i++) {
        const CastCase *c = &CAST_CASES[i];
        Scalar in, out = {.i = 0};
        if (type_is_float(c->from))
            in.f = c->value;
        else
            in.i = (int64_t)c->value;
        bool ok = scalar_op(OP_CAST, c->from, c->to, &in, &out);
        double got = type_is_float(c->to) ? out.f : (double)out.i;
        check(t, ok && got == c->want, "%s(%s %g): %g, not %g", type_text(c->to),
              type_text(c->from), c->value, got, c->want);
    }
    Scalar nan = {.f = (double)NAN}, out = {.i = 7};
    scalar_op(OP_CAST, T_F32, T_I32, &nan, &out);
    check(t, out.i == 0, "i32(nan): %lld", (long long)out.i);
    scalar_op(OP_CASTW, T_F32, T_F8E4M3FN, &(Scalar){.f = 1000}, &out);
    check(t, isnan(out.f), "castw.f8e4m3fn(1000): %g", out.f);
}

/* Sums over every code and over about a million floats, computed with ml_dtypes 0.5 and
 * onnx.numpy_helper.saturate_cast (f8e8m0: to_float8e8m0, nearest): tests/narrow_sums.py. */
typedef struct NarrowCase {
    Dtype t;
    uint32_t codes;
    uint64_t decoded, plain, saturated;
} NarrowCase;

static const NarrowCase NARROW_CASES[] = {
    {T_F16, 65536, UINT64_C(0x67eff5b9299f6213), UINT64_C(0x0978faa5c766645c),
     UINT64_C(0x481f4acf5df04f0f)},
    {T_BF16, 65536, UINT64_C(0x53769c18526ad148), UINT64_C(0x152fe49fc9adbf1d),
     UINT64_C(0x3b8ffda95d8f20fb)},
    {T_F8E4M3FN, 256, UINT64_C(0xb6aaf77a2896d570), UINT64_C(0x58870c338d2cdd39),
     UINT64_C(0x415b3d7a2a607b42)},
    {T_F8E4M3FNUZ, 256, UINT64_C(0x763cd3c2ffe23792), UINT64_C(0x331acb3402c53c1f),
     UINT64_C(0x9a256ad8efc835bc)},
    {T_F8E5M2, 256, UINT64_C(0xb56187de132289c7), UINT64_C(0x79bf8574ef1454fa),
     UINT64_C(0x45ee3b18590245c6)},
    {T_F8E5M2FNUZ, 256, UINT64_C(0x38f5c942be3dd0c9), UINT64_C(0x02400ea4c4fc6167),
     UINT64_C(0x4650b137396c542c)},
    {T_F8E8M0, 256, UINT64_C(0x45ccda19993eb4b7), UINT64_C(0x6b4a2a6a3433b9fd),
     UINT64_C(0x6179a451c81acc06)},
    {T_F4E2M1, 16, UINT64_C(0xd6e08426f78f56a5), UINT64_C(0xd4644555a67eb298),
     UINT64_C(0xd4644555a67eb298)},
};

static void sum_add(uint64_t *sum, uint64_t *n, uint64_t v) {
    uint64_t z = (v + 1) * (++*n * UINT64_C(0x9E3779B97F4A7C15));
    z ^= z >> 32;
    *sum += z * UINT64_C(0xD6E8FEB86659FD93);
}

static float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float middle(const NarrowCase *c, uint32_t code, int step) {
    float low = narrow_to_f32(c->t, code), high = narrow_to_f32(c->t, code + 1);
    float mid = (float)(((double)low + (double)high) / 2);
    return step == 0 ? mid : nextafterf(mid, step > 0 ? INFINITY : -INFINITY);
}

static uint64_t encoded_sum(const NarrowCase *c, bool saturate) {
    uint64_t sum = 0, n = 0;
    for (uint32_t k = 0; k < 1u << 20; k++) {
        float f = float_of(k * UINT32_C(2654435761));
        if (!isnan(f))
            sum_add(&sum, &n, narrow_from_f32(c->t, f, saturate));
    }
    for (uint32_t k = 0; k < c->codes; k++)
        if (!isnan(narrow_to_f32(c->t, k)))
            sum_add(&sum, &n, narrow_from_f32(c->t, narrow_to_f32(c->t, k), saturate));
    for (int pass = 0; pass < 3; pass++)
        for (uint32_t k = 0; k + 1 < c->codes; k++) {
            float f = middle(c, k, pass == 2 ? -1 : pass);
            if (!isnan(f))
                sum_add(&sum, &n, narrow_from_f32(c->t, f, saturate));
        }
    return sum;
}

static void test_narrow(Tally *t) {
    for (size_t i = 0; i < sizeof NARROW_CASES / sizeof *NARROW_CASES; i++) {
        const NarrowCase *c = &NARROW_CASES[i];
        uint64_t sum = 0, n = 0;
        for (uint32_t k = 0; k < c->codes; k++) {
            float f = narrow_to_f32(c->t, k);
            uint32_t bits;
            memcpy(&bits, &f, sizeof bits);
            sum_add(&sum, &n, isnan(f) ? 0x7fc00000 : bits);
        }
        check(t, sum == c->decoded, "%s to f32", type_text(c->t));
        check(t, encoded_sum(c, false) == c->plain, "f32 to %s", type_text(c->t));
        check(t, encoded_sum(c, true) == c->saturated, "f32 to %s, saturated", type_text(c->t));
    }
}

/* ---- a small world ------------------------------------------------------------------------------ */

enum { NSYM = 9, NBUF = 5 };

typedef struct World {
    Ctx *ctx;
    Names *names;
    Sym *sym[NSYM]; /* N M K, then axes */
    Buf buf[NBUF];  /* x f32, y i64, u u8, w i32, h f16 */
    int64_t val[NSYM];
    uint64_t salt; /* what loads give */
    uint64_t random;
    bool wrapped; /* evaluation met arithmetic known not to wrap, and it did */
    int lane;
} World;

static uint64_t next_random(World *w) {
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random * UINT64_C(0x2545F4914F6CDD1D) >> 16;
}
static int pick(World *w, int n) {
    return (int)(next_random(w) % (uint64_t)n);
}

static Sym *add_sym(World *w, int i, Sym *s) {
    w->sym[i] = s;
    names_bind(w->names, s->name, s, 's');
    return s;
}

static const Expr *sym(World *w, int i) {
    return expr_sym(w->ctx, w->sym[i]);
}

static void add_buf(World *w, int i, const char *name, Dtype t) {
    w->buf[i] = (Buf){.name = str(w->ctx, name), .id = w->ctx->next_id++, .type = t};
    names_bind(w->names, w->buf[i].name, &w->buf[i], 'b');
}

static void world_init(World *w, uint64_t seed) {
    Ctx *c = ctx_create(0);
    memset(w, 0, sizeof *w);
    w->ctx = c;
    w->names = names_new(c);
    w->random = seed;
    add_sym(w, 0, sym_new(c, SYM_DIM, str(c, "N"), 1, INT64_MAX));
    add_sym(w, 1, sym_new(c, SYM_DIM, str(c, "M"), 1, INT64_MAX));
    add_sym(w, 2, sym_new(c, SYM_DIM, str(c, "K"), 8, 64))->mult = 8;
    add_sym(w, 3, sym_axis(c, str(c, "i"), sym(w, 0)));
    add_sym(w, 4, sym_axis(c, str(c, "j"), expr_i(c, 16)));
    add_sym(w, 5, sym_axis(c, str(c, "b"), expr_fdiv(c, sym(w, 0), expr_i(c, 16))));
    add_sym(w, 6, sym_axis(c, str(c, "q"), expr_ceildiv(c, sym(w, 0), 16)));
    add_sym(w, 7, sym_axis(c, str(c, "m"), sym(w, 1)));
    add_sym(w, 8, sym_new(c, SYM_RUN, str(c, "r"), -20, 20));
    add_buf(w, 0, "x", T_F32);
    add_buf(w, 1, "y", T_I64);
    add_buf(w, 2, "u", T_U8);
    add_buf(w, 3, "w", T_I32);
    add_buf(w, 4, "h", T_F16);
}

/* New values for all symbols, within their facts: no axis is empty, so N >= 16. */
static void world_shake(World *w) {
    int64_t n = 16 + pick(w, 4) * (pick(w, 3) ? 16 : pick(w, 60)) + pick(w, 3);
    w->salt = next_random(w);
    w->val[0] = n;
    w->val[1] = 1 + pick(w, pick(w, 2) ? 4 : 40);
    w->val[2] = 8 + 8 * pick(w, 8);
    w->val[3] = pick(w, 4) ? pick(w, (int)n) : n - 1;
    w->val[4] = pick(w, 16);
    w->val[5] = pick(w, 4) ? pick(w, (int)(n / 16)) : n / 16 - 1;
    w->val[6] = pick(w, (int)((n + 15) / 16));
    w->val[7] = pick(w, (int)w->val[1]);
    w->val[8] = pick(w, 41) - 20;
}

/* ---- evaluation -------------------------------------------------------------------------------- */

static int64_t some_int(uint64_t h) {
    static const int64_t edge[] = {INT64_MIN, INT64_MAX, -1, 0, 1, 2, 7, 16, INT32_MAX, INT32_MIN};
    return h % 3 ? (int64_t)(h >> 8) % 100 - 50 : edge[h / 3 % (sizeof edge / sizeof *edge)];
}

static double some_float(uint64_t h) {
    static const double edge[] = {
        0.0,         -0.0,    1.0,   -1.0, (double)INFINITY, -(double)INFINITY,
        (double)NAN, 65504.0, 1e-30, 3e38};
    return h % 3 ? (double)((int64_t)(h >> 8) % 1000 - 500) / 8
                 : edge[h / 3 % (sizeof edge / sizeof *edge)];
}

static Scalar load_value(const World *w, const Expr *e, const Scalar *index) {
    uint64_t h = w->salt ^ e->u.buf->id * UINT64_C(0x9E3779B97F4A7C15);
    for (int i = 0; i < e->nkid; i++)
        h = (h ^ (uint64_t)index[i].i) * UINT64_C(0xD6E8FEB86659FD93) ^ h >> 31;
    Dtype t = type_dtype(e->type);
    Scalar in, out = {.i = 0};
    if (type_is_float(t))
        in.f = some_float(h);
    else
        in.i = some_int(h);
    scalar_op(OP_CAST, type_is_float(t) ? T_F64 : T_I64, t, &in, &out);
    return out;
}

static bool overflows(Op op, int64_t a, int64_t b) {
    int64_t r;
    return op == OP_ADD ? !add_ok(a, b, &r) : op == OP_SUB ? !sub_ok(a, b, &r) : !mul_ok(a, b, &r);
}

/* Also where the result is left open: the sign of max(-0, 0). */
static void note_wrap(World *w, const Expr *e, const Scalar *kid) {
    if ((is_op(e, OP_MIN) || is_op(e, OP_MAX)) && type_is_float(type_dtype(e->type)))
        w->wrapped |= kid[0].f == 0 && kid[1].f == 0 && signbit(kid[0].f) != signbit(kid[1].f);
    if (!is_op(e, OP_ADD) && !is_op(e, OP_SUB) && !is_op(e, OP_MUL))
        return;
    if (e->type == T_I64 && overflows((Op)e->op, kid[0].i, kid[1].i) &&
        (expr_info(e->kid[0])->symbolic & expr_info(e->kid[1])->symbolic) == SYMBOLIC)
        w->wrapped = true;
}

static Scalar eval(World *w, const Expr *e);

static Scalar eval_lane(World *w, const Expr *e, int lane) {
    int saved = w->lane;
    w->lane = lane;
    Scalar s = eval(w, e);
    w->lane = saved;
    return s;
}

static Scalar eval_op(World *w, const Expr *e) {
    Scalar kid[4], out = {.i = 0};
    if (is_op(e, OP_LANE))
        return eval_lane(w, e->kid[0], (int)e->kid[1]->u.i);
    if (is_op(e, OP_SELECT))
        return eval(w, e->kid[eval(w, e->kid[0]).i ? 1 : 2]);
    for (int i = 0; i < e->nkid; i++)
        kid[i] = eval(w, e->kid[i]);
    if (is_op(e, OP_LOAD))
        return load_value(w, e, kid);
    if (is_op(e, OP_BCAST))
        return kid[0];
    if (is_op(e, OP_RAMP)) {
        out.i = (int64_t)((uint64_t)kid[0].i + (uint64_t)w->lane * (uint64_t)kid[1].i);
        return out;
    }
    note_wrap(w, e, kid);
    if (!scalar_op((Op)e->op, type_dtype(e->kid[0]->type), type_dtype(e->type), kid, &out))
        printf("FAIL cannot evaluate %s\n", expr_str(w->ctx, e));
    return out;
}

static Scalar eval(World *w, const Expr *e) {
    Scalar s = {.i = 0};
    if (is_op(e, OP_FLT))
        s.f = e->u.f;
    else if (is_op(e, OP_INT))
        s.i = e->u.i;
    else if (is_op(e, OP_SYM))
        for (int i = 0; i < NSYM; i++)
            s.i = w->sym[i] == e->u.sym ? w->val[i] : s.i;
    else
        s = eval_op(w, e);
    return s;
}

/* Equal bits, but any NaN equals any. */
static bool same(const Expr *e, Scalar a, Scalar b) {
    if (!type_is_float(type_dtype(e->type)))
        return a.i == b.i;
    return (isnan(a.f) && isnan(b.f)) || (a.f == b.f && signbit(a.f) == signbit(b.f));
}

/* ---- random trees ------------------------------------------------------------------------------- */

typedef struct Two {
    const Expr *raw, *made;
} Two;

static Two gen(World *w, Type t, int depth);

static Two two(const Expr *e) {
    return (Two){e, e};
}

static Two gen_op(World *w, Op op, Type t, int n, const Two *kid) {
    const Expr *raw[4], *made[4];
    for (int i = 0; i < n; i++) {
        raw[i] = kid[i].raw;
        made[i] = kid[i].made;
    }
    Type type = expr_type_of(op, t, n, raw);
    return (Two){expr_make(w->ctx, op, type ? type : t, (Payload){.i = 0}, n, raw),
                 expr_op(w->ctx, op, t, n, made)};
}

static Two gen_load(World *w, int buf, int depth) {
    Two index = gen(w, T_I64, depth - 1);
    Buf *b = &w->buf[buf];
    return (Two){expr_make(w->ctx, OP_LOAD, b->type, (Payload){.buf = b}, 1, &index.raw),
                 expr_load(w->ctx, b, 1, &index.made)};
}

static int buf_of(Type t) {
    return t == T_F32 ? 0 : t == T_I64 ? 1 : t == T_U8 ? 2 : t == T_I32 ? 3 : 4;
}

static Two gen_leaf(World *w, Type t) {
    static const int64_t usual[] = {0, 1, 2, 3, 4, 5, 8, 15, 16, 32, 100, -1, -3, -16, 7, 12};
    int64_t v = usual[pick(w, 16)];
    if (t == T_I64 && pick(w, 3))
        return two(sym(w, pick(w, NSYM)));
    if (t == T_BOOL)
        return two(expr_bool(w->ctx, pick(w, 2)));
    if (type_is_float(type_dtype(t)))
        return two(expr_flt(w->ctx, t, pick(w, 4) ? (double)v / 2 : some_float(next_random(w))));
    return two(expr_int(w->ctx, t, pick(w, 30) ? v : some_int(next_random(w))));
}

static Two gen_bool(World *w, int depth) {
    static const Op ops[] = {OP_LT, OP_LE, OP_EQ, OP_NE, OP_LT, OP_LE};
    static const Type types[] = {T_I64, T_I64, T_I64, T_F32, T_I32, T_U8};
    Two kid[3];
    int c = pick(w, 10);
    if (c < 6) {
        Type t = types[pick(w, 6)];
        kid[0] = gen(w, t, depth - 1);
        kid[1] = gen(w, t, depth - 1);
        return gen_op(w, ops[pick(w, 6)], 0, 2, kid);
    }
    kid[0] = gen(w, T_BOOL, depth - 1);
    kid[1] = gen(w, T_BOOL, depth - 1);
    kid[2] = gen(w, T_BOOL, depth - 1);
    if (c == 9)
        return pick(w, 2) ? gen_op(w, OP_NOT, 0, 1, kid) : gen_op(w, OP_SELECT, 0, 3, kid);
    return gen_op(w, c == 8 ? OP_OR : OP_AND, 0, 2, kid);
}

static Two gen_cast(World *w, Type t, int depth) {
    static const Type from[] = {T_I64, T_I32, T_U8, T_F32, T_BOOL, T_F16};
    Two kid = gen(w, from[pick(w, 6)], depth - 1);
    return gen_op(w, OP_CAST, t, 1, &kid);
}

static Two gen_select(World *w, Type t, int depth) {
    Two kid[3] = {gen(w, T_BOOL, depth - 1), gen(w, t, depth - 1), gen(w, t, depth - 1)};
    return gen_op(w, OP_SELECT, 0, 3, kid);
}

static Two gen_index(World *w, int depth) {
    static const Op ops[] = {OP_ADD, OP_ADD, OP_ADD, OP_SUB,  OP_SUB, OP_MUL, OP_MUL, OP_FDIV,
                             OP_MOD, OP_MIN, OP_MAX, OP_FDIV, OP_MOD, OP_DIV, OP_REM, OP_BAND};
    static const int64_t by[] = {2, 3, 4, 8, 16, 32, 6, 1};
    Two kid[2] = {gen(w, T_I64, depth - 1), gen(w, T_I64, depth - 1)};
    Op op = ops[pick(w, 16)];
    bool divides = op == OP_FDIV || op == OP_MOD;
    if ((divides && pick(w, 8)) || (op == OP_MUL && pick(w, 3)))
        kid[1] = two(expr_i(w->ctx, by[pick(w, 8)]));
    return gen_op(w, op, 0, 2, kid);
}

static Two gen_arith(World *w, Type t, int depth) {
    static const Op ints[] = {OP_ADD, OP_SUB, OP_MUL,  OP_DIV, OP_FDIV, OP_MOD, OP_REM,
                              OP_MIN, OP_MAX, OP_BAND, OP_BOR, OP_BXOR, OP_SHL, OP_SHR};
    static const Op floats[] = {OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_MIN, OP_MAX};
    static const Op unary[] = {OP_NEG, OP_ABS, OP_FLOOR, OP_RINT, OP_TRUNC, OP_CEIL};
    bool flt = type_is_float(type_dtype(t));
    Two kid[2] = {gen(w, t, depth - 1), gen(w, t, depth - 1)};
    if (pick(w, 4) == 0)
        return gen_op(w, unary[pick(w, flt ? 6 : 2)], 0, 1, kid);
    if (pick(w, 6) == 0)
        kid[1] = kid[0];
    return gen_op(w, flt ? floats[pick(w, 6)] : ints[pick(w, 14)], 0, 2, kid);
}

static Two gen(World *w, Type t, int depth) {
    if (depth <= 0 || pick(w, 8) == 0)
        return gen_leaf(w, t);
    if (t == T_BOOL)
        return gen_bool(w, depth);
    int c = pick(w, 12);
    if (c == 0)
        return gen_select(w, t, depth);
    if (c == 1)
        return gen_cast(w, t, depth);
    if (c == 2 || (c == 3 && t != T_I64))
        return gen_load(w, buf_of(t), depth);
    return t == T_I64 ? gen_index(w, depth) : gen_arith(w, t, depth);
}

static Two gen_any(World *w, int depth) {
    static const Type types[] = {T_I64, T_I64, T_I64, T_BOOL, T_BOOL, T_F32, T_I32, T_U8, T_F16};
    return gen(w, types[pick(w, 9)], depth);
}

/* ---- properties of random trees ------------------------------------------------------------------ */

static Str print_in(World *w, const Expr *e) {
    Text t = text_new(w->ctx);
    expr_print(&t, w->names, e);
    return str_n(w->ctx, t.at, t.len);
}

static void test_text(Tally *t, World *w, const Expr *e) {
    Str s = print_in(w, e);
    Lex lex;
    lex_init(&lex, w->ctx, "again", s);
    const Expr *again = expr_parse(&lex, w->names);
    check(t, again == e && !lex.kind, "%s\n  parses as %s", s,
          again ? print_in(w, again) : "an error");
}

typedef struct Bounds {
    World *w;
    const Expr *bad;
} Bounds;

static void check_bounds(void *data, const Expr *e) {
    Bounds *b = data;
    Dtype t = type_dtype(e->type);
    if ((!type_is_int(t) && t != T_BOOL) || t == T_U64)
        return;
    int64_t v = eval(b->w, e).i, m = expr_multiple(b->w->ctx, e);
    Range r = expr_range(b->w->ctx, e);
    if (!b->w->wrapped && (v < r.min || v > r.max || v % m != 0))
        b->bad = e;
}

static void test_tree(Tally *t, World *w, Two e, int samples) {
    const Expr *simple = expr_simplify(w->ctx, e.made);
    test_text(t, w, e.made);
    test_text(t, w, simple);
    check(t, expr_simplify(w->ctx, simple) == simple, "not simple: %s", print_in(w, simple));
    bool proved = e.made->type == T_BOOL && expr_proves(w->ctx, e.made);
    for (int i = 0; i < samples; i++) {
        world_shake(w);
        w->wrapped = false;
        Scalar want = eval(w, e.raw);
        if (w->wrapped)
            continue;
        Bounds b = {w, NULL};
        expr_walk(w->ctx, e.made, check_bounds, &b);
        Scalar got = eval(w, e.made), now = eval(w, simple);
        bool ok = same(e.raw, want, got) && same(e.raw, want, now) && !b.bad;
        check(t, ok, "%s\n  made %s\n  simplified %s", print_in(w, e.raw), print_in(w, e.made),
              print_in(w, simple));
        if (b.bad)
            printf("  range of %s\n", print_in(w, b.bad));
        check(t, !proved || want.i, "proved, but false: %s", print_in(w, e.made));
    }
}

/* expr_assume and expr_proves_if under a random condition; expr_extremes over random axes. */
static void test_facts(Tally *t, World *w, int samples) {
    Ctx *c = w->ctx;
    const Expr *fact = gen(w, T_BOOL, 3).made, *e = gen_any(w, 4).made;
    const Expr *goal = gen(w, T_BOOL, 2).made, *given = expr_assume(c, fact, e);
    bool follows = expr_proves_if(c, fact, goal);
    const Expr *lo, *hi, *index = gen(w, T_I64, 4).made;
    Sym *over[3] = {w->sym[3], w->sym[4], w->sym[6]};
    expr_extremes(c, index, 3, over, &lo, &hi);
    for (int i = 0; i < 3 && lo; i++)
        check(t, !expr_uses_sym(lo, over[i]), "extreme %s", print_in(w, lo));
    for (int i = 0; i < samples; i++) {
        world_shake(w);
        w->wrapped = false;
        int64_t v = eval(w, index).i, low = lo ? eval(w, lo).i : v, high = hi ? eval(w, hi).i : v;
        check(t, w->wrapped || (low <= v && v <= high), "%s from %s to %s: %lld",
              print_in(w, index), lo ? print_in(w, lo) : "?", hi ? print_in(w, hi) : "?",
              (long long)v);
        if (!eval(w, fact).i)
            continue;
        bool right = same(e, eval(w, e), eval(w, given)) && (!follows || eval(w, goal).i);
        check(t, w->wrapped || right, "given %s:\n  %s\n  is %s\n  goal %s %d", print_in(w, fact),
              print_in(w, e), print_in(w, given), print_in(w, goal), follows);
    }
}

/* Substitution equals evaluation under other values; linear parts add up to the whole. */
static void test_subst(Tally *t, World *w) {
    Ctx *c = w->ctx;
    const Expr *e = gen_any(w, 5).made, *to[2] = {gen(w, T_I64, 1).made, sym(w, 3)};
    Sym *from[2] = {w->sym[3], w->sym[4]};
    const Expr *got = expr_subst(c, e, 2, from, to);
    world_shake(w);
    w->wrapped = false;
    Scalar a = eval(w, got);
    int64_t i = eval(w, to[0]).i, j = w->val[3];
    if (i < 0 || i >= w->val[0] || j >= 16) /* outside the facts of what is replaced */
        return;
    w->val[3] = i;
    w->val[4] = j;
    bool ok = same(e, eval(w, e), a);
    check(t, ok || w->wrapped, "subst in %s gives %s", print_in(w, e), print_in(w, got));
    const Expr *index = gen(w, T_I64, 3).made, *coef[2], *rest;
    if (!expr_linear(c, index, 2, from, coef, &rest))
        return;
    const Expr *sum = expr_add(c, expr_mul(c, coef[0], expr_sym(c, from[0])), rest);
    sum = expr_add(c, sum, expr_mul(c, coef[1], expr_sym(c, from[1])));
    check(t, sum == index, "linear parts of %s add up to %s", print_in(w, index), print_in(w, sum));
}

/* The same tree over ramps, lane by lane against the scalar tree. */
static void test_vector(Tally *t, World *w) {
    Ctx *c = w->ctx;
    const Expr *e = gen_any(w, 4).made, *to = expr_ramp(c, sym(w, 5), expr_i(c, 1 + pick(w, 3)), 4);
    const Expr *v = expr_subst(c, e, 1, &w->sym[4], &to);
    test_text(t, w, v);
    world_shake(w);
    for (int lane = 0; lane < 4; lane++) {
        int64_t j = w->val[5] + lane * to->kid[1]->u.i;
        if (j >= 16)
            return;
        w->val[4] = j;
        w->wrapped = false;
        Scalar a = eval(w, e), b = eval_lane(w, v, lane);
        check(t, w->wrapped || same(e, a, b), "lane %d of %s\n  from %s", lane, print_in(w, v),
              print_in(w, e));
    }
}

/* ---- texts that must come out so ---------------------------------------------------------------- */

typedef struct TextCase {
    const char *from, *to;
} TextCase;

static const TextCase TEXT_CASES[] = {
    {"i + 3*i - 2", "i*4 - 2"},
    {"(16*i + j)//16", "i"},
    {"(16*i + j)%16", "j"},
    {"(16*i + j)//32", "i//2"},
    {"i//4*4 + i%4", "i"},
    {"i - i//4*4", "i%4"},
    {"(i//3)//5", "i//15"},
    {"K//8*8", "K"},
    {"K%4", "0"},
    {"(N*M)//N", "M"},
    {"(i*M + m)//M", "i"},
    {"(i*M + m)%M", "m"},
    {"0 <= i*2 + 3 - 5", "1 <= i"},
    {"2*i + 1 < 2*m", "i < m"},
    {"min(i, i + 3)", "i"},
    {"max(5, min(i, 20))", "max(min(i, 20), 5)"},
    {"i64(i32(j))", "j"},
    {"i32(j) < 5:i32", "j < 5"},
    {"y[i]//4*4 + y[i]%4", "y[i]"},
    {"(y[i]*4 + 1)//4", "(y[i]*4 + 1)//4"},
    {"f32(f64(x[i]))", "x[i]"},
    {"x[i +: 8]", "x[i +: 8]"},
    {"(i//4%3)*4 + i%4", "i%12"},
    {"!(i < 3 && x[i] < 1.0)", "3 <= i || !(x[i] < 1.0)"},
    {"0 <= i < N", "i < N"},
    {"x[i] > 1", "1.0 < x[i]"},
    {"x[i] + -0.0", "x[i]"},
    {"x[i] + 0.0", "x[i] + 0.0"},
    {"0.5:f64", "0.5:f64"},
    {"-inf:f16", "-inf:f16"},
    {"true:boolx4", "true:boolx4"},
    {"castw.f8e4m3fn(x[i])", "castw.f8e4m3fn(x[i])"},
    {"bits.u32(1.0)", "1065353216:u32"},
    {"ramp(i, 1, 4)*4 + 1", "ramp(i*4 + 1, 4, 4)"},
    {"ramp(4*i, 1, 4)//4", "bcast(i, 4)"},
    {"ramp(4*i + 1, 1, 4)//4", "ramp(i*4 + 1, 1, 4)//4:i64x4"},
    {"x[true ? i]", "x[true ? i]"},
    {"vadd(x[i +: 4])", "vadd(x[i +: 4])"},
    {"lane(ramp(i, 2, 4), 3)", "i + 6"},
    {"1 + x", "error"},
    {"x[i", "error"},
    {"min(i)", "error"},
    {"i && j", "error"},
    {"x[i] + y[i]", "error"},
    {"f32x8(3)", "error"},
    {"3:str", "error"},
    {"18446744073709551616", "error"},
    {"prove i < N", "true"},
    {"prove b*16 + j < N", "true"},
    {"prove q*16 + j < N", "false"},
    {"prove q*16 < N", "true"},
    {"prove i*M + m < N*M", "true"},
    {"prove 0 <= (N - 1)*(M - 1)", "true"},
    {"prove y[i] < N", "false"},
    {"prove max(0, min(y[i], N - 1)) < N", "true"},
    {"prove (N + 15)//16*16 <= N + 15", "true"},
    {"prove i//3 < (N + 2)//3", "true"},
    {"given r < 5 => r < 6", "true"},
    {"given r < 6 => r < 5", "false"},
    {"given q*16 + 15 < N => q*16 + j < N", "true"},
    {"given q < N//16 => q*16 + j < N", "true"},
    {"given 2 <= r && r < (N - 1)//2 + 1 - 2 => r*2 + 6 < N + 3", "true"},
    {"given 2 <= r => 3 <= r*2", "true"},
    {"given 0 <= y[i] && y[i] < N => y[i]*M + m < N*M", "true"},
    {"given 0 <= y[i] && y[i] < N => 0 <= y[i]*M + m", "true"},
    {"given y[i] < N => 0 <= y[i]", "false"},
    {"given y[i] == 3 => y[i] < 4", "true"},
    {"given i < r && r < m => i < m", "true"},
    {"given i < r && r < m => i + 1 < m", "true"},
    {"given i < r && r < m => i + 2 < m", "false"},
    {"given x[i] < 1.0 => x[i] < 1.0", "true"},
    {"given K <= N => m*K < N*M", "true"},
    {"prove max(i - 3, 0) < N", "true"},
    {"prove min(i*2 + 1, N - 1) < N", "true"},
    {"prove select(i < 3, i, 0) < 3", "true"},
    {"prove j%4 + i*4 < N*4", "true"},
    {"prove (i*16 + j)//16 < N", "true"},
    {"prove N*M*3 <= N*M*4", "true"},
    {"prove i*M*16 + m*16 + j < N*M*16", "true"},
    {"prove (i + 1)*M <= N*M", "true"},
    {"prove q*16 + min(16, N - q*16) <= N", "true"},
    {"prove (N + 7)//8 <= N", "true"},
    {"prove (N*2 - 1)//2 + 1 == N", "true"},
    {"prove i//2*2 + 1 <= N", "true"},
    {"prove b*16 < N//2*2", "true"},
    {"prove (i + 2)//3*3 < N + 3", "true"},
    {"simplify select(i < 5 && x[i] < 0.0, min(i, 4), 3)", "select(i < 5 && x[i] < 0.0, i, 3)"},
    {"simplify select(x[i] < 1.0, select(i < 5, y[i], y[j]), y[j])",
     "select(x[i] < 1.0 && i < 5, y[i], y[j])"},
    {"simplify x[i]/4.0", "x[i]*0.25"},
    {"simplify x[i]/3.0", "x[i]/3.0"},
    {"i//4 < 3", "i < 12"},
    {"i//4 == 0", "i < 4"},
    {"j//4 == 3", "12 <= j"},
    {"j//4 != 0", "4 <= j"},
    {"simplify j//4 == 2", "8 <= j && j < 12"},
    {"3 <= (i + 1)//2", "5 <= i"},
    {"simplify x[i] == x[i]", "!isnan(x[i])"},
    {"simplify i < 5 && i < 7", "i < 5"},
    {"simplify i < 7 && i < 5", "i < 5"},
    {"simplify 0 <= r || r < 3", "true"},
    {"simplify select(i < N, x[i], 0.0)", "x[i]"},
    {"simplify select(1 <= r && r < 4, x[max(0, min(r - 1, 2))], 0.0)",
     "select(1 <= r && r < 4, x[r - 1], 0.0)"},
    {"simplify max(y[i], 0) < 0", "false"},
    {"simplify pow(x[i], 2.0)", "x[i]*x[i]"},
    {"simplify w[i]*1:i32 + w[j]*0:i32", "w[i]"},
    {"simplify w[i] + 3 - 5", "w[i] + -2:i32"},
};

static void test_cases(Tally *t, World *w) {
    for (size_t i = 0; i < sizeof TEXT_CASES / sizeof *TEXT_CASES; i++) {
        Lex lex;
        lex_init(&lex, w->ctx, "case", TEXT_CASES[i].from);
        bool prove = lex_take(&lex, "prove"), simplify = lex_take(&lex, "simplify");
        bool given = lex_take(&lex, "given");
        const Expr *e = expr_parse(&lex, w->names), *facts = NULL;
        if (e && given && lex_need(&lex, "=>")) {
            facts = e;
            e = expr_parse(&lex, w->names);
            e = e ? expr_bool(w->ctx, expr_proves_if(w->ctx, facts, e)) : NULL;
        }
        if (e && simplify)
            e = expr_simplify(w->ctx, e);
        if (e && prove)
            e = expr_bool(w->ctx, expr_proves(w->ctx, e));
        const char *got = e ? print_in(w, e) : "error";
        check(t, !strcmp(got, TEXT_CASES[i].to), "%s\n  is %s\n  not %s", TEXT_CASES[i].from, got,
              TEXT_CASES[i].to);
    }
}

/* ---- speed ------------------------------------------------------------------------------------- */

static double now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void speed(int n, uint64_t seed) {
    World w;
    world_init(&w, seed);
    const Expr **e = ctx_newn(w.ctx, const Expr *, n);
    double t0 = now_ms();
    for (int i = 0; i < n; i++)
        e[i] = gen_any(&w, 4).made;
    double t1 = now_ms();
    for (int i = 0; i < n; i++)
        e[i] = expr_simplify(w.ctx, e[i]);
    double t2 = now_ms();
    printf("%d expressions built in %.0f ms, simplified in %.0f ms, %zu MiB\n", n, t1 - t0, t2 - t1,
           arena_used(w.ctx->arena) >> 20);
    ctx_free(w.ctx);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "normal";
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x1234567;
    int trees = !strcmp(mode, "quick") ? 2000 : !strcmp(mode, "full") ? 200000 : 20000;
    Tally t = {0, 0};
    test_ints(&t);
    test_casts(&t);
    if (strcmp(mode, "quick"))
        test_narrow(&t);
    World w;
    world_init(&w, seed);
    test_cases(&t, &w);
    ctx_free(w.ctx);
    for (int i = 0; i < trees; i++) {
        if (i % 1000 == 0) {
            if (i)
                ctx_free(w.ctx);
            world_init(&w, (seed + (uint64_t)i) * UINT64_C(0x9E3779B97F4A7C15) | 1);
        }
        test_tree(&t, &w, gen_any(&w, 2 + i % 5), 6);
        test_facts(&t, &w, 6);
        test_subst(&t, &w);
        test_vector(&t, &w);
    }
    ctx_free(w.ctx);
    if (!strcmp(mode, "full") || !strcmp(mode, "speed"))
        speed(200000, seed);
    printf("%d passed, %d failed\n", t.passed, t.failed);
    return t.failed != 0;
}
