/* def_resize.c — Resize: a coordinate of the input for each position of the output, one axis after another.
 *
 *   nearest: y[n,c,p,q] = x[n,c,p//2,q//2], or x[…, clamp(at[p]), …] with a table at
 *   linear, cubic: for each resized axis  base[p], weight[p,j] (j < taps) from the coordinate, then
 *            y[…,p,…] = add(j < taps) x[…, clamp(base[p] + j), …] * weight[p,j]
 * Coordinates and weights are computed in f64; scales and sizes may be known only at run time. */
#include "frontend/equation.h"
#include "frontend/index.h"

#include <string.h>

/* One resized axis; Exprs of type f64 but for in, out and taps. */
typedef struct Line {
    int axis;
    const Expr *in, *out;      /* extents */
    const Expr *scale, *width; /* scale * in: the output's extent before rounding */
    const Expr *n, *r0, *r1;   /* the input's extent; region of interest */
    const Expr *taps;
} Line;

typedef struct Resize {
    Buf *x;
    int n;
    Line line[RANK_MAX];
    const Expr *dim[RANK_MAX]; /* of the output */
    bool crop, antialias;
} Resize;

static const struct {
    const char *mode, *text;
} COORDINATES[] = {
    {"half_pixel", "(y + 0.5) / s - 0.5"},
    {"half_pixel_symmetric", "n / 2 * (1 - o / w) + (y + 0.5) / s - 0.5"},
    {"pytorch_half_pixel", "select(w == 1, -0.5, (y + 0.5) / s - 0.5)"},
    {"align_corners", "select(w == 1, 0, y * (n - 1) / (w - 1))"},
    {"asymmetric", "y / s"},
    {"tf_crop_and_resize",
     "select(w == 1, (r1 - r0) * (n - 1) / 2, y * (r1 - r0) * (n - 1) / (w - 1)) + r0 * (n - 1)"},
};

/* The input to take; round_prefer_floor is the default. */
static const struct {
    const char *mode, *text;
} NEAREST[] = {
    {"round_prefer_floor", "i64(ceil(x - 0.5))"},
    {"round_prefer_ceil", "i64(floor(x + 0.5))"},
    {"floor", "i64(floor(x))"},
    {"ceil", "i64(ceil(x))"},
};

static const Expr *real(Definer *d, const Expr *e) {
    return expr_cast(d->ctx, T_F64, e);
}

/* The coordinate of output position p along the axis; NULL after an error. */
static const Expr *coordinate(Definer *d, const Line *l, const Expr *p) {
    for (size_t i = 0; i < sizeof COORDINATES / sizeof *COORDINATES; i++)
        if (eq_word(d, "coordinate_transformation_mode", "half_pixel", COORDINATES[i].mode))
            return eq_text(d, T_F64, COORDINATES[i].text, "y", real(d, p), "s", l->scale, "n", l->n,
                           "w", l->width, "o", real(d, l->out), "r0", l->r0, "r1", l->r1, NULL);
    define_error(d, EXIT_MALFORMED, "coordinate_transformation_mode has an unknown value");
    return NULL;
}

/* ---- extents and scales --------------------------------------------------------------------------- */

/* k when the size is k times the extent, for small k; else 0. */
static int multiple_of(Definer *d, const Expr *size, const Expr *in) {
    for (int k = 1; k <= 16; k++)
        if (expr_mul(d->ctx, in, expr_i(d->ctx, k)) == size)
            return k;
    return 0;
}

static bool line_scale(Definer *d, Line *l, Buf *scales, int64_t i) {
    const Expr *s = index_known(d, scales, i);
    if (!s)
        return false;
    l->scale = real(d, s);
    if (expr_is_const(l->scale) && !(l->scale->u.f > 0))
        return define_error(d, EXIT_MALFORMED, "a scale is %g; it has to be positive",
                            l->scale->u.f);
    int64_t whole;
    const Expr *k = expr_cast(d->ctx, T_I64, l->scale);
    if (expr_is_int(k, &whole) && expr_is(l->scale, whole))
        l->out = expr_mul(d->ctx, l->in, k);
    else
        l->out = expr_cast(d->ctx, T_I64, expr_mul(d->ctx, l->scale, l->n));
    return true;
}

