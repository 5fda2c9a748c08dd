/* Sums of products of dequantised 8-bit numbers become sums of integers: the scales, which do not depend on
 * what is summed over, leave the sum. Rounding class approx: an f32 sum rounds at every step, this one once,
 * so that 1e-5 to 1e-4 of what is quantised afterwards differs by one quantum. Runs where the machine has
 * instructions for such sums, and not under --strict. What moves between DequantizeLinear and QuantizeLinear
 * of the same scale and zero point (views, maxima) stays integer; that is exact.
 * Precondition: graph_ports. The constants are still what the model stores.
 *
 *   before  a[m,k] = f32(i32(x[m,k]) - 3)*0.5 ; b[k,n] = f32(w[k,n])*s[n] ; y[m,n] = add(k) a[m,k]*b[k,n]
 *   after   t[m,n] = add(k) (i32(x[m,k]) - 3)*i32(w[k,n]) ; y[m,n] = f32(t[m,n])*(0.5*s[n])
 * A zero point of the weights leaves the sum as well: add(k) x*(w - z) = add(k) x*w - z*add(k) x. */
#include "lower/kernel_class.h"
#include "lower/uses.h"

#include <string.h>

#define VIEWS_MAX 16        /* maps followed from a load to where the number was dequantised */
#define TERMS_MAX (1 << 15) /* of one sum: 255*255 times as much is below 2^31 */

typedef struct Raising {
    Ctx *ctx;
    bool floats;       /* sums of dequantised numbers, too */
    VEC(Item *) items; /* of the block, new ones in their places */
} Raising;

/* A dequantised number: f32(i32(load) + shift)*scale, of an i8 or u8 load. */
typedef struct Real {
    const Expr *load, *scale;
    int64_t shift;
} Real;

static bool is_map(const Def *d) {
    if (!d || d->at || d->scan || d->when || d->combine != COMBINE_SET || d->buf->ndef != 1)
        return false;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind != AXIS_PAR)
            return false;
    return true;
}

/* The value that a load stands for, through maps that only move or dequantise. */
static const Expr *followed(Ctx *ctx, const Expr *e) {
    for (int i = 0; i < VIEWS_MAX && e->op == OP_LOAD && e->type == T_F32; i++) {
        const Def *d = e->u.buf->def;
        if (!is_map(d) || (d->value->op != OP_LOAD && d->value->op != OP_MUL))
            break;
        e = def_inline(ctx, d, e->kid);
    }
    return e;
}

/* The number that all elements of a constant are, loaded by e, perhaps cast. */
static bool one_valued(Ctx *ctx, const Expr *e, int64_t *v) {
    e = e->op == OP_CAST ? e->kid[0] : e;
    if (e->op != OP_LOAD || e->u.buf->space != SPACE_CONST || !type_is_int(type_dtype(e->type)))
        return false;
    const Const *c = e->u.buf->data;
    size_t bytes = (size_t)type_bytes(c->type);
    const char *data = c->data;
    for (int64_t i = 1; i < c->count && !c->splat; i++)
        if (memcmp(data, data + (size_t)i * bytes, bytes) != 0)
            return false;
    return c->count > 0 && expr_is_int(const_at(ctx, c, 0), v);
}

static bool match_integer(Ctx *ctx, const Expr *q, Real *r) {
    r->shift = 0;
    if (q->op == OP_SUB && one_valued(ctx, q->kid[1], &r->shift)) {
        r->shift = -r->shift;
        q = q->kid[0];
    }
    for (int i = 0; i < 2 && q->op == OP_ADD; i++)
        if (expr_is_int(q->kid[i], &r->shift)) {
            q = q->kid[1 - i];
            break;
        }
    if (q->op == OP_CAST && q->type == T_I32)
        q = q->kid[0];
    r->load = q;
    return q->op == OP_LOAD && (q->type == T_I8 || q->type == T_U8);
}

static bool match_real(Ctx *ctx, const Expr *e, Real *r) {
    for (int i = 0; i < 2 && e->op == OP_MUL; i++) {
        const Expr *cast = e->kid[i];
        if (cast->op != OP_CAST || cast->type != T_F32 || !match_integer(ctx, cast->kid[0], r))
            continue;
        r->scale = e->kid[1 - i];
        return true;
    }
    return false;
}

/* ---- sums ------------------------------------------------------------------------------------ */

static bool uses_red(const Def *d, const Expr *e) {
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_RED && expr_uses_sym(e, d->axis[i].var))
            return true;
    return false;
}

