/* Neighbouring kernels become one where the values between are best kept as a few rows (a depthwise convolution
 * after the one that expands its channels, the projection behind it, a pooling after a large convolution): both
 * schedules, rows outermost, and a step `slide`. Precondition: sched_choose. Class exact.
 *
 *   before  k3 { t = … } schedule S ; k4 { y = …t… } schedule T        t whole in the arena
 *   after   k4 { t = … ; y = …t… } schedule S ; T ; reorder t.p t.n0 ; slide t in y at p
 *
 * By default where t is larger than L2 and its rows are not read from there more than twice; with --min-ram where
 * the arena gets smaller; with --rule=slide wherever it applies. With --threads rows are in chunks, each with rings
 * of its own (`chunk p -> pc by 14 ; parallel pc`), where what borders compute twice is little. */
#include "lower/sched_rules.h"
#include "lower/uses.h"

#include <math.h>
#include <string.h>

#define RATIO_MAX 2   /* times a row is read from the ring when that is larger than L1 */
#define BORDERS_MAX 9 /* of so many rows one may be computed twice */
#define CHUNK_LEAST 4 /* rows, where that leaves two chunks */

typedef struct Rows {
    Lower *lo;
    Uses *uses;
    bool forced;
    int chunks; /* of rows, for threads to share; 1: rows run in turn */
} Rows;

/* ---- bytes --------------------------------------------------------------------------------------------- */

static double arena_bytes(Ctx *ctx, Buf *const *at, int n, const Kernel *but, const Buf *except) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (at[i]->space == SPACE_ARENA && at[i] != except &&
            !(but && bufs_hold(but->ins.at, but->ins.len, at[i])))
            sum += buf_bytes(ctx, at[i]);
    return sum;
}

static bool by_rows(const Kernel *k) {
    return k->rule && !strcmp(k->rule, "by_rows");
}

/* What the arena holds while the two run, and while both run as one; before there are schedules without what they
 * keep for themselves, which will be registers. */
static void live_bytes(Ctx *ctx, const Kernel *a, const Kernel *b, bool temps, double *apart,
                       double *one) {
    const Buf *t = kernel_root(a)->buf;
    double in = arena_bytes(ctx, a->ins.at, a->ins.len, NULL, NULL);
    double more = arena_bytes(ctx, b->ins.at, b->ins.len, a, t);
    double also = arena_bytes(ctx, b->ins.at, b->ins.len, NULL, t);
    double out = arena_bytes(ctx, b->outs.at, b->outs.len, b, NULL);
    double temp_a = !temps ? 0 : arena_bytes(ctx, a->temps.at, a->temps.len, NULL, NULL);
    double temp_b = !temps ? 0 : arena_bytes(ctx, b->temps.at, b->temps.len, NULL, NULL);
    double first = in + more + buf_bytes(ctx, t) + temp_a,
           second = buf_bytes(ctx, t) + also + out + temp_b;
    *apart = first > second ? first : second;
    *one = in + more + out + temp_a + temp_b;
}

/* ---- may they be one? ---------------------------------------------------------------------------------- */

static void count_readers(const Plan *plan, const Buf *b, int *n) {
    for (int i = 0; i < plan->items.len; i++) {
        const PlanItem *pi = &plan->items.at[i];
        *n += pi->kernel && bufs_hold(pi->kernel->ins.at, pi->kernel->ins.len, b);
        for (int j = 0; j < 2; j++)
            if (pi->body[j])
                count_readers(pi->body[j], b, n);
    }
}

static bool names_apart(const Kernel *a, const Kernel *b) {
    for (int i = 0; i < a->defs.len; i++)
        for (int j = 0; j < b->defs.len; j++)
            if (a->defs.at[i]->name == b->defs.at[j]->name ||
                a->defs.at[i]->buf->name == b->defs.at[j]->buf->name)
                return false;
    return true;
}

