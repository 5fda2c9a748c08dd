/* frontend/schema.h — which versions and attributes ONNX gives its ops (schema.def). */
#ifndef LCC_SCHEMA_H
#define LCC_SCHEMA_H

#include "frontend/frontend.h"

enum { OPSET_MAX = 27 }; /* newest version of ai.onnx that is known */

/* The newest version of the op that is not above `opset`; 0 when there is none. Ops outside ONNX's
 * own domains have the version of their row in onnx_ops.def. */
int schema_since(const char *domain, const char *op, int64_t opset);
/* The newest version of all; 0 for an unknown op. */
int schema_newest(const char *domain, const char *op);
/* Whether the node's attributes are those of its op's newest version: names, kinds, required ones.
 * Reports what is not. Ops outside ONNX's own domains are not checked. */
bool schema_check(Ctx *ctx, const Node *n);

#endif
