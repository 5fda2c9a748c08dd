/* Exact search for placings that end lower, after Moffitt, "MiniMalloc" (ASPLOS 2023). Only canonical placings are
 * tried: blocks in the order of their offsets, each on the floor or on top of one that it meets. A block that would
 * leave a hole under it into which another still fits can't be next. What is left falls into parts where no block
 * spans two columns; each is searched for by itself. Counts its steps, never the time.
 *
 *   before  a[0..1] 64, b[0..2] 128, c[2..2] 64: 256 bytes     after  b at 0, a and c at 128: 192, the bound */
#include "lower/memory_place.h"

#include <stdlib.h>

#define BLOCKS_MAX 400 /* more are left to the heuristics */
#define STEPS 300000   /* of one attempt: blocks times the columns they span */
#define ATTEMPTS 8     /* ends that are tried */

typedef struct Block {
    Place *place;
    int from, to; /* columns */
    int64_t at;
} Block;

typedef struct Saved {
    int column;
    int64_t floor;
} Saved;

/* A column stands for the positions from one where blocks begin to the next such one. */
typedef struct Exact {
    Ctx *ctx;
    Block *block; /* in order of preference */
    int n, ncolumn;
    int64_t *floor; /* of a column: the end of what lies there */
    int64_t *rest;  /* of a column: bytes of what is not placed yet */
    int64_t *low;   /* of a column: no such block can lie below */
    int *reach;     /* of a column: the last one that a block beginning there spans */
    int **level;    /* room of each depth */
    int depth;
    VEC(Saved) saved;
    int64_t cap, steps;
} Exact;

static bool solve(Exact *x, const int *set, int n, int64_t last, int before);

/* ---- one node ---------------------------------------------------------------------------------------- */

static int64_t block_floor(const Exact *x, const Block *b) {
    int64_t at = 0;
    for (int c = b->from; c <= b->to; c++)
        at = x->floor[c] > at ? x->floor[c] : at;
    return at;
}

static void block_put(Exact *x, const Block *b) {
    for (int c = b->from; c <= b->to; c++) {
        Saved s = {c, x->floor[c]};
        vec_push(x->ctx, &x->saved, s);
        x->floor[c] = b->at + b->place->size;
    }
}

static void take_back(Exact *x, int mark) {
    while (x->saved.len > mark) {
        Saved s = x->saved.at[--x->saved.len];
        x->floor[s.column] = s.floor;
    }
}

/* Can what is left still end below the cap, in every column by itself? Sets the blocks' lowest places, and *hole to
 * the lowest end of a block put there. */
static bool columns_fit(Exact *x, const int *set, int n, int64_t last, int64_t *hole) {
    *hole = INT64_MAX;
    for (int i = 0; i < n; i++) {
        Block *b = &x->block[set[i]];
        b->at = block_floor(x, b);
        *hole = b->at + b->place->size < *hole ? b->at + b->place->size : *hole;
        x->steps -= b->to - b->from + 1;
        for (int c = b->from; c <= b->to; c++) {
            x->rest[c] = 0;
            x->low[c] = INT64_MAX;
        }
    }
    bool fit = true;
    for (int i = 0; i < n; i++) {
        const Block *b = &x->block[set[i]];
        int64_t low = b->at > last ? b->at : last;
        for (int c = b->from; c <= b->to; c++) {
            x->rest[c] += b->place->size;
            x->low[c] = low < x->low[c] ? low : x->low[c];
        }
    }
    for (int i = 0; i < n && fit; i++) {
        const Block *b = &x->block[set[i]];
        for (int c = b->from; c <= b->to; c++)
            fit &= x->low[c] + x->rest[c] <= x->cap;
    }
    return fit;
}

/* Numbers the parts of the set, by block; returns how many there are. */
static int find_parts(Exact *x, const int *set, int n, int *part) {
    int parts = 0, end = -1;
    for (int c = 0; c < x->ncolumn; c++)
        x->reach[c] = -1;
    for (int i = 0; i < n; i++) {
        const Block *b = &x->block[set[i]];
        x->reach[b->from] = b->to > x->reach[b->from] ? b->to : x->reach[b->from];
    }
    for (int c = 0; c < x->ncolumn; c++)
        if (x->reach[c] >= 0) {
            parts += c > end;
            end = x->reach[c] > end ? x->reach[c] : end;
            x->reach[c] = parts - 1;
        }
    for (int i = 0; i < n; i++)
        part[i] = x->reach[x->block[set[i]].from];
    return parts;
}

/* Every block of the set that may be the next one, placed, and then the others. */
static bool solve_next(Exact *x, const int *set, int n, int64_t last, int before, int *others) {
    int64_t hole, *at = (int64_t *)(void *)others + (x->n + 1) / 2;
    if (!columns_fit(x, set, n, last, &hole))
        return false;
    for (int i = 0; i < n; i++)
        at[i] = x->block[set[i]].at;
    for (int i = 0; i < n && x->steps > 0; i++) {
        Block *b = &x->block[set[i]];
        int m = 0, mark = x->saved.len;
        if (at[i] < last || at[i] >= hole || (at[i] == last && set[i] < before) ||
            at[i] + b->place->size > x->cap)
            continue;
        b->at = at[i];
        block_put(x, b);
        for (int j = 0; j < n; j++)
            if (j != i)
                others[m++] = set[j];
        if (solve(x, others, m, at[i], set[i])) {
            b->at = at[i];
            return true;
        }
        take_back(x, mark);
    }
    return false;
}

