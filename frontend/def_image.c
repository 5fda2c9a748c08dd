/* def_image.c — ops on pictures: sampling at computed places, crops, columns back to pictures.
 *
 *   GridSample(x f32[N, C, H, W], grid f32[N, P, Q, 2])
 *     →  at[n, p, q, a] = place in pixels, border handled
 *        y[n, c, p, q] = sum over the corners around at[n, p, q, …] of weight * x[n, c, corner] */
#include "frontend/index.h"

#include <string.h>

static const Expr *flt(Definer *d, Type t, double v) {
    return expr_flt(d->ctx, t, v);
}

/* ---- GridSample ------------------------------------------------------------------------------ */

typedef struct Sample {
    Definer *d;
    Buf *x, *at;                 /* input; places [N, …, axes] */
    int axes;                    /* spatial axes */
    char mode, pad;              /* 'l' 'n' 'c'; 'z' 'b' 'r' */
    bool corners;                /* align_corners */
    Type t;                      /* computed in */
    const Expr *index[RANK_MAX]; /* into x while the corners are chosen */
    const Expr *coord[RANK_MAX];
    const Expr *in; /* zeros: the corner lies inside */
} Sample;

/* x folded back into [lo, hi]. */
static const Expr *reflect(Definer *d, const Expr *x, const Expr *lo, const Expr *hi) {
    Ctx *ctx = d->ctx;
    const Expr *below = expr_lt(ctx, x, lo), *range = expr_sub(ctx, hi, lo);
    const Expr *over = expr_select(ctx, below, expr_sub(ctx, lo, x), expr_sub(ctx, x, hi));
    const Expr *n = expr_1(ctx, OP_TRUNC, expr_2(ctx, OP_DIV, over, range));
    const Expr *r = expr_sub(ctx, over, expr_mul(ctx, n, range));
    const Expr *half = expr_1(ctx, OP_FLOOR, expr_mul(ctx, n, flt(d, x->type, 0.5)));
    const Expr *even = expr_eq(ctx, n, expr_add(ctx, half, half));
    const Expr *from_lo = expr_eq(ctx, even, below);
    const Expr *back = expr_select(ctx, from_lo, expr_add(ctx, lo, r), expr_sub(ctx, hi, r));
    const Expr *inside = expr_and(ctx, expr_le(ctx, lo, x), expr_le(ctx, x, hi));
    return expr_select(ctx, inside, x, back);
}

/* The borders of an axis of extent n (a float): centres of the outer pixels, or their outer edges. */
static void borders(const Sample *s, const Expr *n, const Expr **lo, const Expr **hi) {
    double off = s->corners ? 0 : -0.5;
    *lo = flt(s->d, s->t, off);
    *hi = expr_sub(s->d->ctx, n, flt(s->d, s->t, s->corners ? 1 : 0.5));
}

/* at[n, …, a]: the place along spatial axis a in pixels. */
static void sample_places(Sample *s, Buf *grid) {
    Definer *d = s->d;
    Ctx *ctx = d->ctx;
    const Expr *index[RANK_MAX], *lo, *hi, *one = flt(d, s->t, 1), *half = flt(d, s->t, 0.5);
    Def *def = define_temp(d, "places", type_dtype(s->t), grid->rank, grid->dim);
    index_vars(d, def, index);
    const Expr *a = index[grid->rank - 1], *n = s->x->dim[2];
    for (int i = 1; i < s->axes; i++)
        n = expr_select(ctx, expr_eq(ctx, a, expr_i(ctx, i)), s->x->dim[2 + i], n);
    index[grid->rank - 1] = expr_sub(ctx, expr_i(ctx, s->axes - 1), a);
    const Expr *g = expr_cast(ctx, type_dtype(s->t), buf_load(ctx, grid, index));
    n = expr_cast(ctx, type_dtype(s->t), n);
    borders(s, n, &lo, &hi);
    g = expr_add(ctx, g, one);
    if (s->corners)
        g = expr_mul(ctx, expr_mul(ctx, g, half), expr_sub(ctx, n, one));
    else
        g = expr_mul(ctx, expr_sub(ctx, expr_mul(ctx, g, n), one), half);
    if (s->mode == 'n')
        g = expr_1(ctx, OP_RINT, g);
    if (s->pad == 'b') {
        const Expr *zero = flt(d, s->t, 0), *last = expr_sub(ctx, n, one);
        g = expr_max(ctx, zero, expr_min(ctx, g, last));
    }
    def->value = s->pad == 'r' ? reflect(d, g, lo, hi) : g;
    define_emit(d, def);
    s->at = def->buf;
}

