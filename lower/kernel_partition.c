/* Groups Defs into kernels. Each kernel has a root (its last Def) whose loops enclose the others: an inner
 * Def is read only by Defs of the kernel, at indices whose leading axes are the root's, so that it is
 * computed inside the root's loops, each element once. Precondition: kernel_inline.
 *
 *   before  m[r] = max(k) x[r,k] ; y[r,k] = x[r,k] - m[r]
 *   after   kernel { m ; y }, m computed inside y's loop r */
#include "lower/kernel_class.h"
#include "lower/uses.h"

#define LOCAL_MAX (64 * 1024) /* bytes of one inner buffer for one point of the shared axes */
#define READS_MAX 1.5         /* an inner map is not read more often than this by one reader */
#define DEFS_MAX 24           /* Defs in one kernel */

typedef struct Partition {
    Lower *lo;
    Uses *uses;
    Map *kernel_of; /* Def → Kernel */
    Map *chain;     /* Def → the contraction whose kernel it joins by rows */
} Partition;

typedef struct Find {
    const Buf *buf;
    const Sym *sym;
    bool found, missed;
} Find;

Def *kernel_root(const Kernel *k) {
    return k->defs.at[k->defs.len - 1];
}

/* ---- attach depth ------------------------------------------------------------------------------- */

typedef struct Prefix {
    Ctx *ctx;
    const Def *reader;
    const Buf *buf;
    int depth;
} Prefix;

static bool same_axis(const Def *reader, int i, const Buf *b, const Expr *index) {
    if (i >= def_nout(reader) || reader->axis[i].kind != AXIS_PAR ||
        reader->axis[i].var->extent != b->dim[i])
        return false;
    return (index->op == OP_SYM && index->u.sym == reader->axis[i].var) ||
           (expr_is(index, 0) && expr_is(b->dim[i], 1));
}

static void prefix_node(void *data, const Expr *e) {
    Prefix *p = data;
    if (e->op != OP_LOAD || e->u.buf != p->buf)
        return;
    int i = 0;
    while (i < p->depth && same_axis(p->reader, i, p->buf, e->kid[i]))
        i++;
    p->depth = i;
}

static void prefix_expr(void *data, const Expr *e) {
    Prefix *p = data;
    expr_walk(p->ctx, e, prefix_node, p);
}

int def_prefix(Ctx *ctx, const Def *reader, const Buf *b) {
    Prefix p = {ctx, reader, b, b->rank};
    def_exprs(reader, prefix_expr, &p);
    return p.depth;
}

int kernel_attach(Ctx *ctx, const Kernel *k, const Def *d) {
    int last = k->defs.len - 1, at = last;
    while (at >= 0 && k->defs.at[at] != d)
        at--;
    if (at < 0 || at == last)
        return -1;
    int *depth = ctx_newn(ctx, int, k->defs.len);
    depth[last] = RANK_MAX;
    for (int i = last - 1; i >= at; i--) {
        const Buf *b = k->defs.at[i]->buf;
        depth[i] = RANK_MAX;
        for (int r = i + 1; r <= last; r++) {
            bool dead = r < last && depth[r] == RANK_MAX; /* nobody reads r itself */
            if (dead || !def_reads(ctx, k->defs.at[r], b))
                continue;
            int p = def_prefix(ctx, k->defs.at[r], b);
            p = p < depth[r] ? p : depth[r];
            depth[i] = p < depth[i] ? p : depth[i];
        }
    }
    return depth[at] <= d->buf->rank ? depth[at] : -1; /* nobody reads it here: -1 */
}

/* ---- may d join the kernel of its readers? ------------------------------------------------------- */

typedef struct AxisUse {
    Ctx *ctx;
    const Def *def;
    int loads;
    bool reuse;
} AxisUse;

static void axis_use_node(void *data, const Expr *e) {
    AxisUse *u = data;
    if (e->op != OP_LOAD)
        return;
    u->loads++;
    for (int i = 0; i < u->def->naxis; i++) {
        const Axis *a = &u->def->axis[i];
        if (a->kind != AXIS_RED && !expr_is(a->var->extent, 1) && !expr_uses_sym(e, a->var))
            u->reuse = true;
    }
}

bool def_is_contraction(Ctx *ctx, const Def *d) {
    const Expr *product = d->value;
    while (product->op == OP_CAST)
        product = product->kid[0];
    if (!def_is_reduction(d) || d->combine != OP_ADD || product->op != OP_MUL)
        return false;
    AxisUse u = {ctx, d, 0, false};
    for (int side = 0, before = 0; side < 2; side++, before = u.loads) {
        expr_walk(ctx, product->kid[side], axis_use_node, &u);
        if (u.loads == before)
            return false;
    }
    return u.reuse;
}