static bool line_size(Definer *d, Line *l, Buf *sizes, int64_t i) {
    l->out = define_known(d, sizes, i);
    if (!l->out)
        return false;
    int k = multiple_of(d, l->out, l->in);
    l->scale = k ? eq_const(d, T_F64, k) : expr_2(d->ctx, OP_DIV, real(d, l->out), l->n);
    return true;
}

/* One scale for all axes: the smallest or largest. */
static bool keep_ratio(Definer *d, Resize *r) {
    bool larger = eq_word(d, "keep_aspect_ratio_policy", "stretch", "not_smaller");
    if (!larger && !eq_word(d, "keep_aspect_ratio_policy", "stretch", "not_larger"))
        return define_error(d, EXIT_MALFORMED, "keep_aspect_ratio_policy has an unknown value");
    const Expr *s = NULL;
    for (int i = 0; i < r->n; i++)
        s = !s ? r->line[i].scale : expr_2(d->ctx, larger ? OP_MAX : OP_MIN, s, r->line[i].scale);
    for (int i = 0; i < r->n; i++) {
        Line *l = &r->line[i];
        l->scale = s;
        l->out = eq_text(d, T_F64, "i64(s * n + 0.5)", "s", s, "n", l->n, NULL);
    }
    return true;
}

static bool is_empty(const Buf *b) {
    int64_t n;
    return buf_static(b, &n) && n == 0;
}

static bool has_length(Definer *d, Buf *b, int n, const char *what) {
    if (b->rank != 1)
        return define_error(d, EXIT_MALFORMED, "%s is not a list", what);
    return define_same(d, b->dim[0], expr_i(d->ctx, n), what);
}

static bool line_crop(Definer *d, Resize *r, int i) {
    Buf *roi = define_in(d, 1);
    Line *l = &r->line[i];
    l->r0 = eq_const(d, T_F64, 0);
    l->r1 = eq_const(d, T_F64, 1);
    if (!r->crop)
        return true;
    if (!roi)
        return define_error(d, EXIT_MALFORMED, "roi is missing");
    if (!has_length(d, roi, 2 * r->n, "roi"))
        return false;
    const Expr *a = index_known(d, roi, i), *b = index_known(d, roi, i + r->n);
    if (!a || !b)
        return false;
    l->r0 = real(d, a);
    l->r1 = real(d, b);
    return true;
}

static bool resize_axes(Definer *d, Resize *r) {
    int count;
    const int64_t *axes = node_ints(d->node, "axes", &count);
    r->n = axes ? count : r->x->rank;
    if (r->n > r->x->rank)
        return define_error(d, EXIT_MALFORMED, "more axes than the input has");
    for (int i = 0; i < r->n; i++) {
        r->line[i].axis = axes ? define_axis(d, axes[i], r->x->rank) : i;
        if (r->line[i].axis < 0)
            return false;
    }
    return true;
}

static bool resize_begin(Definer *d, Resize *r) {
    *r = (Resize){.x = define_in(d, 0), .antialias = node_int(d->node, "antialias", 0) != 0};
    r->crop = eq_word(d, "coordinate_transformation_mode", "half_pixel", "tf_crop_and_resize");
    Buf *scales = define_in(d, 2), *sizes = define_in(d, 3);
    Buf *list = sizes && !is_empty(sizes) ? sizes : scales;
    if (!list)
        return define_error(d, EXIT_MALFORMED, "neither scales nor sizes are given");
    if (!resize_axes(d, r) || !has_length(d, list, r->n, list == sizes ? "sizes" : "scales"))
        return false;
    for (int i = 0; i < r->n; i++) {
        Line *l = &r->line[i];
        l->in = r->x->dim[l->axis];
        l->n = real(d, l->in);
        if (!line_crop(d, r, i) ||
            !(list == sizes ? line_size(d, l, list, i) : line_scale(d, l, list, i)))
            return false;
    }
    if (list == sizes && !eq_word(d, "keep_aspect_ratio_policy", "stretch", "stretch") &&
        !keep_ratio(d, r))
        return false;
    memcpy(r->dim, r->x->dim, (size_t)r->x->rank * sizeof *r->dim);
    for (int i = 0; i < r->n; i++) {
        Line *l = &r->line[i];
        l->out = define_extent(d, "resized", l->out, 0, INT64_MAX);
        if (!l->out)
            return false;
        l->width = expr_mul(d->ctx, l->scale, l->n);
        r->dim[l->axis] = l->out;
    }
    return true;
}