/* Weight j of the corners around a place that lies `f` past corner 0. */
static const Expr *weight(const Sample *s, int j, const Expr *f) {
    Ctx *ctx = s->d->ctx;
    Type t = s->t;
    if (s->mode == 'l')
        return j ? f : expr_sub(ctx, flt(s->d, t, 1), f);
    static const double OFFSET[4] = {1, 0, 1, 2}; /* distance of corner j - 1: f+1, f, 1-f, 2-f */
    const Expr *x = expr_add(ctx, j < 2 ? f : expr_1(ctx, OP_NEG, f), flt(s->d, t, OFFSET[j]));
    const Expr *p;
    if (j == 1 || j == 2) { /* ((A+2)x - (A+3))xx + 1, A = -0.75 */
        p = expr_sub(ctx, expr_mul(ctx, flt(s->d, t, 1.25), x), flt(s->d, t, 2.25));
        return expr_add(ctx, expr_mul(ctx, expr_mul(ctx, p, x), x), flt(s->d, t, 1));
    }
    p = expr_add(ctx, expr_mul(ctx, flt(s->d, t, -0.75), x), flt(s->d, t, 3.75));
    p = expr_sub(ctx, expr_mul(ctx, p, x), flt(s->d, t, 6));
    return expr_add(ctx, expr_mul(ctx, p, x), flt(s->d, t, 3));
}

/* The pixel index for corner place p (a whole number); narrows s->in when padding with zeros. */
static const Expr *corner(Sample *s, const Expr *p, const Expr *n) {
    Ctx *ctx = s->d->ctx;
    const Expr *zero = expr_i(ctx, 0), *lo, *hi, *i = expr_cast(ctx, T_I64, p);
    if (s->pad == 'z') {
        const Expr *ok = expr_and(ctx, expr_le(ctx, zero, i), expr_lt(ctx, i, n));
        s->in = expr_and(ctx, s->in, ok);
        return i;
    }
    if (s->pad == 'r') {
        borders(s, expr_cast(ctx, type_dtype(s->t), n), &lo, &hi);
        i = expr_cast(ctx, T_I64, reflect(s->d, p, lo, hi));
    }
    return index_clamp(s->d, i, zero, expr_sub(ctx, n, expr_i(ctx, 1)));
}

/* The sum over the corners of spatial axes [a, axes), those before chosen in s->index. */
static const Expr *interpolate(Sample *s, int a) {
    Ctx *ctx = s->d->ctx;
    Type t = s->t;
    if (a == s->axes) {
        const Expr *e = expr_cast(ctx, type_dtype(t), buf_load(ctx, s->x, s->index));
        return s->in ? expr_select(ctx, s->in, e, flt(s->d, t, 0)) : e;
    }
    const Expr *n = s->x->dim[2 + a], *in = s->in, *sum = NULL;
    if (s->mode == 'n') {
        s->index[2 + a] = corner(s, s->coord[a], n);
        sum = interpolate(s, a + 1);
        s->in = in;
        return sum;
    }
    const Expr *base = expr_1(ctx, OP_FLOOR, s->coord[a]), *f = expr_sub(ctx, s->coord[a], base);
    int count = s->mode == 'l' ? 2 : 4, first = s->mode == 'l' ? 0 : -1;
    for (int j = 0; j < count; j++) {
        s->index[2 + a] = corner(s, expr_add(ctx, base, flt(s->d, t, first + j)), n);
        const Expr *part = expr_mul(ctx, weight(s, j, f), interpolate(s, a + 1));
        sum = sum ? expr_add(ctx, sum, part) : part;
        s->in = in;
    }
    return sum;
}

