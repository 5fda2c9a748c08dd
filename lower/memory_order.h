/* lower/memory_order.h — an order of calls in which little is needed at one time: the search behind memory_plan. */
#ifndef LCC_MEMORY_ORDER_H
#define LCC_MEMORY_ORDER_H

#include "ir/base.h"

/* Needed from the first call that touches it to the last. */
typedef struct OrderValue {
    int64_t size;
    bool held, kept; /* needed before the first call of all, behind the last one */
} OrderValue;

typedef struct OrderCall {
    VEC(int) before; /* calls that come before it */
    VEC(int) values; /* it touches, each once */
    int in,
        out; /* values: `out`, which begins here, may take the place of `in`, if that ends here; -1: none */
} OrderCall;

typedef struct OrderGraph {
    VEC(OrderCall) calls; /* in an order that will do */
    VEC(OrderValue) values;
} OrderGraph;

/* The most bytes needed at one time. order: numbers of calls; NULL: as they are. */
int64_t order_peak(Ctx *ctx, const OrderGraph *g, const int *order);
/* A better order than the one given; false: none was found. `steps` bounds the work: the search is exact while the
 * sets of calls done that are worth keeping are few, else it keeps those with the lowest peak. */
bool memory_order(Ctx *ctx, const OrderGraph *g, double steps, int *order);

#endif
