/* Slots: the parts of a concatenation get equations of their own, so that each may be written where it belongs
 * and the concatenation itself copies nothing. Only where a part is computed for it alone.
 * Precondition: kernel_inline (a concatenation that its readers do without is gone).
 *
 *   before  y[n,c] = select(c < 8, max(t[n,c], 0), u[n,c-8])
 *   after   y_0[n,c] = max(t[n,c], 0) ; y[n,c] = select(c < 8, y_0[n,c], u[n,c-8]), parts y_0 from 0, u from 8 */
#include "lower/uses.h"

#define PARTS_MAX 16
#define ELEMENTS_MIN 256 /* in the smallest part */

typedef struct Part {
    const Expr *value; /* over the concatenation's axes */
    int64_t from, to;  /* positions along the axis */
    Buf *buf;
} Part;

typedef struct Concat {
    Uses *uses;
    Def *def;
    const Place *place;
    int axis; /* -1: not known yet */
    int n;
    Part part[PARTS_MAX];
} Concat;

/* The value in from..to along the axis: select(axis < limit, …, …), or a part. */
static bool find_parts(Concat *c, const Expr *e, int64_t from, int64_t to) {
    int64_t limit;
    const Expr *when = e->op == OP_SELECT ? e->kid[0] : NULL;
    for (int i = 0; when && i < c->def->naxis; i++)
        if (when->op == OP_LT && when->kid[0] == def_var(c->uses->ctx, c->def, i) &&
            expr_is_int(when->kid[1], &limit) && from < limit && limit < to &&
            (c->axis < 0 || c->axis == i)) {
            c->axis = i;
            return find_parts(c, e->kid[1], from, limit) && find_parts(c, e->kid[2], limit, to);
        }
    if (c->n == PARTS_MAX)
        return false;
    c->part[c->n++] = (Part){e, from, to, NULL};
    return true;
}

static bool find_concat(Concat *c) {
    int64_t dim;
    const Def *d = c->def;
    const BufUse *use = uses_of(c->uses, d->buf);
    if (d->at || d->scan || d->when || d->combine != COMBINE_SET || d->buf->ndef != 1 ||
        d->buf->space != SPACE_ARENA || d->buf->bound || use->port || use->calls ||
        use->items.len || d->value->op != OP_SELECT)
        return false;
    for (int i = 0; i < d->buf->rank; i++)
        if (d->axis[i].kind != AXIS_PAR || !expr_over_dims(c->uses->ctx, d->buf->dim[i]))
            return false;
    for (int i = 0; i < d->buf->rank; i++) {
        c->n = 0;
        c->axis = i;
        if (expr_is_int(d->buf->dim[i], &dim) && find_parts(c, d->value, 0, dim) && c->n > 1)
            return true;
    }
    return false;
}

/* The part's value over axes of its own: its Def, not in the program yet. */
static Def *part_def(const Concat *c, const Part *p, int number) {
    Ctx *ctx = c->uses->ctx;
    const Buf *y = c->def->buf;
    const Expr *dim[RANK_MAX], *to[RANK_MAX];
    Sym *from[RANK_MAX];
    for (int i = 0; i < y->rank; i++)
        dim[i] = i == c->axis ? expr_i(ctx, p->to - p->from) : y->dim[i];
    Def *d = def_new(ctx, str_f(ctx, "%s_%d", y->name, number), type_dtype(y->type), y->rank, dim);
    for (int i = 0; i < y->rank; i++) {
        from[i] = c->def->axis[i].var;
        to[i] = def_var(ctx, d, i);
    }
    to[c->axis] = expr_add(ctx, to[c->axis], expr_i(ctx, p->from));
    d->value = expr_subst(ctx, p->value, y->rank, from, to);
    d->origin = c->def->origin;
    d->loc = c->def->loc;
    return d;
}

/* The value is all of a buffer that may lie in the concatenation; else NULL. */
static Buf *own_buf(const Concat *c, const Def *d) {
    Buf *b = d->value->op == OP_LOAD ? d->value->u.buf : NULL;
    if (!b || b->space != SPACE_ARENA || b->ndef != 1 || b->bound || b->whole ||
        b->rank != d->buf->rank || b->type != d->buf->type || !b->def || b->def->at ||
        b->def->scan || b->def->when)
        return NULL;
    for (int i = 0; i < b->rank; i++)
        if (b->dim[i] != d->buf->dim[i] || d->value->kid[i] != def_var(c->uses->ctx, d, i))
            return NULL;
    const BufUse *use = uses_of(c->uses, b);
    bool here = uses_place(c->uses, b->def)->block == c->place->block;
    return here && !use->port && !use->calls && !use->items.len ? b : NULL;
}

typedef struct Source {
    const Concat *c;
    const Def *part;
    bool found;
} Source;

/* A reduction that nothing but the concatenation reads, element by element: the part can be computed with it. */
static void find_source(void *data, Buf *b) {
    Source *s = data;
    const BufUse *use = uses_of(s->c->uses, b);
    s->found |= b->ndef == 1 && b->space == SPACE_ARENA && b->def && def_is_reduction(b->def) &&
                use->readers.len == 1 && !use->port && !use->calls &&
                uses_place(s->c->uses, b->def)->block == s->c->place->block &&
                def_prefix(s->c->uses->ctx, s->part, b) == b->rank;
}

static void split_concat(Concat *c, Block *b, const Item *at) {
    Ctx *ctx = c->uses->ctx;
    Def *def[PARTS_MAX];
    bool pays = false, small = false;
    for (int i = 0; i < c->n; i++) {
        def[i] = part_def(c, &c->part[i], i);
        c->part[i].buf = own_buf(c, def[i]);
        for (int j = 0; j < i && c->part[i].buf; j++)
            if (c->part[j].buf == c->part[i].buf)
                c->part[i].buf = NULL;
        Source s = {c, def[i], false};
        def_loads(ctx, def[i], find_source, &s);
        pays |= c->part[i].buf || s.found;
        small |= buf_volume(ctx, def[i]->buf) < ELEMENTS_MIN;
    }
    if (!pays || small)
        return;
    Buf *y = c->def->buf;
    y->along = c->axis;
    for (int i = 0; i < c->n; i++) {
        Part *p = &c->part[i];
        if (!p->buf) {
            p->buf = def[i]->buf;
            block_insert(ctx, b, block_index(b, at), def[i]);
        }
        p->buf->whole = y;
        p->buf->start = expr_i(ctx, p->from);
        vec_push(ctx, &y->parts, p->buf);
    }
    c->def->value = def_parts(ctx, c->def);
}

static void try_concat(Uses *u, Block *b, Item *it) {
    Concat c = {.uses = u, .def = it->def, .axis = -1};
    if (it->kind != ITEM_DEF)
        return;
    c.place = uses_place(u, it->def);
    if (c.place && find_concat(&c))
        split_concat(&c, b, it);
}

/* Last ones first: a concatenation of concatenations is the one whose parts they are. */
static void concat_block(Uses *u, Block *b) {
    for (int i = b->items.len; i-- > 0;) {
        Item *it = b->items.at[i];
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                concat_block(u, it->body[k]);
        try_concat(u, b, it);
    }
}

bool kernel_concat(Lower *lo) {
    if (!lo->o0 && !lo->min_ram)
        concat_block(uses_build(lo->ctx, lo->prog), lo->prog->main);
    return true;
}
