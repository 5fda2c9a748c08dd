/* Loops that threads may share: the step `parallel`, and where it is taken. Iterations must not touch what
 * others write: the loop is a PAR axis, and every buffer it stores to is its own, its Def's, or apart from one
 * iteration to the next along some dimension. Nested loops of nothing else are one space of iterations.
 *
 *   before  for n0 < 2 { for m0 < 9 { acc ; y[…] = acc } }      parallel n0 ; parallel m0
 *   after   for n0 < 2 parallel { for m0 < 9 parallel { acc ; y[…] = acc } }      18 parts */
#include "lower/sched_in.h"
#include "lower/sched_rules.h"
#include "lower/uses.h"

#include <math.h>

/* ---- is the loop free of what others write? ------------------------------------------------------------ */

typedef struct Touch {
    Ctx *ctx;
    const Def *def; /* the loop's */
    const Buf *buf;
    VEC(Sym *) inner; /* variables of loops inside */
    const Expr *lo[RANK_MAX], *hi[RANK_MAX];
    const Stmt *stmt;
    int count;
    bool own;   /* so far only d's stores, and its loads of the element it stores */
    bool known; /* lo and hi hold */
} Touch;

static void touch(Touch *t, const Expr *const *index, int n) {
    for (int i = 0; i < n && t->known; i++) {
        const Expr *lo, *hi;
        t->known = expr_extremes(t->ctx, index[i], t->inner.len, t->inner.at, &lo, &hi);
        if (!t->known)
            return;
        t->lo[i] = !t->count || lo == t->lo[i] ? lo : expr_min(t->ctx, lo, t->lo[i]);
        t->hi[i] = !t->count || hi == t->hi[i] ? hi : expr_max(t->ctx, hi, t->hi[i]);
    }
    t->count++;
}

static void touch_load(void *data, const Expr *e) {
    Touch *t = data;
    if (e->op == OP_MLOAD && e->u.buf == t->buf)
        t->own = t->known = false;
    if (e->op != OP_LOAD || e->u.buf != t->buf)
        return;
    const Stmt *s = t->stmt;
    bool same = s->op == STMT_STORE && s->buf == t->buf && s->nindex == e->nkid;
    for (int i = 0; same && i < e->nkid; i++)
        same = s->index[i] == e->kid[i];
    t->own &= same;
    touch(t, e->kid, e->nkid);
}

static void touch_stmts(Touch *t, const Stmt *s) {
    for (; s; s = s->next) {
        t->stmt = s;
        if (s->a)
            expr_walk(t->ctx, s->a, touch_load, t);
        if (s->b)
            expr_walk(t->ctx, s->b, touch_load, t);
        for (int i = 0; i < s->nindex; i++)
            expr_walk(t->ctx, s->index[i], touch_load, t);
        if (s->op == STMT_STORE && s->buf == t->buf) {
            t->own &= s->def == t->def;
            touch(t, s->index, s->nindex);
        }
        if (s->op == STMT_FOR)
            vec_push(t->ctx, &t->inner, s->var);
        touch_stmts(t, s->body);
        touch_stmts(t, s->orelse);
        if (s->op == STMT_FOR)
            t->inner.len--;
    }
}

/* What one iteration touches of the buffer no other one does. */
static bool is_apart(Ctx *ctx, const Stmt *loop, const Buf *b) {
    const Def *d = loop->def;
    Touch t = {.ctx = ctx, .def = d, .buf = b, .own = d && d->buf == b && !d->at, .known = true};
    const Expr *next = expr_add(ctx, expr_sym(ctx, loop->var), expr_i(ctx, 1));
    touch_stmts(&t, loop->body);
    for (int i = 0; i < b->rank && t.known && !t.own; i++) {
        const Expr *coef, *rest;
        if (expr_linear(ctx, t.lo[i], 1, (Sym *const *)&loop->var, &coef, &rest) &&
            expr_proves(ctx, expr_lt(ctx, t.hi[i],
                                     expr_subst(ctx, t.lo[i], 1, (Sym *const *)&loop->var, &next))))
            return true;
    }
    return t.own;
}

typedef struct Stored {
    Ctx *ctx;
    Map *local; /* Buf → itself: lives inside the loop, or was seen */
    VEC(const Buf *) bufs;
    bool ends; /* may end the run, or calls */
} Stored;

static void find_stored(void *data, Stmt *s) {
    Stored *st = data;
    st->ends |= s->op == STMT_CHECK || s->op == STMT_CALL || s->op == STMT_HOST;
    if (s->op == STMT_ALLOC)
        map_put(st->local, s->buf, s->buf);
    if (s->op != STMT_STORE || map_get(st->local, s->buf))
        return;
    map_put(st->local, s->buf, s->buf);
    vec_push(st->ctx, &st->bufs, s->buf);
}

static bool loop_may_share(Ctx *ctx, const Stmt *loop, Str *why) {
    Stored st = {.ctx = ctx, .local = map_new(ctx)};
    if (loop->kind != AXIS_PAR || (loop->def && loop->def->scan))
        return step_fails(ctx, why, "%s is not a parallel axis", loop->label);
    if (loop->run != RUN_SERIAL && loop->run != RUN_PARALLEL)
        return step_fails(ctx, why, "%s is more than a plain loop already", loop->label);
    stmt_walk(loop->body, find_stored, &st);
    if (st.ends)
        return step_fails(ctx, why, "what %s does may end the run", loop->label);
    for (int i = 0; i < st.bufs.len && !expr_is(loop->a, 1); i++)
        if (!is_apart(ctx, loop, st.bufs.at[i]))
            return step_fails(ctx, why, "iterations of %s share parts of '%s'", loop->label,
                              st.bufs.at[i]->name ? st.bufs.at[i]->name : "?");
    return true;
}

