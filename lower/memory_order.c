/* An order of calls with a low peak: from every set of calls that may have been done, each that may come next;
 * of equal sets the one with the lowest peak so far stays, of too many those whose peak, then what they hold, is
 * lowest.
 *
 *   before  a = f(x); b = f(y); p = sum(a); q = sum(b)        after  a = f(x); p = sum(a); b = f(y); q = sum(b) */
#include "lower/memory_order.h"

#include <stdlib.h>
#include <string.h>

#define WIDTH 400  /* sets kept after each call, at most */
#define TABLE 2048 /* a power of two, several times as many */

typedef struct Set {
    uint64_t hash;      /* of the calls done */
    int64_t live, peak; /* bytes needed behind them, and at most so far */
    int trace;          /* how it came about; -1: it is empty */
    int *left;          /* of each value: calls to come that touch it */
    int *need;          /* of each call: how many must come first; -1: it is done */
} Set;

/* A set and the call that is done next. */
typedef struct Step {
    uint64_t hash;
    int64_t live, peak;
    int set, call;
} Step;

typedef struct Trace {
    int trace, call;
} Trace;

typedef struct Order {
    Ctx *ctx;
    const OrderGraph *g;
    int *total;      /* of each value: calls that touch it */
    OrderCall *then; /* of each call: `before` holds those it comes before */
    int64_t limit;   /* a peak must stay below */
    Set *sets, *next;
    int nset, width;
    VEC(Step) steps;
    VEC(Trace) trace;
    uint64_t *seen; /* hashes of the sets kept: a table */
} Order;

