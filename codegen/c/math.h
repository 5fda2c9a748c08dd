/* codegen/c/math.h — shared by math.c and math_wide.c: functions of our own, written statement by statement.
 *
 * The same calls write a scalar function (lanes 1) and one on vectors: constants are splatted, a vector type
 * takes the place of float or double. Nothing is contracted, so all of them give the same bits. */
#ifndef LCC_C_MATH_H
#define LCC_C_MATH_H

#include "codegen/c/vector.h"

typedef struct Math {
    Printer *p;
    Text body;  /* the statements so far */
    Map *names; /* Sym → Str: the function's variables */
    int lanes;
} Math;

Math math_new(Printer *p, int lanes);
Str math_ctype(const Math *m, Dtype t);
const Expr *math_number(const Math *m, Dtype t, double v);
const Expr *math_op1(const Math *m, Op op, const Expr *a);
const Expr *math_op2(const Math *m, Op op, const Expr *a, const Expr *b);
/* op(a, v) for a constant v of a's type. */
const Expr *math_with(const Math *m, Op op, const Expr *a, double v);
const Expr *math_bits(const Math *m, Dtype t, const Expr *a);
const Expr *math_compare(const Math *m, Op op, const Expr *a, const Expr *b);
/* A variable that is declared elsewhere. */
const Expr *math_variable(Math *m, Dtype t, const char *name);
/* `start e;` */
void math_line(Math *m, const char *start, const Expr *e);
/* `const T name = e;` and the name from then on. */
const Expr *math_let(Math *m, const char *name, const Expr *e);

/* Writes the scalar function `name` of `a` once. */
void math_scalar(Printer *p, Str name, const Text *body);

/* math_wide.c: the name of a function computed in f64; NULL when there is none. */
Str math_wide(Printer *p, Op op, int lanes);

#endif
