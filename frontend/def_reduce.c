/* def_reduce.c — REDUCE rows: a text per element, a combining op, a text for the result.
 *
 * Axes may be known only at run time: then every axis is reduced, with extent `in(axes) ? dim : 1`, and
 * with keepdims = 0 the length of the axes list fixes the output's rank.
 *
 *   ReduceSum(x f32[N, 4], axes = 1)  →  y[i] = add[16](k < 4) x[i, k] */
#include "frontend/definers.h"
#include "frontend/map_text.h"

#include <string.h>

bool define_reduce(Definer *d) {
    return define_error(d, EXIT_UNSUPPORTED, "not there yet");
}
