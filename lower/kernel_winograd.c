/* Winograd's minimal filtering for 3x3 windows of stride 1: F(m x m, 3x3) computes an m x m tile of outputs
 * from an (m+2) x (m+2) tile of inputs d as A' [(G w G') * (B' d B)] A, with (m+2)^2 products a channel instead
 * of 9 m^2. The product over channels becomes a plain contraction, one for each place of the tile; the weights
 * are transformed now. Where it pays, or as --rule=winograd2 or winograd4 says. Class approx (F(2x2) is exact
 * on integers with weights that are multiples of 4). Precondition: graph_rewrite.
 *
 *   before  y[n,m,p,q] = add(c, r<3, s<3 | 0 <= p+r-1 < H && …) x[n,c,p+r-1,q+s-1]*w[m,c,r,s]
 *   after   y.in[e,t,c] = B' x B, zeros around x ; y.mul[e,t,m] = add(c) y.in[e,t,c]*u[e,c,m]
 *           y[n,m,p,q] = A' y.mul A,  e = place in the tile, t = tile */
#include "lower/uses.h"

#include <math.h>
#include <string.h>

enum { OUT_MAX = 4, IN_MAX = OUT_MAX + 2 };

/* One algorithm: outputs and inputs along one side of a tile, and its three matrices. */
typedef struct Filter {
    RuleAsked rule;
    int out, in;
    double bt[IN_MAX][IN_MAX], g[IN_MAX][3], at[OUT_MAX][IN_MAX];
} Filter;

static const Filter FILTERS[] = {
    {RULE_WINOGRAD2,
     2,
     4,
     {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}},
     {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}},
     {{1, 1, 1, 0}, {0, 1, -1, -1}}},
    {RULE_WINOGRAD4,
     4,
     6,
     {{4, 0, -5, 0, 1, 0},
      {0, -4, -4, 1, 1, 0},
      {0, 4, -4, -1, 1, 0},
      {0, -2, -1, 2, 1, 0},
      {0, 2, -1, -2, 1, 0},
      {0, 4, 0, -5, 0, 1}},
     {{1 / 4.0, 0, 0},
      {-1 / 6.0, -1 / 6.0, -1 / 6.0},
      {-1 / 6.0, 1 / 6.0, -1 / 6.0},
      {1 / 24.0, 1 / 12.0, 1 / 6.0},
      {1 / 24.0, -1 / 12.0, 1 / 6.0},
      {0, 0, 1}},
     {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}}},
};

/* A convolution: its two loads, and which axis of d is which. */
typedef struct Window {
    Lower *lo;
    const Filter *f;
    Def *d;
    const Expr *x, *w;
    int c, m, row[2], side[2];      /* axes of d: channels in and out, p and q, r and s */
    int xc, xside[2];               /* dimensions of x: channels, rows and columns */
    int wdim[4];                    /* dimensions of w for m, c, r, s */
    int64_t first[2];               /* x's index is p + r + first */
    const Expr *size[2], *tiles[2]; /* extents of p and q; tiles along them */
} Window;

/* ---- recognising -------------------------------------------------------------------------------- */

static bool is_red(const Def *d, int axis) {
    return axis >= 0 && d->axis[axis].kind == AXIS_RED;
}

/* e = p + r + first for an output axis p and a RED axis r of extent 3. */
static bool match_side(Window *v, int which, const Expr *e) {
    Def *d = v->d;
    int64_t one;
    for (int r = d->buf->rank; r < d->naxis; r++)
        for (int p = 0; p < d->buf->rank; p++) {
            Sym *sym[2] = {d->axis[p].var, d->axis[r].var};
            const Expr *coef[2], *rest;
            if (expr_is(sym[1]->extent, 3) && expr_uses_sym(e, sym[0]) &&
                expr_linear(v->lo->ctx, e, 2, sym, coef, &rest) && expr_is_int(coef[0], &one) &&
                one == 1 && expr_is_int(coef[1], &one) && one == 1 &&
                expr_is_int(rest, &v->first[which])) {
                v->size[which] = sym[0]->extent;
                v->row[which] = p;
                v->side[which] = r;
                return true;
            }
        }
    return false;
}

