#!/bin/sh
# ./test.sh [quick|full]: installs what the tests need, builds lcc (and once more with sanitizers) and
# runs every tests/run_*.{sh,py}; `quick` is the fast subset, `full` adds the long runs.
#
# A test script gets the mode (quick, normal or full) as its argument and prints as its last line
# `N passed, N failed[, N skipped]`. Called with `quick` it runs its fast part, or exits with 2 if it
# has none. It finds in the environment: LCC, LCC_ASAN (the compiler, and its sanitizer build), BUILD
# (the build folder), PYTHON, and LEPTON_MODELS. The very last line printed here is the sum.
cd "$(dirname "$0")" || exit 6
. cmake/setup.sh

mode=${1:-normal}
case $mode in
quick | normal | full) ;;
*)
    say "usage: ./test.sh [quick|full]"
    exit 2
    ;;
esac

setup_apt build test
setup_python build test || {
    say "The tests need these Python packages: $(packages pip build test | tr '\n' ' ')"
    exit 7
}
build_lcc build
build_lcc build/asan -DLCC_SANITIZE=ON

export PYTHON
export BUILD="$PWD/build" LCC="$PWD/build/lcc" LCC_ASAN="$PWD/build/asan/lcc"
export LEPTON_MODELS="${LEPTON_MODELS:-$PWD/../shared/models}"
export PYTHONPATH="$PWD/python${PYTHONPATH:+:$PYTHONPATH}"
[ -x "$LCC" ] || say "build/lcc is missing: driver/main.c is not in this checkout."
[ -d "$LEPTON_MODELS" ] || say "No models in $LEPTON_MODELS (set LEPTON_MODELS): their tests are skipped."

logs=build/test-logs
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0 skipped=0 broken=

# add_result NAME LOG STATUS: adds up the script's last line; a script without one, or one that exits
# with an error and names no failure, counts as one failure.
add_result() {
    line=$(tail -n 1 "$2" | grep -xE '[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?')
    set -- "$1" "$3" $(printf '%s\n' "$line" | tr -c '0-9\n' ' ')
    if [ -z "$line" ] || { [ "$2" != 0 ] && [ "$4" = 0 ]; }; then
        say "$1: no result line, or exit code $2 without a failure named"
        set -- "$1" "$2" "${3:-0}" $((${4:-0} + 1)) "${5:-0}"
    fi
    [ "$4" = 0 ] || broken="$broken $1"
    passed=$((passed + $3)) failed=$((failed + $4)) skipped=$((skipped + ${5:-0}))
}

# run_script SCRIPT: prints what it says; $logs/NAME.log and NAME.status keep it.
run_script() {
    name=$(basename "$1")
    echo "== $name $mode"
    start=$(date +%s)
    {
        case $1 in
        *.py) "$PYTHON" "$1" "$mode" 2>&1 ;;
        *) sh "$1" "$mode" 2>&1 ;;
        esac
        echo $? >"$logs/$name.status"
    } | tee "$logs/$name.log"
    echo "== $name: $(($(date +%s) - start)) s"
}

# run_share REST OF: of the scripts those whose number leaves REST when divided by OF.
run_share() {
    number=0
    for script in tests/run_*.sh tests/run_*.py; do
        number=$((number + 1))
        [ $((number % $2)) != "$1" ] || run_script "$script"
    done
}

# The fast subset runs two scripts at a time; in the others a script uses both processors itself.
if [ "$mode" = quick ]; then
    run_share 0 2 &
    run_share 1 2
    wait
else
    run_share 0 1
fi
for script in tests/run_*.sh tests/run_*.py; do
    name=$(basename "$script")
    status=$(cat "$logs/$name.status")
    if [ "$mode" = quick ] && [ "$status" = 2 ]; then
        echo "$name has no quick part"
        continue
    fi
    add_result "$name" "$logs/$name.log" "$status"
done

[ -z "$broken" ] || echo "failures in:$broken (logs: $logs/)"
if [ "$skipped" != 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" = 0 ] && [ "$passed" != 0 ]
