/* One level of Strassen's multiplication in Winograd's form: a product with a constant matrix, both cut in
 * quarters, as seven products of quarters instead of eight (S. Winograd, Linear Algebra Appl. 4, 1971; 15
 * additions). The quarters of the constant are added up now. Rows are cut by turns (even and odd), terms and
 * columns in halves. Two rows meet in a sum: each is brought to the same size first, by a power of two, so that
 * a row's error is small beside that row, and one with an infinity or NaN is 0 there and NaN at the end. Where it
 * pays, or as --rule=strassen says. Class approx (exact on integers). Precondition: kernel_winograd.
 *
 *   before  y[m,n] = add(k<K) x[m,k]*w[k,n]
 *   after   y.most[t,i] = max(k<K) abs(x[2*t + i, k])
 *           y.scale[t,i,j] = j == 0: power of two that brings y.most[t,i] to 1 … 2 ; else its inverse
 *           y.in[e,t,k<K/2] = e's sum of x[2*t + i, k + j*K/2]*y.scale[t,i,0]   ;  e < 7
 *           y.mul[e,t,n<N/2] = add(k<K/2) y.in[e,t,k]*u[e,k,n]
 *           y[m,n] = the quarter's sum of y.mul[e, m/2, n % (N/2)], times y.scale[m/2, m%2, 1] */
#include "lower/uses.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PRODUCTS = 7 };

/* A product: its two loads, and which axis of d is which. */
typedef struct Product {
    Lower *lo;
    Def *d;
    const Expr *x, *w;
    int k, n, half;       /* axes of d: terms, columns, the rows that take turns */
    int xaxis[RANK_MAX];  /* which axis of d each index of x is; -1: none */
    int wk, wn;           /* dimensions of w for k and n */
    int64_t rows, nk, nn; /* all rows, with one more where half is odd; terms and columns */
    bool odd;             /* the extent of half is */
} Product;

/* ---- recognising -------------------------------------------------------------------------------- */

/* w[…] with one index k, one the last output axis, and constants else. */
static bool match_weights(Product *v) {
    int64_t n;
    const Buf *b = v->w->u.buf;
    v->wk = v->wn = -1;
    if (b->space != SPACE_CONST || !b->data || b->data->splat || b->type != T_F32 ||
        !buf_static(b, &n))
        return false;
    for (int i = 0; i < v->w->nkid; i++) {
        int a = def_axis_of(v->d, v->w->kid[i]);
        if (a == v->k && v->wk < 0) {
            v->wk = i;
        } else if (a >= 0 && v->wn < 0 && b->dim[i] == v->d->axis[a].var->extent) {
            v->wn = i;
            v->n = a;
        } else if (!expr_is_int(v->w->kid[i], NULL)) {
            return false;
        }
    }
    return v->wk >= 0 && v->wn >= 0 && v->n == v->d->buf->rank - 1 &&
           b->dim[v->wk] == v->d->axis[v->k].var->extent;
}

/* x[…] with k one of the indices, and n in none. */
static bool match_input(Product *v) {
    int terms = 0;
    for (int i = 0; i < v->x->nkid; i++) {
        const Expr *e = v->x->kid[i];
        bool is_k = (v->xaxis[i] = def_axis_of(v->d, e)) == v->k;
        terms += is_k;
        if ((!is_k && expr_uses_sym(e, v->d->axis[v->k].var)) ||
            expr_uses_sym(e, v->d->axis[v->n].var))
            return false;
    }
    return terms == 1 && v->x->u.buf->type == T_F32;
}

/* The rows and the axis that is cut: one of even extent, the innermost, or the one that loses least. */
static bool match_rows(Product *v) {
    int64_t extent, half = 0;
    v->rows = 1;
    v->half = -1;
    for (int i = 0; i < v->d->buf->rank; i++) {
        if (i == v->n)
            continue;
        if (!expr_is_int(v->d->axis[i].var->extent, &extent) || extent < 1 ||
            !mul_ok(v->rows, extent, &v->rows))
            return false;
        if (extent < 2 || (v->half >= 0 && extent % 2 > half % 2) ||
            (v->half >= 0 && extent % 2 && extent < half))
            continue;
        v->half = i;
        half = extent;
    }
    v->odd = half % 2;
    v->rows = v->half < 0 ? 0 : v->rows / half * (half + half % 2);
    return v->half >= 0;
}