static bool may_slide(const Rows *r, const Kernel *a, const Kernel *b) {
    Ctx *ctx = r->lo->ctx;
    const Def *ra = kernel_root(a), *rb = kernel_root(b);
    const Buf *t = ra->buf;
    const BufUse *use = uses_of(r->uses, t);
    int readers = 0;
    if (t->space != SPACE_ARENA || t->rank < 3 || rb->buf->rank != t->rank || t->ndef != 1 ||
        t->whole || t->parts.len || rb->buf->whole || ra->scan || rb->scan || ra->at || rb->at ||
        a->kept.len || b->kept.len || a->outs.len != 1 || use->port || use->calls ||
        use->items.len || !bufs_hold(b->ins.at, b->ins.len, t) ||
        buf_inner_axis(ctx, t) != buf_inner_axis(ctx, rb->buf) || !names_apart(a, b))
        return false;
    count_readers(r->lo->plan, t, &readers);
    return readers == 1;
}

/* ---- one kernel of two --------------------------------------------------------------------------------- */

/* How the schedule goes through the rows of its kernel's root: one by one, or in blocks. */
typedef struct RowLoop {
    Str label;
    int64_t block;
} RowLoop;

static RowLoop row_loop(const Kernel *k, const Def *d) {
    RowLoop r = {d->axis[d->buf->rank - 2].var->name, 1};
    for (int i = 0; i < k->sched->steps.len; i++) {
        const Step *s = &k->sched->steps.at[i];
        bool own = s->op == STEP_SPLIT && (!s->loop->def || s->loop->def == d->name);
        if (own && r.block == 1 && s->loop->axis == r.label)
            r = (RowLoop){s->word[0], s->num[0]};
    }
    return r;
}

/* A reorder that brings the rows of d's nests to the outside, where they are not. */
static bool bring_out(Ctx *ctx, Kernel *k, const Def *d, Str rows) {
    Step s = {.op = STEP_REORDER};
    VEC(LoopRef) loops = {0};
    LoopRef first = {d->name, rows};
    vec_push(ctx, &loops, first);
    for (const Stmt *top = k->func->body; top; top = top->next) {
        const Stmt *in = top;
        if (top->def != d)
            continue;
        for (; in && in->op == STMT_FOR && in->label != rows; in = in->body) {
            bool listed = false;
            for (int i = 0; i < loops.len; i++)
                listed |= loops.at[i].axis == in->label;
            LoopRef l = {d->name, in->label};
            if (!listed)
                vec_push(ctx, &loops, l);
        }
        if (!in || in->op != STMT_FOR)
            return false;
    }
    s.loop = loops.at;
    s.nloop = loops.len;
    return loops.len == 1 || kernel_step_add(ctx, k, &s);
}

/* Gives b's rows blocks of as many as a's. */
static bool split_rows(Ctx *ctx, Kernel *k, const Def *d, RowLoop *rows, int64_t block) {
    Step s = {.op = STEP_SPLIT, .nloop = 1, .nword = 2, .nnum = 1};
    s.loop = ctx_new(ctx, LoopRef);
    s.word = ctx_newn(ctx, Str, 2);
    s.num = ctx_newn(ctx, int64_t, 1);
    *s.loop = (LoopRef){d->name, rows->label};
    s.word[0] = str_f(ctx, "%s0", rows->label);
    s.word[1] = str_f(ctx, "%s1", rows->label);
    s.num[0] = block;
    *rows = (RowLoop){s.word[0], block};
    return kernel_step_add(ctx, k, &s);
}

