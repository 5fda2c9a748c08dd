/* partition: a loop is cut where an index or a condition inside takes another form, so that each part of it is
 * plain (the border and the middle of a padded row).
 *
 *   before  for l < 62 { y[l] = x[55 - abs(55 - abs(l - 3))] }     partition l
 *   after   for l < 3 { y[l] = x[3 - l] } for l < 56 { y[l + 3] = x[l] } for l < 3 { y[l + 59] = x[54 - l] } */
#include "lower/kernel_class.h"
#include "lower/sched_in.h"

#define FAR ((int64_t)1 << 40) /* numbers beyond it are not calculated with */

/* ---- where a node changes its form ------------------------------------------------------------------- */

typedef struct Bend {
    Ctx *ctx;
    Sym *var;
    int64_t at; /* the first place found so far; var's extent: none */
    bool
        surely; /* conditions on what lies in a range, too: where they begin to hold for all of it, or for none */
} Bend;

static int64_t floor_div(int64_t a, int64_t b) {
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static void bend_at(Bend *b, int64_t at) {
    b->at = at > 0 && at < b->at ? at : b->at;
}

/* e as c*var + r. */
static bool along(const Bend *b, const Expr *e, int64_t *c, int64_t *r) {
    const Expr *coef, *rest;
    return type_dtype(e->type) == T_I64 && expr_linear(b->ctx, e, 1, &b->var, &coef, &rest) &&
           expr_is_int(coef, c) && expr_is_int(rest, r) && *c && -FAR < *c && *c < FAR &&
           -FAR < *r && *r < FAR;
}

/* c*var + r turns from negative to not negative, or back. */
static void bend_sign(Bend *b, int64_t c, int64_t r) {
    if (c > 0)
        bend_at(b, -floor_div(r, c));
    else
        bend_at(b, floor_div(r, -c) + 1);
}

/* The same where r is not one number: where no r, and where every one, changes the sign. */
static void bend_signs(Bend *b, const Expr *e) {
    const Expr *coef, *rest;
    int64_t c;
    if (!expr_linear(b->ctx, e, 1, &b->var, &coef, &rest) || !expr_is_int(coef, &c) || !c ||
        c <= -FAR || c >= FAR)
        return;
    Range r = expr_range(b->ctx, rest);
    if (r.min <= -FAR || r.max >= FAR)
        return;
    bend_sign(b, c, r.min);
    bend_sign(b, c, r.max);
}

/* x against y: the larger or smaller one is x as long as can be, the linear one. */
static void bend_best(Bend *b, const Expr *e) {
    int64_t c, r;
    bool first = expr_uses_sym(e->kid[0], b->var);
    if (along(b, expr_sub(b->ctx, e->kid[!first], e->kid[first]), &c, &r))
        bend_sign(b, c, e->op == OP_MIN ? r - 1 : r);
}

static void bend_node(void *data, const Expr *e) {
    Bend *b = data;
    int64_t c, r, by;
    if (!e->nkid || type_dtype(e->kid[0]->type) != T_I64)
        return;
    switch (e->op) {
    case OP_ABS:
        if (along(b, e->kid[0], &c, &r))
            bend_sign(b, c, r);
        return;
    case OP_LE:
    case OP_LT:
        if (along(b, expr_sub(b->ctx, e->kid[e->op == OP_LE], e->kid[e->op != OP_LE]), &c, &r))
            bend_sign(b, c, r);
        else if (b->surely)
            bend_signs(b, expr_sub(b->ctx, e->kid[e->op == OP_LE], e->kid[e->op != OP_LE]));
        return;
    case OP_MIN:
    case OP_MAX:
        bend_best(b, e);
        return;
    case OP_EQ:
    case OP_NE:
        if (along(b, expr_sub(b->ctx, e->kid[0], e->kid[1]), &c, &r) && r % c == 0) {
            bend_at(b, -r / c);
            bend_at(b, -r / c + 1);
        }
        return;
    case OP_MOD:
    case OP_FDIV:
        if (!along(b, e->kid[0], &c, &r) || !expr_is_int(e->kid[1], &by) || by < 1 || by >= FAR)
            return;
        bend_sign(b, c, c > 0 ? r - (floor_div(r, by) + 1) * by : r - floor_div(r, by) * by);
    }
}

/* ---- the cuts of a loop -------------------------------------------------------------------------------- */

static const Expr *piece_of(Ctx *ctx, const Expr *e, Sym *var, int64_t from, Sym *piece) {
    const Expr *to = expr_add(ctx, expr_i(ctx, from), expr_sym(ctx, piece));
    return expr_subst(ctx, e, 1, &var, &to);
}

static void cuts_add(Cuts *c, int64_t at) {
    int i = c->n;
    for (int k = 0; k < c->n; k++)
        if (c->at[k] == at)
            return;
    if (c->n == CUTS_MAX) {
        c->many = true;
        return;
    }
    for (c->n++; i > 0 && c->at[i - 1] > at; i--)
        c->at[i] = c->at[i - 1];
    c->at[i] = at;
}

static void cut_range(Ctx *ctx, Cuts *c, const Expr *e, Sym *var, int64_t from, int64_t to) {
    Sym *piece = sym_axis(ctx, var->name, expr_i(ctx, to - from));
    Bend b = {ctx, piece, to - from, c->surely};
    expr_walk(ctx, piece_of(ctx, e, var, from, piece), bend_node, &b);
    if (b.at == to - from)
        return;
    cuts_add(c, from + b.at);
    if (c->many)
        return;
    cut_range(ctx, c, e, var, from, from + b.at);
    cut_range(ctx, c, e, var, from + b.at, to);
}

void expr_cuts(Ctx *ctx, const Expr *e, Sym *var, int64_t n, Cuts *c) {
    if (e && !c->many && expr_uses_sym(e, var))
        cut_range(ctx, c, e, var, 0, n);
}

const Expr *expr_piece(Ctx *ctx, const Expr *e, Sym *var, const Cuts *c, int i, int64_t n,
                       Sym **piece) {
    int64_t from = i ? c->at[i - 1] : 0, to = i < c->n ? c->at[i] : n;
    *piece = sym_axis(ctx, var->name, expr_i(ctx, to - from));
    return piece_of(ctx, e, var, from, *piece);
}

/* ---- the step ------------------------------------------------------------------------------------------ */

typedef struct Cutting {
    Ctx *ctx;
    Sym *var;
    int64_t n;
    Cuts *cuts;
} Cutting;

static void cut_stmt(void *data, Stmt *s) {
    Cutting *c = data;
    expr_cuts(c->ctx, s->a, c->var, c->n, c->cuts);
    for (int i = 0; i < s->nindex; i++)
        expr_cuts(c->ctx, s->index[i], c->var, c->n, c->cuts);
}

static void partition_one(Ctx *ctx, Stmt *s, int64_t n, const Cuts *c) {
    Stmt *all = NULL, *next = s->next;
    for (int i = 0; i <= c->n; i++) {
        int64_t from = i ? c->at[i - 1] : 0, to = i < c->n ? c->at[i] : n;
        Stmt *piece = loop_piece(ctx, s, s->label, expr_i(ctx, to - from), expr_i(ctx, from));
        all = stmt_join(all, piece);
    }
    *s = *all;
    stmt_join(s, next);
}

/* Fills cuts for each loop; how many there are, -1: some loop cannot be cut. */
static int find_cuts(Ctx *ctx, const LoopList *loops, Cuts *cuts, bool surely, Str *why) {
    int found = 0;
    for (int i = 0; i < loops->len; i++) {
        Stmt *s = loops->at[i];
        Cutting c = {ctx, s->var, 0, &cuts[i]};
        cuts[i] = (Cuts){.surely = surely};
        if (!expr_is_int(s->a, &c.n))
            return step_fails(ctx, why, "%s has no constant extent", s->label) - 1;
        if (s->run != RUN_SERIAL || nests_slide(s->body))
            return step_fails(ctx, why, "%s is more than a plain loop already", s->label) - 1;
        stmt_walk(s->body, cut_stmt, &c);
        if (cuts[i].many)
            return step_fails(ctx, why, "%s would be cut in more than %d places", s->label,
                              CUTS_MAX) -
                   1;
        found += cuts[i].n;
    }
    return found;
}

bool sched_partition(Ctx *ctx, Func *f, const Step *step, Str *why) {
    LoopList loops = loops_find(ctx, f, &step->loop[0]);
    Cuts *cuts = ctx_newn(ctx, Cuts, loops.len);
    int found = find_cuts(ctx, &loops, cuts, false, why);
    if (!found)
        found = find_cuts(ctx, &loops, cuts, true, why);
    if (found < 0)
        return false;
    if (!found)
        return step_fails(ctx, why, "no index in %s takes another form at a place that is known",
                          step->loop[0].axis);
    for (int i = loops.len; i-- > 0;) {
        int64_t n = 0;
        expr_is_int(loops.at[i]->a, &n);
        if (cuts[i].n)
            partition_one(ctx, loops.at[i], n, &cuts[i]);
    }
    return true;
}
