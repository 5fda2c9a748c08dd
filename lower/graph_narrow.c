/* A reduction is computed once, not again along every axis that its values do not read: such an axis gets
 * extent 1, and readers read its only element. (Weights that are one constant make convolutions like that.)
 * Precondition: graph_fold. The result's bits stay.
 *
 *   before  t f32[8,5] { m<8, p<5 } = add(c<3) x[c,p] * 0.02 ; y f32[8,5] { i<8, j<5 } = t[i,j] + b[i]
 *   after   t f32[1,5] { m<1, p<5 } = add(c<3) x[c,p] * 0.02 ; y f32[8,5] { i<8, j<5 } = t[0,j] + b[i] */
#include "lower/uses.h"

typedef struct Narrowing {
    Ctx *ctx;
    Uses *uses;
    Map *narrowed; /* Buf → itself */
    bool any;
} Narrowing;

typedef struct Reads {
    const Sym *var;
    bool found;
} Reads;

static void find_var(void *data, const Expr *e) {
    Reads *r = data;
    r->found |= expr_uses_sym(e, r->var);
}

static bool axis_idle(const Def *d, const Axis *a) {
    Reads r = {a->var, false};
    int64_t n;
    if (a->kind != AXIS_PAR || !expr_is_int(a->var->extent, &n) || n <= 1)
        return false;
    def_exprs(d, find_var, &r);
    return !r.found;
}

static void narrow_def(void *data, Block *b, Item *it) {
    Narrowing *w = data;
    Def *d = it->kind == ITEM_DEF ? it->def : NULL;
    (void)b;
    if (!d || d->at || d->scan || !def_is_reduction(d) || d->buf->ndef != 1 ||
        d->buf->space != SPACE_ARENA || uses_of(w->uses, d->buf)->port ||
        uses_of(w->uses, d->buf)->calls)
        return;
    const Expr *one = expr_i(w->ctx, 1);
    for (int i = 0; i < d->buf->rank; i++) {
        if (!axis_idle(d, &d->axis[i]))
            continue;
        d->axis[i].var = sym_axis(w->ctx, d->axis[i].var->name, one);
        d->buf->dim[i] = one;
        d->buf->known_state = 0;
        map_put(w->narrowed, d->buf, d->buf);
        w->any = true;
    }
}

static const Expr *read_only_element(Ctx *ctx, const Expr *e, void *data) {
    const Narrowing *w = data;
    const Expr *at[RANK_MAX], *one = expr_i(ctx, 1);
    if (e->op != OP_LOAD || !map_get(w->narrowed, e->u.buf))
        return e;
    for (int i = 0; i < e->u.buf->rank; i++)
        at[i] = e->u.buf->dim[i] == one ? expr_i(ctx, 0) : e->kid[i];
    return buf_load(ctx, e->u.buf, at);
}

static void read_item(void *data, Block *b, Item *it) {
    Narrowing *w = data;
    (void)b;
    if (it->def)
        def_map(w->ctx, it->def, read_only_element, w);
    if (it->e)
        it->e = expr_map(w->ctx, it->e, read_only_element, w);
    for (int i = 0; it->call && i < it->call->attr.len; i++)
        it->call->attr.at[i] = expr_map(w->ctx, it->call->attr.at[i], read_only_element, w);
}

bool graph_narrow(Lower *lo) {
    Narrowing w = {lo->ctx, uses_build(lo->ctx, lo->prog), map_new(lo->ctx), false};
    block_walk(lo->prog->main, narrow_def, &w);
    if (w.any)
        block_walk(lo->prog->main, read_item, &w);
    return true;
}
