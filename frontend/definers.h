/* frontend/definers.h — prototypes of all definers, from onnx_ops.def. */
#ifndef LCC_DEFINERS_H
#define LCC_DEFINERS_H

#include "frontend/frontend.h"

bool define_map(Definer *d);
bool define_reduce(Definer *d);

#define MAP(domain, name, version, args, type, text)
#define REDUCE(domain, name, version, args, type, each, combine, after)
#define FUNC(domain, name, version, min_in, max_in, min_out, max_out)
#define TENSOR(domain, name, version, min_in, max_in, min_out, max_out, definer)                   \
    bool definer(Definer *d);
#define HOST TENSOR
#define CTRL TENSOR
#include "frontend/onnx_ops.def"

#endif
