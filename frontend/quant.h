/* frontend/quant.h — scales and zero points. */
#ifndef LCC_QUANT_H
#define LCC_QUANT_H

#include "frontend/contract.h"

/* saturate(round(v) + z) as integer type t; v and z are floats of one type, z may be NULL. */
const Expr *quant_round(Definer *d, Dtype t, const Expr *v, const Expr *z);
/* An integer load less its zero point (buffer of one element, or NULL) times the scale: f32. */
const Expr *quant_real(Definer *d, const Expr *load, Buf *scale, Buf *zero);
/* A buffer of one element, or of one for each index of an axis? Reports. */
bool quant_param(Definer *d, Buf *b, const Expr *extent, const char *what);
/* The sums acc (i32) times sa*sb/sy, rounded, as output 0 of integer type t. The scales have one element, or
 * sb one for each index of axis `axis` of acc, sa one for each row. bias: added to acc, along axis. */
bool quant_store(Definer *d, Buf *acc, int axis, Buf *bias, Buf *sa, Buf *sb, Buf *sy, Buf *zy,
                 Dtype t);

#endif
