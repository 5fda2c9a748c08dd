/* Softmax over long rows between two contractions: by blocks of columns, each a softmax of its own, put together
 * by their maxima and sums. What a chain holds of a row is then one block. Class approx; a block that is masked
 * entirely has weight 0, a row that is stays NaN. Chosen when a chain would not fit, or by --rule=online.
 * Precondition: kernel_inline.
 *
 *   before  s[i,j] = add(d) q[i,d]*k[j,d] ; m[i] = max(j) f(s[i,j]) ; e[i,j] = exp(f(s[i,j]) - m[i])
 *           l[i] = add(j) e[i,j] ; p[i,j] = e[i,j]/l[i] ; y[i,c] = add(j) p[i,j]*v[j,c]
 *   after   the same for each block g of n columns, j = g*n + j1, giving m[g,i], l[g,i], o[g,i,c] ;
 *           w[i,g] = l[g,i]*exp(m[g,i] - max(g) m[g,i]) ; y[i,c] = (add(g) o[g,i,c]*w[i,g]) / (add(g) w[i,g]) */
#include "lower/kernel_class.h"
#include "lower/uses.h"

#include <math.h>
#include <string.h>

#define COLUMNS_MIN 16
#define BLOCK_BYTES (32 * 1024) /* of one block of rows and columns */

typedef struct Online {
    Lower *lo;
    Ctx *ctx;
    Uses *uses;
    Def *dot, *max, *exp, *sum, *soft, *end;
    int rank;        /* of dot: outer axes, rows, columns */
    int64_t columns; /* in a block */
    Def *dot2;
    const Expr
        *v[RANK_MAX + 2]; /* axes of the Def being made: outer, block, row, column; a last one */
} Online;

/* ---- the pattern ----------------------------------------------------------------------------------- */

static Def *loaded_def(const Expr *e) {
    Def *d = e->op == OP_LOAD ? e->u.buf->def : NULL;
    return d && !d->at && !d->scan && d->buf->ndef == 1 && d->buf->space == SPACE_ARENA &&
                   d->buf->type == T_F32
               ? d
               : NULL;
}

/* Read by n Defs of the program, a and b among them, and by nothing else. */
static bool read_by(const Online *o, const Def *d, const Def *a, const Def *b) {
    const BufUse *use = uses_of(o->uses, d->buf);
    if (use->port || use->calls || use->items.len || use->readers.len != 1 + (b != NULL))
        return false;
    for (int i = 0; i < use->readers.len; i++)
        if (use->readers.at[i] != a && use->readers.at[i] != b)
            return false;
    return true;
}

static void find_dot(void *data, const Expr *e) {
    Online *o = data;
    Def *d = loaded_def(e);
    if (d && chain_contraction(o->ctx, d) && d->buf->rank == o->rank)
        o->dot = d;
}

/* The maximum is taken over what the exponential is of. */
static bool same_score(const Online *o) {
    Sym *from[RANK_MAX];
    const Expr *to[RANK_MAX];
    if (o->max->naxis != o->max->buf->rank + 1 || o->max->buf->rank < o->rank - 1)
        return false;
    for (int i = 0; i < o->rank; i++) {
        from[i] = o->max->axis[i < o->rank - 1 ? i : o->max->naxis - 1].var;
        to[i] = def_var(o->ctx, o->exp, i);
    }
    return expr_subst(o->ctx, o->max->value, o->rank, from, to) == o->exp->value->kid[0]->kid[0];
}

static bool find_softmax(Online *o) {
    const Buf *mid = chain_contraction(o->ctx, o->end) ? chain_middle(o->ctx, o->end) : NULL;
    o->rank = o->end->buf->rank;
    o->soft = mid ? mid->def : NULL;
    if (!o->soft || o->soft->value->op != OP_DIV || o->rank >= RANK_MAX)
        return false;
    o->exp = loaded_def(o->soft->value->kid[0]);
    o->sum = loaded_def(o->soft->value->kid[1]);
    if (!o->exp || !o->sum || o->exp->value->op != OP_EXP || o->exp->value->kid[0]->op != OP_SUB ||
        o->sum->combine != OP_ADD || o->sum->value->op != OP_LOAD ||
        o->sum->value->u.buf != o->exp->buf)
        return false;
    o->max = loaded_def(o->exp->value->kid[0]->kid[1]);
    if (!o->max || o->max->combine != OP_MAX || o->max->when || !same_score(o))
        return false;
    o->dot = NULL;
    expr_walk(o->ctx, o->exp->value, find_dot, o);
    return o->dot && read_by(o, o->soft, o->end, NULL) && read_by(o, o->exp, o->soft, o->sum) &&
           read_by(o, o->sum, o->soft, NULL) && read_by(o, o->max, o->exp, NULL) &&
           read_by(o, o->dot, o->max, o->exp);
}

