#!/bin/sh
# Rewrites of equations against the evaluator.
cd "$(dirname "$0")/.." || exit 6
case $1 in
quick) rounds=2000 ;;
full) rounds=100000 ;;
*) rounds=10000 ;;
esac
"${BUILD:-build}/tests/rewrite_test" "$rounds"
