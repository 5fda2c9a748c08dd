/* Tests of the tensor and loop levels: random equations against a tree walk, known elements, loops, texts.
 *
 * Usage: ir_test [rounds [seed]]; the last line is `N passed, N failed`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/loop.h"
#include "lower/lower.h"

static int passed, failed;

static void check(bool ok, const char *what, uint64_t seed) {
    if (ok) {
        passed++;
        return;
    }
    failed++;
    printf("FAILED: %s (seed %llu)\n", what, (unsigned long long)seed);
}

/* ---- random equations ---------------------------------------------------------------------------- */

typedef struct Gen {
    Ctx *ctx;
    uint64_t state;
    VEC(Buf *) in;
    VEC(Tensor *) data; /* of in */
    VEC(const Expr *) axis;
    bool wild;    /* loads may be out of bounds */
    bool exact;   /* products and sums of the program are exact: contraction to FMA does not show */
    Buf *weights; /* a constant; NULL: none */
    Def *first;   /* of an update: what gives the buffer its values before */
} Gen;

static uint32_t rnd(Gen *g, uint32_t n) {
    g->state = g->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(g->state >> 33) % n;
}

static const Dtype TYPES[] = {T_F32, T_F32, T_F32,  T_I64, T_I64,  T_F64,
                              T_I32, T_U8,  T_BOOL, T_F16, T_BF16, T_I8};
#define NTYPE (sizeof TYPES / sizeof *TYPES)

static const Expr *gen_value(Gen *g, Dtype t, int depth);

static const Expr *gen_index(Gen *g, int depth) {
    if (g->axis.len && rnd(g, 4))
        return g->axis.at[rnd(g, (uint32_t)g->axis.len)];
    return depth > 0 && rnd(g, 2) ? gen_value(g, T_I64, depth - 1) : expr_i(g->ctx, rnd(g, 5));
}

/* A load of type t, in bounds by a modulo or by a guard. */
static const Expr *gen_load(Gen *g, Dtype t, int depth) {
    Ctx *ctx = g->ctx;
    Buf *b = NULL;
    const Expr *index[RANK_MAX], *guard = NULL, *zero = expr_i(ctx, 0);
    for (int i = 0, k = (int)rnd(g, (uint32_t)g->in.len); i < g->in.len && !b; i++, k++)
        if (g->in.at[k % g->in.len]->type == t)
            b = g->in.at[k % g->in.len];
    if (!b)
        return expr_const(ctx, t, 1 + rnd(g, 3));
    for (int i = 0; i < b->rank; i++) {
        const Expr *e = gen_index(g, depth);
        if (rnd(g, 3) == 0)
            e = expr_sub(ctx, e, expr_i(ctx, rnd(g, 4)));
        if (rnd(g, 2)) {
            index[i] = g->wild && rnd(g, 50) == 0 ? e : expr_mod(ctx, e, b->dim[i]);
            continue;
        }
        const Expr *fits = expr_and(ctx, expr_le(ctx, zero, e), expr_lt(ctx, e, b->dim[i]));
        guard = expr_and(ctx, guard, fits);
        index[i] = e;
    }
    const Expr *load = buf_load(ctx, b, index);
    return guard ? expr_select(ctx, guard, load, gen_value(g, t, 0)) : load;
}

static const Expr *gen_bool(Gen *g, int depth) {
    Ctx *ctx = g->ctx;
    static const Op cmp[] = {OP_LT, OP_LE, OP_EQ, OP_NE};
    Dtype t = TYPES[rnd(g, NTYPE)];
    switch (rnd(g, 5)) {
    case 0:
        return expr_2(ctx, rnd(g, 2) ? OP_AND : OP_OR, gen_value(g, T_BOOL, depth - 1),
                      gen_value(g, T_BOOL, depth - 1));
    case 1:
        return expr_not(ctx, gen_value(g, T_BOOL, depth - 1));
    default:
        if (t == T_BOOL)
            t = T_I64;
        return expr_2(ctx, cmp[rnd(g, 4)], gen_value(g, t, depth - 1), gen_value(g, t, depth - 1));
    }
}

