/* frontend/equation.h — short forms in which definers write equations. */
#ifndef LCC_EQUATION_H
#define LCC_EQUATION_H

#include "frontend/definers.h"
#include "frontend/reduce.h"

/* What a float type is computed in: f32 for the narrow ones, else itself. */
Dtype eq_wide(Dtype t);
/* The output axes of def as expressions: index[0 .. rank of its buffer). */
void eq_vars(Definer *d, const Def *def, const Expr **index);
/* Names for the first axes, separated by blanks: "n m p q". */
void eq_names(Definer *d, Def *def, const char *names);
/* The load of b at the indices, in type t. */
const Expr *eq_load(Definer *d, Dtype t, Buf *b, const Expr *const *index);
/* The load of a 1-D buffer at i, of a buffer of one element anywhere (its element when known). */
const Expr *eq_at(Definer *d, Dtype t, Buf *b, const Expr *i);
/* The same, where a list whose length is not known when compiling may also have one element for all i. */
const Expr *eq_param(Definer *d, Dtype t, Buf *b, const Expr *i);
/* True when b has exactly one element. */
bool eq_single(const Buf *b);
/* An expression from text (map_text.c): pairs of a name and what it stands for, then NULL. Numbers that
 * stand alone have type t. */
const Expr *eq_text(Definer *d, Dtype t, const char *text, ...);
/* A RED axis, left out (index 0) when the extent is 1. */
const Expr *eq_red(Definer *d, Def *def, const char *name, const Expr *extent);
/* Makes def a sum (or other combine) of value where `when` holds; without RED axes the value itself, or
 * the identity where `when` does not hold. Contiguous: the last axis is summed in partial sums. */
void eq_combine(Definer *d, Def *def, Op combine, const Expr *value, const Expr *when,
                bool contiguous);
/* Adds `0 <= i` and `i < n` to when, as far as they are not proved; NULL = true. */
const Expr *eq_inside(Definer *d, const Expr *when, const Expr *i, const Expr *n);
/* The output (or, when `out` < 0, a temporary) of the given type; sets its axes' names. */
Def *eq_def(Definer *d, int out, const char *name, Dtype t, int rank, const Expr *const *dim);
/* def = value in the type of its buffer; emitted. */
void eq_emit(Definer *d, Def *def, const Expr *value);
/* An attribute of the node as a word; `otherwise` when absent. */
bool eq_word(Definer *d, const char *attr, const char *otherwise, const char *word);
const Expr *eq_const(Definer *d, Dtype t, double v);
/* A numeric attribute as stored in the file (f32), in type t. */
const Expr *eq_attr(Definer *d, Dtype t, const char *attr, double otherwise);

#endif