static bool match_product(Product *v) {
    const Def *d = v->d;
    if (!def_is_reduction(d) || d->combine != OP_ADD || d->at || d->scan || d->init || d->when ||
        d->buf->type != T_F32 || d->buf->ndef != 1 || d->value->op != OP_MUL ||
        d->naxis != d->buf->rank + 1)
        return false;
    v->k = d->buf->rank;
    for (int i = 0; i < 2; i++) {
        v->x = d->value->kid[i];
        v->w = d->value->kid[1 - i];
        if (v->x->op == OP_LOAD && v->w->op == OP_LOAD && match_weights(v) && match_input(v))
            break;
        if (i == 1)
            return false;
    }
    return expr_is_int(d->axis[v->k].var->extent, &v->nk) && v->nk > 0 && v->nk % 2 == 0 &&
           expr_is_int(d->axis[v->n].var->extent, &v->nn) && v->nn > 0 && v->nn % 2 == 0 &&
           match_rows(v);
}

/* ---- building ----------------------------------------------------------------------------------- */

static Def *new_def(const Product *v, const char *what, int rank, const int64_t *dims) {
    Ctx *ctx = v->lo->ctx;
    const Expr *dim[3];
    for (int i = 0; i < rank; i++)
        dim[i] = expr_i(ctx, dims[i]);
    return def_beside(ctx, v->d, what, T_F32, rank, dim);
}

/* value[e] for e from 0. */
static const Expr *one_of(Ctx *ctx, const Expr *e, int n, const Expr *const *value) {
    const Expr *all = value[n - 1];
    for (int i = n - 1; i-- > 0;)
        all = expr_select(ctx, expr_eq(ctx, e, expr_i(ctx, i)), value[i], all);
    return all;
}

/* x at term k of row t of the even rows (i = 0) or odd ones; 0 behind the last row. */
static const Expr *input_at(const Product *v, const Expr *t, const Expr *i, const Expr *k) {
    Ctx *ctx = v->lo->ctx;
    const Def *d = v->d;
    Sym *from[RANK_MAX];
    const Expr *to[RANK_MAX], *at[RANK_MAX], *inside = NULL;
    int n = 0;
    for (int a = d->buf->rank; a-- > 0;) {
        const Expr *extent = d->axis[a].var->extent, *place;
        if (a == v->n)
            continue;
        if (a == v->half)
            extent = expr_ceildiv(ctx, extent, 2);
        place = expr_mod(ctx, t, extent);
        t = expr_fdiv(ctx, t, extent);
        if (a == v->half) {
            place = expr_add(ctx, expr_mul(ctx, place, expr_i(ctx, 2)), i);
            if (v->odd && !expr_is(i, 0))
                inside = expr_lt(ctx, place, d->axis[a].var->extent);
        }
        from[n] = d->axis[a].var;
        to[n++] = place;
    }
    from[n] = d->axis[v->k].var;
    to[n++] = k;
    for (int a = 0; a < v->x->nkid; a++)
        at[a] = expr_subst(ctx, v->x->kid[a], n, from, to);
    const Expr *load = buf_load(ctx, v->x->u.buf, at);
    return inside ? expr_select(ctx, inside, load, expr_flt(ctx, T_F32, 0)) : load;
}

/* most[t, i]: the largest number of each row. */
static Def *largest(const Product *v) {
    Ctx *ctx = v->lo->ctx;
    Def *most = new_def(v, ".most", 2, (int64_t[2]){v->rows / 2, 2});
    const Expr *t = def_var(ctx, most, 0), *i = def_var(ctx, most, 1);
    const Expr *k = def_axis(ctx, most, str(ctx, "k"), AXIS_RED, v->d->axis[v->k].var->extent);
    most->combine = OP_MAX;
    most->value = expr_1(ctx, OP_ABS, input_at(v, t, i, k));
    return most;
}

