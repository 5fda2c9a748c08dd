#!/bin/sh
# The search behind the memory plan: random lifetimes against brute force.
cd "$(dirname "$0")/.." || exit 6
case $1 in
quick) rounds=2000 ;;
full) rounds=100000 ;;
*) rounds=20000 ;;
esac
"${BUILD:-build}/tests/memory_test" "$rounds"
