/* frontend/norm.h — statistics over some axes of a tensor, and maps that use them. */
#ifndef LCC_NORM_H
#define LCC_NORM_H

#include "frontend/equation.h"

/* The axes of x, axis 1 cut into `group` parts when group > 0 (then there is one axis more). Statistics have
 * as many axes, with extent 1 where reduced. */
typedef struct Norm {
    Buf *x;
    Dtype wide; /* computed in */
    int rank, group;
    bool red[RANK_MAX];
    const Expr *full[RANK_MAX], *dim[RANK_MAX]; /* of x so cut, of the statistics */
    const Expr *n;                              /* elements of one statistic */
} Norm;

/* red: which axes are reduced. */
bool norm_begin(Definer *d, Norm *n, Buf *x, int group, const bool *red);
/* The same with the axes from `axis` to the last, or only that one. */
bool norm_begin_axis(Definer *d, Norm *n, Buf *x, int64_t axis, bool only);
/* A statistic: op over the reduced axes of text, in terms of x and m (the statistic m, may be NULL). */
Buf *norm_reduce(Definer *d, const Norm *n, const char *name, Op op, const char *text, Buf *m);
/* A map over statistics a and b (may be NULL): text in terms of a, b, n (their number of elements), eps. */
Buf *norm_map(Definer *d, const Norm *n, int out, const char *name, const char *text, Buf *a,
              Buf *b);
/* The load of a statistic, or of x itself, at the indices of x. */
const Expr *norm_load(Definer *d, const Norm *n, Buf *stat, const Expr *const *index);

/* Softmax of x along one axis (or all from it on); log: its logarithm. As output `out` in x's type, or as a
 * temporary in the type computed in. */
Buf *norm_softmax(Definer *d, const Norm *n, int out, bool log);

#endif