/* scale[t, i, j]: the power of two that brings a row to between 1 and 2 (one below the normal numbers to less),
 * and its inverse; 0 instead of it for a row of zeros; 0 and NaN for one with an infinity or NaN. */
static Def *scales(const Product *v, const Def *most) {
    enum { EXPONENT = 0x7F800000 }; /* of an f32 */
    Ctx *ctx = v->lo->ctx;
    Def *scale = new_def(v, ".scale", 3, (int64_t[3]){v->rows / 2, 2, 2});
    const Expr *at[2] = {def_var(ctx, scale, 0), def_var(ctx, scale, 1)};
    const Expr *load = buf_load(ctx, most->buf, at), *zero = expr_flt(ctx, T_F32, 0);
    const Expr *bits = expr_op(ctx, OP_BITCAST, T_I32, 1, &load);
    bits = expr_2(ctx, OP_BAND, bits, expr_int(ctx, T_I32, EXPONENT));
    const Expr *power = expr_op(ctx, OP_BITCAST, T_F32, 1, &bits);
    power = expr_max(ctx, power, expr_flt(ctx, T_F32, FLT_MIN));
    const Expr *bad = expr_eq(ctx, bits, expr_int(ctx, T_I32, EXPONENT));
    const Expr *one = expr_flt(ctx, T_F32, 1), *none = expr_eq(ctx, load, zero);
    const Expr *down = expr_select(ctx, bad, zero, expr_2(ctx, OP_DIV, one, power));
    const Expr *up = expr_select(ctx, none, zero, power);
    up = expr_select(ctx, bad, expr_sub(ctx, load, load), up);
    scale->value = expr_select(ctx, expr_eq(ctx, def_var(ctx, scale, 2), expr_i(ctx, 0)), down, up);
    return scale;
}

/* x of half j of the terms in row t of the even or odd rows, scaled. */
static const Expr *quarter_of_input(const Product *v, const Def *scale, const Expr *t,
                                    const Expr *k, int i, int j) {
    Ctx *ctx = v->lo->ctx;
    const Expr *at[3] = {t, expr_i(ctx, i), expr_i(ctx, 0)}, *zero = expr_flt(ctx, T_F32, 0);
    const Expr *by = buf_load(ctx, scale->buf, at);
    const Expr *x = input_at(v, t, at[1], expr_add(ctx, k, expr_i(ctx, j * v->nk / 2)));
    return expr_select(ctx, expr_eq(ctx, by, zero), zero, expr_mul(ctx, x, by));
}

/* in[e, t, k]: the first factors of the seven products. */
static Def *transform_input(const Product *v, const Def *scale) {
    Ctx *ctx = v->lo->ctx;
    Def *in = new_def(v, ".in", 3, (int64_t[3]){PRODUCTS, v->rows / 2, v->nk / 2});
    const Expr *t = def_var(ctx, in, 1), *k = def_var(ctx, in, 2), *x[2][2];
    for (int i = 0; i < 4; i++)
        x[i / 2][i % 2] = quarter_of_input(v, scale, t, k, i / 2, i % 2);
    const Expr *s1 = expr_add(ctx, x[1][0], x[1][1]);
    const Expr *s2 = expr_sub(ctx, s1, x[0][0]);
    const Expr *s3 = expr_sub(ctx, x[0][0], x[1][0]);
    const Expr *s4 = expr_sub(ctx, x[0][1], s2);
    const Expr *factor[PRODUCTS] = {x[0][0], x[0][1], s4, x[1][1], s1, s2, s3};
    in->value = one_of(ctx, def_var(ctx, in, 0), PRODUCTS, factor);
    return in;
}

/* The second factors for the four quarters of one place, each rounded once. */
static void transform_quarters(const double w[2][2], float *u, int64_t step) {
    double t1 = w[0][1] - w[0][0], t2 = w[1][1] - t1;
    const double factor[PRODUCTS] = {w[0][0], w[1][0], w[1][1],          t2 - w[1][0],
                                     t1,      t2,      w[1][1] - w[0][1]};
    for (int e = 0; e < PRODUCTS; e++)
        u[e * step] = (float)factor[e];
}

