/* Names what a large statement computes more than once, so that its text stays linear in its nodes.
 * Only what is computed anyway is named: a part with loads inside the arm of a select stays there.
 * Precondition: loop_flatten.
 *
 *   before  y[i] = f(x[i] * 2) + g(x[i] * 2)        after  let a = x[i] * 2 ; y[i] = f(a) + g(a) */
#include "lower/lower.h"

#define TREE_MAX                                                                                   \
    60.0 /* nodes of a statement printed as a tree; smaller ones read better as they are */
#define SHARE_MIN 4.0 /* nodes of a part worth a name */

typedef struct Info {
    double tree; /* nodes when printed as a tree */
    int uses;    /* edges into it in the statement */
    bool always; /* computed whenever the statement runs */
    bool loads;
    Sym *let;
} Info;

typedef struct Letting {
    Ctx *ctx;
    Map *info;
    VEC(const Expr *) order; /* kids first */
    Stmt *lets, **end;
} Letting;

static Info *visit(Letting *l, const Expr *e) {
    Info *info = map_get(l->info, e);
    if (info)
        return info;
    info = ctx_new(l->ctx, Info);
    info->tree = 1;
    info->loads = e->op == OP_LOAD; /* a masked one is safe anywhere */
    for (int i = 0; i < e->nkid; i++) {
        Info *kid = visit(l, e->kid[i]);
        kid->uses++;
        info->tree += kid->tree;
        info->loads |= kid->loads;
    }
    map_put(l->info, e, info);
    vec_push(l->ctx, &l->order, e);
    return info;
}

static void mark_always(Letting *l, const Expr *e) {
    Info *info = map_get(l->info, e);
    if (info->always)
        return;
    info->always = true;
    bool lazy = e->op == OP_SELECT || e->op == OP_AND || e->op == OP_OR;
    if (type_lanes(e->type) > 1) /* of vectors only a select by one condition for all lanes */
        lazy = e->op == OP_SELECT && e->kid[0]->op == OP_BCAST;
    for (int i = 0; i < (lazy ? 1 : e->nkid); i++)
        mark_always(l, e->kid[i]);
}

/* Vectors of indices stay where they are: that an access is contiguous shows in its index. */
static bool worth_a_name(const Expr *e, const Info *info) {
    bool index = type_lanes(e->type) > 1 && type_dtype(e->type) == T_I64;
    return info->uses > 1 && info->tree >= SHARE_MIN && e->nkid > 0 && !index &&
           e->op != OP_BCAST && (info->always || !info->loads);
}

static const Expr *named(Letting *l, const Expr *e) {
    Info *info = map_get(l->info, e);
    return info->let ? expr_sym(l->ctx, info->let) : e;
}

/* e with the named parts below it replaced; e itself stays. */
static const Expr *with_names(Letting *l, Map *done, const Expr *e) {
    const Expr *to = map_get(done, e);
    if (to)
        return to;
    const Expr **kid = ctx_newn(l->ctx, const Expr *, e->nkid);
    bool changed = false;
    for (int i = 0; i < e->nkid; i++) {
        kid[i] = named(l, e->kid[i]);
        if (kid[i] == e->kid[i])
            kid[i] = with_names(l, done, e->kid[i]);
        changed |= kid[i] != e->kid[i];
    }
    to = !changed            ? e
         : e->op == OP_LOAD  ? expr_load(l->ctx, e->u.buf, e->nkid, kid)
         : e->op == OP_MLOAD ? expr_mload(l->ctx, e->u.buf, kid[0], e->nkid - 1, kid + 1)
                             : expr_op(l->ctx, (Op)e->op, e->type, e->nkid, kid);
    map_put(done, e, (void *)(uintptr_t)to);
    return to;
}

static void name_shared(Letting *l) {
    Map *done = map_new(l->ctx);
    for (int i = 0; i < l->order.len; i++) {
        const Expr *e = l->order.at[i];
        Info *info = map_get(l->info, e);
        if (!worth_a_name(e, info))
            continue;
        Sym *s = sym_new(l->ctx, SYM_LET, str(l->ctx, "t"), INT64_MIN, INT64_MAX);
        s->type = e->type;
        s->value = with_names(l, done, e);
        if (type_is_int(type_dtype(e->type))) {
            Range r = expr_range(l->ctx, e);
            s->min = r.min;
            s->max = r.max;
        }
        Stmt *let = stmt_new(l->ctx, STMT_LET);
        let->var = s;
        let->a = s->value;
        *l->end = let;
        l->end = &let->next;
        info->let = s;
    }
}

/* Nodes of e as a tree, counted no further than `most`. */
static double tree_size(const Expr *e, double most) {
    double n = 1;
    for (int i = 0; i < e->nkid && n <= most; i++)
        n += tree_size(e->kid[i], most - n);
    return n;
}

static bool is_small(const Stmt *s) {
    double n = s->a ? tree_size(s->a, TREE_MAX) : 0;
    for (int i = 0; i < s->nindex && n <= TREE_MAX; i++)
        n += tree_size(s->index[i], TREE_MAX - n);
    return n <= TREE_MAX;
}

/* Puts the LETs in front of s; returns the node that holds s afterwards. */
static Stmt *let_statement(Ctx *ctx, Stmt *s) {
    if (is_small(s))
        return s;
    Letting l = {.ctx = ctx, .info = map_new(ctx)};
    const Expr **root[RANK_MAX + 2];
    int n = 0;
    if (s->a && s->op != STMT_WHILE)
        root[n++] = &s->a;
    for (int i = 0; i < s->nindex && i < RANK_MAX; i++)
        root[n++] = &s->index[i];
    for (int i = 0; i < n; i++) {
        Info *info = visit(&l, *root[i]);
        info->uses++;
    }
    for (int i = 0; i < n; i++)
        mark_always(&l, *root[i]);
    l.end = &l.lets;
    name_shared(&l);
    Map *done = map_new(ctx);
    for (int i = 0; i < n; i++) {
        const Expr *e = named(&l, *root[i]);
        *root[i] = e == *root[i] ? with_names(&l, done, e) : e;
    }
    if (!l.lets)
        return s;
    Stmt *was = stmt_new(ctx, STMT_LET);
    *was = *s;
    *s = *l.lets;
    if (l.end == &l.lets->next)
        l.end = &s->next;
    *l.end = was;
    return was;
}

static void let_list(Ctx *ctx, Stmt *s) {
    for (; s; s = s->next) {
        s = let_statement(ctx, s);
        let_list(ctx, s->body);
        let_list(ctx, s->orelse);
    }
}

bool loop_let(Ctx *ctx, Func *f) {
    let_list(ctx, f->body);
    return true;
}