/* Columns of a block: the most that divide them all and fit; 0: none. */
static int64_t block_columns(const Online *o, bool forced) {
    const Machine *m = o->lo->machine;
    int64_t all = 0, depth = 0, width = 0, rows = m->mr[0] > 0 ? m->mr[0] : 1;
    expr_is_int(o->dot->axis[o->rank - 1].var->extent, &all);
    expr_is_int(o->dot->axis[o->rank].var->extent, &depth);
    expr_is_int(o->end->axis[o->rank - 1].var->extent, &width);
    bool fits = all <= 2 * BLOCK_BYTES / 4 / rows && all <= m->l2 / 4 / (depth + width);
    int64_t most = BLOCK_BYTES / 4 / rows, half = m->l2 / 8 / (depth + width);
    if ((fits || m->vec == 0) && !forced)
        return 0;
    most = most < half ? most : half;
    for (int64_t n = most < all / 2 ? most : all / 2; n >= COLUMNS_MIN; n--)
        if (all % n == 0 && n % COLUMNS_MIN == 0)
            return n;
    return 0;
}

/* ---- the equations ----------------------------------------------------------------------------------- */

/* A Def with axes outer, block (when `blocks`), row, then `last` (NULL: none), which v then names. */
static Def *block_def(Online *o, const char *name, bool blocks, const Expr *last) {
    const Expr *dim[RANK_MAX + 1];
    int n = 0, outer = o->rank - 2;
    int64_t all = 0;
    expr_is_int(o->dot->buf->dim[o->rank - 1], &all);
    for (int i = 0; i < outer; i++)
        dim[n++] = o->dot->buf->dim[i];
    if (blocks)
        dim[n++] = expr_i(o->ctx, all / o->columns);
    dim[n++] = o->dot->buf->dim[outer];
    if (last)
        dim[n++] = last;
    Def *d = def_beside(o->ctx, o->end, name, T_F32, n, dim);
    for (int i = 0; i < n; i++)
        o->v[i + (i >= outer && !blocks)] = def_var(o->ctx, d, i);
    return d;
}

static void reduce_over(Online *o, Def *d, Op op, int at, const Expr *extent, int ways) {
    d->combine = (uint8_t)op;
    o->v[at] = def_axis(o->ctx, d, str(o->ctx, "j"), AXIS_RED, extent);
    d->axis[d->naxis - 1].ways = (uint8_t)ways;
}

/* e over the axes of `of` → over v; column: where those of dot are, else left alone. */
static const Expr *over_blocks(const Online *o, const Def *of, int column, const Expr *e) {
    Sym *from[RANK_MAX];
    const Expr *to[RANK_MAX], *n = expr_i(o->ctx, o->columns);
    int rank = o->rank;
    for (int i = 0; i < rank - 1; i++) {
        from[i] = of->axis[i].var;
        to[i] = o->v[i < rank - 2 ? i : rank - 1];
    }
    from[rank - 1] = of->axis[column].var;
    to[rank - 1] = expr_add(o->ctx, expr_mul(o->ctx, o->v[rank - 2], n), o->v[rank]);
    return expr_subst(o->ctx, e, rank, from, to);
}

static const Expr *load_dot2(Ctx *ctx, const Expr *e, void *data) {
    const Online *o = data;
    if (e->op != OP_LOAD || e->u.buf != o->dot->buf)
        return e;
    return buf_load(ctx, o->dot2->buf, o->v);
}

/* What the softmax is of, over v. */
static const Expr *score(Online *o) {
    const Expr *e = over_blocks(o, o->exp, o->rank - 1, o->exp->value->kid[0]->kid[0]);
    return expr_map(o->ctx, e, load_dot2, o);
}

static const Expr *unless(Ctx *ctx, const Expr *e, double bad, double instead) {
    const Expr *is = expr_2(ctx, OP_EQ, e, expr_const(ctx, T_F32, bad));
    return expr_select(ctx, is, expr_const(ctx, T_F32, instead), e);
}

/* The softmax of each block; its maxima and sums are left in m and l. */
static int define_blocks(Online *o, Def **out, Def **m, Def **l) {
    Ctx *ctx = o->ctx;
    int rank = o->rank, n = 0;
    const Expr *columns = expr_i(ctx, o->columns), *old = def_var(ctx, o->dot, rank);
    Def *d = out[n++] = o->dot2 = block_def(o, ".s", true, columns);
    d->combine = OP_ADD;
    const Expr *term = def_axis(ctx, d, str(ctx, "d"), AXIS_RED, o->dot->axis[rank].var->extent);
    d->value = expr_subst(ctx, over_blocks(o, o->dot, rank - 1, o->dot->value), 1,
                          (Sym *const *)&old->u.sym, &term);
    *m = out[n++] = block_def(o, ".m", true, NULL);
    reduce_over(o, *m, OP_MAX, rank, columns, COLUMNS_MIN);
    (*m)->value = score(o);
    Def *e = out[n++] = block_def(o, ".e", true, columns);
    const Expr *shift = unless(ctx, buf_load(ctx, (*m)->buf, o->v), -INFINITY, 0);
    e->value = expr_1(ctx, OP_EXP, expr_2(ctx, OP_SUB, score(o), shift));
    *l = out[n++] = block_def(o, ".l", true, NULL);
    reduce_over(o, *l, OP_ADD, rank, columns, COLUMNS_MIN);
    (*l)->value = buf_load(ctx, e->buf, o->v);
    Def *p = out[n++] = block_def(o, ".p", true, columns);
    const Expr *by = unless(ctx, buf_load(ctx, (*l)->buf, o->v), 0, 1);
    p->value = expr_2(ctx, OP_DIV, buf_load(ctx, e->buf, o->v), by);
    Def *part = out[n++] = block_def(o, ".o", true, o->end->buf->dim[rank - 1]);
    const Expr *c = o->v[rank], *width = def_var(ctx, o->end, rank - 1);
    reduce_over(o, part, OP_ADD, rank, columns, 0);
    int side = o->end->value->kid[0]->u.buf == o->soft->buf;
    const Expr *v = over_blocks(o, o->end, rank, o->end->value->kid[side]);
    v = expr_subst(ctx, v, 1, (Sym *const *)&width->u.sym, &c);
    part->value = expr_2(ctx, OP_MUL, buf_load(ctx, p->buf, o->v), v);
    return n;
}

