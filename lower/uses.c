/* Who writes and who reads each Buf. Precondition: the Program verifies. */
#include "lower/uses.h"

BufUse *uses_of(Uses *u, const Buf *b) {
    BufUse *use = map_get(u->bufs, b);
    if (!use) {
        use = ctx_new(u->ctx, BufUse);
        map_put(u->bufs, b, use);
    }
    return use;
}

const Place *uses_place(const Uses *u, const Def *d) {
    return map_get(u->places, d);
}

void uses_reader_add(Uses *u, const Buf *b, Def *d) {
    BufUse *use = uses_of(u, b);
    for (int i = 0; i < use->readers.len; i++)
        if (use->readers.at[i] == d)
            return;
    vec_push(u->ctx, &use->readers, d);
}

void uses_reader_drop(Uses *u, const Buf *b, const Def *d) {
    BufUse *use = uses_of(u, b);
    for (int i = 0; i < use->readers.len; i++)
        if (use->readers.at[i] == d) {
            for (int j = i + 1; j < use->readers.len; j++)
                use->readers.at[j - 1] = use->readers.at[j];
            use->readers.len--;
            return;
        }
}

void def_exprs(const Def *d, void (*fn)(void *data, const Expr *e), void *data) {
    if (d->value)
        fn(data, d->value);
    if (d->when)
        fn(data, d->when);
    if (d->init)
        fn(data, d->init);
    if (d->at)
        for (int i = 0; i < d->buf->rank; i++)
            fn(data, d->at[i]);
}

void def_map(Ctx *ctx, Def *d, ExprFn fn, void *data) {
    d->value = d->value ? expr_map(ctx, d->value, fn, data) : NULL;
    d->when = d->when ? expr_map(ctx, d->when, fn, data) : NULL;
    d->init = d->init ? expr_map(ctx, d->init, fn, data) : NULL;
    if (d->at)
        for (int i = 0; i < d->buf->rank; i++)
            d->at[i] = expr_map(ctx, d->at[i], fn, data);
}

typedef struct LoadWalk {
    Ctx *ctx;
    Map *seen;
    void (*fn)(void *data, Buf *b);
    void *data;
} LoadWalk;

static void load_node(void *data, const Expr *e) {
    LoadWalk *w = data;
    if ((e->op != OP_LOAD && e->op != OP_MLOAD) || map_get(w->seen, e->u.buf))
        return;
    map_put(w->seen, e->u.buf, e->u.buf);
    w->fn(w->data, e->u.buf);
}

static void load_expr(void *data, const Expr *e) {
    LoadWalk *w = data;
    expr_walk(w->ctx, e, load_node, w);
}

void expr_loads(Ctx *ctx, const Expr *e, void (*fn)(void *data, Buf *b), void *data) {
    LoadWalk w = {ctx, map_new(ctx), fn, data};
    expr_walk(ctx, e, load_node, &w);
}

void def_loads(Ctx *ctx, const Def *d, void (*fn)(void *data, Buf *b), void *data) {
    LoadWalk w = {ctx, map_new(ctx), fn, data};
    def_exprs(d, load_expr, &w);
}

int def_axis_of(const Def *d, const Expr *e) {
    for (int i = 0; i < d->naxis && e->op == OP_SYM; i++)
        if (d->axis[i].var == e->u.sym)
            return i;
    return -1;
}

Def *def_beside(Ctx *ctx, const Def *of, const char *suffix, Dtype type, int rank,
                const Expr *const *dim) {
    Def *d = def_new(ctx, str_f(ctx, "%s%s", of->name, suffix), type, rank, dim);
    d->origin = of->origin;
    d->loc = of->loc;
    return d;
}

typedef struct Reading {
    const Buf *buf;
    bool found;
} Reading;

static void find_read(void *data, Buf *b) {
    Reading *r = data;
    r->found |= b == r->buf;
}

bool def_reads(Ctx *ctx, const Def *d, const Buf *b) {
    Reading r = {b, false};
    def_loads(ctx, d, find_read, &r);
    return r.found;
}

typedef struct Weighing {
    Ctx *ctx;
    Map *seen;
    double bytes;
} Weighing;

static void weigh_const(void *data, Buf *b) {
    Weighing *w = data;
    int64_t count;
    if (b->space != SPACE_CONST || map_get(w->seen, b) || !buf_static(b, &count))
        return;
    map_put(w->seen, b, b);
    w->bytes += (double)count * type_bytes(type_dtype(b->type));
}

