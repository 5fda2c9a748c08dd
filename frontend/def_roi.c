/* def_roi.c — windows whose place the data says: RoiAlign, MaxRoiPool, DeformConv, MaxUnpool.
 *
 * Samples between elements are sums over the two neighbours on each axis, with tables of places and weights:
 *   RoiAlign →  at[n,p,i] and weight[n,p,i,a<2] for rows (of grid rows i in bin p) and for columns;
 *     sum[n,c,p,q] = add(i, j, a<2, b<2) x[batch[n], c, at[n,p,i]+a, at'[n,q,j]+b] * weight * weight'  */
#include "frontend/contract.h"
#include "frontend/index.h"

#include <math.h>
#include <string.h>

/* ---- RoiAlign ------------------------------------------------------------------------------------ */

typedef struct Roi {
    Buf *x, *rois, *batch;
    const Expr *count; /* regions */
    Dtype type, wide;
    IndexClass cls;
    bool half;
} Roi;

/* One axis of the regions: rows (0) or columns (1). */
typedef struct RoiLine {
    const Expr *in, *bins, *samples; /* extent of x; bins; samples in a bin, at most */
    Buf *start, *bin, *grid;         /* of each region; grid NULL: `samples` */
    Buf *at, *weight;
} RoiLine;

static bool roi_begin(Definer *d, Roi *r) {
    *r = (Roi){.x = define_in(d, 0),
               .rois = define_in(d, 1),
               .batch = define_in(d, 2),
               .type = define_type(d, 0),
               .wide = eq_wide(define_type(d, 0)),
               .half = eq_word(d, "coordinate_transformation_mode", "half_pixel", "half_pixel")};
    if (r->x->rank != 4 || r->rois->rank != 2 || r->batch->rank != 1)
        return define_error(d, EXIT_MALFORMED, "input, regions and indices have rank 4, 2 and 1");
    r->count = r->rois->dim[0];
    return define_same(d, r->rois->dim[1], expr_i(d->ctx, 4), "corners of a region") &&
           define_same(d, r->batch->dim[0], r->count, "regions") &&
           index_check(d, r->batch, r->x->dim[0], &r->cls);
}

/* Corner c of region n, scaled. */
static const Expr *corner(Definer *d, const Roi *r, const Expr *n, int c) {
    const Expr *at[2] = {n, expr_i(d->ctx, c)};
    return eq_text(d, r->wide, "x * scale - offset", "x", eq_load(d, r->wide, r->rois, at), "scale",
                   eq_attr(d, r->wide, "spatial_scale", 1), "offset",
                   eq_const(d, r->wide, r->half ? 0.5 : 0), NULL);
}

/* A number of each region n, from its corners c and c + 2. */
typedef const Expr *(*RoiFn)(Definer *d, const Roi *r, const RoiLine *l, int c, const Expr *n);

static Buf *per_region(Definer *d, const Roi *r, const char *name, Dtype t, RoiFn value,
                       const RoiLine *l, int c) {
    Def *def = define_temp(d, name, t, 1, &r->count);
    eq_names(d, def, "n");
    eq_emit(d, def, value(d, r, l, c, def_var(d->ctx, def, 0)));
    return def->buf;
}

static const Expr *start_of(Definer *d, const Roi *r, const RoiLine *l, int c, const Expr *n) {
    (void)l;
    return corner(d, r, n, c);
}

static const Expr *bin_of(Definer *d, const Roi *r, const RoiLine *l, int c, const Expr *n) {
    const Expr *size = expr_sub(d->ctx, corner(d, r, n, c + 2), corner(d, r, n, c));
    if (!r->half)
        size = expr_max(d->ctx, size, eq_const(d, r->wide, 1));
    return expr_2(d->ctx, OP_DIV, size, expr_cast(d->ctx, r->wide, l->bins));
}

static const Expr *grid_of(Definer *d, const Roi *r, const RoiLine *l, int c, const Expr *n) {
    (void)c;
    return eq_text(d, r->wide, "i64(max(ceil(b), 0))", "b", buf_load(d->ctx, l->bin, &n), NULL);
}

