/* Tests of the search behind the memory plan: random lifetimes and sizes. No two blocks that meet may overlap
 * (asked position by position), no placing may be below the bound or far above it, and up to six blocks are
 * held against the best of all orders and offsets.
 *
 * Usage: memory_test [rounds [seed]]; the last line is `N passed, N failed`. */
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
    int passed, failed, optimal, small;
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

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 2000;
    Random r = {argc > 2 ? strtoull(argv[2], NULL, 10) : 1};
    Tally t = {0};
    for (int i = 0; i < rounds; i++)
        test_round(&r, &t, i % 2 == 0);
    printf("best possible: %d of %d small ones; mean gap to the bound: %.2f %%\n", t.optimal,
           t.small, 100 * t.gap / rounds);
    printf("%d passed, %d failed\n", t.passed, t.failed);
    return t.failed > 0;
}