/* The matrix in the constant's data: its element (0, 0), and how far apart terms and columns lie. */
static const float *matrix_of(const Product *v, int64_t *term, int64_t *column) {
    const Buf *b = v->w->u.buf;
    int64_t dim[RANK_MAX], at = 1, start = 0, index;
    buf_dims(b, dim);
    for (int i = b->rank; i-- > 0; at *= dim[i]) {
        *term = i == v->wk ? at : *term;
        *column = i == v->wn ? at : *column;
        if (i != v->wk && i != v->wn && expr_is_int(v->w->kid[i], &index))
            start += index * at;
    }
    return (const float *)const_data(v->lo->ctx, b->data) + start;
}

/* Two columns meet in a sum, too: is none ALIKE times larger than the other? With an infinity or NaN: no. */
static bool columns_alike(const Product *v) {
    enum { ALIKE = 64 };
    int64_t term = 0, column = 0;
    const float *w = matrix_of(v, &term, &column);
    float *most = ctx_newn(v->lo->ctx, float, (size_t)v->nn);
    int64_t outer = term > column ? v->nk : v->nn, inner = term > column ? v->nn : v->nk;
    for (int64_t i = 0; i < outer; i++)
        for (int64_t j = 0; j < inner; j++) {
            int64_t k = term > column ? i : j, n = term > column ? j : i;
            float size = fabsf(w[k * term + n * column]);
            most[n] = size <= most[n] ? most[n] : size;
        }
    for (int64_t n = 0; n < v->nn / 2; n++) {
        float a = most[n], b = most[n + v->nn / 2];
        if (!(a <= ALIKE * b && b <= ALIKE * a && a <= FLT_MAX))
            return false;
    }
    return true;
}

/* A matrix in a constant's data, whose quarters' sums are the weights of the products. */
typedef struct Matrix {
    const float *at;
    int64_t term, column; /* how far apart they lie */
    int64_t half[2];      /* terms and columns of a quarter */
} Matrix;

/* u[e, k, n]. */
static void make_weights(const void *data, unsigned char *out, unsigned char *room) {
    const Matrix *m = data;
    float *u = (float *)(void *)out;
    (void)room;
    for (int64_t k = 0; k < m->half[0]; k++)
        for (int64_t n = 0; n < m->half[1]; n++) {
            double quarter[2][2];
            for (int i = 0; i < 4; i++)
                quarter[i / 2][i % 2] = (double)m->at[(k + i / 2 * m->half[0]) * m->term +
                                                      (n + i % 2 * m->half[1]) * m->column];
            transform_quarters((const double(*)[2])quarter, u + k * m->half[1] + n,
                               m->half[0] * m->half[1]);
        }
}

/* NULL: too large. */
static Buf *transform_weights(const Product *v) {
    Ctx *ctx = v->lo->ctx;
    int64_t part, count;
    Matrix m = {.half = {v->nk / 2, v->nn / 2}};
    m.at = matrix_of(v, &m.term, &m.column);
    if (!mul_ok(m.half[0], m.half[1], &part) || !mul_ok(part, PRODUCTS, &count) ||
        count > INT64_MAX / 8)
        return NULL;
    const int64_t out[3] = {PRODUCTS, m.half[0], m.half[1]};
    Maker by = {make_weights, ctx_copy(ctx, &m, sizeof m), (size_t)count * sizeof(float), 0};
    Buf *ub = buf_const(ctx, v->w->u.buf->name, const_made(ctx, T_F32, count, by), 3, out);
    vec_push(ctx, &v->lo->prog->consts, ub);
    return ub;
}

/* mul[e, t, n] = add(k) in[e, t, k]*u[e, k, n]. */
static Def *multiply(const Product *v, const Def *in, Buf *u) {
    Ctx *ctx = v->lo->ctx;
    Def *mul = new_def(v, ".mul", 3, (int64_t[3]){PRODUCTS, v->rows / 2, v->nn / 2});
    const Expr *e = def_var(ctx, mul, 0), *t = def_var(ctx, mul, 1), *n = def_var(ctx, mul, 2);
    const Expr *k = def_axis(ctx, mul, str(ctx, "k"), AXIS_RED, in->buf->dim[2]);
    const Expr *at[3] = {e, t, k}, *by[3] = {e, k, n};
    mul->combine = OP_ADD;
    mul->value = expr_mul(ctx, buf_load(ctx, in->buf, at), buf_load(ctx, u, by));
    return mul;
}