/* How many samples a bin has: told, or as many as the largest region needs. */
static bool roi_samples(Definer *d, const Roi *r, RoiLine *l, int c) {
    int64_t n = node_int(d->node, "sampling_ratio", 0);
    if (n > 0) {
        l->samples = expr_i(d->ctx, n);
        return n < 1 << 20 ||
               define_error(d, EXIT_MALFORMED, "sampling_ratio is %lld", (long long)n);
    }
    l->grid = per_region(d, r, "grid", T_I64, grid_of, l, c);
    Def *most = define_temp(d, "samples", T_I64, 0, NULL);
    const Expr *k = eq_red(d, most, "n", r->count);
    eq_combine(d, most, OP_MAX, buf_load(d->ctx, l->grid, &k), NULL, false);
    if (most->naxis)
        most->init = expr_i(d->ctx, 0);
    define_emit(d, most);
    l->samples = define_extent(d, "samples", buf_load(d->ctx, most->buf, NULL), 0, 1 << 20);
    return l->samples != NULL;
}

/* at[n,p,i] and weight[n,p,i,a]: the first neighbour of each sample, and both weights (0: outside). */
static bool roi_line(Definer *d, const Roi *r, RoiLine *l, int c) {
    Ctx *ctx = d->ctx;
    const Expr *v[4];
    l->start = per_region(d, r, "start", r->wide, start_of, l, c);
    l->bin = per_region(d, r, "bin", r->wide, bin_of, l, c);
    if (!roi_samples(d, r, l, c))
        return false;
    const Expr *dim[4] = {r->count, l->bins, l->samples, expr_i(ctx, 2)};
    Def *x = define_temp(d, "x", r->wide, 3, dim);
    eq_vars(d, x, v);
    const Expr *grid = l->grid ? buf_load(ctx, l->grid, v) : l->samples;
    eq_emit(d, x,
            eq_text(d, r->wide, "start + T(p) * bin + (T(i) + 0.5) * bin / T(grid)", "start",
                    buf_load(ctx, l->start, v), "bin", buf_load(ctx, l->bin, v), "p", v[1], "i",
                    v[2], "grid", grid, NULL));
    Def *at = define_temp(d, "at", T_I64, 3, dim);
    eq_vars(d, at, v);
    const Expr *low = eq_text(d, r->wide, "min(i64(max(x, 0)), n - 1)", "x",
                              buf_load(ctx, x->buf, v), "n", l->in, NULL);
    eq_emit(d, at, low);
    l->at = at->buf;
    Def *w = define_temp(d, "weight", r->wide, 4, dim);
    eq_vars(d, w, v);
    /* the last element counts whole */
    const Expr *part =
        eq_text(d, r->wide, "select(low < n - 1, max(x, 0) - T(low), 0)", "low",
                buf_load(ctx, at->buf, v), "n", l->in, "x", buf_load(ctx, x->buf, v), NULL);
    eq_emit(d, w,
            eq_text(d, r->wide, "select(x < -1 || T(n) < x, 0, select(a == 0, 1 - part, part))",
                    "x", buf_load(ctx, x->buf, v), "n", l->in, "a", v[3], "part", part, NULL));
    l->weight = w->buf;
    return true;
}

static const Expr *clamped(Definer *d, const Expr *i, const Expr *n) {
    return eq_text(d, T_I64, "max(min(i, n - 1), 0)", "i", i, "n", n, NULL);
}

