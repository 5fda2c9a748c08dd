#!/bin/sh
# The C backend: modules of emit_test compiled under the whole warning list by every compiler found, run,
# and compared bit by bit. tests/run_emit.sh [MODE]; quick: gcc only. MACHINES: default c.
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${BUILD:-$here/../build}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
warnings="-std=c99 -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wfloat-conversion
  -Wdouble-promotion -Wshadow -Wcast-align -Wstrict-aliasing=2 -Wvla -Wundef -Werror"
if [ ! -x "$build/tests/emit_test" ]; then
    echo "$build/tests/emit_test is missing"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
passed=0 failed=0 skipped=0
# Vector machines are tested where they can run.
machines=c
if [ "$1" != quick ]; then
    ! grep -qw avx2 /proc/cpuinfo || machines="$machines avx2"
    ! grep -qw avx512vl /proc/cpuinfo || machines="$machines avx512"
fi
for machine in ${MACHINES:-$machines}; do
    mkdir "$work/$machine"
    cd "$work/$machine" || exit 6
    names=$("$build/tests/emit_test" . "$machine") || failed=$((failed + 1))
    for compiler in gcc clang tcc; do
        if [ "$1" = quick ] && [ $compiler != gcc ]; then continue; fi
        if [ $compiler = tcc ] && [ "$machine" != c ]; then continue; fi # it has no vectors
        if ! command -v $compiler >/dev/null; then
            echo "skipped: no $compiler"
            skipped=$((skipped + 1))
            continue
        fi
        flags="-O2 $warnings"
        [ $compiler != tcc ] || flags=""
        for name in $names; do
            if $compiler $flags -c "$name.c" -o model.o &&
                $compiler -I"$here" -w "${name}_main.c" model.o -o run -lm && ./run; then
                passed=$((passed + 1))
            else
                echo "FAILED: $machine $compiler $name"
                failed=$((failed + 1))
            fi
        done
    done
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