/* The product's own Def adds up what its quarter needs. */
static void transform_output(const Product *v, const Def *mul, const Def *scale) {
    Ctx *ctx = v->lo->ctx;
    Def *d = v->d;
    const Expr *t = expr_i(ctx, 0), *two = expr_i(ctx, 2), *width = expr_i(ctx, v->nn / 2);
    const Expr *p[PRODUCTS], *n = def_var(ctx, d, v->n), *turn = def_var(ctx, d, v->half);
    for (int a = 0; a < d->buf->rank; a++) {
        const Expr *extent = d->axis[a].var->extent, *place = def_var(ctx, d, a);
        if (a == v->n)
            continue;
        if (a == v->half) {
            extent = expr_ceildiv(ctx, extent, 2);
            place = expr_fdiv(ctx, place, two);
        }
        t = expr_add(ctx, expr_mul(ctx, t, extent), place);
    }
    for (int e = 0; e < PRODUCTS; e++) {
        const Expr *at[3] = {expr_i(ctx, e), t, expr_mod(ctx, n, width)};
        p[e] = buf_load(ctx, mul->buf, at);
    }
    const Expr *u2 = expr_add(ctx, p[0], p[5]), *u3 = expr_add(ctx, u2, p[6]);
    const Expr *u4 = expr_add(ctx, u2, p[4]);
    const Expr *column = expr_fdiv(ctx, n, width);
    const Expr *even[2] = {expr_add(ctx, p[0], p[1]), expr_add(ctx, u4, p[2])};
    const Expr *odd[2] = {expr_sub(ctx, u3, p[3]), expr_add(ctx, u3, p[4])};
    const Expr *row[2] = {one_of(ctx, column, 2, even), one_of(ctx, column, 2, odd)};
    const Expr *back[3] = {t, expr_mod(ctx, turn, two), expr_i(ctx, 1)};
    d->value = expr_mul(ctx, one_of(ctx, back[1], 2, row), buf_load(ctx, scale->buf, back));
    d->naxis = d->buf->rank;
    d->combine = COMBINE_SET;
}

/* ---- choosing ----------------------------------------------------------------------------------- */

/* What moving one number costs, in multiply-adds: a number of the transforms is written and read again, a
 * weight comes from the outer caches while others are used. Measured on 25 shapes from 49x4608x512 to
 * 3136x576x64 (break-even at K*N/(K+N) = 125), and on BERT, ViT, Swin and ConvNeXt with cold weights. */
#define MOVE 9.0
#define MOVE_WEIGHT 4.0
#define GAIN_MIN 1.03 /* what the model must promise */

typedef struct Candidate {
    Item *item;
    double saved, grown; /* multiply-adds; bytes of weights */
} Candidate;

typedef struct Choosing {
    Lower *lo;
    bool forced;
    VEC(Candidate) of;
} Choosing;

static void weigh_item(void *data, Block *b, Item *it) {
    Choosing *ch = data;
    Product v = {.lo = ch->lo, .d = it->def};
    (void)b;
    if (it->kind != ITEM_DEF || !match_product(&v))
        return;
    double rows = (double)v.rows, k = (double)v.nk, n = (double)v.nn;
    double direct = rows * k * n + MOVE_WEIGHT * k * n;
    double quarters =
        7 / 8.0 * rows * k * n + MOVE * 7 / 4.0 * rows * (k + n) + 7 / 4.0 * MOVE_WEIGHT * k * n;
    Candidate c = {it, direct - quarters, 4 * k * n * 3 / 4.0};
    int lanes = ch->lo->machine->vec ? ch->lo->machine->vec / 4 : 1;
    lower_note(ch->lo, v.d->origin,
               str_f(ch->lo->ctx, "strassen would cost %.3g, directly %.3g (must be %g times less)",
                     quarters, direct, GAIN_MIN));
    bool pays = direct > GAIN_MIN * quarters && v.nn % (2 * lanes) == 0;
    bool alike = !pays || columns_alike(&v);
    if (!alike)
        lower_note(ch->lo, v.d->origin, str(ch->lo->ctx, "columns of too different size"));
    if (ch->forced || (pays && alike))
        vec_push(ch->lo->ctx, &ch->of, c);
}

