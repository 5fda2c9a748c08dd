/* Tests of the searches behind the memory plan. Places: random lifetimes and sizes; no two blocks that meet may
 * overlap (asked position by position), no placing may be below the bound or far above it, and up to six blocks are
 * held against the best of all orders and offsets. Orders: random graphs of calls; an order found must keep to the
 * graph and be better, and up to seven calls are held against the best of all orders.
 *
 * Usage: memory_test [rounds [seed]]; the last line is `N passed, N failed`. */
#include "lower/memory_order.h"
#include "lower/memory_place.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCKS 60
#define POSITIONS 40
#define SMALL 6

typedef struct Random {
    uint64_t state;
} Random;

static int below(Random *r, int n) {
    r->state = r->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int)((r->state >> 33) % (uint64_t)n);
}

static void blocks_random(Random *r, Place *p, int n, int positions) {
    bool chain = below(r, 2) == 0; /* like a network: each lives to its reader, a few longer */
    for (int i = 0; i < n; i++) {
        int from = chain ? i * positions / n : below(r, positions);
        int length = below(r, chain && below(r, 4) ? 3 : positions);
        p[i].from = from;
        p[i].to = from + length < positions ? from + length : positions - 1;
        p[i].id = i;
        p[i].size = below(r, 8) == 0 ? 0 : 64 * (1 + below(r, 1 << below(r, 10)));
        p[i].at = -1;
    }
}

/* At every position, byte ranges of what is needed there are apart. */
static bool blocks_apart(const Place *p, int n, int positions) {
    for (int t = 0; t < positions; t++)
        for (int i = 0; i < n; i++)
            for (int j = 0; j < i; j++) {
                bool both = p[i].from <= t && t <= p[i].to && p[j].from <= t && t <= p[j].to;
                if (both && p[i].at < p[j].at + p[j].size && p[j].at < p[i].at + p[i].size)
                    return false;
            }
    return true;
}

static int64_t blocks_end(const Place *p, int n) {
    int64_t end = 0;
    for (int i = 0; i < n; i++)
        end = p[i].at + p[i].size > end ? p[i].at + p[i].size : end;
    return end;
}

/* The least end over all ways to put block after block on the floor or on a block that is there already: some
 * best placing is of that form. */
static int64_t least_end(Place *p, int n, int placed, int64_t end, int64_t best) {
    if (placed == (1 << n) - 1)
        return end;
    for (int i = 0; i < n; i++) {
        if (placed >> i & 1)
            continue;
        for (int j = -1; j < n; j++) {
            int64_t at = j < 0 ? 0 : p[j].at + p[j].size;
            bool fits = j < 0 || placed >> j & 1;
            for (int k = 0; k < n && fits; k++)
                fits = !(placed >> k & 1) || !place_meets(&p[i], &p[k]) ||
                       at >= p[k].at + p[k].size || p[k].at >= at + p[i].size;
            int64_t top = at + p[i].size > end ? at + p[i].size : end;
            if (!fits || top >= best)
                continue;
            p[i].at = at;
            int64_t found = least_end(p, n, placed | 1 << i, top, best);
            best = found < best ? found : best;
        }
    }
    return best;
}

typedef struct Tally {
    int passed, failed, optimal, small, orders, better;
    double gap; /* sum of the relative gaps to the bound */
} Tally;

static void test_round(Random *r, Tally *t, bool small) {
    Place p[BLOCKS], *order[BLOCKS];
    int n = 1 + below(r, small ? SMALL : BLOCKS), positions = 1 + below(r, small ? 8 : POSITIONS);
    Ctx *ctx = ctx_create(0);
    blocks_random(r, p, n, positions);
    for (int i = 0; i < n; i++)
        order[i] = &p[i];
    int64_t bound, end = memory_place(ctx, order, n, &bound);
    bool ok = blocks_apart(p, n, positions) && end == blocks_end(p, n) && end >= bound &&
              (double)end <= 1.5 * (double)bound;
    if (small) {
        int64_t best = least_end(p, n, 0, 0, end);
        t->small++;
        t->optimal += best == end;
        ok &= best >= bound && end == best;
    }
    t->gap += bound ? (double)end / (double)bound - 1 : 0;
    t->passed += ok;
    t->failed += !ok;
    if (!ok)
        printf("FAIL %d blocks, %d positions: end %lld, bound %lld\n", n, positions, (long long)end,
               (long long)bound);
    ctx_free(ctx);
}

/* ---- orders ------------------------------------------------------------------------------------------ */

#define CALLS 30
#define SMALL_CALLS 7
#define ENOUGH 1e8 /* steps: more than the graphs here take */

