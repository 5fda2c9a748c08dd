/* def_window.c — pools: one reduction over the window, then what is made of it.
 *
 *   AveragePool(x f32[1,3,H,W]), kernel 2, stride 2, no padding  →
 *     sum[n,c,p,q] = add(r<2, s<2) x[n,c,2*p+r,2*q+s] ; y[n,c,p,q] = sum[n,c,p,q] / 4.0 */
#include "frontend/contract.h"

#include <string.h>

static const char *const POOL_NAMES[] = {"n c p", "n c p q", "n c o p q", "n c l o p q"};

/* A pool being defined: its window, the dims of its output. */
typedef struct Pool {
    Window w;
    Buf *x;
    Dtype type, wide;
    const Expr *dim[RANK_MAX];
} Pool;

static bool pool_begin(Definer *d, Pool *p) {
    p->x = define_in(d, 0);
    p->type = define_type(d, 0);
    p->wide = eq_wide(p->type);
    if (!window_begin(d, &p->w, p->x, NULL) ||
        !window_extents(d, &p->w, node_int(d->node, "ceil_mode", 0) != 0))
        return false;
    p->dim[0] = p->x->dim[0];
    p->dim[1] = p->x->dim[1];
    memcpy(p->dim + 2, p->w.out, (size_t)p->w.n * sizeof *p->dim);
    return true;
}

static Def *pool_def(Definer *d, const Pool *p, int out, const char *name, Dtype t) {
    Def *def = eq_def(d, out, name, t, p->x->rank, p->dim);
    if (p->w.n <= 4)
        eq_names(d, def, POOL_NAMES[p->w.n - 1]);
    return def;
}

/* The RED axes of def, the indices into x, and where they are inside. */
static const Expr *pool_axes(Definer *d, const Pool *p, Def *def, const Expr **index) {
    const Expr *r[RANK_MAX];
    index[0] = def_var(d->ctx, def, 0);
    index[1] = def_var(d->ctx, def, 1);
    return window_axes(d, &p->w, def, 2, r, index + 2, NULL);
}

/* ---- MaxPool ----------------------------------------------------------------------------------------- */

/* Where in x a number of the flat order is, spatial axes the other way round: storage_order 1. */
static const Expr *column_major(Definer *d, const Pool *p, const Expr *flat) {
    Ctx *ctx = d->ctx;
    const Expr *at[RANK_MAX], *rest = flat, *size = expr_i(ctx, 1);
    for (int i = p->w.n - 1; i >= 0; i--) {
        at[i] = expr_mod(ctx, rest, p->w.in[i]);
        rest = expr_fdiv(ctx, rest, p->w.in[i]);
        size = expr_mul(ctx, size, p->w.in[i]);
    }
    const Expr *r = expr_mul(ctx, rest, size), *step = expr_i(ctx, 1);
    for (int i = 0; i < p->w.n; i++) {
        r = expr_add(ctx, r, expr_mul(ctx, at[i], step));
        step = expr_mul(ctx, step, p->w.in[i]);
    }
    return r;
}

/* Output 1: the first position in the window that has the maximum, as a flat index into x. */
static void max_indices(Definer *d, const Pool *p, Buf *max) {
    Ctx *ctx = d->ctx;
    const Expr *index[RANK_MAX], *v[RANK_MAX], *flat = expr_i(ctx, 0);
    bool columns = node_int(d->node, "storage_order", 0) == 1;
    Def *at = pool_def(d, p, columns ? -1 : 1, "at", T_I64);
    const Expr *when = pool_axes(d, p, at, index);
    eq_vars(d, at, v);
    for (int i = 0; i < p->x->rank; i++)
        flat = expr_add(ctx, expr_mul(ctx, flat, p->x->dim[i]), index[i]);
    const Expr *e = buf_load(ctx, p->x, index), *here = expr_eq(ctx, e, buf_load(ctx, max, v));
    if (type_is_float(p->type))
        here = expr_or(ctx, here, expr_1(ctx, OP_ISNAN, e));
    eq_combine(d, at, OP_MIN, flat, expr_and(ctx, when, here), false);
    define_emit(d, at);
    if (columns) {
        Def *def = pool_def(d, p, 1, NULL, T_I64);
        eq_vars(d, def, v);
        eq_emit(d, def, column_major(d, p, buf_load(ctx, at->buf, v)));
    }
}

bool def_max_pool(Definer *d) {
    Pool p;
    const Expr *index[RANK_MAX];
    if (!pool_begin(d, &p))
        return false;
    Def *y = pool_def(d, &p, 0, NULL, p.type);
    const Expr *when = pool_axes(d, &p, y, index);
    eq_combine(d, y, OP_MAX, buf_load(d->ctx, p.x, index), when, false);
    define_emit(d, y);
    if (d->node->nout > 1 && d->node->out[1])
        max_indices(d, &p, y->buf);
    return true;
}

/* ---- AveragePool, LpPool --------------------------------------------------------------------- */

/* How many positions of the window of output p are in [0, n) after shifting by head. */
static const Expr *count_axis(Definer *d, const Window *w, int i, const Expr *p, bool padding) {
    Ctx *ctx = d->ctx;
    const Expr *n = w->in[i], *start = expr_mul(ctx, p, expr_i(ctx, w->stride[i]));
    if (padding)
        n = expr_add(ctx, n, expr_add(ctx, w->head[i], w->tail[i]));
    else
        start = expr_sub(ctx, start, w->head[i]);
    const Expr *lo = expr_ceildiv(ctx, expr_sub(ctx, expr_i(ctx, 0), start), w->dilation[i]);
    const Expr *hi = expr_ceildiv(ctx, expr_sub(ctx, n, start), w->dilation[i]);
    return eq_text(d, T_I64, "max(min(k, hi) - max(lo, 0), 0)", "k", w->kernel[i], "hi", hi, "lo",
                   lo, NULL);
}

