/* Stores at places that are known now become maps. A table of integers that count along its axes (ranges, spread
 * and joined, as exporters write a slice of a tensor) is arithmetic where it is an index; an update whose places
 * are a box of its buffer is a case of the map that fills the buffer. Exact. Precondition: graph_fold.
 *
 *   before  y f32[8] { i<8 } = x[i] ; y { seq j<3 } [idx[j]] = u[j]        (idx = 2, 3, 4)
 *   after   y f32[8] { i<8 } = select(2 <= i && i < 5, u[i - 2], x[i]) */
#include "lower/uses.h"

#define TABLE_MAX (1 << 22)          /* elements looked at */
#define VALUE_MAX ((int64_t)1 << 40) /* of a table that counts */

/* ---- tables that count ------------------------------------------------------------------------ */

typedef struct Table {
    const Const *data;
    int rank;
    int64_t dim[RANK_MAX], stride[RANK_MAX];
    int64_t from;           /* offset of the first element that the load can read */
    bool runs[RANK_MAX];    /* the index there is no number */
    int64_t step[RANK_MAX]; /* of the values along that dimension */
} Table;

static bool table_value(Ctx *ctx, const Table *t, int64_t at, int64_t *v) {
    return expr_is_int(const_at(ctx, t->data, at), v) && *v > -VALUE_MAX && *v < VALUE_MAX;
}

/* Is every element from `at` on, along the dimensions from i, what counting from `first` gives? */
static bool table_counts(Ctx *ctx, const Table *t, int i, int64_t at, int64_t first) {
    int64_t v;
    if (i == t->rank)
        return table_value(ctx, t, at, &v) && v == first;
    for (int64_t n = 0; n < (t->runs[i] ? t->dim[i] : 1); n++)
        if (!table_counts(ctx, t, i + 1, at + n * t->stride[i], first + n * t->step[i]))
            return false;
    return true;
}

/* The load of a constant that counts, as arithmetic; else the load. */
static const Expr *counted(Ctx *ctx, const Expr *e, void *data) {
    const Buf *b = e->op == OP_LOAD ? e->u.buf : NULL;
    int64_t count, at, first, next, n = 1;
    (void)data;
    if (!b || b->space != SPACE_CONST || !b->data || b->data->splat || b->where ||
        (b->type != T_I64 && b->type != T_I32) || b->rank == 0 || !buf_static(b, &count) ||
        count < 1 || count > TABLE_MAX)
        return e;
    Table t = {.data = b->data, .rank = b->rank};
    buf_dims(b, t.dim);
    for (int i = b->rank; i-- > 0; n *= t.dim[i]) {
        t.stride[i] = n;
        t.runs[i] = !expr_is_int(e->kid[i], &at);
        if (!t.runs[i] && (at < 0 || at >= t.dim[i]))
            return e;
        t.from += t.runs[i] ? 0 : at * n;
    }
    if (!table_value(ctx, &t, t.from, &first))
        return e;
    const Expr *sum = expr_i(ctx, first);
    for (int i = 0; i < b->rank; i++) {
        if (!t.runs[i] || t.dim[i] == 1)
            continue;
        if (!table_value(ctx, &t, t.from + t.stride[i], &next))
            return e;
        t.step[i] = next - first;
        sum = expr_add(ctx, sum, expr_mul(ctx, expr_i(ctx, t.step[i]), e->kid[i]));
    }
    return table_counts(ctx, &t, 0, t.from, first) ? expr_cast(ctx, b->type, sum) : e;
}

/* Tables are looked at where they say a place. */
static const Expr *count_index(Ctx *ctx, const Expr *e, void *data) {
    const Expr *index[RANK_MAX];
    bool same = true;
    if (e->op != OP_LOAD)
        return e;
    for (int i = 0; i < e->nkid; i++) {
        index[i] = expr_map(ctx, e->kid[i], counted, data);
        same &= index[i] == e->kid[i];
        index[i] = index[i] == e->kid[i] ? index[i] : expr_simplify(ctx, index[i]);
    }
    return same ? e : buf_load(ctx, e->u.buf, index);
}

static void count_item(void *data, Block *b, Item *it) {
    Ctx *ctx = data;
    Def *d = it->kind == ITEM_DEF ? it->def : NULL;
    (void)b;
    if (!d || type_dtype(d->buf->type) == T_STR)
        return;
    d->value = expr_map(ctx, d->value, count_index, NULL);
    for (int i = 0; d->at && i < d->buf->rank; i++)
        d->at[i] = expr_simplify(ctx, expr_map(ctx, d->at[i], counted, NULL));
}

/* ---- updates ------------------------------------------------------------------------------------ */

