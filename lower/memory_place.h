/* lower/memory_place.h — placing blocks whose lifetimes are known: the search behind memory_plan. */
#ifndef LCC_MEMORY_PLACE_H
#define LCC_MEMORY_PLACE_H

#include "ir/base.h"

typedef struct Place {
    int from, to; /* first and last position that needs it */
    int id;       /* breaks ties; unique */
    int64_t size; /* bytes, at least 0 */
    int64_t at;   /* set by memory_place */
    int far;      /* the same: positions between its life and one where most is needed */
    int rank;     /* the same: its turn, low ones first */
} Place;

/* Blocks that are needed at one position at least. */
bool place_meets(const Place *a, const Place *b);
/* Largest sum of sizes needed at one position: no placing can do with less. */
int64_t place_bound(Place *const *place, int n);
/* Sets `at` of all blocks so that no two that meet overlap; returns the end of the last, and in *bound what no
 * placing can do with less than. The order of `place` changes. */
int64_t memory_place(Ctx *ctx, Place **place, int n, int64_t *bound);
/* memory_search.c: the same by exact search, given a placing that ends at `end` and the bound so far. */
int64_t memory_search(Ctx *ctx, Place *const *place, int n, int64_t end, int64_t *bound);

#endif
