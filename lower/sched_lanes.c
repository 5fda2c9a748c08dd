/* The schedule of kernels that no rule fits, on targets with vectors: each inner Def right where its values are
 * needed, and the loops along what is contiguous in storage as vectors.
 *
 *   before  kernel { s[m,16] = add(k) x[m, k*16 + j] ; y[m] = tree of s[m, 0..15] }
 *   after   compute_at s in y at m ; stage s at y.m in reg ; reorder s.k s.j ; vectorize s.j by 16 */
#include "lower/sched_rules.h"

#define LANES_MIN 4
#define LANES_MAX 16
#define REGS_MAX 4    /* vectors of one Def in registers */
#define GATHER_WORK 8 /* operations that make up for elements that do not lie side by side */

typedef struct Laning {
    Lower *lo;
    Ctx *ctx;
    const Kernel *k;
    const Def *root;
    int lane;   /* the root's axis that becomes lanes; -1: none */
    int *depth; /* of each inner Def: how many of the root's loops enclose it */
    bool cut;   /* what terms are left out at the borders parts its lanes' loop */
    Text *t;
} Laning;

/* ---- may a Def's loop along an axis become a vector loop? ---------------------------------------------- */

typedef struct Fit {
    const Laning *l;
    const Def *def;
    int axis;
    int lanes;
    int64_t work, gathers;
    const Buf *packed; /* a constant whose order can follow the lanes; NULL: none */
    bool may_pack, ok;
} Fit;

static int def_number(const Kernel *k, const Buf *b) {
    for (int i = 0; i + 1 < k->defs.len; i++)
        if (k->defs.at[i]->buf == b)
            return i;
    return -1;
}

/* Does the inner Def i have a value for each of the root's lanes? */
static bool has_lanes(const Laning *l, int i) {
    return l->lane >= 0 && l->depth[i] > l->lane;
}

static bool axis_stride(Fit *f, const Buf *b, const Expr *const *index, int64_t *stride) {
    const Expr *at = buf_offset(f->l->ctx, b, index), *coef, *rest;
    return expr_linear(f->l->ctx, at, 1, &f->def->axis[f->axis].var, &coef, &rest) &&
           expr_is_int(coef, stride);
}

/* Does one index alone use the axis, one further a lane? */
static bool in_one_index(const Fit *f, const Expr *load) {
    Sym *var = f->def->axis[f->axis].var;
    const Expr *coef, *rest;
    int n = 0;
    for (int i = 0; i < load->nkid; i++)
        if (expr_uses_sym(load->kid[i], var))
            n += expr_linear(f->l->ctx, load->kid[i], 1, &var, &coef, &rest) && expr_is(coef, 1)
                     ? 1
                     : 2;
    return n == 1;
}

static void fit_load(Fit *f, const Expr *e) {
    int64_t stride;
    int inner = def_number(f->l->k, e->u.buf);
    if (!expr_uses_sym(e, f->def->axis[f->axis].var) || (inner >= 0 && has_lanes(f->l, inner)))
        return;
    f->ok &= axis_stride(f, e->u.buf, e->kid, &stride);
    bool second = stride == 2 && e->type == T_F32; /* two loads and a shuffle */
    if (!f->ok || stride == 1 || second)
        return;
    if (f->may_pack && e->u.buf->space == SPACE_CONST && !e->u.buf->where && in_one_index(f, e) &&
        (!f->packed || f->packed == e->u.buf))
        f->packed = e->u.buf;
    else
        f->gathers++;
}

static void fit_node(void *data, const Expr *e) {
    Fit *f = data;
    const Lower *lo = f->l->lo;
    Dtype t = type_dtype(e->type);
    if (e->op == OP_LOAD)
        fit_load(f, e);
    if (e->op == OP_LOAD || e->nkid == 0 || t == T_I64)
        return;
    int64_t room = lo->machine->vec / type_bytes(t);
    f->lanes = t != T_BOOL && room < f->lanes ? (int)room : f->lanes;
    f->ok &= lo->target->spells(lo->machine, (Op)e->op, TYPE_VEC(t, LANES_MIN));
    f->work++;
}

/* Lanes of d's loop along an axis; 0: it stays a loop. *packed: what has to be packed for it; NULL: no packing. */
static int lanes_along(const Laning *l, const Def *d, int axis, const Buf **packed) {
    Dtype t = type_dtype(d->buf->type);
    int64_t n;
    Fit f = {l, d, axis, LANES_MAX, 0, 0, NULL, packed != NULL, true};
    if (d->at || d->axis[axis].kind != AXIS_PAR || t == T_BOOL || !type_bytes(t))
        return 0;
    f.lanes = l->lo->machine->vec / type_bytes(t);
    f.lanes = f.lanes > LANES_MAX ? LANES_MAX : f.lanes;
    expr_walk(l->ctx, d->value, fit_node, &f);
    if (d->when)
        expr_walk(l->ctx, d->when, fit_node, &f);
    if (expr_is_int(d->axis[axis].var->extent, &n))
        while (f.lanes > n)
            f.lanes /= 2;
    if (packed)
        *packed = f.packed;
    return f.ok && f.lanes >= LANES_MIN && f.work >= f.gathers * GATHER_WORK ? f.lanes : 0;
}