/* Is it a map that fills its buffer? */
static bool fills(const Def *d) {
    return !d->at && !d->scan && !d->when && d->combine == COMBINE_SET && !def_is_reduction(d) &&
           !expr_uses_buf(d->value, d->buf);
}

/* The map that fills the buffer before the update at `at`, if all between them are maps of other buffers that do
 * not read it; -1. */
static int filled_by(Ctx *ctx, const Block *b, int at, const Buf *buf) {
    for (int i = at; i-- > 0;) {
        const Item *it = b->items.at[i];
        if (it->kind == ITEM_CHECK && !expr_uses_buf(it->e, buf))
            continue;
        if (it->kind != ITEM_DEF)
            return -1;
        if (it->def->buf == buf)
            return fills(it->def) ? i : -1;
        if (it->def->at || it->def->scan || it->def->buf->ndef != 1 || def_reads(ctx, it->def, buf))
            return -1;
    }
    return -1;
}

typedef struct Box {
    Ctx *ctx;
    const Def *fill;
    const Expr *in; /* NULL: all of the dimensions looked at so far */
    Sym *from[RANK_MAX];
    const Expr *to[RANK_MAX];
    int n;
} Box;

static bool box_has(const Box *x, const Sym *var) {
    for (int i = 0; i < x->n; i++)
        if (x->from[i] == var)
            return true;
    return false;
}

/* One dimension: a number, or one axis of the update and a number. */
static bool box_dimension(Box *x, const Def *u, int i) {
    Ctx *ctx = x->ctx;
    const Expr *at = u->at[i], *here = def_var(ctx, x->fill, i), *coef, *rest;
    int64_t start, extent = 1, dim;
    Sym *var = NULL;
    for (int a = 0; a < u->naxis; a++)
        if (expr_uses_sym(at, u->axis[a].var))
            var = var ? NULL : u->axis[a].var;
    if (!expr_is_int(u->buf->dim[i], &dim))
        return false;
    if (var && (box_has(x, var) || !expr_linear(ctx, at, 1, &var, &coef, &rest) ||
                !expr_is(coef, 1) || !expr_is_int(var->extent, &extent)))
        return false;
    if (!expr_is_int(var ? rest : at, &start) || start < 0 || extent < 1 || start > dim - extent)
        return false;
    if (var) {
        x->from[x->n] = var;
        x->to[x->n++] = expr_sub(ctx, here, expr_i(ctx, start));
    }
    if (start > 0)
        x->in = expr_and(ctx, x->in, expr_le(ctx, expr_i(ctx, start), here));
    if (start + extent < dim)
        x->in = expr_and(ctx, x->in, expr_lt(ctx, here, expr_i(ctx, start + extent)));
    return true;
}

/* False: the places are no box, or an axis does not move along it. */
static bool find_box(Box *x, const Def *u) {
    if (!u->at || u->scan || u->when || def_is_reduction(u) || expr_uses_buf(u->value, u->buf))
        return false;
    for (int i = 0; i < u->buf->rank; i++)
        if (!box_dimension(x, u, i))
            return false;
    for (int a = 0; a < u->naxis; a++) {
        if (box_has(x, u->axis[a].var))
            continue;
        if (!expr_is(u->axis[a].var->extent, 1) || x->n == RANK_MAX)
            return false;
        x->from[x->n] = u->axis[a].var;
        x->to[x->n++] = expr_i(x->ctx, 0);
    }
    return true;
}

static void places_block(Ctx *ctx, Block *b) {
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                places_block(ctx, it->body[k]);
        Def *u = it->kind == ITEM_DEF ? it->def : NULL;
        int from = u && u->at && u->buf->ndef > 1 ? filled_by(ctx, b, i, u->buf) : -1;
        Box x = {.ctx = ctx, .fill = from < 0 ? NULL : b->items.at[from]->def};
        if (!x.fill || !find_box(&x, u))
            continue;
        Def *d = b->items.at[from]->def;
        const Expr *v = expr_subst(ctx, u->value, x.n, x.from, x.to);
        if (u->combine != COMBINE_SET)
            v = expr_2(ctx, (Op)u->combine, d->value, v);
        d->value = expr_simplify(ctx, x.in ? expr_select(ctx, x.in, v, d->value) : v);
        d->buf->ndef--;
        it->def = d;
        for (int k = from; k + 1 < b->items.len; k++)
            b->items.at[k] = b->items.at[k + 1];
        b->items.len--;
        i--;
    }
}

bool graph_places(Lower *lo) {
    block_walk(lo->prog->main, count_item, lo->ctx);
    places_block(lo->ctx, lo->prog->main);
    return true;
}