static const Expr *gen_value(Gen *g, Dtype t, int depth) {
    Ctx *ctx = g->ctx;
    static const Op ints[] = {OP_ADD, OP_SUB,  OP_MUL, OP_MIN,  OP_MAX, OP_DIV, OP_FDIV, OP_MOD,
                              OP_REM, OP_BAND, OP_BOR, OP_BXOR, OP_SHL, OP_SHR, OP_POW};
    static const Op flts[] = {OP_ADD, OP_SUB, OP_MUL, OP_MIN, OP_MAX, OP_DIV, OP_MOD, OP_REM};
    static const Op one[] = {OP_NEG,   OP_ABS,  OP_FLOOR, OP_CEIL, OP_RINT,
                             OP_TRUNC, OP_SQRT, OP_EXP,   OP_TANH, OP_ERF};
    if (depth <= 0 || rnd(g, 8) == 0) {
        if (t == T_I64 && g->axis.len && rnd(g, 2))
            return g->axis.at[rnd(g, (uint32_t)g->axis.len)];
        return rnd(g, 4) ? gen_load(g, t, depth)
                         : expr_const(ctx, t, t == T_BOOL ? rnd(g, 2) : (double)rnd(g, 9) - 3);
    }
    if (t == T_BOOL)
        return gen_bool(g, depth);
    switch (rnd(g, 6)) {
    case 0:
        return expr_select(ctx, gen_value(g, T_BOOL, depth - 1), gen_value(g, t, depth - 1),
                           gen_value(g, t, depth - 1));
    case 1:
        return expr_cast(ctx, t, gen_value(g, TYPES[rnd(g, NTYPE)], depth - 1));
    case 2:
        return type_is_float(t)
                   ? expr_1(ctx, one[rnd(g, 10)], gen_value(g, t, depth - 1))
                   : expr_1(ctx, rnd(g, 2) ? OP_NEG : OP_ABS, gen_value(g, t, depth - 1));
    default: {
        Op op = type_is_float(t) ? flts[rnd(g, 8)] : ints[rnd(g, 15)];
        const Expr *a = gen_value(g, t, depth - 1), *b = gen_value(g, t, depth - 1);
        return expr_2(ctx, op, a, b);
    }
    }
}

static Buf *gen_input(Gen *g, Eval *ev, Dtype t, int rank, const int64_t *size) {
    Ctx *ctx = g->ctx;
    const Expr *dim[RANK_MAX];
    Tensor *x = ctx_new(ctx, Tensor);
    x->type = t;
    x->rank = rank;
    x->count = 1;
    for (int k = 0; k < rank; k++) {
        x->dim[k] = size[k];
        x->count *= size[k];
        dim[k] = expr_i(ctx, size[k]);
    }
    x->data = ctx_alloc(ctx, (size_t)(x->count * type_bytes(t)));
    for (int64_t k = 0; k < x->count; k++) {
        double v = (rnd(g, 64) - 20.0) / (type_is_float(t) ? 4 : 1);
        const_put(t, x->data, k, expr_const(ctx, t, t == T_BOOL ? rnd(g, 2) : v));
    }
    Buf *b = buf_new(ctx, str_f(ctx, "x%d", g->in.len), t, SPACE_INPUT, rank, dim);
    eval_bind(ev, b, x);
    vec_push(ctx, &g->in, b);
    vec_push(ctx, &g->data, x);
    return b;
}

/* The last input as a constant. */
static Buf *gen_const(Gen *g) {
    Tensor *x = g->data.at[--g->data.len];
    Buf *b = g->in.at[--g->in.len];
    return buf_const(g->ctx, b->name, const_new(g->ctx, x->type, x->count, x->data), x->rank,
                     x->dim);
}

static void gen_inputs(Gen *g, Eval *ev) {
    for (int i = 0; i < 6; i++) {
        int64_t size[3];
        for (int k = 0; k < 3; k++)
            size[k] = 1 + rnd(g, 7);
        gen_input(g, ev, TYPES[i < 2 ? 3 * i : (int)rnd(g, NTYPE)], (int)rnd(g, 4), size);
    }
}

