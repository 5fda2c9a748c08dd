#!/bin/sh
# The C library: tests/api_test.c (with sanitizers where there is such a build), and the program of
# docs/library.md, compiled strictly and as it would be outside of this repository.
cd "$(dirname "$0")/.." || exit 6
BUILD=${BUILD:-$PWD/build}
model=samples/digits/digits.onnx
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

# try NAME COMMAND...: passes when the command does; its words are shown when not.
try() {
    name=$1
    shift
    if "$@" >"$tmp/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        tail -n 20 "$tmp/log"
    fi
}

for test in "$BUILD/tests/api_test" "$BUILD/asan/tests/api_test"; do
    [ -x "$test" ] || continue
    jit=
    ! nm "$test" | grep -q ' T tcc_new$' || jit=tcc
    ASAN_OPTIONS=detect_leaks=1 LCC_FLAGS="--target=nonsense" "$test" $model $jit >"$tmp/log" 2>&1
    status=$?
    line=$(tail -n 1 "$tmp/log" | grep -xE '[0-9]+ passed, [0-9]+ failed')
    if [ $status != 0 ]; then
        echo "FAIL $test (exit code $status)"
        tail -n 30 "$tmp/log"
    fi
    set -- $line
    passed=$((passed + ${1:-0})) failed=$((failed + ${3:-1}))
done

mkdir "$tmp/include"
cp driver/lepton.h "$tmp/include/"
awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' docs/library.md >"$tmp/classify.c"
try "docs/library.md compiles" cc -std=c99 -pedantic -Wall -Wextra -Wconversion -Wshadow -Werror -I"$tmp/include" \
    -c "$tmp/classify.c" -o "$tmp/classify.o"
libs="-lprotobuf-c -lm -lpthread -ldl"
nm "$BUILD/liblepton.a" 2>/dev/null | grep -q ' T tcc_new$' || libs="-ltcc $libs"
nm "$BUILD/liblepton.a" 2>/dev/null | grep -q ' tcc_new$' || libs="${libs#-ltcc }"
try "it links" cc "$tmp/classify.o" "$BUILD/liblepton.a" $libs -o "$tmp/classify"
try "it runs" sh -c "'$tmp/classify' $model | grep -c '^[0-9] [01][.]' | grep -qx 10"
try "it says what is wrong" sh -c "! '$tmp/classify' nothing.onnx 2>&1 | grep -v 'nothing.onnx: error: cannot open'"
if command -v c++ >/dev/null; then
    printf '#include "lepton.h"\nint main() { lepton_free(nullptr); }\n' >"$tmp/user.cc"
    try "a C++ header" c++ -std=c++11 -pedantic -Wall -Wextra -Wold-style-cast -Werror -I"$tmp/include" -fsyntax-only "$tmp/user.cc"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
