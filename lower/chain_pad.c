/* Columns of a chain in whole vectors: those that are added hold scores of -inf, which exp takes to 0, so that
 * neither the maxima nor the sums of a softmax change by a bit. Only where the kernel is a softmax between
 * two contractions and computes the operand of the first one itself (kernel_chain.c).
 *
 *   before  k_t[d, j<49] ; s[i, j<49] ; m[i] = max(j<49) s ; e[i, j<49] = exp(s - m) ; l[i] = add(j<49) e
 *   after   k_t[d, j<64] = select(j < 49, …, 0) ; s[i, j<64] = select(j < 49, …, -inf)
 *           m[i] = max(j<64) s ; e[i, j<64] = exp(s - m) ; l[i] = add(j<64) e */
#include "lower/kernel_class.h"
#include "lower/uses.h"

#include <math.h>

#define COLUMNS 16 /* as many partial maxima and sums a row */

typedef struct Pad {
    Ctx *ctx;
    const Def *dot;
    int64_t from; /* columns that there are */
    const Expr *to;
    Map *wide; /* Buf → itself: its rows get longer */
    Map *exps; /* Buf → itself: 0 in the columns that are added */
    bool ok, found;
} Pad;

static bool is_wide(const Pad *p, const Expr *e) {
    return e->op == OP_LOAD && map_get(p->wide, e->u.buf);
}

/* Loads of wide rows are at the column alone. */
static void check_load(void *data, const Expr *e) {
    Pad *p = data;
    p->ok &= !is_wide(p, e) || e->kid[e->nkid - 1]->op == OP_SYM;
}

static void find_wide(void *data, const Expr *e) {
    Pad *p = data;
    p->found |= is_wide(p, e);
}

static bool reads_wide(Pad *p, const Def *d) {
    p->found = false;
    expr_walk(p->ctx, d->value, find_wide, p);
    return p->found;
}

static bool is_columns(const Pad *p, const Def *d, int axis) {
    return expr_is(d->axis[axis].var->extent, p->from);
}

/* max[16](j) s[…, j] or add[16](j) e[…, j] */
static bool pads_sum(const Pad *p, const Def *d) {
    const Axis *last = &d->axis[d->naxis - 1];
    const Expr *e = d->value;
    if (d->naxis != d->buf->rank + 1 || !is_wide(p, e) || d->when || d->init ||
        !is_columns(p, d, d->naxis - 1) || e->kid[e->nkid - 1]->u.sym != last->var ||
        (last->ways > 1 && COLUMNS % last->ways))
        return false;
    return d->combine == OP_MAX || (d->combine == OP_ADD && map_get(p->exps, e->u.buf));
}

/* exp(s - m) or e / l */
static bool pads_map(const Pad *p, const Def *d) {
    const Expr *e = d->value, *of = e->op == OP_EXP ? e->kid[0] : e;
    int last = d->buf->rank - 1;
    if (def_is_reduction(d) || d->buf->rank != p->dot->buf->rank || !is_columns(p, d, last) ||
        of->op != (e->op == OP_EXP ? OP_SUB : OP_DIV) || !is_wide(p, of->kid[0]) ||
        expr_uses_sym(of->kid[1], d->axis[last].var) ||
        of->kid[0]->kid[last] != def_var(p->ctx, d, last))
        return false;
    if (e->op == OP_EXP || map_get(p->exps, of->kid[0]->u.buf))
        map_put(p->exps, d->buf, d->buf);
    return true;
}

/* Gives the axis, and d's rows when it is theirs, the longer extent. */
static void lengthen(const Pad *p, Def *d, int axis) {
    Ctx *ctx = p->ctx;
    Sym *old = d->axis[axis].var;
    d->axis[axis].var = sym_axis(ctx, old->name, p->to);
    const Expr *v = def_var(ctx, d, axis);
    d->value = expr_subst(ctx, d->value, 1, &old, &v);
    if (axis >= d->buf->rank)
        return;
    const Expr **dim = ctx_newn(ctx, const Expr *, d->buf->rank);
    for (int i = 0; i < d->buf->rank; i++)
        dim[i] = i == axis ? p->to : d->buf->dim[i];
    d->buf->dim = dim;
    d->buf->known_state = 0;
}

static void set_rest(const Pad *p, Def *d, double rest) {
    Ctx *ctx = p->ctx;
    const Expr *v = def_var(ctx, d, d->buf->rank - 1);
    d->value = expr_select(ctx, expr_lt(ctx, v, expr_i(ctx, p->from)), d->value,
                           expr_const(ctx, T_F32, rest));
}

/* What reads wide rows: axis[i] of Def i is to be lengthened; -1: none. */
static bool find_readers(Pad *p, const Kernel *k, const Def *score, int *axis) {
    bool behind = false;
    for (int i = 0; i < k->defs.len; i++) {
        const Def *d = k->defs.at[i];
        axis[i] = -1;
        behind |= d == score;
        if (!behind || d == score)
            continue;
        p->ok = true;
        expr_walk(p->ctx, d->value, check_load, p);
        if (!p->ok)
            return false;
        if (pads_sum(p, d)) {
            axis[i] = d->naxis - 1;
        } else if (pads_map(p, d)) {
            axis[i] = d->buf->rank - 1;
            map_put(p->wide, d->buf, d->buf);
        } else if (reads_wide(p, d) &&
                   !(chain_contraction(p->ctx, d) && map_get(p->wide, chain_middle(p->ctx, d)))) {
            return false;
        }
    }
    return true;
}

/* The map that computes dot's operand along the columns; NULL: that lies in memory as it is. */
static Def *find_panel(const Kernel *k, const Def *dot) {
    int last = dot->buf->rank - 1;
    const Sym *column = dot->axis[last].var;
    for (int i = 0; i < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        for (int side = 0; side < 2; side++) {
            const Expr *e = dot->value->kid[side];
            if (e->u.buf == d->buf && d->buf->rank == last + 1 && !def_is_reduction(d) &&
                e->kid[last]->op == OP_SYM && e->kid[last]->u.sym == column)
                return d;
        }
    }
    return NULL;
}

void chain_pad(Lower *lo, Kernel *k, Def *dot, Def *score) {
    Ctx *ctx = lo->ctx;
    Pad p = {ctx, dot, 0, NULL, map_new(ctx), map_new(ctx), true, false};
    int last = dot->buf->rank - 1, *axis = ctx_newn(ctx, int, k->defs.len);
    Def *panel = find_panel(k, dot);
    int64_t lanes = lo->machine->vec / 4;
    expr_is_int(dot->axis[last].var->extent, &p.from);
    int64_t to = (p.from + COLUMNS - 1) / COLUMNS * COLUMNS;
    p.to = expr_i(ctx, to);
    map_put(p.wide, score->buf, score->buf);
    if (!panel || p.from % lanes == 0 || to - p.from >= lanes || score->combine != COMBINE_SET ||
        !find_readers(&p, k, score, axis))
        return;
    for (int i = 0; i < k->defs.len; i++)
        if (axis[i] >= 0)
            lengthen(&p, k->defs.at[i], axis[i]);
    lengthen(&p, panel, last);
    lengthen(&p, dot, last);
    lengthen(&p, score, last);
    set_rest(&p, panel, 0);
    set_rest(&p, score, -INFINITY);
}