bool def_grid_sample(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *grid = define_in(d, 1);
    const Expr *dim[RANK_MAX], *at[RANK_MAX];
    Str mode = node_str(ctx, d->node, "mode", "linear");
    Str pad = node_str(ctx, d->node, "padding_mode", "zeros");
    Sample s = {.d = d, .x = x, .axes = x->rank - 2, .pad = pad[0]};
    s.mode = strstr(mode, "linear") ? 'l' : strstr(mode, "cubic") ? 'c' : 'n';
    s.corners = node_int(d->node, "align_corners", 0) != 0;
    s.t = define_type(d, 0) == T_F64 ? T_F64 : T_F32;
    if (x->rank < 3 || grid->rank != x->rank || !type_is_float(define_type(d, 1)))
        return define_error(d, EXIT_MALFORMED, "grid and input do not fit");
    if (!type_is_float(define_type(d, 0)))
        return define_error(d, EXIT_UNSUPPORTED, "sampling of this type");
    if (!define_same(d, x->dim[0], grid->dim[0], "batch") ||
        !define_same(d, grid->dim[grid->rank - 1], expr_i(ctx, s.axes), "coordinates"))
        return false;
    sample_places(&s, grid);
    for (int a = 0; a < x->rank; a++)
        dim[a] = a < 2 ? x->dim[a] : grid->dim[a - 1];
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, dim);
    s.index[0] = at[0] = def_var(ctx, def, 0);
    s.index[1] = def_var(ctx, def, 1);
    for (int a = 0; a < s.axes; a++)
        at[1 + a] = def_var(ctx, def, 2 + a);
    for (int a = 0; a < s.axes; a++) {
        at[1 + s.axes] = expr_i(ctx, a);
        s.coord[a] = buf_load(ctx, s.at, at);
    }
    def->value = expr_cast(ctx, define_type(d, 0), interpolate(&s, 0));
    define_emit(d, def);
    return true;
}

/* ---- AffineGrid ------------------------------------------------------------------------------ */

/* The coordinate of position i of n in [-1, 1]. */
static const Expr *grid_place(Definer *d, const Expr *i, const Expr *n, bool corners) {
    Ctx *ctx = d->ctx;
    const Expr *one = flt(d, T_F64, 1), *two = flt(d, T_F64, 2);
    const Expr *x = expr_cast(ctx, T_F64, i), *m = expr_cast(ctx, T_F64, n);
    if (corners)
        m = expr_max(ctx, expr_sub(ctx, m, one), one);
    const Expr *step = expr_2(ctx, OP_DIV, two, m);
    const Expr *first = corners ? flt(d, T_F64, 0) : expr_2(ctx, OP_DIV, one, m);
    return expr_sub(ctx, expr_add(ctx, expr_mul(ctx, x, step), first), one);
}

bool def_affine_grid(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *theta = define_in(d, 0), *size = define_in(d, 1);
    bool corners = node_int(d->node, "align_corners", 0) != 0;
    const Expr *dim[RANK_MAX], *sum = NULL;
    int k = (int)define_length(d, size) - 2;
    if ((k != 2 && k != 3) || theta->rank != 3 || !type_is_float(define_type(d, 0)))
        return define_error(d, EXIT_MALFORMED, "theta and size do not fit");
    if (!define_same(d, theta->dim[1], expr_i(ctx, k), "theta") ||
        !define_same(d, theta->dim[2], expr_i(ctx, k + 1), "theta"))
        return false;
    dim[0] = theta->dim[0];
    dim[k + 1] = expr_i(ctx, k);
    for (int a = 0; a < k; a++) {
        dim[1 + a] = define_extent(d, "size", define_known(d, size, 2 + a), 0, INDEX_LIMIT);
        if (!dim[1 + a])
            return false;
    }
    Def *def = define_out(d, 0, define_type(d, 0), k + 2, dim);
    for (int i = 0; i <= k; i++) {
        const Expr *at[3] = {def_var(ctx, def, 0), def_var(ctx, def, k + 1), expr_i(ctx, i)};
        const Expr *e = expr_cast(ctx, T_F64, buf_load(ctx, theta, at));
        if (i < k)
            e = expr_mul(ctx, e, grid_place(d, def_var(ctx, def, k - i), dim[k - i], corners));
        sum = sum ? expr_add(ctx, sum, e) : e;
    }
    def->value = expr_cast(ctx, define_type(d, 0), sum);
    define_emit(d, def);
    return true;
}

/* ---- CenterCropPad, Col2Im ------------------------------------------------------------------- */

bool def_center_crop_pad(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *shape = define_in(d, 1);
    int n;
    const int64_t *axes = node_ints(d->node, "axes", &n);
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *in = NULL, *two = expr_i(ctx, 2);
    n = axes ? n : x->rank;
    if (define_length(d, shape) != n || n > x->rank)
        return define_error(d, EXIT_MALFORMED, "shape must have one entry an axis");
    memcpy(dim, x->dim, sizeof *dim * (size_t)x->rank);
    for (int j = 0; j < n; j++) {
        int a = axes ? define_axis(d, axes[j], x->rank) : j;
        const Expr *e = a < 0 ? NULL : define_known(d, shape, j);
        if (!e || !(dim[a] = define_extent(d, "shape", e, 0, INDEX_LIMIT)))
            return false;
    }
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, dim);
    index_vars(d, def, index);
    for (int a = 0; a < x->rank; a++) {
        if (dim[a] == x->dim[a])
            continue;
        const Expr *crop = expr_fdiv(ctx, expr_sub(ctx, x->dim[a], dim[a]), two);
        const Expr *pad = expr_fdiv(ctx, expr_sub(ctx, dim[a], x->dim[a]), two);
        const Expr *larger = expr_lt(ctx, x->dim[a], dim[a]), *zero = expr_i(ctx, 0);
        const Expr *off = expr_select(ctx, larger, expr_sub(ctx, zero, pad), crop);
        index[a] = expr_add(ctx, index[a], off);
        in = expr_and(ctx, in, expr_le(ctx, zero, index[a]));
        in = expr_and(ctx, in, expr_lt(ctx, index[a], x->dim[a]));
    }
    const Expr *e = buf_load(ctx, x, index);
    def->value = in ? expr_select(ctx, in, e, expr_const(ctx, define_type(d, 0), 0)) : e;
    define_emit(d, def);
    return true;
}

