#!/bin/sh
# The frontend and the evaluator on the official node tests: tests/run_eval_node.sh [MODE] [-c|-d]
# (MODE as test.sh passes it: quick takes every eighth folder; -c, -d: see eval_node.c). What is not supported
# yet, and what has a row of its mode in tests/official/status.txt, counts as skipped; test_bernoulli* draw
# at random. Needs python3 with onnx, whose wheel carries the tests.
cd "$(dirname "$0")/.." || exit 6
build=${BUILD:-build}
data=$("${PYTHON:-python3}" -c 'import onnx, os; print(os.path.dirname(onnx.__file__))') || exit 7
every=1
[ "$1" != quick ] || every=8
find "$data/backend/test/data/node" -maxdepth 1 -name 'test_*' | sort | grep -v /test_bernoulli |
    awk -v n=$every 'NR % n == 0' |
    xargs -n 200 "$build/tests/eval_node" ${2:-} | grep -v ' passed$' >"$build/eval_node.txt"
count() { grep -c "$@" "$build/eval_node.txt"; }
case ${2:-} in -c) list=constants ;; -d) list=dynamic ;; *) list=inputs ;; esac
awk -v mode=$list '$1 == mode { print "^FAIL " $2 ":" }' tests/official/status.txt >"$build/eval_known.txt"
unknown() { grep '^FAIL' "$build/eval_node.txt" | grep -v 'is not supported yet' | grep -v -f "$build/eval_known.txt"; }
unknown | cut -c1-200
failed=$(unknown | grep -c .)
skipped=$(($(count '^FAIL') - failed))
echo "$(count '^pass') passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