static uint64_t call_hash(int i) {
    uint64_t x = ((uint64_t)i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static int *count_touches(Ctx *ctx, const OrderGraph *g) {
    int *total = ctx_newn(ctx, int, g->values.len);
    for (int i = 0; i < g->calls.len; i++)
        for (int k = 0; k < g->calls.at[i].values.len; k++)
            total[g->calls.at[i].values.at[k]]++;
    return total;
}

static int64_t held_bytes(const OrderGraph *g) {
    int64_t live = 0;
    for (int i = 0; i < g->values.len; i++)
        live += g->values.at[i].held ? g->values.at[i].size : 0;
    return live;
}

/* Bytes needed while a call runs; *live: before it, then behind it. */
static int64_t call_bytes(const OrderGraph *g, const OrderCall *c, const int *total,
                          const int *left, int64_t *live) {
    int64_t during = *live, after = *live;
    bool dies = false, born = false;
    for (int k = 0; k < c->values.len; k++) {
        int v = c->values.at[k];
        const OrderValue *value = &g->values.at[v];
        bool begins = left[v] == total[v] && !value->held, ends = left[v] == 1 && !value->kept;
        during += begins ? value->size : 0;
        after += (begins ? value->size : 0) - (ends ? value->size : 0);
        dies |= v == c->in && ends && !begins;
        born |= v == c->out && begins;
    }
    *live = after;
    return dies && born ? during - g->values.at[c->out].size : during;
}

int64_t order_peak(Ctx *ctx, const OrderGraph *g, const int *order) {
    int64_t live = held_bytes(g), peak = live;
    int *total = count_touches(ctx, g), *left = count_touches(ctx, g);
    for (int i = 0; i < g->calls.len; i++) {
        const OrderCall *c = &g->calls.at[order ? order[i] : i];
        int64_t during = call_bytes(g, c, total, left, &live);
        peak = during > peak ? during : peak;
        for (int k = 0; k < c->values.len; k++)
            left[c->values.at[k]]--;
    }
    return peak;
}

/* What any order needs: the most for one call by itself. */
static int64_t least_peak(const OrderGraph *g) {
    int64_t least = held_bytes(g);
    for (int i = 0; i < g->calls.len; i++) {
        const OrderCall *c = &g->calls.at[i];
        int64_t sum = 0;
        for (int k = 0; k < c->values.len; k++)
            sum += g->values.at[c->values.at[k]].size;
        sum -= c->in >= 0 ? g->values.at[c->out].size : 0;
        least = sum > least ? sum : least;
    }
    return least;
}

/* ---- one call more ----------------------------------------------------------------------------------- */

static void list_steps(Order *o) {
    o->steps.len = 0;
    for (int s = 0; s < o->nset; s++) {
        const Set *set = &o->sets[s];
        for (int i = 0; i < o->g->calls.len; i++) {
            if (set->need[i] != 0)
                continue;
            Step step = {set->hash ^ call_hash(i), set->live, set->peak, s, i};
            int64_t during = call_bytes(o->g, &o->g->calls.at[i], o->total, set->left, &step.live);
            step.peak = during > step.peak ? during : step.peak;
            if (step.peak < o->limit)
                vec_push(o->ctx, &o->steps, step);
        }
    }
}

static int by_peak(const void *pa, const void *pb) {
    const Step *a = pa, *b = pb;
    if (a->peak != b->peak)
        return a->peak < b->peak ? -1 : 1;
    if (a->live != b->live)
        return a->live < b->live ? -1 : 1;
    return a->set != b->set ? a->set - b->set : a->call - b->call;
}

/* false: it was kept before. */
static bool see_hash(Order *o, uint64_t hash) {
    size_t mask = TABLE - 1, i = (size_t)hash & mask;
    hash += hash == 0;
    while (o->seen[i] && o->seen[i] != hash)
        i = (i + 1) & mask;
    bool fresh = o->seen[i] == 0;
    o->seen[i] = hash;
    return fresh;
}

static void take_step(Order *o, const Step *step, Set *to) {
    const Set *from = &o->sets[step->set];
    const OrderCall *c = &o->g->calls.at[step->call], *then = &o->then[step->call];
    Trace t = {from->trace, step->call};
    to->hash = step->hash;
    to->live = step->live;
    to->peak = step->peak;
    to->trace = o->trace.len;
    vec_push(o->ctx, &o->trace, t);
    memcpy(to->left, from->left, (size_t)o->g->values.len * sizeof(int));
    memcpy(to->need, from->need, (size_t)o->g->calls.len * sizeof(int));
    for (int k = 0; k < c->values.len; k++)
        to->left[c->values.at[k]]--;
    for (int k = 0; k < then->before.len; k++)
        to->need[then->before.at[k]]--;
    to->need[step->call] = -1;
}

static void next_sets(Order *o) {
    Set *was = o->sets;
    int kept = 0;
    list_steps(o);
    if (o->steps.len)
        qsort(o->steps.at, (size_t)o->steps.len, sizeof(Step), by_peak);
    memset(o->seen, 0, TABLE * sizeof *o->seen);
    for (int i = 0; i < o->steps.len && kept < o->width; i++)
        if (see_hash(o, o->steps.at[i].hash))
            take_step(o, &o->steps.at[i], &o->next[kept++]);
    o->sets = o->next;
    o->next = was;
    o->nset = kept;
}

/* ---- all calls --------------------------------------------------------------------------------------- */

static Set *new_sets(Order *o) {
    Set *set = ctx_newn(o->ctx, Set, o->width);
    for (int i = 0; i < o->width; i++) {
        set[i].trace = -1;
        set[i].left = ctx_newn(o->ctx, int, o->g->values.len);
        set[i].need = ctx_newn(o->ctx, int, o->g->calls.len);
    }
    return set;
}

static void start_set(Order *o) {
    Set *s = &o->sets[0];
    for (int i = 0; i < o->g->calls.len; i++) {
        const OrderCall *c = &o->g->calls.at[i];
        s->need[i] = c->before.len;
        for (int k = 0; k < c->before.len; k++)
            vec_push(o->ctx, &o->then[c->before.at[k]].before, i);
    }
    memcpy(s->left, o->total, (size_t)o->g->values.len * sizeof(int));
    s->live = s->peak = held_bytes(o->g);
    o->nset = 1;
}

bool memory_order(Ctx *ctx, const OrderGraph *g, double steps, int *order) {
    Order o = {.ctx = ctx, .g = g, .limit = order_peak(ctx, g, NULL)};
    double one = (double)g->calls.len * (g->calls.len + g->values.len);
    o.width = steps / one < WIDTH ? (int)(steps / one) : WIDTH;
    if (o.width < 2 || least_peak(g) >= o.limit)
        return false;
    o.total = count_touches(ctx, g);
    o.then = ctx_newn(ctx, OrderCall, g->calls.len);
    o.sets = new_sets(&o);
    o.next = new_sets(&o);
    o.seen = ctx_newn(ctx, uint64_t, TABLE);
    start_set(&o);
    for (int i = 0; i < g->calls.len && o.nset; i++)
        next_sets(&o);
    int n = g->calls.len;
    for (int t = o.nset ? o.sets[0].trace : -1; t >= 0; t = o.trace.at[t].trace)
        order[--n] = o.trace.at[t].call;
    return o.nset > 0;
}
