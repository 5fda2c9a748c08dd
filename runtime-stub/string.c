/* runtime-stub/string.c — elements of string tensors. They are bytes, compared as such. */
#include "lcc.h"

#include <string.h>

/* lcc:piece lcc_str_eq needs lcc_str memcmp */
/* An empty string may have no bytes to point to. */
static inline int lcc_str_eq(lcc_str a, lcc_str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, (size_t)a.len) == 0);
}

/* lcc:end */