/* What real networks are made of: contractions and windows over images, then a map. */
static Def *gen_dense(Gen *g, Eval *ev) {
    Ctx *ctx = g->ctx;
    static const Dtype types[] = {T_F32, T_F32, T_F32, T_F64, T_I32};
    Dtype t = types[rnd(g, 5)];
    bool window = rnd(g, 2);
    int64_t c = 1 + rnd(g, 20), h = 5 + rnd(g, 30), m = 1 + rnd(g, 40), r = 1 + rnd(g, 3);
    int64_t stride = 1 + rnd(g, 2), pad = rnd(g, 2), out = (h + 2 * pad - r) / stride + 1;
    const int64_t image[] = {c, h, h}, filter[] = {m, c, r, r}, left[] = {h, c}, right[] = {c, m};
    Buf *x = gen_input(g, ev, t, window ? 3 : 2, window ? image : left);
    Buf *w = gen_input(g, ev, t, window ? 4 : 2, window ? filter : right);
    g->weights = rnd(g, 2) ? gen_const(g) : NULL;
    w = g->weights ? g->weights : w;
    const Expr *dim[] = {expr_i(ctx, window ? m : h), expr_i(ctx, window ? out : m),
                         expr_i(ctx, out)};
    Def *d = def_new(ctx, str(ctx, "t"), t, window ? 3 : 2, dim);
    const Expr *v[3], *k = NULL, *y, *z;
    for (int i = 0; i < 2 + window; i++)
        v[i] = def_var(ctx, d, i);
    k = def_axis(ctx, d, str(ctx, "c"), AXIS_RED, expr_i(ctx, c));
    if (window) {
        const Expr *p = def_axis(ctx, d, str(ctx, "r"), AXIS_RED, expr_i(ctx, r));
        const Expr *q = def_axis(ctx, d, str(ctx, "s"), AXIS_RED, expr_i(ctx, r));
        y = expr_add(ctx, expr_mul(ctx, v[1], expr_i(ctx, stride)),
                     expr_sub(ctx, p, expr_i(ctx, pad)));
        z = expr_add(ctx, expr_mul(ctx, v[2], expr_i(ctx, stride)),
                     expr_sub(ctx, q, expr_i(ctx, pad)));
        const Expr *zero = expr_i(ctx, 0), *size = expr_i(ctx, h), *f = expr_le(ctx, zero, y);
        f = expr_and(ctx, f, expr_lt(ctx, y, size));
        f = expr_and(ctx, f, expr_and(ctx, expr_le(ctx, zero, z), expr_lt(ctx, z, size)));
        d->when = expr_is(f, 1) ? NULL : f;
        d->value = expr_mul(ctx, buf_load(ctx, x, (const Expr *[]){k, y, z}),
                            buf_load(ctx, w, (const Expr *[]){v[0], k, p, q}));
    } else {
        d->value = expr_mul(ctx, buf_load(ctx, x, (const Expr *[]){v[0], k}),
                            buf_load(ctx, w, (const Expr *[]){k, v[1]}));
    }
    d->combine = OP_ADD;
    if (rnd(g, 3) == 0)
        d->axis[d->naxis - 1].ways = 8;
    g->first = d;
    Def *map = def_new(ctx, str(ctx, "y"), t, d->buf->rank, dim);
    for (int i = 0; i < d->buf->rank; i++)
        v[i] = def_var(ctx, map, i);
    map->value = expr_max(ctx, buf_load(ctx, d->buf, v), expr_const(ctx, t, 0));
    return map;
}

static Def *gen_first(Gen *g, Dtype t, int rank, const Expr *const *dim) {
    Ctx *ctx = g->ctx;
    Def *d = def_new(ctx, str(ctx, "y"), t, rank, dim);
    for (int i = 0; i < rank; i++)
        vec_push(ctx, &g->axis, def_var(ctx, d, i));
    d->value = gen_value(g, t, 2);
    g->axis.len = 0;
    return d;
}

