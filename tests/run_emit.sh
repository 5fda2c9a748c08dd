#!/bin/sh
# tests/run_emit.sh BUILD — the C backend: modules of emit_test compiled under the whole warning list by every
# compiler found, run, and compared bit by bit. QUICK=1: gcc only.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:-build}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
warnings="-std=c99 -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wfloat-conversion
  -Wdouble-promotion -Wshadow -Wcast-align -Wstrict-aliasing=2 -Wvla -Wundef -Werror"
failed=0
for machine in ${MACHINES:-c}; do
  mkdir "$work/$machine"
  cd "$work/$machine"
  names=$("$build/tests/emit_test" . "$machine")
  for compiler in gcc clang tcc; do
    command -v $compiler >/dev/null || { echo "skipped: no $compiler"; continue; }
    [ "$compiler" = gcc ] || [ -z "${QUICK:-}" ] || continue
    flags="-O2 $warnings"
    [ $compiler = tcc ] && flags=""
    passed=0
    for name in $names; do
      if $compiler $flags -c "$name.c" -o model.o &&
         $compiler -I"$here" -w "${name}_main.c" model.o -o run -lm && ./run; then
        passed=$((passed + 1))
      else
        echo "FAILED: $machine $compiler $name"
        failed=1
      fi
    done
    echo "$machine, $compiler: $passed modules"
  done
done
exit $failed
