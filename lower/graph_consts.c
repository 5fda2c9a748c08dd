/* Constants inside expressions: single elements become numbers, what is computed from constants alone becomes
 * a table. Both keep every bit.
 *
 *   before  y[i,j] = pow(x[i,j], two[]) + b[j]*s[j]      after  y[i,j] = x[i,j]*x[i,j] + bs[j], bs const */
#include "lower/graph_rewrite.h"

#include <math.h>

#define TABLE_STEPS 1e7       /* scalar operations for one table */
#define TABLE_SMALL 4096      /* elements of a table that is always worth it */
#define TABLE_LARGE (1 << 20) /* of one that is read at least READS times an element */
#define READS 8
#define PLAIN 4096 /* a plain float is this many times a power of two, or fewer */

/* ---- numbers ------------------------------------------------------------------------------------ */

/* Few bits in the mantissa: what rules know, and what equal layers share. Other floats stay loads, so that
 * layers that differ in them can be one function. */
static bool is_plain(const Expr *v) {
    int exponent;
    if (v->op != OP_FLT || !isfinite(v->u.f))
        return true;
    double m = frexp(v->u.f, &exponent) * PLAIN;
    return m == floor(m);
}

/* The element a load of a constant reads when its place is known. Weights that are all equal stay weights: the
 * schedules of sums of products know what to do with them. */
static const Expr *literal(Ctx *ctx, const Expr *e, void *data) {
    const Def *d = data;
    if (e->op != OP_LOAD || e->u.buf->space != SPACE_CONST || type_dtype(e->type) == T_STR)
        return e;
    const Const *c = e->u.buf->data;
    int64_t at = 0, i, dim[RANK_MAX];
    bool equal = c && (c->count == 1 || (c->splat && !(d && def_is_reduction(d))));
    if (!c || c->count < 1 || !buf_dims(e->u.buf, dim))
        return e;
    for (int k = 0; k < e->nkid && !equal; k++) {
        if (!expr_is_int(e->kid[k], &i) || i < 0 || i >= dim[k])
            return e;
        at = at * dim[k] + i;
    }
    const Expr *v = const_at(ctx, c, at);
    return v && v->type == e->type && is_plain(v) ? v : e;
}

static const Expr *simplified(Ctx *ctx, const Expr *e, Def *d) {
    const Expr *now = e ? expr_map(ctx, e, literal, d) : NULL;
    return now && now != e ? expr_simplify(ctx, now) : now;
}

static void literal_item(void *data, Block *b, Item *it) {
    Ctx *ctx = data;
    (void)b;
    it->e = simplified(ctx, it->e, NULL);
    for (int i = 0; it->call && i < it->call->attr.len; i++)
        it->call->attr.at[i] = simplified(ctx, it->call->attr.at[i], NULL);
    Def *d = it->kind == ITEM_DEF ? it->def : NULL;
    if (!d || type_dtype(d->buf->type) == T_STR)
        return;
    d->value = simplified(ctx, d->value, d);
    d->when = simplified(ctx, d->when, d);
    d->init = simplified(ctx, d->init, d);
    for (int i = 0; d->at && i < d->buf->rank; i++)
        d->at[i] = simplified(ctx, d->at[i], d);
}

void graph_literals(Lower *lo) {
    block_walk(lo->prog->main, literal_item, lo->ctx);
}

/* ---- tables ------------------------------------------------------------------------------------- */

typedef struct Look {
    Ctx *ctx;
    bool constant, inside; /* every leaf is; every load is in bounds for all values of its axes */
    int loads, ops;        /* of floats */
    VEC(Sym *) axes;
} Look;

static void look_sym(Look *l, Sym *s) {
    for (int i = 0; i < l->axes.len; i++)
        if (l->axes.at[i] == s)
            return;
    vec_push(l->ctx, &l->axes, s);
    l->constant &= s->kind == SYM_AXIS;
}

static void look_node(void *data, const Expr *e) {
    Look *l = data;
    if (e->op == OP_SYM)
        look_sym(l, e->u.sym);
    else if (e->op == OP_LOAD) {
        l->loads++;
        l->constant &=
            e->u.buf->space == SPACE_CONST && e->u.buf->data && type_dtype(e->type) != T_STR;
        for (int i = 0; i < e->nkid; i++) {
            int64_t dim;
            Range r = expr_range(l->ctx, e->kid[i]);
            l->inside &= expr_is_int(e->u.buf->dim[i], &dim) && r.min >= 0 && r.max < dim;
        }
    } else {
        l->ops += e->nkid > 0 && type_is_float(type_dtype(e->type));
    }
}

