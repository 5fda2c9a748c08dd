/* lower/graph_rewrite.h — what the files of graph_rewrite share: constants as expressions, and the steps, each
 * a function over the whole Program. */
#ifndef LCC_GRAPH_REWRITE_H
#define LCC_GRAPH_REWRITE_H

#include "lower/uses.h"

/* ---- graph_consts.c ----------------------------------------------------------------------------- */

/* Made of numbers, axes and elements of constants alone? */
bool expr_is_constant(Ctx *ctx, const Expr *e);
/* A constant with the value of e (f32, expr_is_constant) at every point of the axes, one dimension each; NULL
 * when e depends on more, reads out of bounds, or would cost too much. */
Buf *const_table(Lower *lo, Str name, const Expr *e, int n, Sym *const *axis);
/* Elements of constants known without an index become numbers. Class exact. */
void graph_literals(Lower *lo);
/* Floats computed from constants alone are computed now, where the table is small. Class exact. */
void graph_tables(Lower *lo);

/* ---- graph_share.c: equal Defs become one. Class exact. ------------------------------------------- */

void graph_share(Lower *lo);

/* ---- graph_factor.c: constant factors go into the weights of sums of products. Class approx. ------- */

void graph_factor(Lower *lo);

#endif
