/* Places blocks in memory: a portfolio of greedy orders, then a search that moves what ends above the bound towards
 * the front of each of them. The best placing is kept; all stop at the lower bound. What stays above it is left to
 * memory_search.c.
 *
 *   before  a[0..4) 128 bytes, b[1..2) 64, c[2..4) 64        after  a at 0, b at 128, c at 128 */
#include "lower/memory_place.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS 40 /* of one order, at most */
#define PAIRS 3e6 /* comparisons of two blocks they may take */
#define SOONER 7  /* a block moves that part of the order */

bool place_meets(const Place *a, const Place *b) {
    return a->from <= b->to && b->from <= a->to;
}

/* ---- orders ------------------------------------------------------------------------------------------ */

static int by_size(const void *pa, const void *pb) {
    const Place *a = *(Place *const *)pa, *b = *(Place *const *)pb;
    if (a->size != b->size)
        return a->size > b->size ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static int by_start(const void *pa, const void *pb) {
    const Place *a = *(Place *const *)pa, *b = *(Place *const *)pb;
    return a->from != b->from ? (a->from < b->from ? -1 : 1) : by_size(pa, pb);
}

static int by_area(const void *pa, const void *pb) {
    const Place *a = *(Place *const *)pa, *b = *(Place *const *)pb;
    double x = (double)a->size * (a->to - a->from + 1), y = (double)b->size * (b->to - b->from + 1);
    return x != y ? (x > y ? -1 : 1) : by_size(pa, pb);
}

static int by_length(const void *pa, const void *pb) {
    const Place *a = *(Place *const *)pa, *b = *(Place *const *)pb;
    int x = a->to - a->from, y = b->to - b->from;
    return x != y ? (x > y ? -1 : 1) : by_size(pa, pb);
}

/* From where most is needed to both sides: a block is placed beside those that it must fit between. */
static int by_far(const void *pa, const void *pb) {
    const Place *a = *(Place *const *)pa, *b = *(Place *const *)pb;
    return a->far != b->far ? a->far - b->far : by_length(pa, pb);
}

static int by_offset(const void *pa, const void *pb) {
    const Place *a = *(Place *const *)pa, *b = *(Place *const *)pb;
    return a->at != b->at ? (a->at < b->at ? -1 : 1) : (a->id < b->id ? -1 : 1);
}

/* ---- one greedy placing ------------------------------------------------------------------------------ */

/* The offset for p beside what already lies there, sorted by offset: the tightest gap, or the lowest. */
static int64_t find_gap(const Place *p, Place *const *there, int n, bool tightest) {
    int64_t end = 0, best = -1, gap = INT64_MAX;
    for (int i = 0; i < n; i++) {
        int64_t room = there[i]->at - end;
        if (room >= p->size && room < gap) {
            best = end;
            gap = tightest ? room : 0;
        }
        if (there[i]->at + there[i]->size > end)
            end = there[i]->at + there[i]->size;
    }
    return best >= 0 ? best : end;
}

static int64_t place_in_order(Place *const *order, int n, Place **there, bool tightest) {
    int64_t peak = 0;
    for (int i = 0; i < n; i++) {
        int met = 0;
        for (int j = 0; j < i; j++)
            if (place_meets(order[i], order[j]))
                there[met++] = order[j];
        qsort(there, (size_t)met, sizeof(Place *), by_offset);
        order[i]->at = find_gap(order[i], there, met, tightest);
        if (order[i]->at + order[i]->size > peak)
            peak = order[i]->at + order[i]->size;
    }
    return peak;
}

int64_t place_bound(Place *const *place, int n) {
    int64_t bound = 0;
    int most = 0;
    for (int i = 0; i < n; i++) {
        int64_t sum = 0;
        for (int j = 0; j < n; j++)
            if (place[j]->from <= place[i]->from && place[i]->from <= place[j]->to)
                sum += place[j]->size;
        most = sum > bound ? place[i]->from : most;
        bound = sum > bound ? sum : bound;
    }
    for (int i = 0; i < n; i++)
        place[i]->far = place[i]->from > most ? place[i]->from - most
                        : place[i]->to < most ? most - place[i]->to
                                              : 0;
    return bound;
}

/* ---- search ------------------------------------------------------------------------------------------ */

typedef struct Search {
    Place **order, **there, **best_order;
    int n;
    int64_t bound, best;
    int64_t *at; /* of best_order's blocks */
} Search;

static void try_order(Search *s, bool tightest) {
    int64_t peak = place_in_order(s->order, s->n, s->there, tightest);
    if (peak >= s->best)
        return;
    s->best = peak;
    memcpy(s->best_order, s->order, (size_t)s->n * sizeof(Place *));
    for (int i = 0; i < s->n; i++)
        s->at[i] = s->order[i]->at;
}

static int by_rank(const void *pa, const void *pb) {
    const Place *a = *(Place *const *)pa, *b = *(Place *const *)pb;
    return a->rank != b->rank ? a->rank - b->rank : (a->id < b->id ? -1 : 1);
}

/* What ended above the bound has its turn sooner, each time again. */
static void try_sooner(Search *s, bool tightest, int rounds) {
    for (int i = 0; i < s->n; i++)
        s->order[i]->rank = i;
    for (int r = 0; r < rounds && s->best > s->bound; r++) {
        for (int i = 0; i < s->n; i++)
            if (s->order[i]->at + s->order[i]->size > s->bound)
                s->order[i]->rank -= s->n / SOONER + 1;
        qsort(s->order, (size_t)s->n, sizeof(Place *), by_rank);
        try_order(s, tightest);
    }
}

int64_t memory_place(Ctx *ctx, Place **place, int n, int64_t *bound) {
    static int (*const orders[])(const void *, const void *) = {by_size, by_area, by_length,
                                                                by_start, by_far};
    *bound = place_bound(place, n);
    if (n == 0)
        return 0;
    Search s = {place,     ctx_newn(ctx, Place *, n), ctx_newn(ctx, Place *, n), n, *bound,
                INT64_MAX, ctx_newn(ctx, int64_t, n)};
    for (int o = 0; o < 10 && s.best > s.bound; o++) {
        qsort(place, (size_t)n, sizeof(Place *), orders[o / 2]);
        try_order(&s, o % 2 == 0);
    }
    double rounds = PAIRS / ((double)n * n / 2);
    for (int o = 0; o < 10 && s.best > s.bound; o++) {
        qsort(place, (size_t)n, sizeof(Place *), orders[o / 2]);
        try_order(&s, o % 2 == 0);
        try_sooner(&s, o % 2 == 0, rounds < ROUNDS ? (int)rounds : ROUNDS);
    }
    for (int i = 0; i < n; i++) {
        place[i] = s.best_order[i];
        place[i]->at = s.at[i];
    }
    return s.best > *bound ? memory_search(ctx, place, n, s.best, bound) : s.best;
}