/* ---- the root --------------------------------------------------------------------------------------- */

static bool dims_are_one(const Buf *b, int from) {
    for (int i = from; i < b->rank; i++)
        if (!expr_is(b->dim[i], 1))
            return false;
    return true;
}

/* The root's lanes: every inner Def is computed either outside of their loop, or inside of all loops and has
 * lanes itself. */
static int root_lanes(Laning *l) {
    const Def *root = l->root;
    int lane = root->at ? -1 : buf_inner_axis(l->ctx, root->buf), lanes;
    l->lane = lane;
    if (lane < 0 || !(lanes = lanes_along(l, root, lane, NULL)))
        return l->lane = -1, 0;
    for (int i = 0; i + 1 < l->k->defs.len; i++) {
        const Def *d = l->k->defs.at[i];
        if (!has_lanes(l, i))
            continue;
        int own = lane < d->buf->rank ? lanes_along(l, d, lane, NULL) : 0;
        if (!own || !dims_are_one(root->buf, l->depth[i]) || !dims_are_one(d->buf, l->depth[i]))
            return l->lane = -1, 0;
        lanes = own < lanes ? own : lanes;
    }
    return lanes;
}

static void say_axes(Laning *l, const Def *d, int from, int but, AxisKind kind) {
    for (int i = from; i < d->naxis; i++)
        if (i != but && d->axis[i].kind == kind)
            text_f(l->t, " %s.%s", d->name, d->axis[i].var->name);
}

static void split_root(Laning *l, int lanes) {
    const Def *d = l->root;
    Str n = d->axis[l->lane].var->name;
    text_s(l->t, " ; reorder");
    say_axes(l, d, 0, l->lane, AXIS_PAR);
    text_f(l->t, " %s.%s ; split %s.%s -> %s_o %s_v by %d tail=peel", d->name, n, d->name, n, n, n,
           lanes);
}

/* ---- inner Defs ---------------------------------------------------------------------------------------- */

typedef struct Picked {
    const Buf *buf;
    int from;
    bool constant;
} Picked;

static void picked_node(void *data, const Expr *e) {
    Picked *p = data;
    for (int i = p->from; e->op == OP_LOAD && e->u.buf == p->buf && i < e->nkid; i++)
        p->constant &= expr_is_int(e->kid[i], NULL) || expr_is(p->buf->dim[i], 1);
}

/* Are all elements beyond the first `from` axes few, and read by number? Then they can be registers. */
static bool in_registers(const Laning *l, const Def *d, int from, int lanes) {
    Picked p = {d->buf, from, true};
    int64_t n = 1, dim;
    for (int i = from; i < d->buf->rank; i++)
        if (!expr_is_int(d->buf->dim[i], &dim) || !mul_ok(n, dim, &n) || n > REGS_MAX * lanes)
            return false;
    for (int i = 0; i < l->k->defs.len; i++)
        if (l->k->defs.at[i] != d)
            expr_walk(l->ctx, l->k->defs.at[i]->value, picked_node, &p);
    return p.constant;
}

/* The axis of d, from its depth on, that becomes lanes of its own; -1: none. */
static int own_axis(const Laning *l, const Def *d, int depth, int *lanes) {
    int a = d->at || depth >= d->buf->rank ? -1 : buf_inner_axis(l->ctx, d->buf);
    depth = depth < 0 ? 0 : depth;
    *lanes = a >= depth && a < d->buf->rank ? lanes_along(l, d, a, NULL) : 0;
    return *lanes ? a : -1;
}

static void place(Laning *l, int i, bool reg) {
    const Def *d = l->k->defs.at[i], *root = l->root;
    bool inside = has_lanes(l, i);
    Str at = root->axis[inside ? l->lane : l->depth[i] - 1].var->name;
    Str suffix = inside ? "_o" : "";
    text_f(l->t, " ; compute_at %s in %s at %s%s", d->name, root->name, at, suffix);
    if (reg)
        text_f(l->t, " ; stage %s at %s.%s%s in reg", d->name, root->name, at, suffix);
}

/* Sums of several vectors side by side, so that one need not wait for the other. */
static int block_of(const Def *d, int axis, int lanes) {
    int64_t n;
    bool long_enough = expr_is_int(d->axis[axis].var->extent, &n) && n >= (int64_t)lanes * REGS_MAX;
    return def_is_reduction(d) && long_enough ? lanes * REGS_MAX : lanes;
}