/* Does the axis stay as it is? */
static bool line_same(const Resize *r, const Line *l) {
    return l->in == l->out && expr_is(l->scale, 1) && !r->crop;
}

static const Expr *clamp_index(Definer *d, const Expr *i, const Expr *n) {
    return eq_text(d, T_I64, "max(min(i, n - 1), 0)", "i", i, "n", n, NULL);
}

/* Where the crop reaches outside the input; NULL: nowhere. */
static const Expr *outside(Definer *d, const Line *l, const Expr *x) {
    return eq_text(d, T_F64, "x < 0 || n - 1 < x", "x", x, "n", l->n, NULL);
}

/* ---- nearest ---------------------------------------------------------------------------------------- */

static const Expr *nearest_index(Definer *d, const Line *l, const Expr *p) {
    const Expr *x = coordinate(d, l, p);
    for (size_t i = 0; x && i < sizeof NEAREST / sizeof *NEAREST; i++)
        if (eq_word(d, "nearest_mode", "round_prefer_floor", NEAREST[i].mode))
            return eq_text(d, T_F64, NEAREST[i].text, "x", x, NULL);
    if (x)
        define_error(d, EXIT_MALFORMED, "nearest_mode has an unknown value");
    return NULL;
}

/* The index as an integer expression where scale is k or 1/k and the coordinate shifts by one every k (or by
 * k every) positions, so that comparing a few positions proves it. */
static const Expr *nearest_integer(Definer *d, const Line *l, const Expr *p) {
    static const char *const periodic[] = {"half_pixel", "asymmetric", "pytorch_half_pixel"};
    Ctx *ctx = d->ctx;
    bool known = false;
    for (int i = 0; i < 3; i++)
        known |= eq_word(d, "coordinate_transformation_mode", "half_pixel", periodic[i]);
    if (!known || !expr_is_const(l->scale) || expr_is(l->out, 1))
        return NULL;
    if (!expr_proves(ctx, expr_lt(ctx, expr_i(ctx, 1), l->out)))
        return NULL;
    double s = l->scale->u.f;
    int64_t up = s >= 1 && s <= 64 ? (int64_t)s : 1,
            down = s < 1 && s > 0.01 ? (int64_t)(1 / s) : 1;
    if (s != (double)up && s * (double)down != 1)
        return NULL;
    const Expr *first = nearest_index(d, l, expr_i(ctx, 0));
    for (int64_t i = 0; i < 4 * up + 4; i++) {
        const Expr *at = nearest_index(d, l, expr_i(ctx, i));
        int64_t is, start;
        if (!at || !expr_is_int(at, &is) || !expr_is_int(first, &start))
            return NULL;
        start = up > 1 || start < 0 ? 0 : start;
        if ((is < 0 ? 0 : is) != i / up * down + start)
            return NULL;
    }
    int64_t start;
    expr_is_int(first, &start);
    return eq_text(d, T_I64, "p // up * down + start", "p", p, "up", expr_i(ctx, up), "down",
                   expr_i(ctx, down), "start", expr_i(ctx, up > 1 || start < 0 ? 0 : start), NULL);
}

/* A table of the indices along the axis. */
static const Expr *nearest_table(Definer *d, const Line *l, const Expr *p) {
    Def *def = define_temp(d, "at", T_I64, 1, &l->out);
    const Expr *e = nearest_index(d, l, def_var(d->ctx, def, 0));
    if (!e)
        return NULL;
    eq_emit(d, def, e);
    return buf_load(d->ctx, def->buf, &p);
}

