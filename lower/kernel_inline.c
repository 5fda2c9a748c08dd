/* Safe inlining: a map or view goes into its readers when that saves more than it repeats.
 * Precondition: graph_prune. A Def that was inlined everywhere is gone afterwards.
 *
 *   before  v[i] = x[i // 4, i % 4] ; y[i] = v[i] * 2
 *   after   y[i] = x[i // 4, i % 4] * 2 */
#include "lower/uses.h"

#define COST_STORE_LOAD 3.0 /* what materialising one element costs, in scalar operations */
#define SIZE_MAX_NODES 300  /* a reader's value never grows beyond this by inlining */
#define PASSES 2            /* several readers of one Def become one when they go into theirs */

/* Scalar operations to compute e once; index arithmetic without division is free. */
typedef struct CostWalk {
    double cost;
} CostWalk;

static void cost_node(void *data, const Expr *e) {
    CostWalk *w = data;
    bool index = e->type == T_I64;
    switch (e->op) {
    case OP_INT:
    case OP_FLT:
    case OP_SYM:
    case OP_LOAD:
        break;
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
        w->cost += index ? 0 : 1;
        break;
    case OP_FDIV:
    case OP_MOD:
    case OP_DIV:
    case OP_REM:
    case OP_SQRT:
        w->cost += 3;
        break;
    default:
        w->cost += e->op >= OP_EXP && e->op <= OP_EXPM1 ? 15 : e->op == OP_POW ? 25 : 1;
    }
}

static double expr_cost(Ctx *ctx, const Expr *e) {
    CostWalk w = {0};
    expr_walk(ctx, e, cost_node, &w);
    return w.cost;
}

static bool def_is_map(const Def *d) {
    if (d->at || d->scan || d->when || d->buf->ndef != 1 || d->combine != COMBINE_SET)
        return false;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind != AXIS_PAR)
            return false;
    return !expr_uses_buf(d->value, d->buf);
}

typedef struct Safety {
    Uses *uses;
    const Place *place;
    bool ok;
} Safety;

/* A source that is written again after the Def ran may not be read later instead. */
static void check_source(void *data, Buf *b) {
    Safety *s = data;
    if (b->ndef <= 1)
        return;
    BufUse *use = uses_of(s->uses, b);
    for (int i = 0; i < use->places.len; i++)
        if (use->places.at[i].order > s->place->order)
            s->ok = false;
}

static bool sources_stable(Uses *u, const Def *d) {
    Safety s = {u, uses_place(u, d), true};
    def_loads(u->ctx, d, check_source, &s);
    return s.ok;
}

typedef struct CountLoads {
    const Buf *buf;
    int n;
} CountLoads;

static void count_node(void *data, const Expr *e) {
    CountLoads *c = data;
    c->n += e->op == OP_LOAD && e->u.buf == c->buf;
}

static void count_expr(void *data, const Expr *e) {
    void **pair = data;
    expr_walk(pair[0], e, count_node, pair[1]);
}

/* How often the reader reads each element of the Def's buffer, about. */
static double reads_per_element(Ctx *ctx, const Def *d, const Def *reader) {
    CountLoads c = {d->buf, 0};
    void *pair[2] = {ctx, &c};
    def_exprs(reader, count_expr, pair);
    double own = def_volume(ctx, d, true);
    return own <= 0 ? 1 : c.n * def_volume(ctx, reader, true) / own;
}

typedef struct Follows {
    Uses *uses;
    bool found;
} Follows;

static void follows_load(void *data, Buf *b) {
    Follows *f = data;
    f->found |=
        b->ndef == 1 && b->def && def_is_reduction(b->def) && uses_of(f->uses, b)->readers.len == 1;
}

/* Is d the map at the end of a reduction's kernel? Then its values are stored in place of the reduction's. */
static bool is_epilogue(Uses *u, const Def *d) {
    Follows f = {u, false};
    def_loads(u->ctx, d, follows_load, &f);
    return f.found;
}

typedef struct Turns {
    Ctx *ctx;
    const Def *d;
    const Sym *axis;
    bool found; /* the case to take changes along axis */
} Turns;

static void turns_node(void *data, const Expr *e) {
    Turns *t = data;
    t->found |= e->op == OP_SELECT && e->kid[0]->op == OP_EQ && expr_uses_sym(e->kid[0], t->axis);
}

