/* def_signal.c — DFT and STFT, computed in f64 by stages.
 *
 * After factors of the length L with product P, for q < L/P and k < P,
 *   z[q,k] = sum of x[(L/P)*m + q] * w(P)^(m*k) over m < P,         w(P) = exp(-2 pi i / P)
 * and the next factor R gives, with Q = L/(P*R),
 *   z'[q,k] = add(r<R) z[q + Q*r, k % P] * w(P*R)^(r*k).
 * A length not known when compiling is one factor. Real and imaginary parts are Bufs of their own. Bins k of a
 * stage between are stored as [k // P, k % P], so that k % P counts along what lies side by side. */
#include "frontend/equation.h"

#include <string.h>

#define FACTORS_MAX 64
#define PI2 6.283185307179586476925

typedef struct Spectrum {
    int nb; /* axes before the transformed one */
    const Expr *batch[RANK_MAX];
    const Expr *len, *bins; /* L; how many outputs are wanted */
    bool inverse;
    Buf *re, *im;      /* [batch, q, k], or k as two where `inner` is set; im NULL: 0 */
    const Expr *inner; /* extent of the second */
    Buf *cos, *sin;    /* see table */
} Spectrum;

/* op of 2 pi n / L. */
static const Expr *turned(Definer *d, const Spectrum *s, Op op, const Expr *n) {
    const Expr *angle =
        eq_text(d, T_F64, "n * pi2 / l", "n", expr_cast(d->ctx, T_F64, n), "pi2",
                eq_const(d, T_F64, PI2), "l", expr_cast(d->ctx, T_F64, s->len), NULL);
    return expr_1(d->ctx, op, angle);
}

/* How far term r of bin k is turned in a stage with q rows: (r * k * q) mod L. */
static const Expr *turn_of(Definer *d, const Spectrum *s, const Expr *r, const Expr *k,
                           const Expr *q) {
    return eq_text(d, T_I64, "r * k * q % l", "r", r, "k", k, "q", q, "l", s->len, NULL);
}

/* The factors of a stage: [radix, bins] where the length is known, else [L] for every turn. */
static Buf *table(Definer *d, const Spectrum *s, Op op, const Expr *radix, const Expr *const *dim) {
    const Expr *size[2] = {radix, dim[s->nb + 1]}, *v[2];
    bool known = s->len->op == OP_INT;
    Def *def =
        define_temp(d, op == OP_COS ? "cos" : "sin", T_F64, known ? 2 : 1, known ? size : &s->len);
    eq_vars(d, def, v);
    eq_emit(d, def, turned(d, s, op, known ? turn_of(d, s, v[0], v[1], dim[s->nb]) : v[0]));
    return def->buf;
}

/* A stage: its rows and bins, and the factor that it adds to those of the stages before. */
typedef struct Stage {
    const Expr *const *dim; /* batch, q, k */
    const Expr *radix, *old;
    bool split; /* bins are stored as [radix, old] */
} Stage;

/* re or im of the stage before at row q and bin k. */
static const Expr *load_before(Ctx *ctx, const Spectrum *s, Buf *b, const Expr *const *batch,
                               const Expr *q, const Expr *k) {
    const Expr *at[RANK_MAX];
    memcpy(at, batch, (size_t)s->nb * sizeof *at);
    at[s->nb] = q;
    at[s->nb + 1] = s->inner ? expr_fdiv(ctx, k, s->inner) : k;
    if (s->inner)
        at[s->nb + 2] = expr_mod(ctx, k, s->inner);
    return buf_load(ctx, b, at);
}

/* One part of a stage: a and b summed against cos and sin as the signs say. */
static Buf *stage_part(Definer *d, const Spectrum *s, const char *name, const Stage *g, bool imag) {
    Ctx *ctx = d->ctx;
    const Expr *v[RANK_MAX], *dim[RANK_MAX];
    int q = s->nb, k = q + 1;
    memcpy(dim, g->dim, (size_t)(s->nb + 2) * sizeof *dim);
    if (g->split) {
        dim[k] = g->radix;
        dim[k + 1] = g->old;
    }
    Def *def = define_temp(d, name, T_F64, s->nb + 2 + g->split, dim);
    eq_vars(d, def, v);
    const Expr *r = eq_red(d, def, "r", g->radix), *bin = v[k], *part;
    if (g->split)
        bin = eq_text(d, T_I64, "g * n + k", "g", v[k], "n", g->old, "k", v[k + 1], NULL);
    part = g->split ? v[k + 1] : expr_mod(ctx, bin, g->old);
    const Expr *turn[2] = {r, bin};
    if (s->cos->rank == 1)
        turn[0] = turn_of(d, s, r, bin, dim[q]);
    const Expr *row = eq_text(d, T_I64, "q + n * r", "q", v[q], "n", dim[q], "r", r, NULL);
    const Expr *re = load_before(ctx, s, s->re, v, row, part);
    const Expr *im = s->im ? load_before(ctx, s, s->im, v, row, part) : NULL;
    const Expr *c = buf_load(ctx, s->cos, turn), *w = buf_load(ctx, s->sin, turn);
    if (s->inverse)
        w = expr_1(ctx, OP_NEG, w);
    const Expr *e;
    if (imag)
        e = eq_text(d, T_F64, im ? "im * c - re * w" : "-re * w", "re", re, "im", im, "c", c, "w",
                    w, NULL);
    else
        e = eq_text(d, T_F64, im ? "re * c + im * w" : "re * c", "re", re, "im", im, "c", c, "w", w,
                    NULL);
    eq_combine(d, def, OP_ADD, e, NULL, false);
    define_emit(d, def);
    return def->buf;
}