static bool solve_parts(Exact *x, const int *set, int n, int64_t last, int before, int parts) {
    int *part = x->level[x->depth - 1], *some = part + x->n, mark = x->saved.len;
    for (int p = 0; p < parts; p++) {
        int m = 0;
        for (int i = 0; i < n; i++)
            if (part[i] == p)
                some[m++] = set[i];
        if (!solve(x, some, m, last, before)) {
            take_back(x, mark);
            return false;
        }
    }
    return true;
}

/* Places the set, no block below `last` nor, at it, one that is preferred to `before`. false: it can't be done, or
 * the steps are used up. */
static bool solve(Exact *x, const int *set, int n, int64_t last, int before) {
    if (n == 0)
        return true;
    int **level = &x->level[x->depth++];
    if (!*level) /* numbers of parts or a set, a set, and offsets */
        *level = (int *)(void *)ctx_newn(x->ctx, int64_t, 2 * x->n + 1);
    x->steps -= x->ncolumn;
    int parts = find_parts(x, set, n, *level);
    bool ok = parts > 1 ? solve_parts(x, set, n, last, before, parts)
                        : solve_next(x, set, n, last, before, *level);
    x->depth--;
    return ok;
}

/* ---- ends to try ------------------------------------------------------------------------------------- */

typedef enum Answer { FOUND, NONE, UNKNOWN } Answer;

static Answer search_below(Exact *x, int64_t cap) {
    int *all = ctx_newn(x->ctx, int, x->n);
    for (int i = 0; i < x->n; i++)
        all[i] = i;
    for (int c = 0; c < x->ncolumn; c++)
        x->floor[c] = 0;
    x->saved.len = 0;
    x->depth = 0;
    x->cap = cap;
    x->steps = STEPS;
    if (solve(x, all, x->n, 0, -1))
        return FOUND;
    return x->steps > 0 ? NONE : UNKNOWN;
}

static int by_size(const void *pa, const void *pb) {
    const Place *a = ((const Block *)pa)->place, *b = ((const Block *)pb)->place;
    return a->size != b->size ? (a->size > b->size ? -1 : 1) : a->id - b->id;
}

static int by_area(const void *pa, const void *pb) {
    const Place *a = ((const Block *)pa)->place, *b = ((const Block *)pb)->place;
    double x = (double)a->size * (a->to - a->from + 1), y = (double)b->size * (b->to - b->from + 1);
    return x != y ? (x > y ? -1 : 1) : a->id - b->id;
}

static int by_length(const void *pa, const void *pb) {
    const Place *a = ((const Block *)pa)->place, *b = ((const Block *)pb)->place;
    int x = a->to - a->from, y = b->to - b->from;
    return x != y ? y - x : by_size(pa, pb);
}

/* In some order of preference an answer is found soonest: all have the same. */
static Answer search_all(Exact *x, int64_t cap) {
    static int (*const orders[])(const void *, const void *) = {by_area, by_size, by_length};
    for (int o = 0; o < 3; o++) {
        qsort(x->block, (size_t)x->n, sizeof(Block), orders[o]);
        Answer a = search_below(x, cap);
        if (a != UNKNOWN)
            return a;
    }
    return UNKNOWN;
}

static int by_number(const void *pa, const void *pb) {
    int a = *(const int *)pa, b = *(const int *)pb;
    return a < b ? -1 : a > b;
}

static int column_of(const int *start, int n, int position) {
    int c = 0;
    while (c + 1 < n && start[c + 1] <= position)
        c++;
    return c;
}

static void exact_columns(Exact *x) {
    int *start = ctx_newn(x->ctx, int, x->n);
    for (int i = 0; i < x->n; i++)
        start[i] = x->block[i].place->from;
    qsort(start, (size_t)x->n, sizeof(int), by_number);
    for (int i = 0; i < x->n; i++)
        if (i == 0 || start[i] != start[i - 1])
            start[x->ncolumn++] = start[i];
    for (int i = 0; i < x->n; i++) {
        x->block[i].from = column_of(start, x->ncolumn, x->block[i].place->from);
        x->block[i].to = column_of(start, x->ncolumn, x->block[i].place->to);
    }
}

int64_t memory_search(Ctx *ctx, Place *const *place, int n, int64_t end, int64_t *bound) {
    int64_t unknown = *bound; /* no answer was found below */
    Exact x = {.ctx = ctx};
    x.block = ctx_newn(ctx, Block, n);
    for (int i = 0; i < n; i++)
        if (place[i]->size > 0)
            x.block[x.n++].place = place[i];
        else
            place[i]->at = 0;
    if (x.n > BLOCKS_MAX)
        return end;
    exact_columns(&x);
    x.floor = ctx_newn(ctx, int64_t, x.ncolumn);
    x.rest = ctx_newn(ctx, int64_t, x.ncolumn);
    x.low = ctx_newn(ctx, int64_t, x.ncolumn);
    x.reach = ctx_newn(ctx, int, x.ncolumn);
    x.level = ctx_newn(ctx, int *, 2 * x.n + 1);
    for (int i = 0; i < ATTEMPTS && unknown < end; i++) {
        int64_t cap = i == 0 ? *bound : unknown + (end - 1 - unknown) / 2;
        Answer a = search_all(&x, cap);
        if (a == FOUND) {
            end = 0;
            for (int k = 0; k < x.n; k++) {
                Block *b = &x.block[k];
                b->place->at = b->at;
                end = b->at + b->place->size > end ? b->at + b->place->size : end;
            }
        } else {
            unknown = cap + 1;
            *bound = a == NONE ? cap + 1 : *bound;
        }
    }
    return end;
}