/* Each call makes a value from some of those made before, and may have another of its own. */
static OrderGraph graph_random(Ctx *ctx, Random *r, int n) {
    OrderGraph g = {0};
    for (int i = 0; i < n; i++) {
        OrderCall c = {.in = -1, .out = -1};
        OrderValue made = {64 * (1 + below(r, 1 << below(r, 8))), below(r, 12) == 0,
                           below(r, 6) == 0};
        for (int k = below(r, 4); k-- > 0 && i > 0;) {
            int from = below(r, 3) ? i - 1 - below(r, i < 4 ? i : 4) : below(r, i);
            bool fresh = true;
            for (int v = 0; v < c.values.len; v++)
                fresh &= c.values.at[v] != 2 * from;
            if (fresh) {
                vec_push(ctx, &c.before, from);
                vec_push(ctx, &c.values, 2 * from);
                c.in = below(r, 3) ? c.in : 2 * from;
            }
        }
        OrderValue own = {below(r, 3) ? 0 : 64 * (1 + below(r, 200)), false, false};
        vec_push(ctx, &g.values, made);
        vec_push(ctx, &g.values, own);
        vec_push(ctx, &c.values, 2 * i);
        vec_push(ctx, &c.values, 2 * i + 1);
        c.out = c.in >= 0 && g.values.at[c.in].size >= made.size ? 2 * i : -1;
        c.in = c.out < 0 ? -1 : c.in;
        vec_push(ctx, &g.calls, c);
    }
    return g;
}

/* The peak, counted anew: at each call, what was touched or held before and is touched or kept later. */
static int64_t graph_peak(const OrderGraph *g, const int *order) {
    int n = g->calls.len, first[2 * CALLS], last[2 * CALLS];
    int64_t peak = 0;
    for (int v = 0; v < g->values.len; v++) {
        first[v] = g->values.at[v].held ? -1 : n;
        last[v] = g->values.at[v].kept ? n : -1;
        peak += g->values.at[v].held ? g->values.at[v].size : 0;
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < g->calls.at[order[i]].values.len; k++) {
            int v = g->calls.at[order[i]].values.at[k];
            first[v] = i < first[v] ? i : first[v];
            last[v] = i > last[v] ? i : last[v];
        }
    for (int i = 0; i < n; i++) {
        const OrderCall *c = &g->calls.at[order[i]];
        int64_t sum = 0;
        for (int v = 0; v < g->values.len; v++)
            sum += first[v] <= i && i <= last[v] ? g->values.at[v].size : 0;
        if (c->in >= 0 && last[c->in] == i && first[c->in] < i && first[c->out] == i)
            sum -= g->values.at[c->out].size;
        peak = sum > peak ? sum : peak;
    }
    return peak;
}

static bool call_ready(const OrderGraph *g, int i, int done) {
    for (int k = 0; k < g->calls.at[i].before.len; k++)
        if (!(done >> g->calls.at[i].before.at[k] & 1))
            return false;
    return true;
}

static int64_t least_peak(const OrderGraph *g, int *order, int n, int done, int64_t best) {
    if (n == g->calls.len) {
        int64_t peak = graph_peak(g, order);
        return peak < best ? peak : best;
    }
    for (int i = 0; i < g->calls.len; i++)
        if (!(done >> i & 1) && call_ready(g, i, done)) {
            order[n] = i;
            best = least_peak(g, order, n + 1, done | 1 << i, best);
        }
    return best;
}

static void test_order(Random *r, Tally *t, bool small) {
    Ctx *ctx = ctx_create(0);
    int n = 1 + below(r, small ? SMALL_CALLS : CALLS), order[CALLS], done = 0;
    OrderGraph g = graph_random(ctx, r, n);
    for (int i = 0; i < n; i++)
        order[i] = i;
    int64_t before = graph_peak(&g, order);
    bool ok = order_peak(ctx, &g, NULL) == before, found = memory_order(ctx, &g, ENOUGH, order);
    for (int i = 0; i < n; i++) {
        ok &= !(done >> order[i] & 1) && call_ready(&g, order[i], done);
        done |= 1 << order[i];
    }
    int64_t after = graph_peak(&g, order);
    ok &= found ? after < before : after == before;
    ok &= order_peak(ctx, &g, order) == after;
    if (small)
        ok &= least_peak(&g, (int[CALLS]){0}, 0, 0, INT64_MAX) == after;
    t->better += found;
    t->orders++;
    t->passed += ok;
    t->failed += !ok;
    if (!ok)
        printf("FAIL %d calls: %lld bytes, then %lld\n", n, (long long)before, (long long)after);
    ctx_free(ctx);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 2000;
    Random r = {argc > 2 ? strtoull(argv[2], NULL, 10) : 1};
    Tally t = {0};
    for (int i = 0; i < rounds; i++) {
        test_round(&r, &t, i % 2 == 0);
        if (i % 4 == 0)
            test_order(&r, &t, i % 8 == 0);
    }
    printf("best possible: %d of %d small ones; mean gap to the bound: %.2f %%\n", t.optimal,
           t.small, 100 * t.gap / rounds);
    printf("a better order: %d of %d\n", t.better, t.orders);
    printf("%d passed, %d failed\n", t.passed, t.failed);
    return t.failed > 0;
}