/* Factors of n, fours first; one factor when it is not known. */
static int factor(Definer *d, const Expr *len, const Expr **f) {
    int64_t n, count = 0;
    if (!expr_is_int(len, &n) || n < 2) {
        f[0] = len;
        return 1;
    }
    for (int64_t p = 4; n > 1;) {
        if (n % p == 0) {
            f[count++] = expr_i(d->ctx, p);
            n /= p;
        } else {
            p = p == 4 ? 2 : p == 2 ? 3 : p + 2;
            p = p * p > n ? n : p;
        }
    }
    return (int)count;
}

/* z becomes its transform, [batch, 1, bins]. */
static void transform(Definer *d, Spectrum *s) {
    Ctx *ctx = d->ctx;
    const Expr *f[FACTORS_MAX], *dim[RANK_MAX], *p = expr_i(ctx, 1);
    int n = factor(d, s->len, f);
    memcpy(dim, s->batch, (size_t)s->nb * sizeof *dim);
    for (int i = 0; i < n; i++) {
        const Expr *old = p;
        p = expr_mul(ctx, p, f[i]);
        dim[s->nb] = i == n - 1 ? expr_i(ctx, 1) : expr_fdiv(ctx, s->len, p);
        dim[s->nb + 1] = i == n - 1 ? s->bins : p;
        s->cos = table(d, s, OP_COS, f[i], dim);
        s->sin = table(d, s, OP_SIN, f[i], dim);
        Stage g = {dim, f[i], old, i > 0 && i < n - 1 && s->nb + 3 <= RANK_MAX};
        Buf *re = stage_part(d, s, "re", &g, false);
        Buf *im = stage_part(d, s, "im", &g, true);
        s->re = re;
        s->im = im;
        s->inner = g.split ? old : NULL;
    }
}

/* z[batch, n, 0] as a Def to be given a value; v gets its axes. */
static Def *start(Definer *d, const Spectrum *s, const char *name, const Expr **v) {
    const Expr *dim[RANK_MAX];
    memcpy(dim, s->batch, (size_t)s->nb * sizeof *dim);
    dim[s->nb] = s->len;
    dim[s->nb + 1] = expr_i(d->ctx, 1);
    Def *def = define_temp(d, name, T_F64, s->nb + 2, dim);
    eq_vars(d, def, v);
    return def;
}

/* x at index[], its last axis part c of a complex number; 0 for the missing part of a real one. */
static const Expr *load_part(Definer *d, Buf *x, const Expr **index, int c) {
    Ctx *ctx = d->ctx;
    const Expr *parts = x->dim[x->rank - 1], *two = expr_i(ctx, 2), *zero = eq_const(d, T_F64, 0);
    const Expr *one = expr_i(ctx, 1);
    index[x->rank - 1] = c ? expr_sub(ctx, parts, one) : expr_i(ctx, 0);
    const Expr *e = eq_load(d, T_F64, x, index);
    return c ? expr_select(ctx, expr_eq(ctx, parts, two), e, zero) : e;
}

/* ---- DFT ---------------------------------------------------------------------------------------------- */

typedef struct Dft {
    Buf *x;
    const Expr *axis;
    bool inverse, onesided, half; /* half: the input is the first half of a spectrum */
    Spectrum s;
} Dft;

/* The axis may be known only at run time: then what depends on it is chosen by selects. */
static const Expr *pick(Definer *d, const Expr *cond, const Expr *a, const Expr *b) {
    return expr_select(d->ctx, cond, a, b);
}