static void vectorize(Laning *l, int i, int axis, int lanes, bool reg) {
    const Def *d = l->k->defs.at[i];
    Str n = d->axis[axis].var->name;
    if (!reg)
        text_f(l->t, " ; split %s.%s -> %s_o %s_v by %d tail=peel", d->name, n, n, n,
               block_of(d, axis, lanes));
    Str suffix = reg ? "" : "_v";
    text_s(l->t, " ; reorder");
    say_axes(l, d, 0, axis, AXIS_PAR);
    if (!reg)
        text_f(l->t, " %s.%s_o", d->name, n);
    say_axes(l, d, 0, axis, AXIS_RED);
    text_f(l->t, " %s.%s%s ; vectorize %s.%s%s by %d", d->name, n, suffix, d->name, n, suffix,
           lanes);
}

/* What one of the root's lanes does not need itself can be placed before the root's loop is split: its region is
 * simpler then. All its readers must be there. */
static bool place_early(const Laning *l, int i, const bool *placed) {
    const Def *d = l->k->defs.at[i];
    for (int r = i + 1; r + 1 < l->k->defs.len; r++)
        if (!placed[r] && expr_uses_buf(l->k->defs.at[r]->value, d->buf))
            return false;
    return l->depth[i] >= 1 && !has_lanes(l, i);
}

static void all_steps(Laning *l, int lanes) {
    int n = l->k->defs.len - 1, *axis = ctx_newn(l->ctx, int, n + 1),
        *own = ctx_newn(l->ctx, int, n + 1);
    bool *reg = ctx_newn(l->ctx, bool, n + 1), *placed = ctx_newn(l->ctx, bool, n + 1);
    for (int i = n - 1; i >= 0; i--) {
        const Def *d = l->k->defs.at[i];
        int depth = l->depth[i];
        axis[i] = has_lanes(l, i) ? l->lane : own_axis(l, d, depth, &own[i]);
        own[i] = has_lanes(l, i) ? lanes : own[i];
        reg[i] = depth >= 1 && (has_lanes(l, i) || dims_are_one(d->buf, depth) ||
                                (axis[i] >= 0 && in_registers(l, d, depth, own[i])));
        if ((placed[i] = place_early(l, i, placed)))
            place(l, i, reg[i]);
    }
    if (lanes)
        split_root(l, lanes);
    for (int i = n - 1; i >= 0; i--)
        if (!placed[i] && l->depth[i] >= 1)
            place(l, i, reg[i]);
    if (lanes && l->cut)
        text_f(l->t, " ; partition %s.%s_o", l->root->name, l->root->axis[l->lane].var->name);
    for (int i = 0; i < n; i++)
        if (axis[i] >= 0)
            vectorize(l, i, axis[i], own[i], reg[i]);
    if (lanes)
        text_f(l->t, " ; vectorize %s.%s_v by %d", l->root->name, l->root->axis[l->lane].var->name,
               lanes);
}

/* A scan group: its Defs stay where they are. */
static void scan_steps(Laning *l) {
    for (int i = 0; i < l->k->defs.len; i++) {
        const Def *d = l->k->defs.at[i];
        const Buf *packed = NULL;
        int a = d->at ? -1 : buf_inner_axis(l->ctx, d->buf);
        int lanes =
            a < 0 || a >= d->naxis ? 0 : lanes_along(l, d, a, def_is_reduction(d) ? &packed : NULL);
        if (!lanes)
            continue;
        vectorize(l, i, a, lanes, false);
        if (packed)
            text_f(l->t, " ; pack %s at %s.%s_v by %d", step_name(l->ctx, packed->name), d->name,
                   d->axis[a].var->name, block_of(d, a, lanes));
    }
}

static bool has_border(const Kernel *k) {
    for (int i = 0; i < k->defs.len; i++)
        if (def_is_reduction(k->defs.at[i]) && k->defs.at[i]->when)
            return true;
    return false;
}

Sched *schedule_lanes(Lower *lo, const Kernel *k, bool cut) {
    Text t = text_new(lo->ctx);
    Laning l = {lo, lo->ctx, k, kernel_root(k), -1, ctx_newn(lo->ctx, int, k->defs.len), cut, &t};
    bool scan = k->defs.at[0]->scan;
    if (lo->machine->vec == 0 || (cut && (scan || !has_border(k))))
        return NULL;
    for (int i = 0; i + 1 < k->defs.len && !scan; i++)
        l.depth[i] = kernel_attach(lo->ctx, k, k->defs.at[i]);
    if (scan)
        scan_steps(&l);
    else
        all_steps(&l, root_lanes(&l));
    Sched *s = ctx_new(lo->ctx, Sched);
    Lex lex;
    const char *steps = t.at ? t.at : "";
    lex_init(&lex, lo->ctx, "lanes", steps + (steps[0] == ' ' ? 3 : 0));
    return steps[0] && sched_parse(&lex, s) ? s : NULL;
}
