/* frontend/inline.h — model-local functions and composites written as text. */
#ifndef LCC_INLINE_H
#define LCC_INLINE_H

#include "frontend/frontend.h"

/* Replaces every call of a model-local function, in bodies too, by a copy of its nodes; the model
 * has no functions afterwards. Nodes keep the opset version of the function they came from. */
bool graph_inline(Ctx *ctx, Model *m);

#endif