static bool resize_nearest(Definer *d, Resize *r) {
    Ctx *ctx = d->ctx;
    const Expr *v[RANK_MAX], *at[RANK_MAX], *out = NULL;
    Dtype t = type_dtype(r->x->type);
    Def *y = define_out(d, 0, t, r->x->rank, r->dim);
    eq_vars(d, y, v);
    eq_vars(d, y, at);
    for (int i = 0; i < r->n; i++) {
        const Line *l = &r->line[i];
        const Expr *p = v[l->axis], *e = line_same(r, l) ? p : nearest_integer(d, l, p);
        if (!e)
            e = nearest_table(d, l, p);
        if (!e)
            return false;
        at[l->axis] = line_same(r, l) ? e : clamp_index(d, e, l->in);
        if (r->crop) {
            const Expr *o = outside(d, l, coordinate(d, l, p));
            out = out ? expr_or(ctx, out, o) : o;
        }
    }
    const Expr *e = buf_load(ctx, r->x, at);
    if (out)
        e = expr_select(ctx, out, eq_attr(d, t, "extrapolation_value", 0), e);
    eq_emit(d, y, e);
    return true;
}

/* ---- linear and cubic --------------------------------------------------------------------------------- */

#define LINEAR "max(1 - u, 0)"
#define CUBIC                                                                                      \
    "select(u <= 1, ((a + 2) * u - (a + 3)) * u * u + 1,"                                          \
    " select(u < 2, ((a * u - 5 * a) * u + 8 * a) * u - 4 * a, 0))"

/* The tables of one axis: coordinates, first tap, weights. */
typedef struct Taps {
    Buf *x, *base, *weight;
} Taps;

static bool taps_count(Definer *d, const Resize *r, Line *l, bool cubic) {
    Ctx *ctx = d->ctx;
    l->taps = expr_i(ctx, cubic ? 4 : 2);
    if (r->antialias) /* the kernel widens as the scale shrinks */
        l->taps = eq_text(d, T_F64, "i64(2 - 2 * (floor(h / min(s, 1)) + 1))", "h",
                          eq_const(d, T_F64, cubic ? -2 : -1), "s", l->scale, NULL);
    l->taps = define_extent(d, "taps", l->taps, 0, INT64_MAX);
    return l->taps != NULL;
}

/* weight[p,j]: the kernel at the distance of tap j, 0 for a tap outside with exclude_outside. */
static Def *raw_weights(Definer *d, const Resize *r, const Line *l, const Taps *t, bool cubic,
                        Dtype type) {
    Ctx *ctx = d->ctx;
    const Expr *dim[2] = {l->out, l->taps};
    Def *w = define_temp(d, "weight", type, 2, dim);
    eq_names(d, w, "p j");
    const Expr *p = def_var(ctx, w, 0), *j = def_var(ctx, w, 1), *x = buf_load(ctx, t->x, &p);
    const Expr *base = buf_load(ctx, t->base, &p), *one = eq_const(d, T_F64, 1);
    const Expr *squeeze = r->antialias ? expr_min(ctx, l->scale, one) : one;
    const Expr *u =
        eq_text(d, T_F64, "abs(f64(b + j) - x) * s", "b", base, "j", j, "x", x, "s", squeeze, NULL);
    const Expr *e = eq_text(d, T_F64, cubic ? CUBIC : LINEAR, "u", u, "a",
                            eq_attr(d, T_F64, "cubic_coeff_a", -0.75), NULL);
    if (node_int(d->node, "exclude_outside", 0))
        e = eq_text(d, T_F64, "select(0 <= i && i < n, e, 0)", "i", expr_add(ctx, base, j), "n",
                    l->in, "e", e, NULL);
    eq_emit(d, w, e);
    return w;
}

static bool make_taps(Definer *d, const Resize *r, Line *l, bool cubic, Dtype wide, Taps *t) {
    Ctx *ctx = d->ctx;
    if (!taps_count(d, r, l, cubic))
        return false;
    Def *x = define_temp(d, "x", T_F64, 1, &l->out);
    const Expr *e = coordinate(d, l, def_var(ctx, x, 0)), *p;
    if (!e)
        return false;
    eq_emit(d, x, e);
    t->x = x->buf;
    Def *base = define_temp(d, "base", T_I64, 1, &l->out);
    p = def_var(ctx, base, 0);
    eq_emit(d, base,
            eq_text(d, T_F64, "i64(ceil(x)) - taps // 2", "x", buf_load(ctx, t->x, &p), "taps",
                    l->taps, NULL));
    t->base = base->buf;
    bool divide = r->antialias || node_int(d->node, "exclude_outside", 0);
    Def *raw = raw_weights(d, r, l, t, cubic, divide ? T_F64 : wide);
    t->weight = raw->buf;
    if (!divide)
        return true;
    Def *sum = define_temp(d, "sum", T_F64, 1, &l->out);
    const Expr *at[2] = {def_var(ctx, sum, 0), eq_red(d, sum, "j", l->taps)};
    eq_combine(d, sum, OP_ADD, buf_load(ctx, raw->buf, at), NULL, false);
    define_emit(d, sum);
    Def *w = define_temp(d, "weight", wide, 2, raw->buf->dim);
    eq_vars(d, w, at);
    eq_emit(d, w,
            eq_text(d, T_F64, "select(s == 0, w, w / s)", "w", buf_load(ctx, raw->buf, at), "s",
                    buf_load(ctx, sum->buf, at), NULL));
    t->weight = w->buf;
    return true;
}