static int by_gain(const void *a, const void *b) {
    const Candidate *x = a, *y = b;
    double s = x->saved * y->grown, t = y->saved * x->grown;
    return s != t ? (s < t) - (s > t) : (x->item->def->id > y->item->def->id) - 1;
}

/* A product already rewritten in this block, and what it reads. */
typedef struct Made {
    Product of;
    Def *scale, *in;
} Made;

/* Do a and b read the same rows of the same tensor in the same way? a is rewritten already. */
static bool same_input(const Product *a, const Product *b) {
    if (a->x->u.buf != b->x->u.buf || a->d->buf->rank != b->d->buf->rank || a->half != b->half ||
        a->nk != b->nk)
        return false;
    for (int i = 0; i < a->n; i++)
        if (a->d->axis[i].var->extent != b->d->axis[i].var->extent)
            return false;
    for (int i = 0; i < a->x->nkid; i++)
        if (a->xaxis[i] != b->xaxis[i] ||
            (a->xaxis[i] < 0 && (a->x->kid[i] != b->x->kid[i] || !expr_is_int(a->x->kid[i], NULL))))
            return false;
    return true;
}

static void rewrite_block(Lower *lo, const Map *chosen, Block *b) {
    VEC(Made) made = {0};
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                rewrite_block(lo, chosen, it->body[k]);
        Product v = {.lo = lo, .d = it->def};
        bool taken = it->kind == ITEM_DEF && map_get(chosen, it->def) && match_product(&v);
        Buf *u = taken ? transform_weights(&v) : NULL;
        if (!u)
            continue;
        Made m = {v, NULL, NULL};
        for (int k = 0; k < made.len && !m.in; k++)
            if (same_input(&made.at[k].of, &v))
                m = (Made){v, made.at[k].scale, made.at[k].in};
        if (!m.in) {
            Def *most = largest(&v);
            m.scale = scales(&v, most);
            m.in = transform_input(&v, m.scale);
            block_insert(lo->ctx, b, i++, most);
            block_insert(lo->ctx, b, i++, m.scale);
            block_insert(lo->ctx, b, i++, m.in);
        }
        vec_push(lo->ctx, &made, m);
        Def *mul = multiply(&v, m.in, u);
        transform_output(&v, mul, m.scale);
        block_insert(lo->ctx, b, i++, mul);
    }
}

/* Without --rule: where it pays, on machines with vectors, most saved for a byte first, as long as the weights
 * may grow. */
bool kernel_strassen(Lower *lo) {
    Choosing ch = {.lo = lo, .forced = lo->rule == RULE_STRASSEN};
    Map *chosen = map_new(lo->ctx);
    if (lo->strict || (!ch.forced && (lo->o0 || lo->min_ram || lo->rule || lo->machine->vec == 0)))
        return true;
    block_walk(lo->prog->main, weigh_item, &ch);
    if (ch.of.len)
        qsort(ch.of.at, (size_t)ch.of.len, sizeof *ch.of.at, by_gain);
    double room = growth_room(lo);
    for (int i = 0; i < ch.of.len; i++) {
        const Candidate *c = &ch.of.at[i];
        bool fits = ch.forced || c->grown <= room;
        lower_note(
            lo, c->item->def->origin,
            str(lo->ctx, fits ? "strassen chosen" : "no room for its weights (--weights-growth)"));
        if (!fits)
            continue;
        room -= c->grown;
        lo->grown += c->grown;
        map_put(chosen, c->item->def, c->item);
    }
    rewrite_block(lo, chosen, lo->prog->main);
    return true;
}
