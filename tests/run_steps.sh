#!/bin/sh
# Random equations and random legal schedules: the loops compute the same after every step.
# full: other equations in every run; the seed that is printed repeats a failure.
cd "$(dirname "$0")/.." || exit 6
test="${BUILD:-build}/tests/step_test"
case $1 in
quick) "$test" 100 ;;
full)
    seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
    echo "step_test 20000 $seed"
    "$test" 20000 "$seed"
    ;;
*) "$test" 1000 ;;
esac
