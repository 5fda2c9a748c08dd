/* Two recurrences of equal length that do not read each other (the directions of a GRU) go through one loop: a step
 * waits for the one before it, and meanwhile the machine works on the other.
 * Precondition: kernel_inline. Values and their bits stay.
 *
 *   before  scan a t<9 { … } ; xw = … ; scan b u<9 { … }        after  xw = … ; scan a t<9 { …a… ; …b… } */
#include "lower/uses.h"

#define TWIN_BYTES (16 * 1024) /* constants of both: in L1 with room for the rest */
#define TWIN_STEP 8192         /* values a step of both: more of them do not wait */

typedef struct Twins {
    Ctx *ctx;
    Map *joined; /* Group → itself */
} Twins;

static Group *group_of(const Block *b, int i) {
    return b->items.at[i]->kind == ITEM_DEF ? b->items.at[i]->def->scan : NULL;
}

/* Do the Defs of the group stand side by side from item i on? */
static bool stands_at(const Block *b, int i, const Group *g) {
    for (int k = 0; k < g->defs.len; k++)
        if (i + k >= b->items.len || b->items.at[i + k]->kind != ITEM_DEF ||
            b->items.at[i + k]->def != g->defs.at[k])
            return false;
    return true;
}

/* Values that the group computes, products of sums counted, and the bytes of its constants; 0 when no sum of
 * products makes its steps long. */
static double group_work(Ctx *ctx, const Group *g, double *bytes) {
    Map *seen = map_new(ctx);
    double work = 0;
    bool sum = false;
    for (int i = 0; i < g->defs.len; i++) {
        sum |= def_is_contraction(ctx, g->defs.at[i]);
        work += def_volume(ctx, g->defs.at[i], true);
        *bytes += def_weights(ctx, g->defs.at[i], seen);
    }
    return sum ? work : 0;
}

static bool pays(Ctx *ctx, const Group *a, const Group *b) {
    double bytes = 0, first = group_work(ctx, a, &bytes), second = group_work(ctx, b, &bytes);
    return a->var->extent == b->var->extent && !expr_is(a->var->extent, 1) && first > 0 &&
           second > 0 && bytes <= TWIN_BYTES &&
           first + second <= TWIN_STEP * extent_estimate(ctx, a->var->extent);
}

static bool expr_reads_group(const Expr *e, const Group *g) {
    for (int i = 0; i < g->defs.len && e; i++)
        if (expr_uses_buf(e, g->defs.at[i]->buf))
            return true;
    return false;
}

/* May the group stand behind the item as well as before it? */
static bool item_apart(Ctx *ctx, const Item *it, const Group *g) {
    if (it->kind == ITEM_BIND || it->kind == ITEM_CHECK)
        return !expr_reads_group(it->e, g);
    if (it->kind != ITEM_DEF)
        return false;
    for (int i = 0; i < g->defs.len; i++)
        if (it->def->buf == g->defs.at[i]->buf || def_reads(ctx, it->def, g->defs.at[i]->buf) ||
            def_reads(ctx, g->defs.at[i], it->def->buf))
            return false;
    return true;
}

/* The first item of the group's twin; -1: it has none. */
static int twin_find(const Twins *t, const Block *b, int at) {
    Group *g = group_of(b, at);
    for (int i = at + g->defs.len; i < b->items.len; i++) {
        Group *other = group_of(b, i);
        if (!item_apart(t->ctx, b->items.at[i], g))
            return -1;
        if (other && !map_get(t->joined, other) && stands_at(b, i, other) &&
            pays(t->ctx, g, other)) {
            for (int k = 1; k < other->defs.len; k++)
                if (!item_apart(t->ctx, b->items.at[i + k], g))
                    return -1;
            return i;
        }
    }
    return -1;
}

typedef struct Renaming {
    Sym *from;
    const Expr *to;
} Renaming;

static const Expr *rename_step(Ctx *ctx, const Expr *e, void *data) {
    const Renaming *r = data;
    (void)ctx;
    return e->op == OP_SYM && e->u.sym == r->from ? r->to : e;
}

/* b's Defs become steps of a, behind a's own. */
static void join_groups(Ctx *ctx, Group *a, const Group *b) {
    Renaming r = {b->var, expr_sym(ctx, a->var)};
    for (int i = 0; i < b->defs.len; i++) {
        Def *d = b->defs.at[i];
        def_map(ctx, d, rename_step, &r);
        for (int k = 0; k < d->naxis; k++)
            if (d->axis[k].var == r.from)
                d->axis[k].var = a->var;
        d->scan = a;
        vec_push(ctx, &a->defs, d);
    }
}

/* The n items from `at` on move in front of item `to`. */
static void items_move(Ctx *ctx, Block *b, int at, int n, int to) {
    Item **moved = ctx_newn(ctx, Item *, n);
    for (int i = 0; i < n; i++)
        moved[i] = b->items.at[at + i];
    for (int i = at; i + n < to; i++)
        b->items.at[i] = b->items.at[i + n];
    for (int i = 0; i < n; i++)
        b->items.at[to - n + i] = moved[i];
}

static void join_block(Twins *t, Block *b) {
    for (int i = 0; i < b->items.len; i++) {
        for (int k = 0; k < 2; k++)
            if (b->items.at[i]->body[k])
                join_block(t, b->items.at[i]->body[k]);
        Group *g = group_of(b, i);
        if (!g || map_get(t->joined, g) || !stands_at(b, i, g))
            continue;
        int n = g->defs.len, to = twin_find(t, b, i);
        if (to < 0)
            continue;
        join_groups(t->ctx, g, group_of(b, to));
        map_put(t->joined, g, g);
        items_move(t->ctx, b, i, n, to);
        i--;
    }
}

bool kernel_twins(Lower *lo) {
    Twins t = {lo->ctx, map_new(lo->ctx)};
    if (!lo->o0 && !lo->min_ram)
        join_block(&t, lo->prog->main);
    return true;
}
