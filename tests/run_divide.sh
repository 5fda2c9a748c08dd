#!/bin/sh
# Quotients by constants as products: the same bits as divisions.
cd "$(dirname "$0")/.." || exit 6
case $1 in
quick) divisors=2 ;;
full) divisors=500 ;;
*) divisors=20 ;;
esac
"${BUILD:-build}/tests/divide_test" "$divisors"
