#!/bin/sh
# The documents: blocks that open with ```sh run as they stand, in a copy of the repository where build/ is
# ready; blocks that open with ```sh full (they change sources and build) run in mode full, in another copy.
# Every folder has its page, named pages exist, the table of operators is current.
cd "$(dirname "$0")/.." || exit 6
root=$PWD mode=${1:-normal}
LCC=${LCC:-$root/build/lcc} BUILD=${BUILD:-$root/build} PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

# ok NAME STATUS [LOG]
ok() {
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $1"
        if [ -n "$3" ]; then tail -n 20 "$3"; fi
    fi
}

for folder in . ir frontend lower codegen codegen/c codegen/cuda codegen/llvm runtime-stub driver python samples tests \
    tests/golden bench cmake docs; do
    test -s $folder/README.md
    ok "$folder/README.md is there" $?
done
pages=$(find . \( -name build -o -name .git \) -prune -o -name '*.md' -print | sed 's|^\./||' | LC_ALL=C sort)
for page in $(cat $pages | grep -oE 'docs/[a-z-]+\.md' | sort -u); do
    test -s "$page"
    ok "$page is named and there" $?
done
for page in docs/*.md; do
    grep -qF "\`${page#docs/}\`" docs/README.md || [ "$page" = docs/README.md ]
    ok "docs/README.md names $page" $?
done
sh docs/ops.sh "$LCC" - | cmp -s - docs/ops.md
ok "docs/ops.md is current (sh docs/ops.sh rewrites it)" $?
for word in $(sed -n 's/^[A-Z]*([A-Z0-9_]*, "\([a-z0-9_]*\)".*/\1/p' lower/rule_words.def); do
    grep -qF "\`$word\`" docs/schedules.md
    ok "docs/schedules.md names --rule=$word" $?
done

# A copy of the sources, with the Python of the tests where the documents say it is.
copy() {
    mkdir -p "$1/build/venv/bin"
    tar -c --exclude=./build --exclude=./.git . | tar -x -C "$1"
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$PYTHON" >"$1/build/venv/bin/python"
    chmod +x "$1/build/venv/bin/python"
}

# blocks FOLDER INFO PAGE...: runs the blocks of the pages that open with ```INFO.
blocks() {
    folder=$1 info=$2
    shift 2
    for page in "$@"; do
        rm -f "$tmp"/block.*
        awk -v info="$info" -v to="$tmp/block." '
            /^```/ { file = !on && $0 == "```" info ? sprintf("%s%04d", to, NR) : ""; on = !on; next }
            on && file { print >file }' "$page"
        for block in "$tmp"/block.*; do
            [ -f "$block" ] || continue
            (cd "$folder" && env -u LCC -u BUILD -u PYTHON -u PYTHONPATH LEPTON_CACHE="$tmp/cache" \
                timeout 600 sh -e "$block" >"$tmp/log" 2>&1)
            ok "$page, the block at line $(echo "${block##*.}" | sed 's/^0*//')" $? "$tmp/log"
        done
    done
}

copy "$tmp/plain"
ln -s "$LCC" "$tmp/plain/build/lcc"
ln -s "$BUILD/tests" "$tmp/plain/build/tests"
# shellcheck disable=SC2086
blocks "$tmp/plain" sh $pages
if [ "$mode" = full ]; then
    copy "$tmp/full"
    (cd "$tmp/full" && cmake -S . -B build && cmake --build build -j2 --target lcc test_check) >"$tmp/log" 2>&1
    ok "the copy builds" $? "$tmp/log"
    # shellcheck disable=SC2086
    blocks "$tmp/full" "sh full" $pages
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
