/* Random equations and programs, shared by ir_test.c and step_test.c. Everything depends on the seed only. */
#ifndef LCC_TESTS_IR_GEN_H
#define LCC_TESTS_IR_GEN_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/loop.h"

static int passed, failed;

static inline void check(bool ok, const char *what, uint64_t seed) {
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
    bool wild;     /* loads may be out of bounds */
    bool symbolic; /* dense kernels have extents known only at run time */
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

static inline const Expr *gen_value(Gen *g, Dtype t, int depth);

static inline const Expr *gen_index(Gen *g, int depth) {
    if (g->axis.len && rnd(g, 4))
        return g->axis.at[rnd(g, (uint32_t)g->axis.len)];
    return depth > 0 && rnd(g, 2) ? gen_value(g, T_I64, depth - 1) : expr_i(g->ctx, rnd(g, 5));
}

/* A load of type t, in bounds by a modulo or by a guard. */
static inline const Expr *gen_load(Gen *g, Dtype t, int depth) {
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

static inline const Expr *gen_bool(Gen *g, int depth) {
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

static inline const Expr *gen_value(Gen *g, Dtype t, int depth) {
    Ctx *ctx = g->ctx;
    static const Op ints[] = {OP_ADD, OP_SUB,  OP_MUL, OP_MIN,  OP_MAX, OP_DIV, OP_FDIV, OP_MOD,
                              OP_REM, OP_BAND, OP_BOR, OP_BXOR, OP_SHL, OP_SHR, OP_POW};
    static const Op flts[] = {OP_ADD, OP_SUB, OP_MUL, OP_MIN, OP_MAX, OP_DIV, OP_MOD, OP_REM};
    static const Op one[] = {OP_NEG,  OP_ABS, OP_FLOOR, OP_CEIL, OP_RINT,   OP_TRUNC,
                             OP_SQRT, OP_EXP, OP_TANH,  OP_ERF,  OP_SIGMOID};
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

/* An extent: a number, or a symbol with facts that hold for it. */
static inline const Expr *gen_dim(Gen *g, Eval *ev, const char *name, int64_t n, int64_t least) {
    if (!g->symbolic || rnd(g, 2))
        return expr_i(g->ctx, n);
    Sym *s = sym_new(g->ctx, SYM_DIM, str(g->ctx, name), least, rnd(g, 2) ? 64 : INT32_MAX);
    s->mult = n % 4 == 0 && rnd(g, 2) ? 4 : 1;
    eval_set(ev, s, n);
    return expr_sym(g->ctx, s);
}

static inline Buf *gen_input_of(Gen *g, Eval *ev, Dtype t, int rank, const int64_t *size,
                                const Expr *const *dim) {
    Ctx *ctx = g->ctx;
    Tensor *x = ctx_new(ctx, Tensor);
    x->type = t;
    x->rank = rank;
    x->count = 1;
    for (int k = 0; k < rank; k++) {
        x->dim[k] = size[k];
        x->count *= size[k];
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

static inline Buf *gen_input(Gen *g, Eval *ev, Dtype t, int rank, const int64_t *size) {
    const Expr *dim[RANK_MAX];
    for (int k = 0; k < rank; k++)
        dim[k] = expr_i(g->ctx, size[k]);
    return gen_input_of(g, ev, t, rank, size, dim);
}

/* The last input as a constant. */
static inline Buf *gen_const(Gen *g) {
    Tensor *x = g->data.at[--g->data.len];
    Buf *b = g->in.at[--g->in.len];
    return buf_const(g->ctx, b->name, const_new(g->ctx, x->type, x->count, x->data), x->rank,
                     x->dim);
}

static inline void gen_inputs(Gen *g, Eval *ev) {
    for (int i = 0; i < 6; i++) {
        int64_t size[3];
        for (int k = 0; k < 3; k++)
            size[k] = 1 + rnd(g, 7);
        gen_input(g, ev, TYPES[i < 2 ? 3 * i : (int)rnd(g, NTYPE)], (int)rnd(g, 4), size);
    }
}

/* a*b; of 8-bit integers perhaps with a zero point, as quantised networks have them. */
static inline void gen_product(Gen *g, Def *d, const Expr *a, const Expr *b) {
    Ctx *ctx = g->ctx;
    Type t = d->buf->type;
    if (a->type != t && rnd(g, 2))
        a = expr_add(ctx, expr_cast(ctx, t, a), expr_const(ctx, T_I32, (double)rnd(g, 9) - 4));
    d->value = expr_mul(ctx, expr_cast(ctx, t, a), expr_cast(ctx, t, b));
}

/* The terms of a window's sum: x[c, p*stride + r - pad, …]*w[m, c, r, s], inside of x. */
static inline void gen_window(Gen *g, Def *d, Buf *x, Buf *w, int64_t stride, int64_t pad,
                              const Expr *r) {
    Ctx *ctx = g->ctx;
    const Expr *k = def_var(ctx, d, 3), *zero = expr_i(ctx, 0), *at[2], *tap[2], *inside = NULL;
    static const char *const names[] = {"r", "s"};
    for (int i = 0; i < 2; i++) {
        tap[i] = def_axis(ctx, d, str(ctx, names[i]), AXIS_RED, r);
        at[i] = expr_add(ctx, expr_mul(ctx, def_var(ctx, d, i + 1), expr_i(ctx, stride)),
                         expr_sub(ctx, tap[i], expr_i(ctx, pad)));
        inside = expr_and(ctx, inside, expr_le(ctx, zero, at[i]));
        inside = expr_and(ctx, inside, expr_lt(ctx, at[i], x->dim[i + 1]));
    }
    d->when = expr_is(inside, 1) ? NULL : inside;
    gen_product(g, d, buf_load(ctx, x, (const Expr *[]){k, at[0], at[1]}),
                buf_load(ctx, w, (const Expr *[]){def_var(ctx, d, 0), k, tap[0], tap[1]}));
}

/* What real networks are made of: contractions and windows over images, then a map. */
static inline Def *gen_dense(Gen *g, Eval *ev) {
    Ctx *ctx = g->ctx;
    static const Dtype types[] = {T_F32, T_F32, T_F32, T_F64, T_I32, T_I32, T_I32};
    static const Dtype bytes[] = {T_U8, T_U8, T_I8};
    Dtype t = types[rnd(g, 7)];
    bool narrow = t == T_I32 && rnd(g, 3);
    Dtype tx = narrow ? bytes[rnd(g, 3)] : t, tw = narrow ? T_I8 : t;
    bool window = rnd(g, 2), constant = rnd(g, 2);
    int64_t c = 1 + rnd(g, 20), h = 5 + rnd(g, 30), m = 1 + rnd(g, 40), r = 1 + rnd(g, 3);
    int64_t stride = 1 + rnd(g, 2), pad = rnd(g, 2);
    const Expr *H = gen_dim(g, ev, "H", h, 5), *R = expr_i(ctx, r), *one = expr_i(ctx, 1);
    const Expr *C = constant ? expr_i(ctx, c) : gen_dim(g, ev, "C", c, 0);
    const Expr *M = constant ? expr_i(ctx, m) : gen_dim(g, ev, "M", m, 1);
    const Expr *out = expr_add(ctx, H, expr_i(ctx, 2 * pad - r));
    out = expr_add(ctx, expr_fdiv(ctx, out, expr_i(ctx, stride)), one);
    const int64_t image[] = {c, h, h}, filter[] = {m, c, r, r}, left[] = {h, c}, right[] = {c, m};
    Buf *x = gen_input_of(g, ev, tx, window ? 3 : 2, window ? image : left,
                          window ? (const Expr *[]){C, H, H} : (const Expr *[]){H, C});
    Buf *w = gen_input_of(g, ev, tw, window ? 4 : 2, window ? filter : right,
                          window ? (const Expr *[]){M, C, R, R} : (const Expr *[]){C, M});
    g->weights = constant ? gen_const(g) : NULL;
    w = constant ? g->weights : w;
    const Expr *dim[] = {window ? M : H, window ? out : M, out};
    Def *d = def_new(ctx, str(ctx, "t"), t, window ? 3 : 2, dim);
    const Expr *v[3], *k = def_axis(ctx, d, str(ctx, "c"), AXIS_RED, C);
    for (int i = 0; i < d->buf->rank; i++)
        v[i] = def_var(ctx, d, i);
    if (window)
        gen_window(g, d, x, w, stride, pad, R);
    else
        gen_product(g, d, buf_load(ctx, x, (const Expr *[]){v[0], k}),
                    buf_load(ctx, w, (const Expr *[]){k, v[1]}));
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

static inline Def *gen_first(Gen *g, Dtype t, int rank, const Expr *const *dim) {
    Ctx *ctx = g->ctx;
    Def *d = def_new(ctx, str(ctx, "y"), t, rank, dim);
    for (int i = 0; i < rank; i++)
        vec_push(ctx, &g->axis, def_var(ctx, d, i));
    d->value = gen_value(g, t, 2);
    g->axis.len = 0;
    return d;
}

/* One equation: pure, a reduction, or (kind 2) an update at computed places along SEQ axes. */
static inline Def *gen_def(Gen *g, int kind) {
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

/* One of a group: axis 0 is the group's, what it reads of `last` is from the step before. */
static inline Def *gen_step(Gen *g, Group *group, const char *name, int64_t steps, int64_t width,
                            Buf *x, Buf *now, Buf *last) {
    Ctx *ctx = g->ctx;
    const Expr *dim[] = {expr_i(ctx, steps), expr_i(ctx, width)};
    Def *d = def_new(ctx, str(ctx, name), x->type, 2, dim);
    Type t = d->buf->type;
    d->axis[0].var = group->var;
    d->axis[0].kind = AXIS_SEQ;
    d->scan = group;
    vec_push(ctx, &group->defs, d);
    const Expr *at[] = {def_var(ctx, d, 0), def_var(ctx, d, 1)}, *one = expr_i(ctx, 1);
    const Expr *before[] = {expr_sub(ctx, at[0], one), at[1]};
    last = last ? last : d->buf;
    const Expr *carry = expr_select(ctx, expr_le(ctx, one, at[0]), buf_load(ctx, last, before),
                                    expr_const(ctx, t, 1));
    d->value = expr_add(ctx, buf_load(ctx, x, at), rnd(g, 2) ? carry : expr_max(ctx, carry, carry));
    if (now && rnd(g, 2)) {
        d->value = expr_max(ctx, d->value, buf_load(ctx, now, at));
    } else if (now) { /* a row of the sum over another row */
        const Expr *k = def_axis(ctx, d, str(ctx, "k"), AXIS_RED, dim[1]);
        d->init = d->value;
        d->value = buf_load(ctx, now, (const Expr *[]){at[0], k});
        d->combine = rnd(g, 2) ? OP_MAX : OP_ADD;
    }
    return d;
}

/* A recurrence over rows: h[t] of x[t], h[t - 1]; y[t] of x[t], h[t], y[t - 1] or h[t - 1]. */
static inline Def *gen_scan(Gen *g, Eval *ev) {
    Ctx *ctx = g->ctx;
    static const Dtype types[] = {T_F32, T_I32, T_F64};
    const int64_t size[] = {1 + rnd(g, 9), 1 + rnd(g, 40)};
    Buf *x = gen_input(g, ev, types[rnd(g, 3)], 2, size);
    Group *group = ctx_new(ctx, Group);
    group->name = str(ctx, "steps");
    group->var = sym_axis(ctx, str(ctx, "t"), expr_i(ctx, size[0]));
    Def *h = gen_step(g, group, "h", size[0], size[1], x, NULL, NULL);
    return gen_step(g, group, "y", size[0], size[1], x, h->buf, rnd(g, 2) ? h->buf : NULL);
}

static inline void gen_start(Gen *g, Ctx *ctx, uint64_t seed) {
    memset(g, 0, sizeof *g);
    g->ctx = ctx;
    g->state = seed * 2654435761u + 12345;
    rnd(g, 2);
}

/* Three equations; each may read the ones before. */
static inline Program *gen_program(Gen *g, Eval *ev) {
    Ctx *ctx = g->ctx;
    Program *p = ctx_new(ctx, Program);
    p->name = str(ctx, "a \"model\"");
    p->main = ctx_new(ctx, Block);
    Def *dense = rnd(g, 2) ? gen_dense(g, ev) : NULL, *first = g->first;
    g->exact = dense && rnd(g, 2);
    if (g->weights)
        vec_push(ctx, &p->consts, g->weights);
    for (int i = 0; i < g->in.len; i++) {
        Port port = {str_f(ctx, "in/%d", i), g->in.at[i], NULL};
        vec_push(ctx, &p->inputs, port);
    }
    for (int i = 0; i < (g->exact ? 1 : 3); i++) {
        Def *d = i == 0 && dense ? dense : gen_def(g, (int)rnd(g, 3));
        g->first = d == dense ? first : g->first;
        Port port = {str_f(ctx, "out:%d", i), d->buf, NULL};
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

static inline Program *generate(Gen *g, Ctx *ctx, Eval *ev, uint64_t seed) {
    gen_start(g, ctx, seed);
    gen_inputs(g, ev);
    return gen_program(g, ev);
}

/* ---- comparing --------------------------------------------------------------------------------- */

static inline Scalar scalar_of(const Expr *c) {
    Scalar s;
    if (c->op == OP_FLT)
        s.f = c->u.f;
    else
        s.i = c->u.i;
    return s;
}

static inline bool same(Dtype t, Scalar a, Scalar b) {
    if (!type_is_float(t))
        return a.i == b.i;
    return (isnan(a.f) && isnan(b.f)) || (a.f == b.f && !signbit(a.f) == !signbit(b.f));
}

static inline bool same_tensor(const Tensor *a, const Tensor *b) {
    if (!a || !b || a->count != b->count || a->type != b->type)
        return false;
    const Const x = {a->type, a->count, false, a->data, NULL},
                y = {b->type, b->count, false, b->data, NULL};
    Ctx *ctx = ctx_create(0);
    bool eq = true;
    for (int64_t i = 0; eq && i < a->count; i++)
        eq = same(a->type, scalar_of(const_at(ctx, &x, i)), scalar_of(const_at(ctx, &y, i)));
    ctx_free(ctx);
    return eq;
}

#endif