typedef struct Moved {
    Partition *pt;
    int order;
    bool ok;
} Moved;

static void moved_source(void *data, Buf *b) {
    Moved *m = data;
    BufUse *use = uses_of(m->pt->uses, b);
    for (int i = 0; b->ndef > 1 && i < use->places.len; i++)
        if (use->places.at[i].order > m->order)
            m->ok = false;
}

/* Computing d later, at its kernel's place, reads the same values: no source is written in between. */
static bool may_move(Partition *pt, const Def *d) {
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_SEQ)
            return false;
    Moved m = {pt, uses_place(pt->uses, d)->order, true};
    def_loads(pt->lo->ctx, d, moved_source, &m);
    return m.ok;
}

/* The part of b for one point of its first `from` axes is small (or symbolic: then in the arena). */
static bool region_fits(const Buf *b, int from) {
    int64_t n = type_bytes(type_dtype(b->type)), d;
    for (int i = from; i < b->rank; i++)
        if (expr_is_int(b->dim[i], &d) && !mul_ok(n, d, &n))
            return false;
    return n <= LOCAL_MAX;
}

/* A reader outside of k that runs after it: it reads what k stores. */
static bool reads_later(Partition *pt, const Def *reader, const Kernel *k) {
    const Place *root = uses_place(pt->uses, kernel_root(k)), *at = uses_place(pt->uses, reader);
    return map_get(pt->kernel_of, reader) != k && at->block == root->block &&
           at->order > root->order;
}

static bool is_kept(Partition *pt, const BufUse *use, const Kernel *k) {
    for (int i = 0; i < use->readers.len; i++)
        if (map_get(pt->kernel_of, use->readers.at[i]) != k)
            return true;
    return false;
}

static bool readers_agree(Partition *pt, const Def *d, const BufUse *use, const Kernel *k) {
    Ctx *ctx = pt->lo->ctx;
    bool by_rows = map_get(pt->chain, d);
    const Block *block = uses_place(pt->uses, d)->block;
    for (int i = 0; i < use->readers.len; i++) {
        Def *r = use->readers.at[i];
        if (by_rows && reads_later(pt, r, k))
            continue;
        if (map_get(pt->kernel_of, r) != k || uses_place(pt->uses, r)->block != block)
            return false;
        if (!by_rows && !def_is_reduction(d) &&
            def_volume(ctx, r, true) > READS_MAX * def_volume(ctx, d, true))
            return false;
    }
    return true;
}

/* A contraction that computed a reduction it reads between its loops would have no register tile. */
static bool feeds_contraction(Partition *pt, const Def *d, const BufUse *use) {
    bool feeds = false;
    for (int i = 0; i < use->readers.len; i++)
        feeds |= def_is_contraction(pt->lo->ctx, use->readers.at[i]);
    return feeds && def_is_reduction(d) && !def_is_contraction(pt->lo->ctx, d) &&
           !map_get(pt->chain, d);
}

/* Stores at computed places have scalar loops, where sums get vectors by themselves; cases get tiles. */
static bool loses_vectors(const Partition *pt, const Def *d, const Kernel *k, const BufUse *use) {
    bool lost = kernel_root(k)->at && def_is_reduction(d);
    for (int i = 0; i < use->readers.len; i++)
        lost |= def_is_reduction(use->readers.at[i]) && def_has_cases(pt->lo->ctx, d);
    return pt->lo->machine->vec > 0 && lost;
}

typedef struct Spelling {
    const Lower *lo;
    bool ok;
} Spelling;

static void spelled_node(void *data, const Expr *e) {
    Spelling *s = data;
    bool leaf = e->nkid == 0 || e->op == OP_LOAD || type_dtype(e->type) == T_I64;
    Type t = TYPE_VEC(type_dtype(e->type), s->lo->machine->vec / 4);
    s->ok &= leaf || s->lo->target->spells(s->lo->machine, (Op)e->op, t);
}

/* What the target cannot compute on vectors would be written out lane by lane beside a register tile. */
static bool fits_tile(const Lower *lo, const Def *reader) {
    Spelling s = {lo, true};
    if (lo->machine->vec > 0)
        expr_walk(lo->ctx, reader->value, spelled_node, &s);
    return s.ok;
}

/* A contraction's register tile has no place for other sums beside it. */
static bool crowds_tile(Partition *pt, const Def *d, const Kernel *k) {
    if (!def_is_reduction(d) || map_get(pt->chain, d) || pt->lo->machine->vec == 0)
        return false;
    for (int i = 0; i < k->defs.len; i++)
        if (def_is_contraction(pt->lo->ctx, k->defs.at[i]) && !map_get(pt->chain, k->defs.at[i]))
            return true;
    return false;
}