bool sched_parallel(Ctx *ctx, Func *f, const Step *step, Str *why) {
    LoopList loops = loops_find(ctx, f, &step->loop[0]);
    for (int i = 0; i < loops.len; i++)
        if (!loop_may_share(ctx, loops.at[i], why))
            return false;
    for (int i = 0; i < loops.len; i++)
        loops.at[i]->run = RUN_PARALLEL;
    return true;
}

static void unshare(void *data, Stmt *s) {
    Str why;
    if (s->op == STMT_FOR && s->run == RUN_PARALLEL && !loop_may_share(data, s, &why))
        s->run = RUN_SERIAL;
}

bool loop_unshare(Ctx *ctx, Func *f) {
    stmt_walk(f->body, unshare, ctx);
    return true;
}

/* ---- where it pays --------------------------------------------------------------------------------------- */

/* A region of two threads costs 0.3 to 0.7 us while both are awake (performance.md, 5): half of what is shared
 * is saved, less a chunk's imbalance. */
#define PAYS_NS 4000.0
#define SPACE_ENOUGH 64 /* iterations beyond which more loops balance nothing */
#define SPACE_FREE 8.0  /* iterations a loop of unknown extent counts for */

/* Nanoseconds of a list, by the stores it performs: a step of a sum is two vectors a cycle, anything else as fast
 * as memory takes it. */
static double list_ns(Ctx *ctx, const Machine *m, const Stmt *s) {
    double sum = 0, lanes = m->vec > 4 ? m->vec / 4 : 1;
    for (; s; s = s->next) {
        double times = s->op == STMT_FOR ? extent_estimate(ctx, s->a) : 1;
        if (s->op == STMT_STORE)
            sum += 1 / (expr_uses_buf(s->a, s->buf) ? lanes * 2 : lanes / 4 + 1);
        sum += times * list_ns(ctx, m, s->body) + list_ns(ctx, m, s->orelse);
    }
    return sum;
}

static bool is_plain(const Stmt *s, const Def *d, Str label) {
    return s->op == STMT_FOR && s->def == d && s->run == RUN_SERIAL && s->kind == AXIS_PAR &&
           s->label == label;
}

/* The loops of that name that a list consists of; 0: there is something else. */
static bool are_plain(const Stmt *s, const Def *d) {
    Str label = s ? s->label : NULL;
    bool ok = s != NULL;
    for (; s && ok; s = s->next)
        ok = is_plain(s, d, label);
    return ok;
}

/* How many parts a loop is sure to give; one that is not known gives several, as a rule. */
static double count_parts(Ctx *ctx, const Expr *extent) {
    int64_t n;
    return expr_is_int(extent, &n) ? (double)n : fmin(extent_estimate(ctx, extent), SPACE_FREE);
}

/* Steps for a nest that stands at the top, from its outermost loop inwards until there are parts enough. */
static void share_nest(Ctx *ctx, Kernel *k, const Stmt *top) {
    Str label[RANK_MAX * 2], why;
    int n = 0;
    double parts = 1;
    for (const Stmt *s = top; s && n < RANK_MAX * 2 && parts < SPACE_ENOUGH; s = s->body) {
        if (n ? !are_plain(s, top->def) : !is_plain(s, top->def, s->label))
            break;
        label[n++] = s->label;
        parts *= count_parts(ctx, s->a);
    }
    for (int i = 0; i < n && parts >= 2; i++) {
        Step step = {.op = STEP_PARALLEL, .nloop = 1};
        step.loop = ctx_new(ctx, LoopRef);
        *step.loop = (LoopRef){top->def->name, label[i]};
        if (!step_apply(ctx, k->func, &step, &why))
            return;
        vec_push(ctx, &k->sched->steps, step);
    }
}

/* Nanoseconds for what the kernel reads and writes to come from the next cache. */
static double traffic_ns(Ctx *ctx, const Kernel *k) {
    double bytes = 0;
    for (int i = 0; i < k->ins.len + k->outs.len; i++) {
        const Buf *b = i < k->ins.len ? k->ins.at[i] : k->outs.at[i - k->ins.len];
        bytes += buf_volume(ctx, b) * type_bytes(type_dtype(b->type));
    }
    return bytes / 32;
}

static bool nest_pays(const Lower *lo, const Kernel *k, const Stmt *s) {
    Stmt one = *s;
    one.next = NULL;
    return s->op == STMT_FOR && s->def &&
           (list_ns(lo->ctx, lo->machine, &one) >= PAYS_NS || traffic_ns(lo->ctx, k) >= PAYS_NS);
}

bool parallel_pays(const Lower *lo, const Kernel *k) {
    for (const Stmt *s = k->func->body; s; s = s->next)
        if (nest_pays(lo, k, s))
            return true;
    return false;
}

void schedule_parallel(Lower *lo, Kernel *k) {
    Ctx *ctx = lo->ctx;
    const Def *last = NULL;
    if (lo->o0 || !ctx->opt || ctx->opt->threads == 0 || ctx->opt->threads == 1)
        return;
    for (const Stmt *s = k->func->body; s; s = s->next) {
        if (s->def == last || !nest_pays(lo, k, s))
            continue;
        last = s->def;
        share_nest(ctx, k, s);
    }
}