/* b gets a's Defs and both schedules; false: a step is refused, and b is not as it was. */
static bool join(Ctx *ctx, const Kernel *a, Kernel *b) {
    Kernel old = *b;
    const Def *t = kernel_root(a), *root = kernel_root(b);
    RowLoop from = row_loop(a, t), to = row_loop(b, root);
    memset(b, 0, sizeof *b);
    for (int i = 0; i < a->defs.len; i++)
        vec_push(ctx, &b->defs, a->defs.at[i]);
    for (int i = 0; i < old.defs.len; i++)
        vec_push(ctx, &b->defs, old.defs.at[i]);
    kernel_close(ctx, b);
    b->name = old.name;
    b->rule = str(ctx, "by_rows");
    b->func = loop_build(ctx, b);
    b->sched = ctx_new(ctx, Sched);
    if (!kernel_steps_add(ctx, b, a) || !kernel_steps_add(ctx, b, &old))
        return false;
    Step slide = {.op = STEP_SLIDE, .def = t->name, .in = root->name, .nloop = 1};
    slide.loop = ctx_new(ctx, LoopRef);
    if (from.block > 1 && to.block == 1 && !split_rows(ctx, b, root, &to, from.block))
        return false;
    *slide.loop = (LoopRef){root->name, to.label};
    return bring_out(ctx, b, t, from.label) && bring_out(ctx, b, root, to.label) &&
           kernel_step_add(ctx, b, &slide);
}

/* ---- does it pay? -------------------------------------------------------------------------------------- */

/* Before anything is built. */
static bool may_pay(const Rows *r, const Kernel *a, const Kernel *b) {
    double apart, one;
    live_bytes(r->lo->ctx, a, b, true, &apart, &one);
    return r->forced ||
           (one < apart && (r->lo->min_ram || buf_bytes(r->lo->ctx, kernel_root(a)->buf) >
                                                  (double)r->lo->machine->l2));
}

static int64_t rows_of(const Buf *b) {
    int64_t n;
    return expr_is_int(b->dim[b->rank - 2], &n) ? n : 0;
}

/* Do chunks compute few rows of t twice? */
static bool few_borders(const Rows *r, const Buf *t, const Buf *ring, double step) {
    double twice = fmax(0, (double)rows_of(ring) - step) * (r->chunks - 1);
    return twice * BORDERS_MAX <= (double)rows_of(t);
}

/* The joined kernel reads all its weights for every row or block of rows: do they stay in L2? */
static bool weights_stay(const Rows *r, const Kernel *joined) {
    Map *seen = map_new(r->lo->ctx);
    double bytes = 0;
    for (int i = 0; i < joined->defs.len; i++)
        bytes += def_weights(r->lo->ctx, joined->defs.at[i], seen);
    return bytes <= (double)r->lo->machine->l2;
}

static bool pays(const Rows *r, const Kernel *a, const Kernel *b, const Kernel *joined) {
    Ctx *ctx = r->lo->ctx;
    const Machine *m = r->lo->machine;
    const Buf *t = kernel_root(a)->buf, *y = kernel_root(b)->buf, *ring = NULL;
    int rows = t->rank - 2;
    double apart, one;
    live_bytes(ctx, a, b, true, &apart, &one);
    for (int i = 0; i < joined->temps.len; i++)
        if (joined->temps.at[i]->name == t->name)
            ring = joined->temps.at[i];
    if (!ring)
        return false;
    if (r->forced || r->lo->min_ram)
        return r->forced || one + buf_bytes(ctx, ring) < apart;
    if (!weights_stay(r, joined))
        return false;
    bool chain = by_rows(a), single = expr_is(ring->dim[rows], row_loop(a, kernel_root(a)).block);
    double step = extent_estimate(ctx, t->dim[rows]) / extent_estimate(ctx, y->dim[rows]) *
                  (double)row_loop(joined, kernel_root(joined)).block;
    if (r->chunks > 1 && (!rows_of(t) || !rows_of(y) || !few_borders(r, t, ring, step)))
        return false;
    return single ? chain
                  : buf_bytes(ctx, ring) <= (double)m->l1 ||
                        extent_estimate(ctx, ring->dim[rows]) <= RATIO_MAX * step;
}

/* Does b come right behind a? */
static bool plan_follows(const Plan *plan, const Kernel *a, const Kernel *b) {
    for (int i = 0; i < plan->items.len; i++) {
        const PlanItem *pi = &plan->items.at[i];
        if (pi->kernel == a)
            return i + 1 < plan->items.len && plan->items.at[i + 1].kernel == b;
        for (int j = 0; j < 2; j++)
            if (pi->body[j] && plan_follows(pi->body[j], a, b))
                return true;
    }
    return false;
}