/* x[…] with one index the channels, two of them sides of the window, and output axes or 0 else. */
static bool match_input(Window *v) {
    int sides = 0;
    v->xc = -1;
    for (int i = 0; i < v->x->nkid; i++) {
        const Expr *e = v->x->kid[i];
        int a = def_axis_of(v->d, e);
        if (is_red(v->d, a) && v->xc < 0) {
            v->xc = i;
            v->c = a;
        } else if (a < 0 && sides < 2 && match_side(v, sides, e)) {
            v->xside[sides++] = i;
        } else if ((a < 0 && !expr_is(e, 0)) || is_red(v->d, a)) {
            return false;
        }
    }
    return v->xc >= 0 && sides == 2 && v->row[0] != v->row[1] && v->side[0] != v->side[1] &&
           v->d->naxis == v->d->buf->rank + 3 && v->c != v->side[0] && v->c != v->side[1];
}

/* w[m, c, r, s] in any order. */
static bool match_weights(Window *v) {
    int64_t n;
    const Buf *b = v->w->u.buf;
    int *const dim = v->wdim;
    if (b->space != SPACE_CONST || !b->data || b->type != T_F32 || b->rank != 4 ||
        !buf_static(b, &n))
        return false;
    for (int i = 0; i < 4; i++)
        dim[i] = -1;
    for (int i = 0; i < 4; i++) {
        int a = def_axis_of(v->d, v->w->kid[i]);
        int what = a == v->c ? 1 : a == v->side[0] ? 2 : a == v->side[1] ? 3 : a >= 0 ? 0 : -1;
        if (what < 0 || dim[what] >= 0 || b->dim[i] != v->d->axis[a].var->extent)
            return false;
        dim[what] = i;
        v->m = what == 0 ? a : v->m;
    }
    return v->m != v->row[0] && v->m != v->row[1] && !expr_uses_sym(v->x, v->d->axis[v->m].var);
}

/* The predicate says that the window is inside of x, no more and no less. */
static bool match_border(const Window *v) {
    Ctx *ctx = v->lo->ctx;
    const Expr *need[4], *left[16];
    int n = 0;
    for (int i = 0; i < 2; i++) {
        const Expr *at = v->x->kid[v->xside[i]];
        need[2 * i] = expr_le(ctx, expr_i(ctx, 0), at);
        need[2 * i + 1] = expr_lt(ctx, at, v->x->u.buf->dim[v->xside[i]]);
    }
    if (v->d->when)
        left[n++] = v->d->when;
    bool given[4] = {false};
    while (n > 0) {
        const Expr *e = left[--n];
        int known = -1;
        for (int i = 0; i < 4; i++)
            known = e == need[i] ? i : known;
        if (known >= 0)
            given[known] = true;
        else if (e->op == OP_AND && n < 14) {
            left[n++] = e->kid[0];
            left[n++] = e->kid[1];
        } else
            return false;
    }
    for (int i = 0; i < 4; i++)
        if (!given[i] && !expr_proves(ctx, need[i]))
            return false;
    return true;
}

static bool match_window(Window *v) {
    const Def *d = v->d;
    int64_t h;
    if (!def_is_reduction(d) || d->combine != OP_ADD || d->at || d->scan || d->init ||
        d->buf->type != T_F32 || d->buf->ndef != 1 || d->value->op != OP_MUL)
        return false;
    for (int i = 0; i < 2; i++) {
        v->x = d->value->kid[i];
        v->w = d->value->kid[1 - i];
        if (v->x->op == OP_LOAD && v->w->op == OP_LOAD && match_input(v) && match_weights(v))
            break;
        if (i == 1)
            return false;
    }
    for (int i = 0; i < 2; i++) {
        const Expr *room = expr_add(v->lo->ctx, v->size[i], expr_i(v->lo->ctx, v->f->out - 1));
        v->tiles[i] = expr_fdiv(v->lo->ctx, room, expr_i(v->lo->ctx, v->f->out));
        if (!expr_over_dims(v->lo->ctx, v->size[i]) || expr_is(v->size[i], 0))
            return false;
    }
    return expr_is_int(d->axis[v->c].var->extent, &h) && h > 0 &&
           expr_is_int(d->axis[v->m].var->extent, &h) && h > 0 && match_border(v);
}

/* ---- building ----------------------------------------------------------------------------------- */

