#!/bin/sh
# The rules of CONTRIBUTING.md that a script can check. Prints one `file:line: complaint` a finding and
# `ok name` or `FAIL name` a check; exit 1 when any failed. Runs in a second, needs awk, grep and gcc
# (which strips comments), and clang-format 14 for the last check.
cd "$(dirname "$0")/.." || exit 6
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export LC_ALL=C

# list PATTERN...: the repository's files, by `find -path` patterns.
find . \( -path './build*' -o -path './.git' -o -name __pycache__ \) -prune -o -type f -print |
    sed 's|^\./||' | sort >"$tmp/files"
list() {
    while read -r f; do
        for pattern in "$@"; do
            # shellcheck disable=SC2254
            case $f in $pattern) echo "$f" ;; esac
        done
    done <"$tmp/files"
}

# check NAME: the findings are on stdin (in a pipe, hence results go to a file).
check() {
    sort -u >"$tmp/findings"
    if [ -s "$tmp/findings" ]; then
        cat "$tmp/findings"
        echo "FAIL $1" | tee -a "$tmp/results"
    else
        echo "ok $1" | tee -a "$tmp/results"
    fi
}
skip() {
    echo "skip $1" | tee -a "$tmp/results"
}

# Each C file without comments (lines keep their numbers) in $tmp/code/<path>; without string contents
# in $tmp/bare/<path>.
list '*.c' '*.h' | while read -r f; do
    mkdir -p "$tmp/code/$(dirname "$f")" "$tmp/bare/$(dirname "$f")"
    awk -f tests/uncomment.awk "$f" >"$tmp/code/$f"
    sed -E 's/"([^"\\]|\\.)*"/""/g; s/'"'"'([^'"'"'\\]|\\.)'"'"'/0/g' "$tmp/code/$f" >"$tmp/bare/$f"
done
code() { (cd "$tmp/code" && grep -rnE "$@" 2>/dev/null); }
bare() { (cd "$tmp/bare" && grep -rnE "$@" 2>/dev/null); }

# ---- sizes --------------------------------------------------------------------------------------
list '*.c' '*.h' '*.py' '*.sh' '*.def' '*.rules' '*.sched' '*.lcc' '*.cmake' | while read -r f; do
    n=$(wc -l <"$f")
    [ "$n" -lt 900 ] || echo "$f:$n: the file has $n lines; below 900 are allowed"
done | check "files below 900 lines"

list '*.c' | grep -v '^samples/.*/generated' | while read -r f; do
    awk -v f="$f" '
        /^[A-Za-z_].*\(/ && !/;[ \t]*$/ { start = NR; name = $0 }
        /^}/ && start {
            if (NR - start + 1 >= 80)
                printf "%s:%d: a function of %d lines; below 80 are allowed: %s\n", f, start, NR - start + 1, name
            start = 0
        }' "$tmp/code/$f"
done | check "functions below 80 lines"

# 100 are meant; a comment may reach a little further, a row of a table (.def) is one line.
list '*.c' '*.h' '*.def' | awk '{
    allowed = /\.def$/ ? 140 : 116
    while ((getline line < $0) > 0) {
        n++
        gsub(/[\200-\277]/, "", line) # UTF-8: one column a character
        if (length(line) > allowed) printf "%s:%d: %d columns; %d are allowed\n", $0, n, length(line), allowed
    }
    n = 0; close($0) }' | check "lines of 100 columns"