static void turns_load(void *data, const Expr *e) {
    Turns *t = data;
    if (e->op == OP_LOAD && e->u.buf == t->d->buf)
        expr_walk(t->ctx, def_inline(t->ctx, t->d, e->kid), turns_node, t);
}

static const Sym *last_axis(const Def *d) {
    return d->buf->rank > 0 && d->naxis >= d->buf->rank ? d->axis[d->buf->rank - 1].var : NULL;
}

/* Would each lane of the reader take another case of d, whose own lanes all take the same (a transposed result of
 * Strassen's product)? */
static bool lanes_take_turns(Ctx *ctx, const Def *d, const Def *reader) {
    Turns own = {ctx, d, last_axis(d), false}, there = {ctx, d, last_axis(reader), false};
    if (!own.axis || !there.axis)
        return false;
    expr_walk(ctx, d->value, turns_node, &own);
    if (!own.found)
        expr_walk(ctx, reader->value, turns_load, &there);
    return there.found;
}

static bool pays(Uses *u, const Def *d, const BufUse *use) {
    Ctx *ctx = u->ctx;
    bool cases = def_has_cases(ctx, d);
    double cost = expr_cost(ctx, d->value), reads = 0;
    int size = expr_size(ctx, d->value, SIZE_MAX_NODES + 1);
    for (int i = 0; i < use->readers.len; i++) {
        const Def *r = use->readers.at[i];
        bool same_block = uses_place(u, r)->block == uses_place(u, d)->block;
        if ((!same_block && cost > 2) ||
            (cases && (def_is_reduction(r) || lanes_take_turns(ctx, d, r))))
            return false;
        if (cost > 0 && def_is_contraction(ctx, r) && is_epilogue(u, d))
            return false;
        if (r == d || size + expr_size(ctx, r->value, SIZE_MAX_NODES + 1) > SIZE_MAX_NODES)
            return false;
        reads += reads_per_element(ctx, d, r);
    }
    return cost == 0 || (reads - 1) * cost <= COST_STORE_LOAD;
}

static const Expr *replace_load(Ctx *ctx, const Expr *e, void *data) {
    const Def *d = data;
    return e->op == OP_LOAD && e->u.buf == d->buf ? def_inline(ctx, d, e->kid) : e;
}

typedef struct Moving {
    Uses *uses;
    Def *to, *gone;
} Moving;

static void move_reader(void *data, Buf *b) {
    Moving *m = data;
    uses_reader_add(m->uses, b, m->to);
}

static void drop_reader(void *data, Buf *b) {
    Moving *m = data;
    uses_reader_drop(m->uses, b, m->gone);
}

static void inline_def(Uses *u, Def *d, BufUse *use) {
    for (int i = 0; i < use->items.len; i++) {
        Item *it = use->items.at[i];
        if (it->e)
            it->e = expr_map(u->ctx, it->e, replace_load, d);
        for (int k = 0; it->call && k < it->call->attr.len; k++)
            it->call->attr.at[k] = expr_map(u->ctx, it->call->attr.at[k], replace_load, d);
    }
    for (int i = 0; i < use->readers.len; i++) {
        Def *r = use->readers.at[i];
        def_map(u->ctx, r, replace_load, d);
        Moving m = {u, r, d};
        def_loads(u->ctx, d, move_reader, &m);
    }
    Moving m = {u, NULL, d};
    def_loads(u->ctx, d, drop_reader, &m);
    d->buf->ndef = 0;
}

static void try_inline(void *data, Block *b, Item *it) {
    Uses *u = data;
    (void)b;
    if (it->kind != ITEM_DEF || !def_is_map(it->def) || it->def->buf->space != SPACE_ARENA)
        return;
    BufUse *use = uses_of(u, it->def->buf);
    if (use->port || use->calls || !sources_stable(u, it->def) || !pays(u, it->def, use))
        return;
    inline_def(u, it->def, use);
}

static void sweep(Block *b) {
    int kept = 0;
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                sweep(it->body[k]);
        if (it->kind != ITEM_DEF || it->def->buf->ndef > 0)
            b->items.at[kept++] = it;
    }
    b->items.len = kept;
}

bool kernel_inline(Lower *lo) {
    Uses *u = uses_build(lo->ctx, lo->prog);
    for (int pass = 0; pass < PASSES; pass++) {
        block_walk(lo->prog->main, try_inline, u);
        sweep(lo->prog->main);
    }
    return true;
}