double def_weights(Ctx *ctx, const Def *d, Map *seen) {
    Weighing w = {ctx, seen, 0};
    def_loads(ctx, d, weigh_const, &w);
    return w.bytes;
}

typedef struct Building {
    Uses *uses;
    Item *item;
    Place place;
} Building;

static void add_def_read(void *data, Buf *b) {
    Building *bd = data;
    uses_reader_add(bd->uses, b, bd->item->def);
}

static void add_item_read(void *data, Buf *b) {
    Building *bd = data;
    vec_push(bd->uses->ctx, &uses_of(bd->uses, b)->items, bd->item);
}

static void add_item(void *data, Block *block, Item *it) {
    Uses *u = data;
    Building bd = {u, it, {block, it, u->orders++}};
    if (it->kind == ITEM_DEF) {
        Place *pl = ctx_new(u->ctx, Place);
        *pl = bd.place;
        map_put(u->places, it->def, pl);
        BufUse *use = uses_of(u, it->def->buf);
        vec_push(u->ctx, &use->writers, it->def);
        vec_push(u->ctx, &use->places, bd.place);
        def_loads(u->ctx, it->def, add_def_read, &bd);
    } else if (it->kind == ITEM_CALL) {
        for (int i = 0; i < it->call->in.len; i++)
            if (it->call->in.at[i])
                uses_of(u, it->call->in.at[i])->calls++;
        for (int i = 0; i < it->call->out.len; i++)
            if (it->call->out.at[i])
                vec_push(u->ctx, &uses_of(u, it->call->out.at[i])->places, bd.place);
        for (int i = 0; i < it->call->attr.len; i++)
            expr_loads(u->ctx, it->call->attr.at[i], add_item_read, &bd);
    } else if (it->e) {
        expr_loads(u->ctx, it->e, add_item_read, &bd);
    }
}

Uses *uses_build(Ctx *ctx, Program *p) {
    Uses *u = ctx_new(ctx, Uses);
    u->ctx = ctx;
    u->bufs = map_new(ctx);
    u->places = map_new(ctx);
    block_walk(p->main, add_item, u);
    for (int i = 0; i < p->outputs.len; i++)
        uses_of(u, p->outputs.at[i].buf)->port = true;
    return u;
}

double extent_estimate(Ctx *ctx, const Expr *e) {
    int64_t v;
    if (expr_is_int(e, &v))
        return (double)v;
    Range r = expr_range(ctx, e);
    if (r.max != INT64_MAX && r.max <= 4096)
        return r.max < 1 ? 1 : (double)r.max;
    return r.min > 64 ? (double)r.min : 64;
}

double def_volume(Ctx *ctx, const Def *d, bool with_red) {
    double v = 1;
    for (int i = 0; i < d->naxis; i++)
        if (with_red || d->axis[i].kind != AXIS_RED)
            v *= extent_estimate(ctx, d->axis[i].var->extent);
    return v;
}

double buf_volume(Ctx *ctx, const Buf *b) {
    double v = 1;
    for (int i = 0; i < b->rank; i++)
        v *= extent_estimate(ctx, b->dim[i]);
    return v;
}

double buf_bytes(Ctx *ctx, const Buf *b) {
    return buf_volume(ctx, b) * type_bytes(type_dtype(b->type));
}

int block_index(const Block *b, const Item *it) {
    int i = b->items.len - 1;
    while (i >= 0 && b->items.at[i] != it)
        i--;
    return i;
}

void block_insert(Ctx *ctx, Block *b, int at, Def *d) {
    Item *it = item_new(ctx, b, ITEM_DEF);
    it->def = d;
    it->origin = d->origin;
    for (int i = b->items.len - 1; i > at; i--)
        b->items.at[i] = b->items.at[i - 1];
    b->items.at[at] = it;
}

static void note_case(void *data, const Expr *e) {
    bool *found = data;
    *found |= e->op == OP_SELECT && e->kid[0]->op == OP_EQ && e->kid[0]->kid[0]->type == T_I64;
}

bool def_has_cases(Ctx *ctx, const Def *d) {
    bool found = false;
    expr_walk(ctx, d->value, note_case, &found);
    return found;
}
