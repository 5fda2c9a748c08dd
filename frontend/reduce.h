/* frontend/reduce.h — reductions over axes that may be known only at run time. */
#ifndef LCC_REDUCE_H
#define LCC_REDUCE_H

#include "frontend/definers.h"
#include "frontend/map_text.h"

#define REDUCE_WAYS 16 /* partial sums where the reduced axis is contiguous */

typedef struct Reduce {
    Buf *x;
    bool keep;                    /* keepdims */
    const Expr *red[RANK_MAX];    /* 1: axis a of x is reduced, 0: it stays */
    const Expr *place[RANK_MAX];  /* the output axis it becomes when it stays */
    const Expr *extent[RANK_MAX]; /* what axis a is reduced over: its dim, or 1 */
    const Expr *n;                /* product of the extents */
    int rank;                     /* of the output */
    const Expr *dim[RANK_MAX];
    Axis *last; /* set by reduce_index: the RED axis over the last dim, or NULL */
} Reduce;

/* axes: a list of axes, NULL or empty: all of them (none with `noop`). */
bool reduce_begin(Definer *d, Reduce *r, Buf *x, Buf *axes, bool keep, bool noop);
/* Adds the RED axes to def (whose output axes are r->dim) and gives the indices into x. */
void reduce_index(Definer *d, Reduce *r, Def *def, const Expr **index);

#endif
