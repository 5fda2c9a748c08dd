/* In place: may a kernel's result take the place of an input that nothing needs afterwards? When every element
 * of the input is read no later than the one store to the same element of the result: in the same iteration, or
 * in loops that run before over the same indices.
 * Precondition: flat loops; the result is the kernel's root and no update, so each element is stored once.
 *
 *   for i { y[i*4] = x[i*4] + b[0] }                                 yes
 *   for i { for j { m = max(m, x[i*8+j]) } for j { y[i*8+j] = x[i*8+j] - m } }    yes
 *   for i { y[i] = x[7-i] }                                          no */
#include "lower/lower.h"

#define DEPTH_MAX 24

/* A load of x or a store to y, where it stands. */
typedef struct Access {
    const Stmt *stmt;
    const Stmt *path[DEPTH_MAX]; /* FORs and IFs around it */
    const Expr *index;           /* LETs replaced by their values */
    int depth, order;
} Access;

typedef struct Finding {
    Ctx *ctx;
    const Buf *x, *y;
    VEC(Access *) loads, stores;
    const Stmt *path[DEPTH_MAX];
    Map *lets; /* Sym → Expr */
    const Stmt *stmt;
    int depth, order;
    bool ok;
} Finding;

static const Expr *let_value(Ctx *ctx, const Expr *e, void *data) {
    const Finding *f = data;
    const Expr *v = e->op == OP_SYM ? map_get(f->lets, e->u.sym) : NULL;
    (void)ctx;
    return v ? v : e;
}

static Access *access_new(Finding *f, const Expr *index) {
    Access *a = ctx_new(f->ctx, Access);
    a->stmt = f->stmt;
    a->index = expr_map(f->ctx, index, let_value, f);
    a->depth = f->depth;
    a->order = f->order;
    for (int i = 0; i < f->depth; i++)
        a->path[i] = f->path[i];
    return a;
}

static void find_load(void *data, const Expr *e) {
    Finding *f = data;
    if (e->op == OP_MLOAD && e->u.buf == f->x)
        f->ok = false;
    if (e->op == OP_LOAD && e->u.buf == f->x)
        vec_push(f->ctx, &f->loads, access_new(f, e->kid[0]));
}

static void find_loads(Finding *f, const Expr *e) {
    if (e)
        expr_walk(f->ctx, e, find_load, f);
}

static void find_all(Finding *f, const Stmt *s);

static void find_stmt(Finding *f, const Stmt *s) {
    f->stmt = s;
    f->order++;
    find_loads(f, s->a);
    find_loads(f, s->b);
    for (int i = 0; i < s->nindex; i++)
        find_loads(f, s->index[i]);
    if (s->op == STMT_LET)
        map_put(f->lets, s->var, (void *)(uintptr_t)expr_map(f->ctx, s->a, let_value, f));
    if (s->op == STMT_STORE && s->buf == f->y)
        vec_push(f->ctx, &f->stores, access_new(f, s->index[0]));
    if (s->op == STMT_STORE && (s->b || (s->buf == f->x && f->x != f->y)))
        f->ok &= s->buf != f->x && s->buf != f->y;
    if (s->op == STMT_CALL)
        for (int i = 0; i < s->func->params.len; i++)
            f->ok &= s->arg[i] != f->x && s->arg[i] != f->y;
    bool nests = s->op == STMT_FOR || s->op == STMT_IF || s->op == STMT_WHILE;
    if (nests && f->depth == DEPTH_MAX) {
        f->ok = false;
        return;
    }
    if (nests)
        f->path[f->depth++] = s;
    find_all(f, s->body);
    find_all(f, s->orelse);
    f->depth -= nests;
}

static void find_all(Finding *f, const Stmt *s) {
    for (; s && f->ok; s = s->next)
        find_stmt(f, s);
}

/* The store runs for the element that the load reads, and not before it. */
static bool load_precedes(Ctx *ctx, const Access *load, const Access *store) {
    Sym *from[DEPTH_MAX];
    const Expr *to[DEPTH_MAX];
    int same = 0, n = 0;
    while (same < load->depth && same < store->depth && load->path[same] == store->path[same])
        same++;
    if (load->order > store->order)
        return false;
    for (int i = same; i < store->depth; i++)
        if (store->path[i]->op != STMT_FOR)
            return false;
    for (int i = same; i < load->depth; i++) {
        const Stmt *l = load->path[i];
        if (l->op != STMT_FOR)
            continue;
        if (same + n >= store->depth || store->path[same + n]->a != l->a)
            return false;
        from[n] = l->var;
        to[n] = expr_sym(ctx, store->path[same + n]->var);
        n++;
    }
    if (same + n != store->depth)
        return false;
    return (n ? expr_subst(ctx, load->index, n, from, to) : load->index) == store->index;
}

bool func_in_place(Ctx *ctx, const Func *f, const Buf *x, const Buf *y) {
    const Def *root = f->kernel ? kernel_root(f->kernel) : NULL;
    int writers = 0;
    for (int i = 0; root && i < f->kernel->defs.len; i++)
        writers += f->kernel->defs.at[i]->buf == y;
    if (!root || !f->flat || root->buf != y || root->at || root->scan || root->when ||
        writers != 1 || type_bytes(type_dtype(x->type)) != type_bytes(type_dtype(y->type)))
        return false;
    Finding w = {.ctx = ctx, .x = x, .y = y, .lets = map_new(ctx), .ok = true};
    find_all(&w, f->body);
    for (int i = 0; i < w.loads.len && w.ok; i++) {
        bool found = false;
        for (int j = 0; j < w.stores.len && !found; j++)
            found = load_precedes(ctx, w.loads.at[i], w.stores.at[j]);
        w.ok &= found;
    }
    return w.ok;
}

const Expr *load_other(Ctx *ctx, const Expr *e, void *data) {
    Buf *const *pair = data;
    return e->op == OP_LOAD && e->u.buf == pair[0] ? expr_load(ctx, pair[1], 1, e->kid) : e;
}