/* The samples of every bin combined, as a Def of x's type computed in. */
static Def *roi_combine(Definer *d, const Roi *r, const RoiLine *l, bool max) {
    Ctx *ctx = d->ctx;
    const Expr *dim[4] = {r->count, r->x->dim[1], l[0].bins, l[1].bins}, *v[4], *when = NULL;
    Def *def = define_temp(d, max ? "max" : "sum", r->wide, 4, dim);
    eq_names(d, def, "n c p q");
    eq_vars(d, def, v);
    const Expr *at[4] = {index_safe(d, buf_load(ctx, r->batch, v), r->x->dim[0], r->cls), v[1]};
    const Expr *i[2], *w[2];
    for (int k = 0; k < 2; k++) {
        i[k] = eq_red(d, def, k ? "j" : "i", l[k].samples);
        if (l[k].grid)
            when = expr_and(ctx, when, expr_lt(ctx, i[k], buf_load(ctx, l[k].grid, v)));
    }
    for (int k = 0; k < 2; k++) {
        const Expr *a = eq_red(d, def, k ? "b" : "a", expr_i(ctx, 2));
        const Expr *wi[4] = {v[0], v[k + 2], i[k], a};
        w[k] = buf_load(ctx, l[k].weight, wi);
        at[k + 2] = clamped(d, expr_add(ctx, buf_load(ctx, l[k].at, wi), a), l[k].in);
    }
    const Expr *e = expr_mul(ctx, eq_load(d, r->wide, r->x, at), expr_mul(ctx, w[0], w[1]));
    eq_combine(d, def, max ? OP_MAX : OP_ADD, e, when, false);
    define_emit(d, def);
    return def;
}

bool def_roi_align(Definer *d) {
    Ctx *ctx = d->ctx;
    Roi r;
    RoiLine l[2] = {{0}, {0}};
    const Expr *v[4];
    int64_t size[2] = {node_int(d->node, "output_height", 1), node_int(d->node, "output_width", 1)};
    if (!roi_begin(d, &r))
        return false;
    for (int k = 0; k < 2; k++) {
        if (size[k] < 1 || size[k] > INT32_MAX)
            return define_error(d, EXIT_MALFORMED, "an output of size %lld", (long long)size[k]);
        l[k].in = r.x->dim[k + 2];
        l[k].bins = expr_i(ctx, size[k]);
        if (!roi_line(d, &r, &l[k], 1 - k))
            return false;
    }
    bool max = eq_word(d, "mode", "avg", "max");
    Def *all = roi_combine(d, &r, l, max);
    Def *y = define_out(d, 0, r.type, 4, all->buf->dim);
    eq_vars(d, y, v);
    const Expr *e = buf_load(ctx, all->buf, v), *n = expr_i(ctx, 1), *zero = eq_const(d, r.wide, 0);
    for (int k = 0; k < 2; k++)
        n = expr_mul(ctx, n, l[k].grid ? buf_load(ctx, l[k].grid, v) : l[k].samples);
    if (max)
        e = expr_select(ctx, expr_lt(ctx, expr_i(ctx, 0), n), e, zero);
    else
        e = eq_text(d, r.wide, "e / T(max(n, 1))", "e", e, "n", n, NULL);
    eq_emit(d, y, e);
    return true;
}

/* ---- MaxRoiPool -------------------------------------------------------------------------------------- */

/* Whether row (column) h of x lies in bin p of region n; c: the region's first corner on this axis. */
static const Expr *in_bin(Definer *d, const Expr *n, int c, const Expr *p, int64_t bins,
                          const Expr *h) {
    Ctx *ctx = d->ctx;
    const Expr *corner[2];
    for (int k = 0; k < 2; k++) {
        const Expr *at[2] = {n, expr_i(ctx, c + 2 * k)};
        corner[k] = eq_text(d, T_F32, "x * s", "x", eq_load(d, T_F32, define_in(d, 1), at), "s",
                            eq_attr(d, T_F32, "spatial_scale", 1), NULL);
        /* half away from zero */
        corner[k] = eq_text(d, T_F32, "i64(select(x < 0, ceil(x - 0.5), floor(x + 0.5)))", "x",
                            corner[k], NULL);
    }
    const Expr *size = eq_text(d, T_I64, "f32(max(b - a + 1, 1)) / f32(bins)", "a", corner[0], "b",
                               corner[1], "bins", expr_i(ctx, bins), NULL);
    return eq_text(d, T_F32,
                   "i64(floor(f32(p) * size)) + a <= h && h < i64(ceil(f32(p + 1) * size)) + a",
                   "p", p, "size", size, "a", corner[0], "h", h, NULL);
}

