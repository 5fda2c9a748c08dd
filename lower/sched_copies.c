/* What a kernel only copies (the parts of a concatenation: a cache and its new row) is copied by the kernel that
 * reads it first, a row at a time, where it does not stay in L2 and that kernel goes through it once: it is read
 * from memory once instead of twice. Precondition: sched_choose. Class exact.
 *
 *   before  k3 { t = select(k < 511, past, new) } ; k5 { y = …t… } schedule T
 *   after   k5 { t = … ; y = …t… } schedule T ; store_at t in y at y.n ; split t.l … ; stream t
 *
 * --rule=copy does so wherever it applies. */
#include "lower/sched_in.h"
#include "lower/sched_rules.h"
#include "lower/uses.h"

#include <string.h>

#define ROW_MAX 8                       /* vectors of a row that are written out */
#define FAR_BYTES (128.0 * 1024 * 1024) /* more than a last cache holds */

typedef struct Copies {
    Lower *lo;
    Uses *uses;
    bool forced;
} Copies;

/* ---- is it a copy? ------------------------------------------------------------------------------------- */

static void value_node(void *data, const Expr *e) {
    bool *plain = data;
    bool index = e->type == T_I64 || e->type == T_BOOL;
    *plain &= index || e->op == OP_LOAD || e->op == OP_SELECT;
}

static bool is_state(const Program *prog, const Buf *b) {
    bool state = state_output(prog, b) != NULL;
    for (int i = 0; i < prog->inputs.len; i++)
        state |= state_output(prog, prog->inputs.at[i].buf) == b;
    return state;
}

/* A map of nothing but loads, stored by its rows as they are. */
static bool is_copy(const Copies *c, const Kernel *a) {
    Ctx *ctx = c->lo->ctx;
    const Def *d = kernel_root(a);
    const Buf *t = d->buf;
    const BufUse *use = uses_of(c->uses, t);
    bool plain = true;
    if (a->defs.len != 1 || d->at || d->scan || d->when || d->combine != COMBINE_SET ||
        d->naxis != t->rank || t->rank < 1 || t->ndef != 1 || t->whole || t->parts.len || t->halo ||
        t->bound || use->calls || use->items.len || is_state(c->lo->prog, t))
        return false;
    if (!c->forced && (buf_bytes(ctx, t) <= (double)c->lo->machine->l2 ||
                       (c->lo->machine->vec && (!a->rule || strcmp(a->rule, "map_lanes") != 0))))
        return false;
    for (int i = 0; i < a->ins.len; i++)
        if (is_state(c->lo->prog, a->ins.at[i]))
            return false;
    expr_walk(ctx, d->value, value_node, &plain);
    return plain && d->value->type == t->type;
}

/* ---- the kernel that reads it -------------------------------------------------------------------------- */

/* The kernel behind item i that reads t first; NULL: none, or what t is made of is written before. */
static Kernel *first_reader(const Plan *plan, int i) {
    const Kernel *a = plan->items.at[i].kernel;
    const Buf *t = kernel_root(a)->buf;
    while (++i < plan->items.len && plan->items.at[i].kernel) {
        Kernel *k = plan->items.at[i].kernel;
        if (bufs_hold(k->ins.at, k->ins.len, t))
            return k;
        for (int j = 0; j < a->ins.len; j++)
            if (bufs_hold(k->outs.at, k->outs.len, a->ins.at[j]))
                return NULL;
    }
    return NULL;
}

static bool may_join(const Kernel *a, const Kernel *b) {
    const Def *d = kernel_root(a);
    for (int i = 0; i < b->defs.len; i++) {
        const Def *e = b->defs.at[i];
        if (e->scan || e->at || e->name == d->name || e->buf->name == d->buf->name ||
            bufs_hold(a->ins.at, a->ins.len, e->buf))
            return false;
    }
    return true;
}

/* ---- where in it --------------------------------------------------------------------------------------- */

typedef VEC(Stmt *) Path; /* loops around all loads, outermost first */

static bool reads(const Stmt *s, const Buf *b) {
    if (s->a && expr_uses_buf(s->a, b))
        return true;
    for (const Stmt *in = s->body; in; in = in->next)
        if (reads(in, b))
            return true;
    return false;
}

static void follow_loads(Ctx *ctx, Path *p, Stmt *list, const Def *d) {
    Stmt *only = NULL;
    for (Stmt *s = list; s; s = s->next) {
        if (s->def == d || !reads(s, d->buf))
            continue;
        if (only)
            return;
        only = s;
    }
    if (!only || (only->op != STMT_FOR && only->op != STMT_ALLOC))
        return;
    if (only->op == STMT_FOR)
        vec_push(ctx, p, only);
    follow_loads(ctx, p, only->body, d);
}

/* The innermost loop that reads whole rows of t, each once; NULL. */
static const Stmt *row_loop(const Copies *c, const Func *f, const Def *d) {
    Ctx *ctx = c->lo->ctx;
    const Expr *lo[RANK_MAX], *hi[RANK_MAX];
    int inner = buf_inner_axis(ctx, d->buf);
    Path p = {0};
    follow_loads(ctx, &p, f->body, d);
    for (int i = p.len; inner >= 0 && i-- > 0;) {
        const Stmt *s = p.at[i];
        LoopRef name = {s->def ? s->def->name : NULL, s->label};
        double box = type_bytes(type_dtype(d->buf->type));
        if (s->run != RUN_SERIAL || !s->def || loops_find(ctx, f, &name).len != 1 ||
            !loop_covers(ctx, f, d->buf, s, lo, hi))
            continue;
        for (int a = 0; a < d->buf->rank; a++) {
            lo[a] = expr_add(ctx, expr_sub(ctx, hi[a], lo[a]), expr_i(ctx, 1));
            box *= extent_estimate(ctx, lo[a]);
        }
        if (lo[inner] == d->buf->dim[inner])
            return box <= (double)c->lo->machine->l1 / 2 ? s : NULL;
    }
    return NULL;
}