/* Σ coef[i]*e[i] without the zeros, in order, but a positive one first. */
static const Expr *combination(Ctx *ctx, int n, const double *coef, const Expr *const *e) {
    const Expr *sum = NULL;
    int first = 0;
    while (first < n - 1 && coef[first] <= 0)
        first++;
    for (int k = 0; k <= n; k++) {
        int i = k == 0 ? first : k - 1;
        double size = fabs(coef[i]);
        if (size == 0 || (k > 0 && i == first))
            continue;
        const Expr *term = size == 1 ? e[i] : expr_mul(ctx, e[i], expr_flt(ctx, T_F32, size));
        sum = !sum ? term : coef[i] < 0 ? expr_sub(ctx, sum, term) : expr_add(ctx, sum, term);
    }
    return sum;
}

/* Row `which` of a matrix times e: one combination for every value of which. */
static const Expr *chosen(Ctx *ctx, const Expr *which, int rows, int n,
                          const double (*matrix)[IN_MAX], const Expr *const *e) {
    const Expr *value = combination(ctx, n, matrix[rows - 1], e);
    for (int i = rows - 1; i-- > 0;)
        value = expr_select(ctx, expr_eq(ctx, which, expr_i(ctx, i)),
                            combination(ctx, n, matrix[i], e), value);
    return value;
}

/* The transform of both sides: rows of the matrix a and b against a square of elements. */
static const Expr *square(Ctx *ctx, int rows, int n, const double (*matrix)[IN_MAX],
                          const Expr *const side[2], const Expr *(*element)[IN_MAX]) {
    const Expr *column[IN_MAX], *along[IN_MAX];
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < n; i++)
            column[i] = element[i][j];
        along[j] = chosen(ctx, side[0], rows, n, matrix, column);
    }
    return chosen(ctx, side[1], rows, n, matrix, along);
}

/* x[…] at place (i, j) of a tile, 0 outside: `corner` is where the tile starts, n counts the rest. */
static const Expr *tile_element(const Window *v, const Expr *n, const Expr *c,
                                const Expr *const corner[2], int i, int j) {
    Ctx *ctx = v->lo->ctx;
    const Expr *at[RANK_MAX], *inside = NULL;
    const int place[2] = {i, j};
    for (int k = v->x->nkid; k-- > 0;) {
        int a = def_axis_of(v->d, v->x->kid[k]);
        at[k] = expr_i(ctx, 0);
        if (k == v->xc) {
            at[k] = c;
        } else if (k == v->xside[0] || k == v->xside[1]) {
            int s = k == v->xside[1];
            at[k] = expr_add(ctx, corner[s], expr_i(ctx, v->first[s] + place[s]));
            inside = expr_and(ctx, inside, expr_le(ctx, expr_i(ctx, 0), at[k]));
            inside = expr_and(ctx, inside, expr_lt(ctx, at[k], v->x->u.buf->dim[k]));
        } else if (a >= 0) {
            at[k] = expr_mod(ctx, n, v->d->axis[a].var->extent);
            n = expr_fdiv(ctx, n, v->d->axis[a].var->extent);
        }
    }
    const Expr *load = buf_load(ctx, v->x->u.buf, at);
    return inside ? expr_select(ctx, inside, load, expr_flt(ctx, T_F32, 0)) : load;
}

/* Product of the extents of the output axes that x has besides rows and columns. */
static const Expr *batch_count(const Window *v) {
    const Expr *n = expr_i(v->lo->ctx, 1);
    for (int i = 0; i < v->x->nkid; i++) {
        int a = def_axis_of(v->d, v->x->kid[i]);
        if (i != v->xc && a >= 0)
            n = expr_mul(v->lo->ctx, n, v->d->axis[a].var->extent);
    }
    return n;
}

