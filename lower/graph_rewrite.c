/* Equation → equation rewrites, each with its rounding class: `exact` ones keep every bit, `reorders` and
 * `approx` ones are left out under --strict. Maps and views are inlined first, so that equations are seen whole.
 *
 *   before  a[m] = add(k) x[k]*w[k,m] ; b[m] = a[m]*s[m] + t[m]        (s, t, w constants)
 *   after   a[m] = add(k) x[k]*ws[k,m] ; b[m] = a[m] + t[m] */
#include "lower/graph_rewrite.h"

bool graph_rewrite(Lower *lo) {
    graph_literals(lo);
    if (!graph_fold(lo) || !graph_prune(lo) || !kernel_inline(lo))
        return false;
    graph_literals(lo);
    graph_share(lo);
    graph_factor(lo);
    graph_tables(lo);
    return true;
}