bool rows_likely(Lower *lo, const Kernel *a, const Kernel *b) {
    double apart, one;
    int readers = 0;
    if (!a || kernel_root(a)->buf->rank < 3 ||
        kernel_root(b)->buf->rank != kernel_root(a)->buf->rank)
        return false;
    count_readers(lo->plan, kernel_root(a)->buf, &readers);
    live_bytes(lo->ctx, a, b, false, &apart, &one);
    return readers == 1 && one < apart && plan_follows(lo->plan, a, b);
}

/* Cuts the rows into chunks for threads to share; false: they run in turn. */
static bool share_rows(const Rows *r, Kernel *k) {
    Ctx *ctx = r->lo->ctx;
    const Def *root = kernel_root(k);
    RowLoop loop = row_loop(k, root);
    int64_t rows = rows_of(root->buf) / loop.block, most = rows * loop.block / CHUNK_LEAST;
    most = most < 2 ? 2 : most;
    int64_t chunks = r->chunks < most ? r->chunks : most;
    Step chunk = {.op = STEP_CHUNK, .nloop = 1, .nnum = 1, .nword = 1};
    chunk.loop = ctx_new(ctx, LoopRef);
    *chunk.loop = (LoopRef){root->name, loop.label};
    chunk.num = ctx_new(ctx, int64_t);
    *chunk.num = (rows + chunks - 1) / chunks;
    chunk.word = ctx_new(ctx, Str);
    *chunk.word = str_f(ctx, "%sc", loop.label);
    if (rows < 2 || !(r->forced || parallel_pays(r->lo, k)) || !kernel_step_add(ctx, k, &chunk))
        return false;
    int done = k->sched->steps.len;
    schedule_parallel(r->lo, k);
    return k->sched->steps.len > done;
}

/* Makes the two one kernel, the second; or leaves both as they are. */
static bool try_join(const Rows *r, const Kernel *a, Kernel *b) {
    Kernel before = *b;
    if (!may_slide(r, a, b) || !may_pay(r, a, b))
        return false;
    bool ok = join(r->lo->ctx, a, b) && pays(r, a, &before, b);
    if (ok && r->chunks > 1 && !r->forced && !r->lo->min_ram) {
        Kernel trial = before;
        ok = join(r->lo->ctx, a, &trial) && share_rows(r, &trial);
    }
    if (!ok)
        *b = before;
    return ok;
}

static void rows_plan(const Rows *r, Plan *plan) {
    int n = 0;
    for (int i = 0; i < plan->items.len; i++) {
        PlanItem pi = plan->items.at[i];
        Kernel *before = n ? plan->items.at[n - 1].kernel : NULL;
        for (int b = 0; b < 2; b++)
            if (pi.body[b])
                rows_plan(r, pi.body[b]);
        if (pi.kernel && before && try_join(r, before, pi.kernel)) {
            module_drop_kernel(r->lo->module, before);
            n--;
        }
        plan->items.at[n++] = pi;
    }
    plan->items.len = n;
}

/* One for each thread there may be with --min-ram, since each has its rings; else two. */
static int count_chunks(const Lower *lo) {
    enum { MOST = 16, AUTO = 4 };
    const Options *opt = lo->ctx->opt;
    int threads = !opt || opt->threads == 0 ? 1 : opt->threads < 0 ? AUTO : opt->threads;
    int chunks = threads == 1 || lo->min_ram ? threads : 2 * threads;
    return chunks < MOST ? chunks : MOST;
}

bool sched_rows(Lower *lo) {
    Rows r = {.lo = lo, .forced = lo->rule == RULE_SLIDE, .chunks = count_chunks(lo)};
    if (lo->o0 || (lo->rule && !r.forced))
        return true;
    r.uses = uses_build(lo->ctx, lo->prog);
    rows_plan(&r, lo->plan);
    for (int i = 0; i < lo->module->kernels.len && r.chunks > 1; i++)
        if (by_rows(lo->module->kernels.at[i]))
            share_rows(&r, lo->module->kernels.at[i]);
    return true;
}