/* Terms of the sum; 0 when unknown or too many for i32. */
static bool few_terms(const Def *d) {
    int64_t terms = 1, n;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_RED &&
            (!expr_is_int(d->axis[i].var->extent, &n) || !mul_ok(terms, n, &terms)))
            return false;
    return terms <= TERMS_MAX;
}

/* Is there an output axis that the weights use and the other factor does not? */
static bool has_lanes(const Def *d, const Expr *x, const Expr *w) {
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind != AXIS_RED && expr_uses_sym(w, d->axis[i].var) &&
            !expr_uses_sym(x, d->axis[i].var))
            return true;
    return false;
}

static bool is_sum(const Def *d) {
    return !d->at && !d->scan && d->combine == OP_ADD && d->buf->ndef == 1 && def_is_reduction(d) &&
           d->value->op == OP_MUL;
}

/* A Def like the reduction d, of i32, over those output axes that `keep` uses (NULL: all). */
static Def *reduction_like(Raising *r, const Def *d, const char *name, const Expr *value,
                           const Expr *keep, const Expr **load) {
    Ctx *ctx = r->ctx;
    Sym **from = ctx_newn(ctx, Sym *, d->naxis);
    const Expr **to = ctx_newn(ctx, const Expr *, d->naxis), *dim[RANK_MAX], *index[RANK_MAX];
    int rank = 0;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind != AXIS_RED && (!keep || expr_uses_sym(keep, d->axis[i].var))) {
            dim[rank] = d->axis[i].var->extent;
            index[rank++] = def_var(ctx, d, i);
        }
    Def *sum = def_beside(ctx, d, name, T_I32, rank, dim);
    for (int i = 0, at = 0; i < d->naxis; i++) {
        from[i] = d->axis[i].var;
        to[i] = expr_sym(ctx, from[i]);
        if (at < rank && index[at]->u.sym == from[i])
            sum->axis[at].var->name = from[i]->name, to[i] = def_var(ctx, sum, at++);
    }
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_RED)
            to[i] = def_axis(ctx, sum, from[i]->name, AXIS_RED, from[i]->extent);
    sum->combine = OP_ADD;
    sum->value = expr_subst(ctx, value, d->naxis, from, to);
    sum->when = d->when ? expr_subst(ctx, d->when, d->naxis, from, to) : NULL;
    Item *it = ctx_new(ctx, Item);
    it->kind = ITEM_DEF;
    it->def = sum;
    it->origin = d->origin;
    vec_push(ctx, &r->items, it);
    *load = buf_load(ctx, sum->buf, index);
    return sum;
}

/* d, a reduction so far, equals e and what it started from. */
static void become_map(Ctx *ctx, Def *d, const Expr *e) {
    int n = 0;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind != AXIS_RED)
            d->axis[n++] = d->axis[i];
    d->naxis = n;
    d->value = d->init ? expr_add(ctx, d->init, e) : e;
    d->combine = COMBINE_SET;
    d->init = d->when = NULL;
}

static const Expr *as_i32(Ctx *ctx, const Real *r) {
    return expr_add(ctx, expr_cast(ctx, T_I32, r->load), expr_int(ctx, T_I32, r->shift));
}

/* The product of dequantised numbers in d as a product of integers; *scale what leaves the sum. */
static const Expr *integer_product(Ctx *ctx, const Def *d, const Expr **scale) {
    Real a, b;
    if (d->buf->type != T_F32 || !few_terms(d) ||
        !match_real(ctx, followed(ctx, d->value->kid[0]), &a) ||
        !match_real(ctx, followed(ctx, d->value->kid[1]), &b))
        return NULL;
    if (a.load->u.buf->space == SPACE_CONST) {
        Real t = a;
        a = b;
        b = t;
    }
    *scale = expr_mul(ctx, a.scale, b.scale);
    if (a.load->u.buf->space == SPACE_CONST || b.load->u.buf->space != SPACE_CONST ||
        uses_red(d, *scale) || !has_lanes(d, a.load, b.load))
        return NULL;
    return expr_mul(ctx, as_i32(ctx, &a), as_i32(ctx, &b));
}

static Def *raise_sum(Raising *r, Def *d) {
    const Expr *scale, *load, *product = integer_product(r->ctx, d, &scale);
    if (!product)
        return d;
    Def *sum = reduction_like(r, d, ".int", product, NULL, &load);
    become_map(r->ctx, d, expr_mul(r->ctx, expr_cast(r->ctx, T_F32, load), scale));
    return sum;
}