bool def_max_roi_pool(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *rois = define_in(d, 1);
    int64_t size[2] = {0, 0};
    const Expr *v[4];
    if (x->rank != 4 || rois->rank != 2 ||
        !define_same(d, rois->dim[1], expr_i(ctx, 5), "numbers of a region"))
        return define_error(d, EXIT_MALFORMED, "input and regions do not fit");
    if (!window_list(d, "pooled_shape", 2, 1, size))
        return false;
    if (!size[0])
        return define_error(d, EXIT_MALFORMED, "pooled_shape is missing");
    const Expr *dim[4] = {rois->dim[0], x->dim[1], expr_i(ctx, size[0]), expr_i(ctx, size[1])};
    Dtype t = define_type(d, 0);
    Def *max = define_temp(d, "max", t, 4, dim);
    eq_names(d, max, "n c p q");
    eq_vars(d, max, v);
    const Expr *h = eq_red(d, max, "h", x->dim[2]), *w = eq_red(d, max, "w", x->dim[3]);
    const Expr *ib[2] = {v[0], expr_i(ctx, 0)};
    const Expr *b = clamped(d, eq_load(d, T_I64, rois, ib), x->dim[0]), *at[4] = {b, v[1], h, w};
    const Expr *when =
        expr_and(ctx, in_bin(d, v[0], 2, v[2], size[0], h), in_bin(d, v[0], 1, v[3], size[1], w));
    eq_combine(d, max, OP_MAX, buf_load(ctx, x, at), when, false);
    define_emit(d, max);
    Def *y = define_out(d, 0, t, 4, dim);
    eq_vars(d, y, v);
    const Expr *e = buf_load(ctx, max->buf, v), *none = combine_identity(ctx, OP_MAX, t);
    eq_emit(d, y, expr_select(ctx, expr_eq(ctx, e, none), eq_const(d, t, 0), e));
    return true;
}

/* ---- DeformConv ---------------------------------------------------------------------------------------- */

typedef struct Deform {
    Window w;
    Buf *x, *weights, *offset, *mask;
    Dtype type, wide;
    int64_t group, shifts; /* groups of channels; groups with offsets of their own */
    const Expr *cg;        /* channels of one of those */
} Deform;

static bool deform_begin(Definer *d, Deform *f) {
    Ctx *ctx = d->ctx;
    *f = (Deform){.x = define_in(d, 0),
                  .weights = define_in(d, 1),
                  .offset = define_in(d, 2),
                  .mask = define_in(d, 4),
                  .type = define_type(d, 0),
                  .wide = eq_wide(define_type(d, 0)),
                  .group = node_int(d->node, "group", 1),
                  .shifts = node_int(d->node, "offset_group", 1)};
    if (!window_begin(d, &f->w, f->x, f->weights) || !window_extents(d, &f->w, false))
        return false;
    if (!define_rank(d, 2 + 2 * f->w.n))
        return false;
    if (f->group < 1 || f->shifts < 1 || f->group > INT32_MAX || f->shifts > INT32_MAX ||
        f->offset->rank != f->x->rank || (f->mask && f->mask->rank != f->x->rank))
        return define_error(d, EXIT_MALFORMED, "groups, offsets or mask do not fit");
    const Expr *taps = expr_i(ctx, f->shifts);
    for (int i = 0; i < f->w.n; i++) {
        taps = expr_mul(ctx, taps, f->w.kernel[i]);
        if (!define_same(d, f->offset->dim[i + 2], f->w.out[i], "extents of the offsets"))
            return false;
    }
    const Expr *all = expr_mul(ctx, taps, expr_i(ctx, f->w.n));
    f->cg = define_extent(d, "group", expr_fdiv(ctx, f->x->dim[1], expr_i(ctx, f->shifts)), 1,
                          INT64_MAX);
    return f->cg && define_same(d, f->offset->dim[1], all, "channels of the offsets") &&
           (!f->mask || define_same(d, f->mask->dim[1], taps, "channels of the mask")) &&
           define_same(d, f->x->dim[1], expr_mul(ctx, f->weights->dim[1], expr_i(ctx, f->group)),
                       "channels");
}