const Expr *window_count(Definer *d, const Window *w, const Def *y, bool padding) {
    const Expr *n = expr_i(d->ctx, 1);
    for (int i = 0; i < w->n; i++) {
        const Expr *c = count_axis(d, w, i, def_var(d->ctx, y, i + 2), padding);
        if (expr_proves(d->ctx, expr_le(d->ctx, w->kernel[i], c)))
            c = w->kernel[i];
        n = expr_mul(d->ctx, n, c);
    }
    return n;
}

bool def_average_pool(Definer *d) {
    Pool p;
    Ctx *ctx = d->ctx;
    const Expr *index[RANK_MAX];
    if (!pool_begin(d, &p))
        return false;
    Def *sum = pool_def(d, &p, -1, "sum", p.wide);
    const Expr *when = pool_axes(d, &p, sum, index);
    eq_combine(d, sum, OP_ADD, eq_load(d, p.wide, p.x, index), when, false);
    define_emit(d, sum);
    Def *y = pool_def(d, &p, 0, NULL, p.type);
    bool padding = node_int(d->node, "count_include_pad", 0) != 0;
    const Expr *n = window_count(d, &p.w, y, padding);
    eq_vars(d, y, index);
    eq_emit(d, y, expr_2(ctx, OP_DIV, buf_load(ctx, sum->buf, index), expr_cast(ctx, p.wide, n)));
    return true;
}

/* |x|^p, and what turns the sum of those into the norm. */
static const Expr *norm_term(Definer *d, const Expr *x, int64_t p) {
    Type t = x->type;
    const char *text = p == 1 ? "abs(x)" : p == 2 ? "x * x" : "pow(abs(x), p)";
    return eq_text(d, type_dtype(t), text, "x", x, "p", eq_const(d, type_dtype(t), (double)p),
                   NULL);
}

static const Expr *norm_root(Definer *d, const Expr *sum, int64_t p) {
    Dtype t = type_dtype(sum->type);
    const char *text = p == 1 ? "s" : p == 2 ? "sqrt(s)" : "pow(s, p)";
    return eq_text(d, t, text, "s", sum, "p", eq_const(d, t, 1 / (double)p), NULL);
}

bool def_lp_pool(Definer *d) {
    Pool p;
    const Expr *index[RANK_MAX];
    int64_t power = node_int(d->node, "p", 2);
    if (!pool_begin(d, &p))
        return false;
    Def *sum = pool_def(d, &p, -1, "sum", p.wide);
    const Expr *when = pool_axes(d, &p, sum, index);
    eq_combine(d, sum, OP_ADD, norm_term(d, eq_load(d, p.wide, p.x, index), power), when, false);
    define_emit(d, sum);
    Def *y = pool_def(d, &p, 0, NULL, p.type);
    eq_vars(d, y, index);
    eq_emit(d, y, norm_root(d, buf_load(d->ctx, sum->buf, index), power));
    return true;
}

/* ---- over all spatial axes ----------------------------------------------------------------------------- */

/* A reduction over the axes from 2 on, kept as extents of 1. */
static Def *global_def(Definer *d, int out, Dtype t, const Expr **index) {
    Buf *x = define_in(d, 0);
    Ctx *ctx = d->ctx;
    const Expr *dim[RANK_MAX];
    for (int i = 0; i < x->rank; i++)
        dim[i] = i < 2 ? x->dim[i] : expr_i(ctx, 1);
    Def *def = eq_def(d, out, "sum", t, x->rank, dim);
    eq_names(d, def, "n c");
    for (int i = 0; i < x->rank; i++)
        index[i] = i < 2 ? def_var(ctx, def, i) : eq_red(d, def, "k", x->dim[i]);
    return def;
}

static bool global_rank(Definer *d) {
    return define_in(d, 0)->rank >= 2 ||
           define_error(d, EXIT_MALFORMED, "an input of rank %d", define_in(d, 0)->rank);
}

bool def_global_max_pool(Definer *d) {
    const Expr *index[RANK_MAX];
    if (!global_rank(d))
        return false;
    Def *y = global_def(d, 0, define_type(d, 0), index);
    eq_combine(d, y, OP_MAX, buf_load(d->ctx, define_in(d, 0), index), NULL, false);
    define_emit(d, y);
    return true;
}

static bool global_sum(Definer *d, int64_t p) {
    Buf *x = define_in(d, 0);
    Ctx *ctx = d->ctx;
    Dtype t = define_type(d, 0), wide = eq_wide(t);
    const Expr *index[RANK_MAX], *n = expr_i(ctx, 1);
    if (!global_rank(d))
        return false;
    Def *sum = global_def(d, -1, wide, index);
    bool last = sum->naxis > x->rank && index[x->rank - 1]->op == OP_SYM;
    const Expr *e = eq_load(d, wide, x, index);
    eq_combine(d, sum, OP_ADD, p ? norm_term(d, e, p) : e, NULL, last);
    define_emit(d, sum);
    Def *y = define_out(d, 0, t, x->rank, sum->buf->dim);
    eq_vars(d, y, index);
    for (int i = 2; i < x->rank; i++)
        n = expr_mul(ctx, n, x->dim[i]);
    e = buf_load(ctx, sum->buf, index);
    eq_emit(d, y, p ? norm_root(d, e, p) : expr_2(ctx, OP_DIV, e, expr_cast(ctx, wide, n)));
    return true;
}

bool def_global_average_pool(Definer *d) {
    return global_sum(d, 0);
}

bool def_global_lp_pool(Definer *d) {
    return global_sum(d, node_int(d->node, "p", 2));
}
