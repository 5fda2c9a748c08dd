#!/bin/sh
# The frontend and the evaluator on the official node tests: tests/run_eval_node.sh [BUILD] [-c|-d]
# Needs python3 with onnx, whose wheel carries the tests ($PYTHON names the interpreter).
build=${1:-build}
data=$("${PYTHON:-python3}" -c 'import onnx, os; print(os.path.dirname(onnx.__file__))') || exit 7
find "$data/backend/test/data/node" -maxdepth 1 -name 'test_*' | sort |
    xargs -n 200 "$build/tests/eval_node" $2 | grep -v ' passed$' >"$build/eval_node.txt"
grep '^FAIL' "$build/eval_node.txt" | cut -c1-200
echo "$(grep -c '^pass' "$build/eval_node.txt") of $(wc -l <"$build/eval_node.txt") passed"
