#!/bin/sh
# `cmake --install`, and what is installed at work in another project (tests/install): lcc_add_model
# with its check test, rebuilding only when the model changes, pkg-config, the Python package; the
# bytes lcc writes do not depend on its build. Not in the quick part.
cd "$(dirname "$0")/.." || exit 6
[ "$1" != quick ] || exit 2
LCC=${LCC:-$PWD/build/lcc} BUILD=${BUILD:-$PWD/build} PYTHON=${PYTHON:-python3}
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

try "install" cmake --install "$BUILD" --prefix "$tmp/usr"
try "the installed lcc runs" "$tmp/usr/bin/lcc" --version
try "the version is CMake's" sh -c "'$tmp/usr/bin/lcc' --version | grep -F '$(sed -n 's/.*VERSION \([0-9.]*\) LANG.*/\1/p' CMakeLists.txt)'"

for file in include/lepton.h share/man/man1/lcc.1 share/bash-completion/completions/lcc \
    share/zsh/site-functions/_lcc share/fish/vendor_completions.d/lcc.fish share/doc/lcc/LICENSE share/doc/lcc/NOTICE; do
    try "$file is installed" test -s "$tmp/usr/$file"
done
if command -v man >/dev/null; then
    try "the manual page is well-formed" sh -c "! man --warnings -l '$tmp/usr/share/man/man1/lcc.1' 2>&1 >/dev/null | grep ."
fi

mkdir -p "$tmp/data"
cat >"$tmp/make_data.py" <<'END'
import sys
import numpy as np, onnxruntime
from onnx import numpy_helper
model, out = sys.argv[1:]
x = (np.arange(64).reshape(1, 1, 8, 8) % 8 == 4).astype(np.float32)
y = onnxruntime.InferenceSession(model).run(None, {"input": x})[0]
for name, a in ("input", x), ("output", y):
    with open(f"{out}/{name}_0.pb", "wb") as f:
        f.write(numpy_helper.from_array(a, name).SerializeToString())
END
cp samples/digits/digits.onnx "$tmp/digits.onnx"
try "reference data" "$PYTHON" "$tmp/make_data.py" "$tmp/digits.onnx" "$tmp/data"

for weights in auto c string incbin obj; do
    user="$tmp/user_$weights"
    try "configure, weights $weights" cmake -S tests/install -B "$user" -DCMAKE_PREFIX_PATH="$tmp/usr" \
        -DDIGITS="$tmp/digits.onnx" -DDATA="$tmp/data" -DWEIGHTS=$weights
    try "build, weights $weights" cmake --build "$user"
    try "its tests, weights $weights" sh -c "cd '$user' && ctest --output-on-failure"
done
try "nothing is done twice" sh -c "! cmake --build '$tmp/user_incbin' | grep -E 'lcc (digits|other)|Building'"
touch "$tmp/digits.onnx"
try "a changed model is compiled again" sh -c "cmake --build '$tmp/user_incbin' | grep 'lcc digits'"

if command -v pkg-config >/dev/null; then
    try "pkg-config" env PKG_CONFIG_PATH="$tmp/usr/lib/pkgconfig:$tmp/usr/lib64/pkgconfig:$(echo "$tmp"/usr/lib/*/pkgconfig)" \
        pkg-config --exists --print-errors 'lepton = 0.1.0'
fi
try "the installed Python package" env -u PYTHONPATH LCC="$tmp/usr/bin/lcc" LEPTON_CACHE="$tmp/cache" \
    PYTHONPATH="$tmp/usr/share/lcc/python" "$PYTHON" -c "import lepton, numpy
m = lepton.compile('samples/digits/digits.onnx', target='c')
assert abs(m.run([numpy.zeros((1, 1, 8, 8), numpy.float32)])[0].sum() - 1) < 1e-5"

# The same bytes from two runs and from two builds of lcc.
if [ -x "$LCC_ASAN" ]; then
    for target in c avx2; do
        for run in "first $LCC" "second $LCC" "asan $LCC_ASAN"; do
            out=$tmp/$target/${run%% *}
            mkdir -p "$out"
            "${run#* }" samples/digits/digits.onnx --target=$target -q -o "$out/digits.c"
        done
        try "two runs, the same bytes ($target)" diff -r "$tmp/$target/first" "$tmp/$target/second"
        try "two builds, the same bytes ($target)" diff -r "$tmp/$target/first" "$tmp/$target/asan"
        try "there are bytes ($target)" test -s "$tmp/$target/first/digits.c"
    done
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