static bool dft_axis(Definer *d, Dft *f) {
    Ctx *ctx = d->ctx;
    Buf *given = define_in(d, 2);
    int n = f->x->rank - 1;
    f->axis = given ? define_known(d, given, 0) : expr_i(ctx, -2);
    if (!f->axis)
        return false;
    const Expr *rank = expr_i(ctx, f->x->rank);
    f->axis = eq_text(d, T_I64, "select(a < 0, a + r, a)", "a", f->axis, "r", rank, NULL);
    f->axis = define_scalar(d, "axis", f->axis, 0, n - 1);
    return f->axis != NULL;
}

/* The input's extent along the axis. */
static const Expr *dft_extent(Definer *d, const Dft *f) {
    const Expr *e = f->x->dim[f->x->rank - 2];
    for (int i = f->x->rank - 3; i >= 0; i--)
        e = pick(d, expr_eq(d->ctx, f->axis, expr_i(d->ctx, i)), f->x->dim[i], e);
    return e;
}

static bool dft_begin(Definer *d, Dft *f) {
    Ctx *ctx = d->ctx;
    Buf *length = define_in(d, 1);
    f->x = define_in(d, 0);
    f->inverse = node_int(d->node, "inverse", 0) != 0;
    f->onesided = node_int(d->node, "onesided", 0) != 0;
    f->half = f->inverse && f->onesided;
    f->s.inverse = f->inverse;
    if (f->x->rank < 2)
        return define_error(d, EXIT_MALFORMED, "an input of rank %d", f->x->rank);
    if (!dft_axis(d, f))
        return false;
    int n = f->x->rank - 1;
    const Expr *len = dft_extent(d, f);
    if (length)
        len = define_known(d, length, 0);
    else if (f->half)
        len = eq_text(d, T_I64, "2 * (n - 1)", "n", len, NULL);
    f->s.len = len ? define_extent(d, "length", len, 1, INT64_MAX) : NULL;
    if (!f->s.len)
        return false;
    f->s.bins = f->onesided && !f->inverse ? eq_text(d, T_I64, "l // 2 + 1", "l", f->s.len, NULL)
                                           : f->s.len;
    f->s.nb = n - 1;
    for (int i = 0; i < n - 1; i++) {
        const Expr *before = expr_lt(ctx, expr_i(ctx, i), f->axis);
        f->s.batch[i] =
            define_extent(d, "kept", pick(d, before, f->x->dim[i], f->x->dim[i + 1]), 0, INT64_MAX);
        if (!f->s.batch[i])
            return false;
    }
    return true;
}

/* Indices into x (but the last) from those of the batch and the position along the axis. */
static void dft_index(Definer *d, const Dft *f, const Expr *const *v, const Expr *at,
                      const Expr **index) {
    Ctx *ctx = d->ctx;
    for (int i = 0; i < f->x->rank - 1; i++) {
        const Expr *here = expr_i(ctx, i), *e = at;
        if (i > 0)
            e = pick(d, expr_lt(ctx, f->axis, here), v[i - 1], e);
        if (i < f->s.nb)
            e = pick(d, expr_lt(ctx, here, f->axis), v[i], e);
        index[i] = e;
    }
}

/* Part c of the input: past its end 0; of half a spectrum, the other half by symmetry. */
static Buf *dft_start(Definer *d, Dft *f, int c) {
    Ctx *ctx = d->ctx;
    const Expr *v[RANK_MAX], *index[RANK_MAX], *zero = eq_const(d, T_F64, 0);
    Def *def = start(d, &f->s, c ? "im" : "re", v);
    const Expr *n = v[f->s.nb], *m = n, *extent = dft_extent(d, f);
    const Expr *mirror = expr_sub(ctx, f->s.len, n);
    if (f->half)
        m = expr_min(ctx, n, mirror);
    dft_index(d, f, v, m, index);
    const Expr *e = load_part(d, f->x, index, c);
    if (!expr_proves(ctx, expr_lt(ctx, m, extent)))
        e = expr_select(ctx, expr_lt(ctx, m, extent), e, zero);
    if (f->half && c) {
        const Expr *back = expr_select(ctx, expr_lt(ctx, mirror, n), expr_1(ctx, OP_NEG, e), zero);
        const Expr *ahead = expr_and(ctx, expr_lt(ctx, expr_i(ctx, 0), n), expr_lt(ctx, n, mirror));
        e = expr_select(ctx, ahead, e, back);
    }
    eq_emit(d, def, e);
    return def->buf;
}

