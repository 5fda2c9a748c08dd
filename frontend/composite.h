/* frontend/composite.h — ops written as text over other ops (functions.onnxtxt). */
#ifndef LCC_COMPOSITE_H
#define LCC_COMPOSITE_H

#include "frontend/frontend.h"

/* Plays the function of that name with the node's inputs and attributes; its outputs become d->out. */
bool define_function(Definer *d, const char *name);
/* The definer of FUNC rows: the function called like the op, "domain.op" outside ai.onnx. */
bool define_composite(Definer *d);
/* Defines op ("Add", "com.microsoft.Gelu") in place, as if it were a node with these attributes and operands
 * (NULL: absent); it belongs to d's node. */
bool define_op(Definer *d, const char *op, int nattr, Attr *attr, int nin, Val **in, int nout,
               Val **out);

#endif
