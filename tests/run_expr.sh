#!/bin/sh
# Expressions: scalar semantics, normal forms, simplification rules, ranges, proofs, text; with
# sanitizers where there is such a build.
cd "$(dirname "$0")/.." || exit 6
mode=${1:-normal}
test=${BUILD:-build}/asan/tests/expr_test
[ -x "$test" ] || test=${BUILD:-build}/tests/expr_test
exec "$test" "$mode"