/* ---- one kernel of two --------------------------------------------------------------------------------- */

/* The few vectors of a row are written out: then the case is decided once a row. */
static void unroll_row(Ctx *ctx, Kernel *k, const Stmt *at, const Def *d) {
    const Stmt *s = at->body, *around = NULL;
    int64_t n;
    while (s && s->op == STMT_FOR && s->def == d && s->run == RUN_SERIAL) {
        around = s;
        s = s->body;
    }
    Step unroll = {.op = STEP_UNROLL, .nloop = 1};
    if (!around || !s || s->run != RUN_VECTOR || !expr_is_int(around->a, &n) || n > ROW_MAX)
        return;
    unroll.loop = ctx_new(ctx, LoopRef);
    *unroll.loop = (LoopRef){d->name, around->label};
    kernel_step_add(ctx, k, &unroll);
}

/* b gets a's Def and both schedules; false: it does not fit, and b is not as it was. */
static bool join(const Copies *c, const Kernel *a, Kernel *b) {
    Ctx *ctx = c->lo->ctx;
    Kernel old = *b;
    Def *d = kernel_root(a);
    memset(b, 0, sizeof *b);
    vec_push(ctx, &b->defs, d);
    for (int i = 0; i < old.defs.len; i++)
        vec_push(ctx, &b->defs, old.defs.at[i]);
    for (int i = 0; i < old.kept.len; i++)
        vec_push(ctx, &b->kept, old.kept.at[i]);
    vec_push(ctx, &b->kept, d->buf);
    kernel_close(ctx, b);
    b->name = old.name;
    b->rule = old.rule;
    b->func = loop_build(ctx, b);
    b->sched = ctx_new(ctx, Sched);
    if (!kernel_steps_add(ctx, b, &old))
        return false;
    const Stmt *at = row_loop(c, b->func, d);
    Step store = {.op = STEP_STORE_AT, .def = d->name, .in = kernel_root(b)->name, .nloop = 1};
    if (!at)
        return false;
    store.loop = ctx_new(ctx, LoopRef);
    *store.loop = (LoopRef){at->def->name, at->label};
    if (!kernel_step_add(ctx, b, &store) || !kernel_steps_add(ctx, b, a))
        return false;
    unroll_row(ctx, b, at, d);
    return true;
}

/* Bytes that come from memory in a run, at least: constants and what the caller gives. */
static double far_bytes(const Copies *c) {
    Ctx *ctx = c->lo->ctx;
    Map *seen = map_new(ctx);
    double sum = 0;
    for (int i = 0; i < c->lo->module->kernels.len; i++) {
        const Kernel *k = c->lo->module->kernels.at[i];
        for (int j = 0; j < k->ins.len; j++) {
            Buf *b = k->ins.at[j];
            sum += b->space == SPACE_ARENA || map_get(seen, b) ? 0 : buf_bytes(ctx, b);
            map_put(seen, b, b);
        }
    }
    return sum;
}

static bool is_read_later(const Plan *plan, const Buf *b) {
    bool found = false;
    for (int i = 0; i < plan->items.len; i++) {
        const PlanItem *pi = &plan->items.at[i];
        found |= pi->kernel && bufs_hold(pi->kernel->ins.at, pi->kernel->ins.len, b);
        for (int j = 0; j < 2; j++)
            found |= pi->body[j] && is_read_later(pi->body[j], b);
    }
    return found;
}

/* What nothing reads in this run goes past the caches where they would not keep it for the next one. Threads would
 * have to say when they are through. */
static bool may_stream(const Copies *c, const Buf *t) {
    const Options *opt = c->lo->ctx->opt;
    bool threads = opt && opt->threads != 0 && opt->threads != 1;
    return !threads && t->space == SPACE_OUTPUT && c->lo->machine->vec &&
           (c->forced || far_bytes(c) > FAR_BYTES) && !is_read_later(c->lo->plan, t);
}

static bool try_join(const Copies *c, const Kernel *a, Kernel *b) {
    Kernel before = *b;
    if (!may_join(a, b))
        return false;
    if (join(c, a, b)) {
        Step stream = {.op = STEP_STREAM, .def = kernel_root(a)->name};
        if (may_stream(c, kernel_root(a)->buf))
            kernel_step_add(c->lo->ctx, b, &stream);
        schedule_parallel(c->lo, b);
        return true;
    }
    *b = before;
    return false;
}

static void copies_plan(const Copies *c, Plan *plan) {
    int n = 0;
    for (int i = 0; i < plan->items.len; i++) {
        PlanItem pi = plan->items.at[i];
        for (int b = 0; b < 2; b++)
            if (pi.body[b])
                copies_plan(c, pi.body[b]);
        Kernel *reader = pi.kernel && is_copy(c, pi.kernel) ? first_reader(plan, i) : NULL;
        if (reader && try_join(c, pi.kernel, reader))
            module_drop_kernel(c->lo->module, pi.kernel);
        else
            plan->items.at[n++] = pi;
    }
    plan->items.len = n;
}

bool sched_copies(Lower *lo) {
    Copies c = {.lo = lo, .forced = lo->rule == RULE_COPY};
    if (lo->o0 || lo->min_ram || (lo->rule && !c.forced))
        return true;
    c.uses = uses_build(lo->ctx, lo->prog);
    copies_plan(&c, lo->plan);
    return true;
}