# ---- goldens ------------------------------------------------------------------------------------
{
    sed -n 's/^PASS("[a-z]*", \([a-z_]*\),.*/\1/p' lower/passes.def | while read -r pass; do
        grep -qs "^; run:.* $pass\b" tests/golden/*/*.lcc ||
            echo "lower/passes.def:1: pass $pass has no golden in tests/golden/"
    done
    sed -n 's/^STEP([A-Z_]*, "\([a-z_]*\)".*/\1/p' ir/steps.def | while read -r step; do
        grep -qs "[ ;] *$step .*" tests/golden/steps/"$step"*.lcc ||
            echo "ir/steps.def:1: step $step has no golden in tests/golden/steps/"
        grep -qs "expect-error: .*step $step of" tests/golden/steps/*.lcc ||
            echo "ir/steps.def:1: no golden in tests/golden/steps/ shows where step $step is refused"
    done
    sed -n 's/^rule \([a-z0-9_]*\) .*/\1/p' codegen/c/rules.sched | while read -r rule; do
        grep -qs "^  rule \"$rule\"" tests/golden/passes/*.lcc ||
            echo "codegen/c/rules.sched:1: rule $rule has no golden in tests/golden/passes/"
    done
} | check "goldens of passes, steps and rules"

# ---- layering -----------------------------------------------------------------------------------
# layer FOLDER ALLOWED...: includes of other folders of the repository.
layer() {
    folder=$1
    shift
    allowed=$(printf '|%s' "$@")
    code '^[ \t]*#[ \t]*include[ \t]*"(ir|frontend|lower|codegen|driver|runtime-stub|tests)/' "$folder" |
        grep -vE "\"(${allowed#|})/" |
        sed "s|\$|    <- $folder/ may include only: $*|"
}
{
    layer ir ir runtime-stub # eval_host.c compiles the stub in
    layer frontend ir frontend
    layer lower ir lower
    layer codegen ir lower codegen
    layer runtime-stub runtime-stub
} | check "layering of includes"

# ---- ops stay in the front end ------------------------------------------------------------------
# Names that are also types of ours (Shape, Loop…) count only inside string literals.
if [ -f frontend/onnx_ops.def ]; then
    awk -f tests/uncomment.awk frontend/onnx_ops.def | grep -oE '^[A-Z_]+\("?[A-Za-z0-9]+' |
        sed -E 's/.*\("?//' | sort -u >"$tmp/ops"
    cat ir/*.h lower/*.h codegen/*.h 2>/dev/null |
        grep -oE '(typedef (struct|enum|union) [A-Z][A-Za-z0-9]*|\} [A-Z][A-Za-z0-9]*;)' |
        grep -oE '[A-Z][A-Za-z0-9]*' | sort -u >"$tmp/types"
    words=$(comm -23 "$tmp/ops" "$tmp/types" | tr '\n' '|')
    all=$(tr '\n' '|' <"$tmp/ops")
    {
        bare "(^|[^A-Za-z0-9_])(${words%|})([^A-Za-z0-9_]|\$)" lower codegen
        code "\"(${all%|})\"" lower codegen
        for f in $(list 'lower/*.rules' 'lower/*.def' 'codegen/*.rules' 'codegen/*.sched' 'codegen/*.def'); do
            sed -E 's/(;|#|--|\/\*).*//' "$f" | grep -nwE "${words%|}" | sed "s|^|$f:|"
        done
    } | check "no op names in lower/ and codegen/"
else
    skip "op names: frontend/onnx_ops.def is missing"
fi

# ---- banned calls -------------------------------------------------------------------------------
{
    bare '(^|[^A-Za-z0-9_.>])(malloc|calloc|realloc|free|printf|fprintf|vprintf|puts|putchar|exit|abort)[ ]*\(' \
        ir frontend lower codegen | grep -vE '^ir/(base|diag|file)\.c:|^lower/pipeline\.c:'
    bare '(^|[^A-Za-z0-9_])(assert|strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca|rand|system)[ ]*\(' \
        ir frontend lower codegen driver
} | check "banned calls"

# File-scope variables that change: no globals. (const, functions, types and prototypes are fine.)
bare '^(static )?[A-Za-z_][A-Za-z0-9_ ]*[ *]+[a-z_][A-Za-z0-9_]*(\[[^]]*\])*( = [^;]*)?;' ir frontend lower codegen driver |
    grep -vE ':[0-9]+:(extern|typedef|return|goto|struct [A-Za-z]+;|enum |union [A-Za-z]+;)' | grep -vE 'const|\(' |
    check "no globals"

# ---- leftovers ----------------------------------------------------------------------------------
here=$(cd .. && pwd)
{
    list '*' | grep -E '^[0-9]+\..*\.lcc$' | sed 's/$/: a dump in the root/'
    list '*' | grep -vE '^(LICENSE|docs/.*\.md|tests/style\.sh)$|\.(onnx|png|pb)$' >"$tmp/texts"
    [ ! -s "$tmp/texts" ] || xargs grep -nIE '\b(TODO|FIXME|XXX|HACK)\b|^#if 0' /dev/null <"$tmp/texts"
    [ ${#here} -lt 4 ] || xargs grep -nIF "$here/" /dev/null <"$tmp/texts"
    xargs grep -nIE '(^|[^A-Za-z0-9_.])/(home|root)/[a-z]' /dev/null <"$tmp/texts"
} | check "no leftovers, no paths of one machine"

# ---- format -------------------------------------------------------------------------------------
if clang-format --version 2>/dev/null | grep -q 'version 14'; then
    list '*.c' '*.h' | while read -r f; do
        clang-format "$f" | cmp -s - "$f" || echo "$f: clang-format -i $f"
    done | check "clang-format"
else
    skip "clang-format: version 14 is not installed"
fi

if command -v shellcheck >/dev/null; then
    list '*.sh' | xargs shellcheck -s sh -S warning -e SC2086,SC2046,SC1091,SC3043 2>&1 |
        grep -E '^(In |.*SC[0-9]+)' | check "shellcheck"
fi

failed=$(grep -c '^FAIL' "$tmp/results")
echo "$(grep -c '^ok' "$tmp/results") passed, $failed failed, $(grep -c '^skip' "$tmp/results") skipped"
[ "$failed" = 0 ]