static Look look(Ctx *ctx, const Expr *e) {
    Look l = {.ctx = ctx, .constant = true, .inside = true};
    expr_walk(ctx, e, look_node, &l);
    return l;
}

bool expr_is_constant(Ctx *ctx, const Expr *e) {
    return look(ctx, e).constant;
}

Buf *const_table(Lower *lo, Str name, const Expr *e, int n, Sym *const *axis) {
    Ctx *ctx = lo->ctx;
    const Expr *dim[RANK_MAX], *var[RANK_MAX];
    int64_t count = 1, extent, dims[RANK_MAX];
    Look l = look(ctx, e);
    if (!l.constant || !l.inside || n > RANK_MAX || type_dtype(e->type) != T_F32)
        return NULL;
    for (int i = 0; i < l.axes.len; i++) {
        bool given = false;
        for (int k = 0; k < n; k++)
            given |= axis[k] == l.axes.at[i];
        if (!given)
            return NULL;
    }
    for (int i = 0; i < n; i++) {
        dim[i] = axis[i]->extent;
        if (!expr_is_int(dim[i], &extent) || extent < 1 || !mul_ok(count, extent, &count))
            return NULL;
    }
    if ((double)count * (l.ops + l.loads + 1) > TABLE_STEPS)
        return NULL;
    Def *d = def_new(ctx, name, T_F32, n, dim);
    for (int i = 0; i < n; i++)
        var[i] = def_var(ctx, d, i);
    d->value = expr_subst(ctx, e, n, axis, var);
    Eval *ev = eval_new(ctx);
    if (!eval_def(ev, d))
        return NULL;
    Tensor *t = eval_tensor(ev, d->buf);
    buf_dims(d->buf, dims);
    Buf *b = buf_const(ctx, name, const_new(ctx, T_F32, t->count, t->data), n, dims);
    vec_push(ctx, &lo->prog->consts, b);
    return b;
}

typedef struct Lifting {
    Lower *lo;
    Def *def;
    double volume;
    Map *tables; /* node → load of its table */
} Lifting;

static void lift(Lifting *lf, const Expr *e) {
    Ctx *ctx = lf->lo->ctx;
    int64_t extent;
    double count = 1;
    const Expr *index[RANK_MAX];
    if (type_dtype(e->type) != T_F32 || e->nkid == 0 || e->op == OP_LOAD)
        return;
    bool stays = e->op == OP_CAST && e->kid[0]->type == T_BF16 && e->kid[0]->op == OP_LOAD;
    if (stays && machine_has(lf->lo->machine, "tile_bf16"))
        return; /* the instruction takes bf16 */
    Look l = look(ctx, e);
    if (!l.constant || !l.inside || !l.loads || !l.ops || l.axes.len > RANK_MAX)
        return;
    for (int i = 0; i < l.axes.len; i++) {
        count *= expr_is_int(l.axes.at[i]->extent, &extent) ? (double)extent : 1e18;
        index[i] = expr_sym(ctx, l.axes.at[i]);
    }
    if (count > (lf->volume >= READS * count ? TABLE_LARGE : TABLE_SMALL) || count > lf->volume)
        return;
    Buf *b = const_table(lf->lo, str_f(ctx, "%s.const", lf->def->name), e, l.axes.len, l.axes.at);
    if (b)
        map_put(lf->tables, e, (void *)(uintptr_t)buf_load(ctx, b, index));
}

/* Kids first: a constant below a node that is none is as large as constants get. */
static void lift_kids(void *data, const Expr *e) {
    Lifting *lf = data;
    if (e->op == OP_LOAD || expr_is_constant(lf->lo->ctx, e))
        return;
    for (int i = 0; i < e->nkid; i++)
        if (!map_get(lf->tables, e->kid[i]))
            lift(lf, e->kid[i]);
}

static const Expr *lifted(Ctx *ctx, const Expr *e, void *data) {
    const Expr *table = map_get(data, e);
    (void)ctx;
    return table ? table : e;
}

static void lift_item(void *data, Block *b, Item *it) {
    Lower *lo = data;
    (void)b;
    if (it->kind != ITEM_DEF || type_dtype(it->def->buf->type) == T_STR)
        return;
    Lifting lf = {lo, it->def, def_volume(lo->ctx, it->def, true), map_new(lo->ctx)};
    expr_walk(lo->ctx, it->def->value, lift_kids, &lf);
    it->def->value = expr_map(lo->ctx, it->def->value, lifted, lf.tables);
}

void graph_tables(Lower *lo) {
    block_walk(lo->prog->main, lift_item, lo);
}