/* Entry i of an attribute list, or `otherwise`. */
static int64_t list_at(Definer *d, const char *name, int i, int64_t otherwise) {
    int n;
    const int64_t *v = node_ints(d->node, name, &n);
    return i < n ? v[i] : otherwise;
}

bool def_col2im(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *image = define_in(d, 1), *block = define_in(d, 2);
    const Expr *dim[RANK_MAX], *size[RANK_MAX], *one = expr_i(ctx, 1), *zero = expr_i(ctx, 0);
    const Expr *area = one, *row = zero, *col = zero;
    int64_t k = define_length(d, image);
    if (x->rank != 3 || k < 1 || define_length(d, block) != k || !define_rank(d, k + 2))
        return define_error(d, EXIT_MALFORMED, "image_shape and block_shape do not fit");
    for (int a = 0; a < (int)k; a++) {
        dim[2 + a] = define_extent(d, "image", define_known(d, image, a), 0, INDEX_LIMIT);
        size[a] = define_extent(d, "block", define_known(d, block, a), 1, INDEX_LIMIT);
        if (!dim[2 + a] || !size[a])
            return false;
        area = expr_mul(ctx, area, size[a]);
    }
    dim[0] = x->dim[0];
    dim[1] = define_extent(d, "channels", expr_fdiv(ctx, x->dim[1], area), 0, INDEX_LIMIT);
    if (!dim[1] || !define_same(d, expr_mul(ctx, dim[1], area), x->dim[1], "channels"))
        return false;
    Def *def = define_out(d, 0, define_type(d, 0), (int)k + 2, dim);
    for (int a = 0; a < (int)k; a++) {
        int64_t dil = list_at(d, "dilations", a, 1), step = list_at(d, "strides", a, 1);
        int64_t pad = list_at(d, "pads", a, 0), end = list_at(d, "pads", a + (int)k, 0);
        if (dil < 1 || step < 1 || pad < 0 || end < 0 || dil + step + pad + end > INT32_MAX)
            return define_error(d, EXIT_MALFORMED, "dilations, strides or pads are out of range");
        const Expr *r = def_axis(ctx, def, str_f(ctx, "k%d", a), AXIS_RED, size[a]);
        const Expr *p = expr_add(ctx, def_var(ctx, def, 2 + a), expr_i(ctx, pad));
        p = expr_sub(ctx, p, expr_mul(ctx, r, expr_i(ctx, dil)));
        const Expr *reach = expr_mul(ctx, expr_sub(ctx, size[a], one), expr_i(ctx, dil));
        const Expr *room = expr_sub(ctx, expr_add(ctx, dim[2 + a], expr_i(ctx, pad + end)), reach);
        const Expr *s = expr_i(ctx, step);
        const Expr *n = expr_add(ctx, expr_fdiv(ctx, expr_sub(ctx, room, one), s), one);
        const Expr *q = expr_fdiv(ctx, p, s);
        def->when = expr_and(ctx, def->when, expr_eq(ctx, expr_mod(ctx, p, s), zero));
        def->when = expr_and(ctx, def->when, expr_le(ctx, zero, q));
        def->when = expr_and(ctx, def->when, expr_lt(ctx, q, n));
        row = expr_add(ctx, expr_mul(ctx, row, size[a]), r);
        col = expr_add(ctx, expr_mul(ctx, col, n), q);
    }
    def->when = expr_and(ctx, def->when, expr_lt(ctx, col, x->dim[2]));
    row = expr_add(ctx, expr_mul(ctx, def_var(ctx, def, 1), area), row);
    const Expr *index[3] = {def_var(ctx, def, 0), row, col};
    def->combine = OP_ADD;
    return view_emit(d, def, x, index);
}