/* Weights with a zero point of their own: a second sum, of the other factor alone. */
static void split_sum(Raising *r, Def *d) {
    Ctx *ctx = r->ctx;
    Narrow8 n;
    const Expr *main, *other;
    if (!narrow_match(d, &n) || d->buf->ndef != 1 || !has_lanes(d, n.x, n.w))
        return;
    int64_t plain = n.w->type == T_U8 ? -128 : 0;
    if (n.cw == plain)
        return;
    const Expr *x = expr_add(ctx, expr_cast(ctx, T_I32, n.x), expr_int(ctx, T_I32, n.cx));
    const Expr *w = expr_add(ctx, expr_cast(ctx, T_I32, n.w), expr_int(ctx, T_I32, plain));
    const Expr *keep = d->when ? expr_select(ctx, d->when, x, expr_int(ctx, T_I32, 0)) : x;
    reduction_like(r, d, ".x", x, keep, &other); /* first: it is a kernel of its own */
    reduction_like(r, d, ".xw", expr_mul(ctx, x, w), NULL, &main);
    other = expr_mul(ctx, other, expr_int(ctx, T_I32, n.cw - plain));
    become_map(ctx, d, expr_add(ctx, main, other));
}

/* ---- what only moves ------------------------------------------------------------------------- */

/* e = t(max(min(rint(v/scale) + zero, high), low)), as QuantizeLinear writes it. */
static bool match_quantise(const Expr *e, const Expr **v, const Expr **scale, int64_t *zero) {
    if (e->op != OP_CAST || (e->type != T_I8 && e->type != T_U8) || e->kid[0]->op != OP_MAX)
        return false;
    const Expr *low = e->kid[0]->kid[1], *in = e->kid[0]->kid[0];
    if (in->op != OP_MIN || !expr_is(low, type_min(type_dtype(e->type))) ||
        !expr_is(in->kid[1], type_max(type_dtype(e->type))))
        return false;
    in = in->kid[0];
    *zero = 0;
    if (in->op == OP_ADD && in->kid[1]->op == OP_FLT) {
        *zero = (int64_t)in->kid[1]->u.f;
        in = in->kid[0];
    }
    if (in->op != OP_RINT || in->kid[0]->op != OP_DIV)
        return false;
    *v = in->kid[0]->kid[0];
    *scale = in->kid[0]->kid[1];
    return (*v)->op == OP_LOAD;
}

/* Does the real stand for a load of type t with this scale and zero point? */
static const Expr *same_quanta(Ctx *ctx, const Expr *e, Dtype t, const Expr *scale, int64_t zero) {
    Real r;
    bool same = match_real(ctx, e, &r) && r.scale == scale && r.scale->op == OP_FLT &&
                r.shift == -zero && r.load->type == t;
    return same ? r.load : NULL;
}

/* y = quantise(dequantise(x)[…]) = x[…]; the largest of some such is the largest of x. */
static void move_integers(Raising *r, Def *d) {
    Ctx *ctx = r->ctx;
    const Expr *v, *scale, *load;
    int64_t zero;
    if (!is_map(d) || !match_quantise(d->value, &v, &scale, &zero))
        return;
    Dtype t = type_dtype(d->buf->type);
    if ((load = same_quanta(ctx, followed(ctx, v), t, scale, zero))) {
        d->value = load;
        return;
    }
    Def *max = v->u.buf->def;
    if (!max || max->combine != OP_MAX || max->at || max->scan || max->init ||
        max->buf->ndef != 1 || max->buf->type != T_F32 || !def_is_reduction(max) ||
        !(load = same_quanta(ctx, followed(ctx, max->value), t, scale, zero)))
        return;
    const Expr *unused;
    Def *of = reduction_like(r, max, ".int", load, NULL, &unused);
    of->combine = OP_MAX;
    of->buf->type = t;
    d->value = buf_load(ctx, of->buf, v->kid);
}

/* ---- all ------------------------------------------------------------------------------------- */

static void raise_block(Raising *r, Block *b) {
    Raising inner = {.ctx = r->ctx, .floats = r->floats};
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                raise_block(r, it->body[k]);
        if (it->kind == ITEM_DEF) {
            if (r->floats)
                move_integers(&inner, it->def);
            if (is_sum(it->def))
                split_sum(&inner, r->floats ? raise_sum(&inner, it->def) : it->def);
        }
        vec_push(r->ctx, &inner.items, it);
    }
    b->items.at = inner.items.at;
    b->items.len = inner.items.len;
    b->items.cap = inner.items.cap;
}

bool graph_raise(Lower *lo) {
    Raising r = {.ctx = lo->ctx, .floats = machine_has(lo->machine, "dot4") && !lo->strict};
    if (machine_group(lo->machine) && !lo->o0)
        raise_block(&r, lo->prog->main);
    return true;
}