/* in[e, t, c]: every tile of x transformed. */
static Def *transform_input(const Window *v) {
    Ctx *ctx = v->lo->ctx;
    const Expr *per = expr_mul(ctx, v->tiles[0], v->tiles[1]);
    const Expr *dim[3] = {expr_i(ctx, v->f->in * v->f->in), expr_mul(ctx, batch_count(v), per),
                          v->d->axis[v->c].var->extent};
    Def *in = def_beside(ctx, v->d, ".in", T_F32, 3, dim);
    const Expr *e = def_var(ctx, in, 0), *t = def_var(ctx, in, 1);
    const Expr *width = expr_i(ctx, v->f->in), *step = expr_i(ctx, v->f->out);
    const Expr *side[2] = {expr_fdiv(ctx, e, width), expr_mod(ctx, e, width)};
    const Expr *n = expr_fdiv(ctx, t, per), *of = expr_mod(ctx, t, per);
    const Expr *row = expr_fdiv(ctx, of, v->tiles[1]), *col = expr_mod(ctx, of, v->tiles[1]);
    const Expr *corner[2] = {expr_mul(ctx, row, step), expr_mul(ctx, col, step)};
    const Expr *element[IN_MAX][IN_MAX];
    for (int i = 0; i < v->f->in; i++)
        for (int j = 0; j < v->f->in; j++)
            element[i][j] = tile_element(v, n, def_var(ctx, in, 2), corner, i, j);
    in->value = square(ctx, v->f->in, v->f->in, v->f->bt, side, element);
    return in;
}

/* out = G k G' for one window of weights k. */
static void transform_window(const Filter *f, const double k[9], double out[IN_MAX * IN_MAX]) {
    double rows[IN_MAX][3];
    for (int i = 0; i < f->in; i++)
        for (int j = 0; j < 3; j++)
            rows[i][j] = f->g[i][0] * k[j] + f->g[i][1] * k[3 + j] + f->g[i][2] * k[6 + j];
    for (int i = 0; i < f->in; i++)
        for (int j = 0; j < f->in; j++)
            out[i * f->in + j] =
                rows[i][0] * f->g[j][0] + rows[i][1] * f->g[j][1] + rows[i][2] * f->g[j][2];
}

/* u[e, c, m] = G w G', rounded once. */
static Buf *transform_weights(const Window *v) {
    Ctx *ctx = v->lo->ctx;
    const Buf *b = v->w->u.buf;
    int64_t dim[4], stride[4], n = v->f->in * v->f->in, count, at = 1;
    const float *w = const_data(ctx, b->data);
    buf_dims(b, dim);
    for (int i = 4; i-- > 0; at *= dim[i])
        stride[i] = at;
    const int64_t out[3] = {n, dim[v->wdim[1]], dim[v->wdim[0]]};
    if (!mul_ok(n, out[1] * out[2], &count) || count > INT64_MAX / 8)
        return NULL;
    float *u = ctx_allocn(ctx, (size_t)count, sizeof *u);
    for (int64_t c = 0; c < out[1]; c++)
        for (int64_t m = 0; m < out[2]; m++) {
            double k[9], tile[IN_MAX * IN_MAX];
            for (int i = 0; i < 9; i++) {
                int64_t from = m * stride[v->wdim[0]] + c * stride[v->wdim[1]] +
                               i / 3 * stride[v->wdim[2]] + i % 3 * stride[v->wdim[3]];
                k[i] = (double)w[b->data->splat ? 0 : from];
            }
            transform_window(v->f, k, tile);
            for (int64_t e = 0; e < n; e++)
                u[(e * out[1] + c) * out[2] + m] = (float)tile[e];
        }
    Buf *ub = buf_const(ctx, b->name, const_new(ctx, T_F32, count, u), 3, out);
    vec_push(ctx, &v->lo->prog->consts, ub);
    return ub;
}

/* mul[e, t, m] = add(c) in[e, t, c]*u[e, c, m]. */
static Def *multiply(const Window *v, const Def *in, Buf *u) {
    Ctx *ctx = v->lo->ctx;
    const Expr *dim[3] = {in->buf->dim[0], in->buf->dim[1], u->dim[2]};
    Def *mul = def_beside(ctx, v->d, ".mul", T_F32, 3, dim);
    const Expr *e = def_var(ctx, mul, 0), *t = def_var(ctx, mul, 1), *m = def_var(ctx, mul, 2);
    const Expr *c = def_axis(ctx, mul, str(ctx, "c"), AXIS_RED, in->buf->dim[2]);
    const Expr *at[3] = {e, t, c}, *by[3] = {e, c, m};
    mul->combine = OP_ADD;
    mul->value = expr_mul(ctx, buf_load(ctx, in->buf, at), buf_load(ctx, u, by));
    return mul;
}

