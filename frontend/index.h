/* frontend/index.h — what definers of views, gathers and scatters share. */
#ifndef LCC_INDEX_H
#define LCC_INDEX_H

#include "frontend/definers.h"

#define INDEX_LIMIT ((int64_t)1 << 40) /* of pads and offsets given at run time */

/* The output axes of def as expressions. */
void index_vars(Definer *d, const Def *def, const Expr **index);
/* Element i of a small tensor in its own type; as define_known. */
const Expr *index_known(Definer *d, Buf *b, int64_t i);
/* The smaller, the larger; one of them where that is proved. */
const Expr *index_min(Definer *d, const Expr *a, const Expr *b);
const Expr *index_max(Definer *d, const Expr *a, const Expr *b);
const Expr *index_clamp(Definer *d, const Expr *e, const Expr *lo, const Expr *hi);
/* e + n when e is negative, else e. */
const Expr *index_wrap(Definer *d, const Expr *e, const Expr *n);

/* What is known of the elements of an index tensor with respect to extent n. */
typedef enum IndexClass {
    INDEX_WILD, /* anything: clamp, and check at run time */
    INDEX_WRAP, /* in [-n, n) */
    INDEX_PLAIN /* in [0, n) */
} IndexClass;
/* Classifies the indices, emits the run-time check for wild ones; false when a constant is out of range. */
bool index_check(Definer *d, Buf *index, const Expr *n, IndexClass *cls);
/* An index that is safe to use: the load as i64, wrapped and clamped as its class needs. */
const Expr *index_safe(Definer *d, const Expr *load, const Expr *n, IndexClass cls);

/* A check over data: sets up `ok = and(i…) value` over the dims; index gets the axes. The caller sets
 * value (bool) and calls index_check_end: not ok at run time gives `code`. */
Def *index_check_begin(Definer *d, int rank, const Expr *const *dim, const Expr **index);
void index_check_end(Definer *d, Def *def, int code);

/* Output `out` is x reshaped (its elements in the same row-major order). */
bool reshape_into(Definer *d, int out, Buf *x, int rank, const Expr *const *dim);
/* At most as many elements as `like` has; set where extents depend on data. */
void bound_like(Definer *d, Def *def, const Buf *like);
/* Is any of the dims bound at run time? */
bool dims_bound(Definer *d, int rank, const Expr *const *dim);
/* Output `out` is a copy of input buffer x under another index: dims and index to be given. */
bool view_emit(Definer *d, Def *def, Buf *x, const Expr *const *index);

/* def_host.c: an f64 tensor of NumPy's uniform random numbers in [0, 1). */
Buf *host_mt_uniform(Definer *d, int64_t seed, int rank, const Expr *const *dim);

#endif