/* One axis of src resized; NULL after an error. */
static Buf *resize_axis(Definer *d, const Resize *r, Line *l, Buf *src, bool cubic, Dtype wide,
                        bool out) {
    Ctx *ctx = d->ctx;
    const Expr *dim[RANK_MAX], *at[RANK_MAX];
    Taps t;
    if (!make_taps(d, r, l, cubic, wide, &t))
        return NULL;
    memcpy(dim, src->dim, (size_t)src->rank * sizeof *dim);
    dim[l->axis] = l->out;
    Def *def = eq_def(d, out && !r->crop ? 0 : -1, "resized", wide, src->rank, dim);
    eq_vars(d, def, at);
    const Expr *p = at[l->axis], *j = eq_red(d, def, "j", l->taps), *wi[2] = {p, j};
    at[l->axis] = clamp_index(d, expr_add(ctx, buf_load(ctx, t.base, &p), j), l->in);
    eq_combine(d, def, OP_ADD,
               expr_mul(ctx, eq_load(d, wide, src, at), buf_load(ctx, t.weight, wi)), NULL, false);
    define_emit(d, def);
    if (!r->crop)
        return def->buf;
    Def *cut = eq_def(d, out ? 0 : -1, "cropped", wide, src->rank, dim);
    eq_vars(d, cut, at);
    const Expr *away = outside(d, l, buf_load(ctx, t.x, &at[l->axis]));
    eq_emit(d, cut,
            expr_select(ctx, away, eq_attr(d, wide, "extrapolation_value", 0),
                        buf_load(ctx, def->buf, at)));
    return cut->buf;
}

static bool resize_smooth(Definer *d, Resize *r, bool cubic) {
    Dtype t = type_dtype(r->x->type), wide = eq_wide(t);
    if (!type_is_float(t))
        wide = type_bytes(t) <= 2 ? T_F32 : T_F64;
    Buf *src = r->x;
    int last = -1;
    for (int i = 0; i < r->n; i++)
        last = line_same(r, &r->line[i]) ? last : i;
    for (int i = 0; i <= last; i++)
        if (!line_same(r, &r->line[i])) {
            src = resize_axis(d, r, &r->line[i], src, cubic, wide, i == last && wide == t);
            if (!src)
                return false;
        }
    if (last < 0)
        define_set(d, 0, r->x);
    if (last < 0 || wide == t)
        return true;
    const Expr *v[RANK_MAX];
    Def *y = define_out(d, 0, t, src->rank, src->dim);
    eq_vars(d, y, v);
    const Expr *e = buf_load(d->ctx, src, v);
    eq_emit(d, y, type_is_float(t) ? e : expr_1(d->ctx, OP_RINT, e));
    return true;
}

bool def_resize(Definer *d) {
    Resize r;
    if (!resize_begin(d, &r))
        return false;
    if (eq_word(d, "mode", "nearest", "nearest"))
        return resize_nearest(d, &r);
    bool cubic = eq_word(d, "mode", "nearest", "cubic");
    if (!cubic && !eq_word(d, "mode", "nearest", "linear"))
        return define_error(d, EXIT_MALFORMED, "mode has an unknown value");
    if (type_kind(type_dtype(r.x->type)) == 'B')
        return define_error(d, EXIT_UNSUPPORTED, "a resize of booleans that interpolates");
    return resize_smooth(d, &r, cubic);
}