/* The convolution's own Def reads its outputs from the tiles. */
static void transform_output(const Window *v, const Def *mul) {
    Ctx *ctx = v->lo->ctx;
    Def *d = v->d;
    const Expr *n = expr_i(ctx, 0), *element[IN_MAX][IN_MAX], *side[2], *tile[2];
    const Expr *step = expr_i(ctx, v->f->out);
    for (int i = 0; i < v->x->nkid; i++) {
        int a = def_axis_of(d, v->x->kid[i]);
        if (i != v->xc && a >= 0)
            n = expr_add(ctx, expr_mul(ctx, n, d->axis[a].var->extent), def_var(ctx, d, a));
    }
    for (int i = 0; i < 2; i++) {
        side[i] = expr_mod(ctx, def_var(ctx, d, v->row[i]), step);
        tile[i] = expr_fdiv(ctx, def_var(ctx, d, v->row[i]), step);
    }
    const Expr *t = expr_add(ctx, expr_mul(ctx, n, v->tiles[0]), tile[0]);
    t = expr_add(ctx, expr_mul(ctx, t, v->tiles[1]), tile[1]);
    for (int i = 0; i < v->f->in; i++)
        for (int j = 0; j < v->f->in; j++) {
            const Expr *at[3] = {expr_i(ctx, i * v->f->in + j), t, def_var(ctx, d, v->m)};
            element[i][j] = buf_load(ctx, mul->buf, at);
        }
    d->value = square(ctx, v->f->out, v->f->in, v->f->at, side, element);
    d->naxis = d->buf->rank;
    d->combine = COMBINE_SET;
    d->when = NULL;
}

/* ---- the pass ----------------------------------------------------------------------------------- */

static void rewrite_block(Lower *lo, const Map *chosen, Block *b) {
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                rewrite_block(lo, chosen, it->body[k]);
        const Filter *f = it->kind == ITEM_DEF ? map_get(chosen, it->def) : NULL;
        Window v = {.lo = lo, .f = f, .d = it->def, .m = -1};
        Buf *u = f && match_window(&v) ? transform_weights(&v) : NULL;
        if (!u)
            continue;
        Def *in = transform_input(&v), *mul = multiply(&v, in, u);
        transform_output(&v, mul);
        block_insert(lo->ctx, b, i++, in);
        block_insert(lo->ctx, b, i++, mul);
    }
}

/* ---- choosing ----------------------------------------------------------------------------------- */

/* What moving one number costs, in multiply-adds: a transformed element is written and read again, weights come
 * from the outer caches. Measured on shapes from 56x56x64 to 7x7x512; with it the model is within 25 %. */
#define MOVE 16.0
#define MOVE_FAR 50.0 /* the same when all tiles together are more bytes than this: */
#define FAR (8 << 20)
#define CHANNELS_MIN 16 /* fewer leave the vectors of the transforms half empty */
#define GAIN_MIN 1.1    /* what the model must promise */

enum { NFILTER = (int)(sizeof FILTERS / sizeof FILTERS[0]) };

typedef struct Choice {
    const Filter *filter;
    double saved, grown; /* multiply-adds; bytes of weights */
} Choice;

/* What pays for one Def, each better than the one before and with more weights. */
typedef struct Candidate {
    const Def *def;
    Choice of[NFILTER];
    int n, taken; /* choices; of[taken] is the next one to take */
} Candidate;

typedef struct Choosing {
    Lower *lo;
    VEC(Candidate) of;
} Choosing;

static double axis_extent(const Window *v, int axis) {
    return extent_estimate(v->lo->ctx, v->d->axis[axis].var->extent);
}

/* How many outputs (step 1), or tiles of so many of them along each side, there are, about. */
static double count_places(const Window *v, int step) {
    double n = 1;
    for (int i = 0; i < 2; i++)
        n *= ceil(extent_estimate(v->lo->ctx, v->size[i]) / step);
    return n;
}

static double cost_direct(const Window *v) {
    double c = axis_extent(v, v->c), m = axis_extent(v, v->m);
    return 9 * c * m * count_places(v, 1) + MOVE * 9 * c * m;
}

static double cost_tiles(const Window *v) {
    double c = axis_extent(v, v->c), m = axis_extent(v, v->m), n = v->f->in * v->f->in;
    double tiles = count_places(v, v->f->out), moved = n * (c + m) * tiles;
    double move = 4 * moved > FAR ? MOVE_FAR : MOVE;
    return n * c * m * tiles + move * moved + MOVE * n * c * m;
}