bool def_dft(Definer *d) {
    Ctx *ctx = d->ctx;
    Dft f = {0};
    if (!dft_begin(d, &f))
        return false;
    f.s.re = dft_start(d, &f, 0);
    if (!expr_is(f.x->dim[f.x->rank - 1], 1))
        f.s.im = dft_start(d, &f, 1);
    transform(d, &f.s);
    const Expr *dim[RANK_MAX], *v[RANK_MAX], *at[RANK_MAX];
    int n = f.x->rank - 1;
    for (int i = 0; i < n; i++) {
        const Expr *here = expr_eq(ctx, f.axis, expr_i(ctx, i));
        dim[i] = define_extent(d, "bins", pick(d, here, f.s.bins, f.x->dim[i]), 0, INT64_MAX);
        if (!dim[i])
            return false;
    }
    dim[n] = expr_i(ctx, f.half ? 1 : 2);
    Def *y = define_out(d, 0, define_type(d, 0), n + 1, dim);
    eq_vars(d, y, v);
    const Expr *bin = v[n - 1];
    for (int i = 0; i < f.s.nb; i++) {
        bin = pick(d, expr_eq(ctx, f.axis, expr_i(ctx, i)), v[i], bin);
        at[i] = pick(d, expr_lt(ctx, expr_i(ctx, i), f.axis), v[i], v[i + 1]);
    }
    at[f.s.nb] = expr_i(ctx, 0);
    at[f.s.nb + 1] = bin;
    const Expr *e = buf_load(ctx, f.s.re, at);
    if (!f.half)
        e = expr_select(ctx, expr_eq(ctx, v[n], expr_i(ctx, 0)), e, buf_load(ctx, f.s.im, at));
    if (f.inverse)
        e = expr_2(ctx, OP_DIV, e, expr_cast(ctx, T_F64, f.s.len));
    eq_emit(d, y, e);
    return true;
}

/* ---- STFT ------------------------------------------------------------------------------------ */

/* Frame t, part c: the signal from t * step on, times the window. */
static Buf *stft_start(Definer *d, const Spectrum *s, Buf *x, Buf *window, const Expr *step,
                       int c) {
    Ctx *ctx = d->ctx;
    const Expr *v[RANK_MAX], *index[RANK_MAX];
    Def *def = start(d, s, c ? "im" : "re", v);
    index[0] = v[0];
    index[1] = expr_add(ctx, expr_mul(ctx, v[1], step), v[2]);
    const Expr *e = load_part(d, x, index, c);
    if (window)
        e = expr_mul(ctx, e, eq_at(d, T_F64, window, v[2]));
    eq_emit(d, def, e);
    return def->buf;
}

bool def_stft(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *window = define_in(d, 2), *length = define_in(d, 3);
    Spectrum s = {.nb = 2};
    if (x->rank == 2) /* real, without the last axis */
        x = define_node(d, "Unsqueeze", "", 2,
                        (Buf *[]){x, define_const_i64(d, 1, (int64_t[]){-1})});
    if (!x)
        return false;
    if (x->rank != 3 || (window && window->rank != 1))
        return define_error(d, EXIT_MALFORMED,
                            "the signal has to have rank 2 or 3, the window rank 1");
    const Expr *step = define_known(d, define_in(d, 1), 0);
    const Expr *len = length ? define_known(d, length, 0) : window ? window->dim[0] : x->dim[1];
    step = step ? define_scalar(d, "step", step, 1, (int64_t)1 << 31) : NULL;
    s.len = len ? define_extent(d, "length", len, 1, INT64_MAX) : NULL;
    if (!step || !s.len || (window && !define_same(d, window->dim[0], s.len, "window")))
        return false;
    const Expr *frames = eq_text(d, T_I64, "max((n - l) // step + 1, 0)", "n", x->dim[1], "l",
                                 s.len, "step", step, NULL);
    s.batch[0] = x->dim[0];
    s.batch[1] = define_extent(d, "frames", frames, 0, INT64_MAX);
    if (!s.batch[1])
        return false;
    bool onesided = node_int(d->node, "onesided", 1) != 0;
    s.bins = onesided ? eq_text(d, T_I64, "l // 2 + 1", "l", s.len, NULL) : s.len;
    s.re = stft_start(d, &s, x, window, step, 0);
    if (!expr_is(x->dim[2], 1))
        s.im = stft_start(d, &s, x, window, step, 1);
    transform(d, &s);
    const Expr *dim[4] = {s.batch[0], s.batch[1], s.bins, expr_i(ctx, 2)}, *v[4];
    Def *y = define_out(d, 0, define_type(d, 0), 4, dim);
    eq_vars(d, y, v);
    const Expr *at[4] = {v[0], v[1], expr_i(ctx, 0), v[2]};
    eq_emit(d, y,
            expr_select(ctx, expr_eq(ctx, v[3], expr_i(ctx, 0)), buf_load(ctx, s.re, at),
                        buf_load(ctx, s.im, at)));
    return true;
}
