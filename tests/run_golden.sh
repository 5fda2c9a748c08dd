#!/bin/sh
# Golden tests; the same texts with mistakes in them; and the texts of the real networks at every pass, which must
# read back as themselves.
# usage: tests/run_golden.sh [quick|normal|full|--bless] [FILE.lcc …]
# --bless writes what lcc does now into the files (all, or those named).
cd "$(dirname "$0")/.." || exit 6
mode=${1:-normal}
[ $# = 0 ] || shift
check="${BUILD:-build}/tests/check"
case $mode in
--bless | quick)
    [ $# != 0 ] || set -- tests/golden/*/*.lcc
    [ "$mode" = quick ] || set -- --bless "$@"
    exec "$check" "$@"
    ;;
esac
[ $# = 0 ] || exec "$check" "$@"

tmp=$(mktemp -d) || exit 6
trap 'rm -rf "$tmp"' EXIT
"$check" tests/golden/*/*.lcc | tee "$tmp/log"
"$check" --damage tests/golden/*/*.lcc >"$tmp/damage" || cat "$tmp/damage"
cat "$tmp/damage" >>"$tmp/log"
lcc=$(realpath "${LCC:-build/lcc}") check=$(realpath "$check")
models=$(realpath "${LEPTON_MODELS:-../shared/models}" 2>/dev/null)
passed=0 failed=0
for n in $(sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p' "$tmp/log"); do passed=$((passed + n)); done
for n in $(sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p' "$tmp/log"); do failed=$((failed + n)); done
for model in "$models"/*/model.onnx; do
    [ -f "$model" ] || continue
    rm -f "$tmp"/*.lcc
    (cd "$tmp" && "$lcc" "$model" -q --target=avx2 --dump=all -o m.c) 2>/dev/null
    for text in "$tmp"/*.lcc; do
        [ -f "$text" ] || continue
        if "$check" --texts "$text" >"$tmp/log"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "$model"
            cat "$tmp/log"
        fi
    done
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