/* Puts d in front of the kernel of all its readers, or leaves both as they are. */
static bool join_kernel(Partition *pt, Def *d) {
    Ctx *ctx = pt->lo->ctx;
    BufUse *use = uses_of(pt->uses, d->buf);
    if (d->buf->whole || d->buf->parts.len || d->at || d->scan || d->buf->ndef != 1 || use->port ||
        use->calls || use->items.len || !use->readers.len || d->buf->space != SPACE_ARENA ||
        !may_move(pt, d))
        return false;
    Def *end = map_get(pt->chain, d);
    Kernel *k = map_get(pt->kernel_of, end ? end : use->readers.at[0]);
    bool by_element = def_is_contraction(ctx, d) && !end;
    if (!k || k->defs.at[0]->scan || k->defs.len >= DEFS_MAX || !readers_agree(pt, d, use, k) ||
        feeds_contraction(pt, d, use) || loses_vectors(pt, d, k, use) ||
        (by_element && !fits_tile(pt->lo, use->readers.at[0])))
        return false;
    Kernel trial = *k;
    trial.defs.at = ctx_newn(ctx, Def *, k->defs.len + 1);
    trial.defs.at[0] = d;
    for (int i = 0; i < k->defs.len; i++)
        trial.defs.at[i + 1] = k->defs.at[i];
    trial.defs.len = trial.defs.cap = k->defs.len + 1;
    int depth = kernel_attach(ctx, &trial, d);
    if (depth < 1 || (!end && !region_fits(d->buf, depth)) ||
        (depth < d->buf->rank && by_element) || crowds_tile(pt, d, k))
        return false;
    k->defs.at = trial.defs.at;
    k->defs.len = k->defs.cap = trial.defs.len;
    map_put(pt->kernel_of, d, k);
    if (end && is_kept(pt, use, k))
        vec_push(ctx, &k->kept, d->buf);
    return true;
}

static Kernel *kernel_start(Partition *pt, Def *d) {
    Ctx *ctx = pt->lo->ctx;
    Kernel *k = ctx_new(ctx, Kernel);
    if (d->scan) {
        for (int i = 0; i < d->scan->defs.len; i++) {
            vec_push(ctx, &k->defs, d->scan->defs.at[i]);
            map_put(pt->kernel_of, d->scan->defs.at[i], k);
        }
    } else {
        vec_push(ctx, &k->defs, d);
        map_put(pt->kernel_of, d, k);
    }
    return k;
}

/* ---- blocks --------------------------------------------------------------------------------------- */

static Plan *partition_block(Partition *pt, Block *b) {
    Ctx *ctx = pt->lo->ctx;
    Plan *reversed = ctx_new(ctx, Plan), *plan = ctx_new(ctx, Plan);
    for (int i = b->items.len; i-- > 0;) {
        Item *it = b->items.at[i];
        PlanItem pi = {it, NULL, {NULL, NULL}};
        if (it->kind == ITEM_DEF) {
            if (map_get(pt->kernel_of, it->def) || join_kernel(pt, it->def))
                continue;
            pi.item = NULL;
            pi.kernel = kernel_start(pt, it->def);
        }
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                pi.body[k] = partition_block(pt, it->body[k]);
        vec_push(ctx, &reversed->items, pi);
    }
    for (int i = reversed->items.len; i-- > 0;)
        vec_push(ctx, &plan->items, reversed->items.at[i]);
    return plan;
}

static bool close_plan(Lower *lo, Plan *plan) {
    for (int i = 0; i < plan->items.len; i++) {
        PlanItem *pi = &plan->items.at[i];
        for (int k = 0; k < 2; k++)
            if (pi->body[k] && !close_plan(lo, pi->body[k]))
                return false;
        if (!pi->kernel)
            continue;
        if (lo->machine->vec > 0)
            chain_normalise(lo, pi->kernel);
        if (lo->machine->vec > 0 && lo->machine->fma && !lo->strict && !lo->o0)
            scan_normalise(lo, pi->kernel);
        kernel_ways(lo, pi->kernel);
        kernel_normalise(lo->ctx, pi->kernel);
        kernel_close(lo->ctx, pi->kernel);
        pi->kernel->name = kernel_name(lo->ctx, pi->kernel, lo->nkernel++);
        vec_push(lo->ctx, &lo->module->kernels, pi->kernel);
    }
    return true;
}

bool kernel_partition(Lower *lo) {
    Uses *uses = uses_build(lo->ctx, lo->prog);
    Partition pt = {lo, uses, map_new(lo->ctx), chain_find(lo, uses)};
    lo->module = ctx_new(lo->ctx, Module);
    lo->module->prog = lo->prog;
    lo->plan = lo->module->plan = partition_block(&pt, lo->prog->main);
    return close_plan(lo, lo->plan);
}
