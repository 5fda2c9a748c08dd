/* Sums written out go by what they read: updates of registers, one after the other, are sorted by the address of
 * the vector they load: what several of them read is in a register meanwhile. Exact: updates of one register stay
 * in their order, or all stay where they are.
 * Precondition: flat loops, vectors and unrolled bodies written out.
 *
 *   before  t0 = fma(x[0], w[0], t0) ; t1 = fma(x[8], w[0], t1) ; t0 = fma(x[8], w[8], t0)
 *   after   t0 = fma(x[0], w[0], t0) ; t0 = fma(x[8], w[8], t0) ; t1 = fma(x[8], w[0], t1)      x[8] loaded once */
#include "lower/lower.h"

#include <stdlib.h>

enum {
    SORT_MIN = 8,
    TOGETHER = 48, /* updates that a compiler may move among each other [measured] */
    CLASSES_MAX = 64
};

typedef struct Update {
    Stmt *stmt;
    int family;      /* of addresses that differ by constants, in the order in which they appear */
    int64_t address; /* less that of the family's first */
    int at;          /* the place before */
} Update;

typedef struct Ordering {
    Ctx *ctx;
    VEC(Update) run;
    const Expr *first[CLASSES_MAX];
    int nfirst;
} Ordering;

/* The address of the vector that is no constant, in `reg = fma(vector, …, reg)`; NULL. */
static const Expr *update_reads(const Stmt *s) {
    const Expr *e = s->a, *at = NULL;
    if (s->op != STMT_STORE || s->buf->space != SPACE_REG || s->b || e->op != OP_FMA ||
        e->kid[2]->op != OP_LOAD || e->kid[2]->u.buf != s->buf ||
        e->kid[2]->kid[0] != s->index[0] || e->kid[0]->op != OP_LOAD || e->kid[1]->op != OP_LOAD)
        return NULL;
    for (int i = 0; i < 2; i++)
        if (e->kid[i]->u.buf->space != SPACE_CONST && e->kid[i]->kid[0]->op == OP_RAMP)
            at = at ? NULL : e->kid[i]->kid[0];
    return at;
}

static bool note_update(Ordering *o, Stmt *s, const Expr *ramp) {
    Ctx *ctx = o->ctx;
    Update u = {s, 0, 0, o->run.len};
    const Expr *from = ramp->kid[0];
    while (u.family < o->nfirst &&
           !expr_is_int(expr_sub(ctx, from, o->first[u.family]), &u.address))
        u.family++;
    if (u.family == CLASSES_MAX)
        return false;
    if (u.family == o->nfirst)
        o->first[o->nfirst++] = from;
    vec_push(ctx, &o->run, u);
    return true;
}

static int by_address(const void *a, const void *b) {
    const Update *u = a, *v = b;
    if (u->family != v->family)
        return u->family < v->family ? -1 : 1;
    if (u->address != v->address)
        return u->address < v->address ? -1 : 1;
    return u->at < v->at ? -1 : u->at > v->at;
}

/* Do the updates of each register come as they did? */
static bool order_kept(Ctx *ctx, const Update *at, int n) {
    Map *last = map_new(ctx); /* index of the register → the update before */
    for (int i = 0; i < n; i++) {
        const Update *before = map_get(last, at[i].stmt->index[0]);
        if (before && before->at > at[i].at)
            return false;
        map_put(last, at[i].stmt->index[0], (void *)(uintptr_t)&at[i]);
    }
    return true;
}

/* Sorts the run that ends before `next`; `link` is what points at its first. With too many of them in one piece
 * compilers come back to one register at a time, and run out of others. */
static Stmt **sort_run(Ordering *o, Stmt **link, Stmt *next) {
    Update *u = o->run.at;
    int n = o->run.len;
    Update *sorted = ctx_copy(o->ctx, u, (size_t)n * sizeof *u);
    qsort(sorted, (size_t)n, sizeof *sorted, by_address);
    const Update *as = order_kept(o->ctx, sorted, n) ? sorted : u;
    for (int i = 0, since = 0; i < n; i++, since++) {
        bool other = i && (as[i].family != as[i - 1].family || as[i].address != as[i - 1].address);
        if (other && since >= TOGETHER) {
            *link = stmt_new(o->ctx, STMT_SYNC);
            link = &(*link)->next;
            since = 0;
        }
        *link = as[i].stmt;
        link = &as[i].stmt->next;
    }
    *link = next;
    return link;
}

static void order_list(Ctx *ctx, Stmt **link) {
    while (*link) {
        Stmt *s = *link;
        Ordering o = {.ctx = ctx};
        const Buf *reg = s->buf;
        for (const Expr *at; s && s->buf == reg && (at = update_reads(s)); s = s->next)
            if (!note_update(&o, s, at))
                break;
        if (o.run.len >= SORT_MIN) {
            link = sort_run(&o, link, s);
            continue;
        }
        s = *link;
        order_list(ctx, &s->body);
        order_list(ctx, &s->orelse);
        link = &s->next;
    }
}

bool loop_order(Ctx *ctx, Func *f) {
    order_list(ctx, &f->body);
    return true;
}