/* One equation: pure, a reduction, or (kind 2) an update at computed places along SEQ axes. */
static Def *gen_def(Gen *g, int kind) {
    Ctx *ctx = g->ctx;
    static const Dtype out[] = {T_F32, T_I64, T_F64, T_I32, T_U8, T_F16};
    static const Op combine[] = {OP_ADD, OP_MAX, OP_MIN, OP_MUL};
    Dtype t = out[rnd(g, 6)];
    int rank = (int)rnd(g, 4);
    const Expr *dim[RANK_MAX];
    for (int i = 0; i < rank; i++)
        dim[i] = expr_i(ctx, 1 + rnd(g, rnd(g, 4) ? 6 : 40));
    Def *d;
    g->axis.len = 0;
    g->first = NULL;
    if (kind == 2) {
        g->first = gen_first(g, t, rank, dim);
        d = def_update(ctx, str(ctx, "y"), g->first->buf);
        d->combine = rnd(g, 2) ? (uint8_t)combine[rnd(g, 4)] : COMBINE_SET;
        for (int i = 0; i < 1 + (int)rnd(g, 3); i++)
            vec_push(ctx, &g->axis,
                     def_axis(ctx, d, str_f(ctx, "s%d", i), AXIS_SEQ, expr_i(ctx, rnd(g, 30))));
        for (int i = 0; i < rank; i++)
            d->at[i] = expr_mod(ctx, gen_value(g, T_I64, 2), dim[i]);
    } else {
        d = def_new(ctx, str(ctx, "y"), t, rank, dim);
        for (int i = 0; i < rank; i++)
            vec_push(ctx, &g->axis, def_var(ctx, d, i));
        if (kind == 1 && rnd(g, 2))
            d->init = gen_value(g, t, 2);
        for (int i = 0; kind == 1 && i < 1 + (int)rnd(g, 2); i++)
            vec_push(ctx, &g->axis,
                     def_axis(ctx, d, str_f(ctx, "r%d", i), AXIS_RED,
                              expr_i(ctx, rnd(g, rnd(g, 3) ? 9 : 600))));
        if (kind == 1)
            d->combine = (uint8_t)combine[rnd(g, 4)];
        if (kind == 1 && rnd(g, 2))
            d->axis[d->naxis - 1].ways = (uint8_t)(1 << rnd(g, 6));
    }
    d->value = gen_value(g, t, 4);
    if (kind && rnd(g, 2))
        d->when = gen_value(g, T_BOOL, 3);
    return d;
}

/* ---- the oracle: a lazy tree walk ---------------------------------------------------------------- */

typedef struct Walk {
    Gen *g;
    const Def *d;
    int64_t *at; /* of each axis */
    bool outside;
} Walk;

static Scalar scalar_of(const Expr *c) {
    Scalar s;
    if (c->op == OP_FLT)
        s.f = c->u.f;
    else
        s.i = c->u.i;
    return s;
}

static Scalar walk(Walk *w, const Expr *e);

static Scalar walk_load(Walk *w, const Expr *e) {
    int64_t off = 0;
    Tensor *t = NULL;
    for (int i = 0; i < w->g->in.len; i++)
        if (w->g->in.at[i] == e->u.buf)
            t = w->g->data.at[i];
    for (int i = 0; i < e->nkid; i++) {
        int64_t k = walk(w, e->kid[i]).i;
        if (k < 0 || k >= t->dim[i]) {
            w->outside = true;
            return (Scalar){.i = 0};
        }
        off = off * t->dim[i] + k;
    }
    Const c = {t->type, t->count, false, t->data};
    return scalar_of(const_at(w->g->ctx, &c, off));
}