/* Offset (axis k) or mask (k < 0) for channel c, kernel position r and output position p. */
static const Expr *deform_load(Definer *d, const Deform *f, int k, const Expr *n, const Expr *c,
                               const Expr *const *r, const Expr *const *p) {
    Ctx *ctx = d->ctx;
    const Expr *at[RANK_MAX], *channel = expr_fdiv(ctx, c, f->cg);
    for (int i = 0; i < f->w.n; i++)
        channel = expr_add(ctx, expr_mul(ctx, channel, f->w.kernel[i]), r[i]);
    if (k >= 0)
        channel = expr_add(ctx, expr_mul(ctx, channel, expr_i(ctx, f->w.n)), expr_i(ctx, k));
    at[0] = n;
    at[1] = channel;
    memcpy(at + 2, p, (size_t)f->w.n * sizeof *at);
    return eq_load(d, f->wide, k < 0 ? f->mask : f->offset, at);
}

/* column[n,c,r…,p…]: x where the window looks, by linear interpolation; 0 outside. */
static Buf *deform_columns(Definer *d, const Deform *f) {
    Ctx *ctx = d->ctx;
    int k = f->w.n;
    const Expr *dim[2 + 2 * RANK_MAX] = {f->x->dim[0], f->x->dim[1]}, *v[RANK_MAX], *at[RANK_MAX];
    memcpy(dim + 2, f->w.kernel, (size_t)k * sizeof *dim);
    memcpy(dim + 2 + k, f->w.out, (size_t)k * sizeof *dim);
    Def *def = define_temp(d, "column", f->wide, 2 + 2 * k, dim);
    eq_vars(d, def, v);
    const Expr *e = NULL, *when = NULL;
    at[0] = v[0];
    at[1] = v[1];
    for (int i = 0; i < k; i++) {
        const Expr *a = eq_red(d, def, "a", expr_i(ctx, 2));
        const Expr *base = eq_text(d, T_I64, "p * s + r * dil - head", "p", v[2 + k + i], "s",
                                   expr_i(ctx, f->w.stride[i]), "r", v[2 + i], "dil",
                                   expr_i(ctx, f->w.dilation[i]), "head", f->w.head[i], NULL);
        const Expr *x = expr_add(ctx, expr_cast(ctx, f->wide, base),
                                 deform_load(d, f, i, v[0], v[1], v + 2, v + 2 + k));
        at[i + 2] = eq_text(d, f->wide, "i64(floor(x)) + a", "x", x, "a", a, NULL);
        const Expr *w = eq_text(d, f->wide, "select(a == 0, 1 - (x - floor(x)), x - floor(x))", "a",
                                a, "x", x, NULL);
        when = eq_inside(d, when, at[i + 2], f->x->dim[i + 2]);
        e = e ? expr_mul(ctx, e, w) : w;
    }
    if (f->mask)
        e = expr_mul(ctx, e, deform_load(d, f, -1, v[0], v[1], v + 2, v + 2 + k));
    eq_combine(d, def, OP_ADD, expr_mul(ctx, eq_load(d, f->wide, f->x, at), e), when, false);
    define_emit(d, def);
    return def->buf;
}