/* Puts the blocks together; the end becomes the map that divides. */
static int define_whole(Online *o, Def **out, const Def *m, const Def *l, const Def *part) {
    Ctx *ctx = o->ctx;
    int rank = o->rank, n = 0;
    const Expr *blocks = m->buf->dim[rank - 2], *at[RANK_MAX];
    Def *most = out[n++] = block_def(o, ".max", false, NULL);
    reduce_over(o, most, OP_MAX, rank - 2, blocks, 0);
    most->value = buf_load(ctx, m->buf, o->v);
    Def *w = out[n++] = block_def(o, ".w", false, blocks);
    o->v[rank - 2] = o->v[rank];
    for (int i = 0; i < rank - 1; i++)
        at[i] = def_var(ctx, w, i);
    const Expr *below =
        expr_2(ctx, OP_SUB, buf_load(ctx, m->buf, o->v), buf_load(ctx, most->buf, at));
    w->value = expr_2(ctx, OP_MUL, buf_load(ctx, l->buf, o->v), expr_1(ctx, OP_EXP, below));
    Def *all = out[n++] = block_def(o, ".all", false, NULL);
    reduce_over(o, all, OP_ADD, rank - 2, blocks, 0);
    for (int i = 0; i < rank; i++)
        at[i] = i < rank - 1 ? def_var(ctx, all, i) : o->v[rank - 2];
    all->value = buf_load(ctx, w->buf, at);
    Def *sum = out[n++] = block_def(o, ".sum", false, o->end->buf->dim[rank - 1]);
    reduce_over(o, sum, OP_ADD, rank - 2, blocks, 0);
    for (int i = 0; i < rank; i++)
        at[i] = i < rank - 1 ? def_var(ctx, sum, i) : o->v[rank - 2];
    sum->value = expr_2(ctx, OP_MUL, buf_load(ctx, part->buf, o->v), buf_load(ctx, w->buf, at));
    for (int i = 0; i < rank; i++)
        at[i] = def_var(ctx, o->end, i);
    o->end->value = expr_2(ctx, OP_DIV, buf_load(ctx, sum->buf, at), buf_load(ctx, all->buf, at));
    o->end->combine = COMBINE_SET;
    o->end->naxis = rank;
    return n;
}

/* ---- the pass ------------------------------------------------------------------------------------------ */

static bool is_replaced(const Online *o, const Def *d) {
    return d == o->dot || d == o->max || d == o->exp || d == o->sum || d == o->soft;
}

/* The new Defs in front of the end, those they replace gone. */
static void replace_items(Online *o, Block *b, Def **defs, int n) {
    Block *next = ctx_new(o->ctx, Block);
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        for (int k = 0; k < n && it->kind == ITEM_DEF && it->def == o->end; k++) {
            Item *fresh = item_new(o->ctx, next, ITEM_DEF);
            fresh->def = defs[k];
            fresh->origin = it->origin;
        }
        if (it->kind != ITEM_DEF || !is_replaced(o, it->def))
            vec_push(o->ctx, &next->items, it);
    }
    b->items.at = next->items.at;
    b->items.len = next->items.len;
    b->items.cap = next->items.cap;
}

static void rewrite_block(Online *o, Block *b, bool forced) {
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                rewrite_block(o, it->body[k], forced);
        o->end = it->kind == ITEM_DEF ? it->def : NULL;
        if (!o->end || o->end->at || o->end->scan || !find_softmax(o) ||
            !(o->columns = block_columns(o, forced)))
            continue;
        Def *defs[10], *m, *l;
        int n = define_blocks(o, defs, &m, &l);
        n += define_whole(o, defs + n, m, l, defs[n - 1]);
        replace_items(o, b, defs, n);
        o->uses = uses_build(o->ctx, o->lo->prog);
        i = -1;
    }
}

bool kernel_online(Lower *lo) {
    bool forced = lo->rule == RULE_ONLINE;
    Online o = {.lo = lo, .ctx = lo->ctx, .uses = uses_build(lo->ctx, lo->prog)};
    if (!lo->strict && !lo->o0 && (!lo->rule || forced))
        rewrite_block(&o, lo->prog->main, forced);
    return true;
}