static Scalar walk(Walk *w, const Expr *e) {
    Scalar kid[3] = {{0}, {0}, {0}}, r = {0};
    switch (e->op) {
    case OP_INT:
    case OP_FLT:
        return scalar_of(e);
    case OP_SYM:
        for (int i = 0; i < w->d->naxis; i++)
            if (w->d->axis[i].var == e->u.sym)
                return (Scalar){.i = w->at[i]};
        return r;
    case OP_LOAD:
        return walk_load(w, e);
    case OP_SELECT:
        return walk(w, e->kid[walk(w, e->kid[0]).i ? 1 : 2]);
    case OP_AND:
        return (Scalar){.i = walk(w, e->kid[0]).i && walk(w, e->kid[1]).i};
    case OP_OR:
        return (Scalar){.i = walk(w, e->kid[0]).i || walk(w, e->kid[1]).i};
    default:
        for (int i = 0; i < e->nkid; i++)
            kid[i] = walk(w, e->kid[i]);
        scalar_op((Op)e->op, type_dtype(e->kid[0]->type), type_dtype(e->type), kid, &r);
        return r;
    }
}

static Scalar combined(const Def *d, Scalar a, Scalar b) {
    Scalar kid[2] = {a, b}, r = a;
    Dtype t = type_dtype(d->buf->type);
    scalar_op((Op)d->combine, t, t, kid, &r);
    return r;
}

static bool next_point(const Def *d, int64_t *at, int from) {
    for (int i = d->naxis - 1; i >= from; i--) {
        if (++at[i] < d->axis[i].var->extent->u.i)
            return true;
        at[i] = 0;
    }
    return false;
}