bool def_deform_conv(Definer *d) {
    Ctx *ctx = d->ctx;
    Deform f;
    Buf *bias = define_in(d, 3);
    if (!deform_begin(d, &f))
        return false;
    int k = f.w.n;
    Buf *column = deform_columns(d, &f);
    const Expr *dim[RANK_MAX] = {f.x->dim[0], f.weights->dim[0]}, *v[RANK_MAX], *ix[RANK_MAX];
    const Expr *iw[RANK_MAX];
    memcpy(dim + 2, f.w.out, (size_t)k * sizeof *dim);
    Def *acc = define_temp(d, "acc", f.wide, k + 2, dim);
    eq_vars(d, acc, v);
    const Expr *mg =
        define_extent(d, "group", expr_fdiv(ctx, dim[1], expr_i(ctx, f.group)), 1, INT64_MAX);
    if (!mg)
        return false;
    const Expr *c = eq_red(d, acc, "c", f.weights->dim[1]);
    ix[0] = v[0];
    ix[1] = f.group == 1 ? c
                         : eq_text(d, T_I64, "m // mg * cg + c", "m", v[1], "mg", mg, "cg",
                                   f.weights->dim[1], "c", c, NULL);
    iw[0] = v[1];
    iw[1] = c;
    for (int i = 0; i < k; i++) {
        iw[i + 2] = ix[i + 2] = eq_red(d, acc, "r", f.w.kernel[i]);
        ix[i + 2 + k] = v[i + 2];
    }
    eq_combine(d, acc, OP_ADD,
               expr_mul(ctx, buf_load(ctx, column, ix), eq_load(d, f.wide, f.weights, iw)), NULL,
               false);
    define_emit(d, acc);
    Def *y = define_out(d, 0, f.type, k + 2, dim);
    eq_vars(d, y, v);
    const Expr *e = buf_load(ctx, acc->buf, v);
    eq_emit(d, y, bias ? expr_add(ctx, e, eq_at(d, f.wide, bias, v[1])) : e);
    return true;
}

/* ---- MaxUnpool ------------------------------------------------------------------------------- */

/* The extents before the pool, which the indices count in; with output_shape they lie in its corner. */
static bool unpool_dims(Definer *d, Buf *x, const Expr **inner, const Expr **dim) {
    Ctx *ctx = d->ctx;
    Buf *shape = define_in(d, 2);
    Window w;
    if (!window_begin(d, &w, x, NULL))
        return false;
    for (int i = 0; i < x->rank; i++) {
        inner[i] = dim[i] = x->dim[i];
        if (i > 1) {
            const Expr *e = eq_text(d, T_I64, "(n - 1) * s - a - b + k", "n", x->dim[i], "s",
                                    expr_i(ctx, w.stride[i - 2]), "a", w.head[i - 2], "b",
                                    w.tail[i - 2], "k", w.kernel[i - 2], NULL);
            inner[i] = dim[i] = define_extent(d, "extent", e, 0, INT64_MAX);
        }
        if (shape && inner[i]) {
            const Expr *e = define_known(d, shape, i);
            dim[i] = e ? define_extent(d, "extent", e, 0, INT64_MAX) : NULL;
        }
        if (!dim[i] || !inner[i])
            return false;
    }
    return !shape || (shape->rank == 1 &&
                      define_same(d, shape->dim[0], expr_i(ctx, x->rank), "output_shape"));
}

bool def_max_unpool(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *at = define_in(d, 1);
    const Expr *inner[RANK_MAX], *dim[RANK_MAX], *v[RANK_MAX], *count = expr_i(ctx, 1),
                                                               *when = NULL;
    IndexClass cls;
    if (at->rank != x->rank || !unpool_dims(d, x, inner, dim))
        return define_error(d, EXIT_MALFORMED, "indices and input do not fit");
    for (int i = 0; i < x->rank; i++)
        count = expr_mul(ctx, count, inner[i]);
    if (!index_check(d, at, count, &cls))
        return false;
    Def *clear = define_out(d, 0, define_type(d, 0), x->rank, dim);
    eq_emit(d, clear, eq_const(d, define_type(d, 0), 0));
    Def *put = def_update(ctx, clear->name, clear->buf);
    put->loc = d->node->loc;
    for (int i = 0; i < x->rank; i++)
        v[i] = def_axis(ctx, put, str_f(ctx, "i%d", i), AXIS_SEQ, x->dim[i]);
    const Expr *flat = index_safe(d, buf_load(ctx, at, v), count, cls);
    for (int i = x->rank - 1; i >= 0; i--) {
        put->at[i] = i ? expr_mod(ctx, flat, inner[i]) : flat;
        flat = expr_fdiv(ctx, flat, inner[i]);
        if (dim[i] != inner[i])
            when = eq_inside(d, when, put->at[i], dim[i]);
    }
    put->value = buf_load(ctx, x, v);
    put->when = when;
    define_emit(d, put);
    return true;
}
