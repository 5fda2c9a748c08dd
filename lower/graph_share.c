/* Equal Defs become one: the later one's readers read the earlier one. Precondition: kernel_inline, so that
 * equations with equal meaning mostly have equal text.
 *
 *   before  a[i] = add(k) x[i,k] ; b[j] = add(k) x[j,k] ; y[i] = a[i] * b[i]
 *   after   a[i] = add(k) x[i,k] ; y[i] = a[i] * a[i] */
#include "lower/graph_rewrite.h"

typedef struct Shape {
    const Def *def; /* its expressions over the canonical axes */
    const Block *block;
    const Expr *value, *when, *init;
    struct Shape *next; /* with the same value */
} Shape;

typedef struct Sharing {
    Ctx *ctx;
    Uses *uses;
    VEC(Sym *) axes; /* canonical: named by place and extent */
    VEC(int) places;
    Map *shapes; /* value → Shape */
    Map *gone;   /* Buf → Buf that takes its place */
} Sharing;

static const Expr *canonical_axis(Sharing *s, int place, const Expr *extent) {
    for (int i = 0; i < s->axes.len; i++)
        if (s->places.at[i] == place && s->axes.at[i]->extent == extent)
            return expr_sym(s->ctx, s->axes.at[i]);
    vec_push(s->ctx, &s->axes, sym_axis(s->ctx, str(s->ctx, "i"), extent));
    vec_push(s->ctx, &s->places, place);
    return expr_sym(s->ctx, s->axes.at[s->axes.len - 1]);
}

static void source_stable(void *data, Buf *b) {
    bool *stable = data;
    *stable &= b->ndef <= 1;
}

static bool may_share(Sharing *s, const Def *d) {
    bool stable = true;
    BufUse *use = uses_of(s->uses, d->buf);
    if (d->at || d->scan || d->buf->ndef != 1 || d->buf->space != SPACE_ARENA || use->port ||
        use->calls || expr_uses_buf(d->value, d->buf))
        return false;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_SEQ)
            return false;
    def_loads(s->ctx, d, source_stable, &stable);
    return stable;
}

static bool same_shape(const Shape *a, const Shape *b) {
    const Def *d = a->def, *e = b->def;
    if (a->block != b->block || a->when != b->when || a->init != b->init ||
        d->combine != e->combine || d->naxis != e->naxis || d->buf->type != e->buf->type ||
        d->buf->rank != e->buf->rank)
        return false;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind != e->axis[i].kind || d->axis[i].ways != e->axis[i].ways ||
            d->axis[i].var->extent != e->axis[i].var->extent)
            return false;
    for (int i = 0; i < d->buf->rank; i++)
        if (d->buf->dim[i] != e->buf->dim[i])
            return false;
    return true;
}

static const Expr *reload(Ctx *ctx, const Expr *e, void *data) {
    Buf *to = e->op == OP_LOAD ? map_get(data, e->u.buf) : NULL;
    return to ? buf_load(ctx, to, e->kid) : e;
}

static Shape *shape_of(Sharing *s, const Block *b, const Def *d) {
    Shape *sh = ctx_new(s->ctx, Shape);
    Sym **from = ctx_newn(s->ctx, Sym *, d->naxis);
    const Expr **to = ctx_newn(s->ctx, const Expr *, d->naxis);
    for (int i = 0; i < d->naxis; i++) {
        from[i] = d->axis[i].var;
        to[i] = canonical_axis(s, i, from[i]->extent);
    }
    *sh = (Shape){d, b, expr_subst(s->ctx, d->value, d->naxis, from, to), NULL, NULL, NULL};
    sh->when = d->when ? expr_subst(s->ctx, d->when, d->naxis, from, to) : NULL;
    sh->init = d->init ? expr_subst(s->ctx, d->init, d->naxis, from, to) : NULL;
    return sh;
}

static void share_item(void *data, Block *b, Item *it) {
    Sharing *s = data;
    if (it->e)
        it->e = expr_map(s->ctx, it->e, reload, s->gone);
    for (int i = 0; it->call && i < it->call->attr.len; i++)
        it->call->attr.at[i] = expr_map(s->ctx, it->call->attr.at[i], reload, s->gone);
    if (it->kind != ITEM_DEF)
        return;
    def_map(s->ctx, it->def, reload, s->gone);
    if (!may_share(s, it->def))
        return;
    Shape *sh = shape_of(s, b, it->def), *first = map_get(s->shapes, sh->value);
    for (Shape *at = first; at; at = at->next)
        if (same_shape(at, sh)) {
            map_put(s->gone, it->def->buf, at->def->buf);
            return;
        }
    sh->next = first;
    map_put(s->shapes, sh->value, sh);
}

void graph_share(Lower *lo) {
    Sharing s = {.ctx = lo->ctx, .uses = uses_build(lo->ctx, lo->prog)};
    s.shapes = map_new(lo->ctx);
    s.gone = map_new(lo->ctx);
    block_walk(lo->prog->main, share_item, &s);
}