static Scalar walk_reduce(Walk *w, int rank) {
    const Def *d = w->d;
    Scalar acc[256];
    int axis = d->naxis - 1, ways = d->axis[axis].ways > 1 ? d->axis[axis].ways : 1;
    for (int j = 0; j < ways; j++)
        acc[j] = scalar_of(combine_identity(w->g->ctx, (Op)d->combine, type_dtype(d->buf->type)));
    Scalar init = acc[0];
    if (d->init)
        init = walk(w, d->init);
    if (ways == 1)
        acc[0] = init;
    bool more = true;
    for (int i = rank; i < d->naxis; i++)
        more = more && d->axis[i].var->extent->u.i > 0;
    for (; more; more = next_point(d, w->at, rank))
        if (!d->when || walk(w, d->when).i)
            acc[w->at[axis] % ways] = combined(d, acc[w->at[axis] % ways], walk(w, d->value));
    for (int h = ways / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            acc[j] = combined(d, acc[j], acc[j + h]);
    return d->init && ways > 1 ? combined(d, init, acc[0]) : acc[0];
}

/* All elements of d's buffer; `old` holds the values before. */
static bool walk_def(Gen *g, const Def *d, Scalar *out) {
    Walk w = {g, d, ctx_newn(g->ctx, int64_t, d->naxis + 1), false};
    int rank = d->buf->rank;
    for (int i = 0; i < (d->at ? d->naxis : rank); i++)
        if (d->axis[i].var->extent->u.i == 0)
            return true;
    int64_t off = 0;
    if (d->at) {
        do {
            if (d->when && !walk(&w, d->when).i)
                continue;
            off = 0;
            for (int i = 0; i < rank; i++)
                off = off * d->buf->dim[i]->u.i + walk(&w, d->at[i]).i;
            Scalar v = walk(&w, d->value);
            out[off] = d->combine == COMBINE_SET ? v : combined(d, out[off], v);
        } while (next_point(d, w.at, 0));
        return !w.outside;
    }
    int64_t n = 1, *first = ctx_newn(g->ctx, int64_t, d->naxis + 1);
    for (int i = 0; i < rank; i++)
        n *= d->buf->dim[i]->u.i;
    for (; off < n; off++) {
        memcpy(w.at, first, (size_t)d->naxis * sizeof *first);
        out[off] = def_is_reduction(d) ? walk_reduce(&w, rank) : walk(&w, d->value);
        for (int i = rank - 1; i >= 0 && ++first[i] == d->buf->dim[i]->u.i; i--)
            first[i] = 0;
    }
    return !w.outside;
}

static bool same(Dtype t, Scalar a, Scalar b) {
    if (!type_is_float(t))
        return a.i == b.i;
    return (isnan(a.f) && isnan(b.f)) || (a.f == b.f && !signbit(a.f) == !signbit(b.f));
}

static bool tensor_is(Ctx *ctx, const Tensor *t, const Scalar *want) {
    Const c = {t->type, t->count, false, t->data};
    for (int64_t i = 0; i < t->count; i++)
        if (!same(t->type, scalar_of(const_at(ctx, &c, i)), want[i])) {
            return false;
        }
    return true;
}

static void gen_start(Gen *g, Ctx *ctx, uint64_t seed) {
    memset(g, 0, sizeof *g);
    g->ctx = ctx;
    g->state = seed * 2654435761u + 12345;
    rnd(g, 2);
}

static int64_t domain_size(const Def *d) {
    int64_t n = 1;
    for (int i = 0; i < d->naxis; i++)
        n *= d->axis[i].var->extent->u.i;
    return n;
}

static void test_random_def(uint64_t seed) {
    Ctx *ctx = ctx_create(0);
    Gen g;
    gen_start(&g, ctx, seed);
    Eval *ev = eval_new(ctx);
    gen_inputs(&g, ev);
    g.wild = rnd(&g, 3) == 0;
    Def *d = gen_def(&g, (int)rnd(&g, 3));
    int64_t count = 1;
    buf_static(d->buf, &count);
    if (domain_size(d) > 20000) {
        ctx_free(ctx);
        return;
    }
    Tensor *y = ctx_new(ctx, Tensor);
    y->type = type_dtype(d->buf->type);
    y->rank = d->buf->rank;
    y->count = count;
    buf_dims(d->buf, y->dim);
    y->data = ctx_alloc(ctx, (size_t)(count * type_bytes(y->type)));
    eval_bind(ev, d->buf, y);
    Scalar *want = ctx_newn(ctx, Scalar, count);
    bool inside = (!g.first || walk_def(&g, g.first, want)) && walk_def(&g, d, want);
    bool ran = (!g.first || eval_def(ev, g.first)) && eval_def(ev, d);
    check(inside == ran, "an index out of bounds is an error, and only that", seed);
    if (inside && ran) {
        bool ok = tensor_is(ctx, y, want);
        check(ok, "an equation equals its tree walk", seed);
    }
    ctx_free(ctx);
}

/* ---- texts -------------------------------------------------------------------------------------- */

static Str program_text(Ctx *ctx, const Program *p) {
    Text t = text_new(ctx);
    program_print(&t, p);
    return str(ctx, t.at);
}

static Str lcc_text(Ctx *ctx, const LccText *l) {
    Text t = text_new(ctx);
    for (int i = 0; i < l->kernels.len; i++)
        kernel_print(&t, l->kernels.at[i]);
    for (int i = 0; i < l->funcs.len; i++)
        func_print(&t, l->funcs.at[i]);
    return str(ctx, t.at ? t.at : "");
}

/* What a text reads back as, printed; NULL when it can't be read. */
static Str reprint(Ctx *ctx, const char *text) {
    if (!strncmp(text, "program", 7)) {
        Program *p = program_parse(ctx, "text", text);
        return p ? program_text(ctx, p) : NULL;
    }
    LccText *l = lcc_parse(ctx, "text", text);
    return l ? lcc_text(ctx, l) : NULL;
}

static void check_text(Ctx *ctx, const char *text, const char *what, uint64_t seed) {
    Str again = reprint(ctx, text);
    bool same_text = again && !strcmp(text, again);
    check(same_text, what, seed);
    if (!same_text)
        printf("%s%s\n--- again\n%s\n", ctx->diag.text.at ? ctx->diag.text.at : "", text,
               again ? again : "(nothing)");
}

/* Three equations; each may read the ones before. */
static Program *gen_program(Gen *g, Eval *ev) {
    Ctx *ctx = g->ctx;
    Program *p = ctx_new(ctx, Program);
    p->name = str(ctx, "a \"model\"");
    p->main = ctx_new(ctx, Block);
    Def *dense = rnd(g, 2) ? gen_dense(g, ev) : NULL, *first = g->first;
    g->exact = dense && rnd(g, 2);
    if (g->weights)
        vec_push(ctx, &p->consts, g->weights);
    for (int i = 0; i < g->in.len; i++) {
        Port port = {str_f(ctx, "in/%d", i), g->in.at[i]};
        vec_push(ctx, &p->inputs, port);
    }
    for (int i = 0; i < (g->exact ? 1 : 3); i++) {
        Def *d = i == 0 && dense ? dense : gen_def(g, (int)rnd(g, 3));
        g->first = d == dense ? first : g->first;
        Port port = {str_f(ctx, "out:%d", i), d->buf};
        d->loc.name = str_f(ctx, "node %d", i);
        d->loc.node = i;
        if (g->first)
            item_new(ctx, p->main, ITEM_DEF)->def = g->first;
        item_new(ctx, p->main, ITEM_DEF)->def = d;
        vec_push(ctx, &g->in, d->buf);
        if (i == 2 || g->exact || rnd(g, 2))
            vec_push(ctx, &p->outputs, port);
    }
    return p;
}

static bool same_tensor(const Tensor *a, const Tensor *b) {
    if (!a || !b || a->count != b->count || a->type != b->type)
        return false;
    const Const x = {a->type, a->count, false, a->data}, y = {b->type, b->count, false, b->data};
    Ctx *ctx = ctx_create(0);
    bool eq = true;
    for (int64_t i = 0; eq && i < a->count; i++)
        eq = same(a->type, scalar_of(const_at(ctx, &x, i)), scalar_of(const_at(ctx, &y, i)));
    ctx_free(ctx);
    return eq;
}

static bool same_results(Eval *ev, const Program *p, Eval *other, const Program *q) {
    bool eq = true;
    for (int i = 0; i < p->outputs.len; i++)
        eq = eq && same_tensor(eval_tensor(ev, p->outputs.at[i].buf),
                               eval_tensor(other, q->outputs.at[i].buf));
    return eq;
}

#define BUDGET 3e6

/* The program read back computes the same. */
static void check_meaning(Gen *g, Eval *ev, const Program *p, uint64_t seed) {
    Ctx *ctx = g->ctx;
    Program *q = program_parse(ctx, "text", program_text(ctx, p));
    Eval *other = eval_new(ctx);
    eval_budget(other, BUDGET);
    for (int i = 0; q && i < p->inputs.len; i++)
        eval_bind(other, q->inputs.at[i].buf, g->data.at[i]);
    check(q && eval_block(other, q->main) && same_results(ev, p, other, q),
          "a program read back computes the same", seed);
}

static Program *generate(Gen *g, Ctx *ctx, Eval *ev, uint64_t seed) {
    gen_start(g, ctx, seed);
    gen_inputs(g, ev);
    return gen_program(g, ev);
}

/* The module a program is lowered to computes the same: kernels, schedules, flat loops, memory plan. */
static void check_lowered(Ctx *ctx, Eval *ev, const Program *p, uint64_t seed) {
    static const char *const targets[] = {"c", "avx2", "avx512"};
    Gen g;
    Eval *other = eval_new(ctx);
    Program *q = generate(&g, ctx, other, seed);
    const Options opt = {.strict = !g.exact};
    const Machine *machine;
    const Target *target = target_find(targets[seed % 3], &machine);
    ctx->opt = &opt;
    Module *m = lower_program(ctx, q, target, machine);
    eval_budget(other, 100 * BUDGET);
    bool ran = m && eval_module(other, m), ok = ran && same_results(ev, p, other, q);
    ctx->opt = NULL;
    if (m && !ran && eval_steps(other) > 100 * BUDGET)
        return;
    check(ok, "a lowered program computes the same", seed);
    if (!ok && ctx->diag.text.at)
        printf("%s", ctx->diag.text.at);
}

static void test_random_program(uint64_t seed) {
    Ctx *ctx = ctx_create(0);
    Gen g;
    Eval *ev = eval_new(ctx);
    Program *p = generate(&g, ctx, ev, seed);
    eval_budget(ev, BUDGET);
    check_text(ctx, program_text(ctx, p), "a program's text reads back", seed);
    check(program_verify(ctx, p, "generation"), "a program is sound", seed);
    if (eval_block(ev, p->main)) {
        if (!p->consts.len)
            check_meaning(&g, ev, p, seed);
        check_lowered(ctx, ev, p, seed);
    }
    ctx_free(ctx);
}

static void test_texts(void) {
    static const char *const texts[] = {
        "kernel k0 {\n"
        "  sym N dim 1..64 %8\n"
        "  x f32[N, 256]\n"
        "  w const f32[256, 64]\n"
        "  t f32[N, 64] { m<N, n<64 } = add[16](k<256) x[m, k]*w[k, n] @\"fc1\"\n"
        "  y f32[N, 64] { m<N, n<64 } = max(t[m, n], 0.0) @\"act1\"\n"
        "}\n"
        "schedule k0 split y.m -> m0 m1 by 6 tail=peel ; reorder m0 y.n m1 ; parallel m0 ; "
        "compute_at t in y at m0 ; stage t at y.m0 in reg ; tensorize t.n with fma by 16\n"
        "loops k0 {\n"
        "  param (x, w, y) sym (N)\n"
        "  for m0 < N//6 parallel {\n"
        "    alloc t_2 reg f32[6] {\n"
        "      for red k < 256 @t.k {\n"
        "        t_2[0] = fma(x[m0*6, k], w[k, 1], t_2[0]) @t\n"
        "      }\n"
        "      let v = bcast(t_2[0], 8)\n"
        "      y[m0, 0 +: 8] = max(v, 0.0:f32x8)\n"
        "      y[bcast(m0 < 3, 8) ? m0, ramp(8, 1, 8)] = v\n"
        "    }\n"
        "    if m0 < 2 {\n"
        "      y[m0, 1] = 0.0\n"
        "    } else {\n"
        "      y[m0, 2] = 0.0\n"
        "    }\n"
        "  }\n"
        "}\n",
        "kernel k1 {\n"
        "  idx i64[10]\n"
        "  x f32[10]\n"
        "  y f32[4]\n"
        "  y { seq s<10 } [idx[s]] add= x[s] when 0 <= idx[s] && idx[s] < 4\n"
        "  scan g t<10 {\n"
        "    h f32[10, 2] { t, i<2 } = select(t == 0, 0.0, h[t - 1, i]) + x[t]\n"
        "    o f32[10] { t } = max(i<2 | h[t, i] < 2.0) h[t, i] init 0.0\n"
        "  }\n"
        "}\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Ctx *ctx = ctx_create(0);
        check_text(ctx, texts[i], "a kernel's text reads back", i);
        ctx_free(ctx);
    }
}

/* ir_test text FILE…: every file reads back. Terms are ordered by the age of their symbols, which in a text
 * is the order of their declarations; so what was read once is compared. */
static void test_file(const char *path) {
    Ctx *ctx = ctx_create(0);
    FILE *f = fopen(path, "rb");
    Text t = text_new(ctx);
    for (int c; f && (c = fgetc(f)) != EOF;)
        text_c(&t, (char)c);
    if (f)
        fclose(f);
    Str once = reprint(ctx, t.at ? t.at : "");
    check(once != NULL, path, 0);
    if (once)
        check_text(ctx, once, path, 0);
    else
        printf("%s", ctx->diag.text.at);
    ctx_free(ctx);
}

int main(int argc, char **argv) {
    bool files = argc > 1 && !strcmp(argv[1], "text");
    int rounds = files ? 0 : argc > 1 ? atoi(argv[1]) : 2000;
    uint64_t seed = !files && argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (int i = 2; files && i < argc; i++)
        test_file(argv[i]);
    for (int i = 0; i < rounds; i++) {
        test_random_def(seed + (uint64_t)i);
        if (i % 4 == 0)
            test_random_program(seed + (uint64_t)i);
    }
    if (!files)
        test_texts();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
