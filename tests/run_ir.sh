#!/bin/sh
# The tensor and loop levels: evaluator, known elements, texts.
cd "$(dirname "$0")/.." || exit 6
case $1 in
quick) rounds=1000 ;;
full) rounds=30000 ;;
*) rounds=4000 ;;
esac
"${BUILD:-build}/tests/ir_test" "$rounds"
