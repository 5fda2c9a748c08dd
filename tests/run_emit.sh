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
    ! grep -qw sse2 /proc/cpuinfo || machines="$machines sse2"
    ! grep -qw avx2 /proc/cpuinfo || machines="$machines avx2"
    ! grep -qw avx512vl /proc/cpuinfo || machines="$machines avx512"
    if command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null; then
        machines="$machines neon" # gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user
    fi
fi
for machine in ${MACHINES:-$machines}; do
    mkdir "$work/$machine"
    cd "$work/$machine" || exit 6
    names=$("$build/tests/emit_test" . "$machine") || failed=$((failed + 1))
    names="$names $("$build/tests/emit_more" . "$machine")" || failed=$((failed + 1))
    # The same bytes from a second run; the headers as C++.
    mkdir again
    "$build/tests/emit_more" again "$machine" >/dev/null
    for file in again/*; do
        cmp -s "$file" "${file#again/}" || { echo "FAILED: $file differs"; failed=$((failed + 1)); }
    done
    passed=$((passed + 1))
    if command -v g++ >/dev/null; then
        for file in names.h weights_c.h weights_file.h; do
            # shellcheck disable=SC2046,SC2086
            if g++ -x c++ $(echo $warnings | sed 's/-std=c99/-std=c++11/') -fsyntax-only "$file"; then
                passed=$((passed + 1))
            else
                echo "FAILED: $machine $file as C++"
                failed=$((failed + 1))
            fi
        done
    else
        echo "skipped: no g++"
        skipped=$((skipped + 1))
    fi
    compilers="gcc clang tcc" emulator=
    if [ "$machine" = neon ] && [ "$(uname -m)" != aarch64 ]; then
        compilers=aarch64-linux-gnu-gcc emulator="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    fi
    for compiler in $compilers; do
        if [ "$1" = quick ] && [ "${compiler%gcc}" = "$compiler" ]; then continue; fi
        if [ "$compiler" = tcc ] && [ "$machine" != c ]; then continue; fi # it has no vectors
        if ! command -v "$compiler" >/dev/null; then
            echo "skipped: no $compiler"
            skipped=$((skipped + 1))
            continue
        fi
        flags="-O2 $warnings"
        [ "$compiler" != tcc ] || flags=""
        for name in $names; do
            if [ "$compiler" = tcc ] && [ "$name" = weights_incbin ]; then continue; fi # unknown to it
            # A NaN that arithmetic makes has the processor's sign, which is all a type without NaN keeps of it.
            if [ "$machine" = neon ] && [ "$name" = ops_f4e2m1 ]; then continue; fi
            objects=model.o
            [ ! -f "${name}_weights.o" ] || objects="model.o ${name}_weights.o"
            # shellcheck disable=SC2046,SC2086
            if $compiler $flags -c "$name.c" -o model.o &&
                $compiler -I"$here" -w "${name}_main.c" $objects -o run -lm && $emulator ./run; then
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