static void weigh_item(void *data, Block *b, Item *it) {
    Choosing *ch = data;
    (void)b;
    if (it->kind != ITEM_DEF)
        return;
    Candidate c = {.def = it->def};
    for (int i = 0; i < NFILTER; i++) {
        Window v = {.lo = ch->lo, .f = &FILTERS[i], .d = it->def, .m = -1};
        if (!match_window(&v) || axis_extent(&v, v.c) < CHANNELS_MIN ||
            axis_extent(&v, v.m) < CHANNELS_MIN)
            continue;
        double direct = cost_direct(&v), saved = direct - cost_tiles(&v);
        lower_note(ch->lo, it->def->origin,
                   str_f(ch->lo->ctx, "%s would cost %.3g, directly %.3g (must be %g times less)",
                         rule_word(v.f->rule), direct - saved, direct, GAIN_MIN));
        double grown = 4 * axis_extent(&v, v.c) * axis_extent(&v, v.m) * (v.f->in * v.f->in - 9);
        if (direct > GAIN_MIN * (direct - saved) && (c.n == 0 || saved > c.of[c.n - 1].saved))
            c.of[c.n++] = (Choice){v.f, saved, grown};
    }
    if (c.n)
        vec_push(ch->lo->ctx, &ch->of, c);
}

/* What the next choice of c adds to the one it has. */
static Choice next_choice(const Candidate *c) {
    Choice next = c->of[c->taken];
    if (c->taken > 0) {
        next.saved -= c->of[c->taken - 1].saved;
        next.grown -= c->of[c->taken - 1].grown;
    }
    return next;
}

/* Most saved for a byte first, as long as the weights may grow. */
static void choose(const Choosing *ch, Map *chosen) {
    double room = growth_room(ch->lo);
    for (;;) {
        Candidate *first = NULL;
        Choice best = {NULL, 0, 1};
        for (int i = 0; i < ch->of.len; i++) {
            Candidate *c = &ch->of.at[i];
            Choice next = c->taken < c->n ? next_choice(c) : best;
            if (c->taken < c->n && next.saved * best.grown > best.saved * next.grown) {
                first = c;
                best = next;
            }
        }
        if (!first)
            return;
        first->taken = best.grown <= room ? first->taken + 1 : first->n;
        if (best.grown > room)
            continue;
        room -= best.grown;
        ch->lo->grown += best.grown;
        map_put(chosen, first->def, (void *)(uintptr_t)best.filter);
    }
}

static void note_chosen(const Choosing *ch, const Map *chosen) {
    for (int i = 0; i < ch->of.len; i++) {
        const Candidate *c = &ch->of.at[i];
        const Filter *f = map_get(chosen, c->def);
        lower_note(ch->lo, c->def->origin,
                   f ? str_f(ch->lo->ctx, "%s chosen", rule_word(f->rule))
                     : str(ch->lo->ctx, "no room for its weights (--weights-growth)"));
    }
}

static void force_item(void *data, Block *b, Item *it) {
    Choosing *ch = data;
    Window v = {.lo = ch->lo, .f = &FILTERS[0], .d = it->def, .m = -1};
    (void)b;
    if (it->kind == ITEM_DEF && match_window(&v))
        vec_push(ch->lo->ctx, &ch->of, ((Candidate){.def = it->def}));
}

static const Filter *filter_forced(const Lower *lo) {
    for (int i = 0; i < NFILTER; i++)
        if (FILTERS[i].rule == lo->rule)
            return &FILTERS[i];
    return NULL;
}

/* Without --rule: where it pays, on machines with vectors. */
bool kernel_winograd(Lower *lo) {
    const Filter *forced = filter_forced(lo);
    Choosing ch = {.lo = lo};
    Map *chosen = map_new(lo->ctx);
    if (lo->strict || (!forced && (lo->o0 || lo->min_ram || lo->rule || lo->machine->vec == 0)))
        return true;
    block_walk(lo->prog->main, forced ? force_item : weigh_item, &ch);
    for (int i = 0; forced && i < ch.of.len; i++)
        map_put(chosen, ch.of.at[i].def, (void *)(uintptr_t)forced);
    if (!forced)
        choose(&ch, chosen);
    note_chosen(&ch, chosen);
    rewrite_block(lo, chosen, lo->prog->main);
    return true;
}
