#!/bin/sh
# samples/digits: the drop-in builds without warnings, every committed picture is read right, damaged
# pictures end in an error, the held-out accuracy equals ONNX Runtime's. Quick: all but the accuracy.
cd "$(dirname "$0")/.." || exit 6
LCC=${LCC:-$PWD/build/lcc} PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

ok() {
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $1"
    fi
}

make -s -C samples/digits LCC="$LCC" OUT="$tmp" \
    CFLAGS="-O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover" >"$tmp/log" 2>&1
status=$?
[ $status = 0 ] || tail -n 5 "$tmp/log"
ok "the drop-in builds" $status
if [ $status != 0 ]; then
    echo "$passed passed, $failed failed"
    exit 1
fi

for digit in 0 1 2 3 4 5 6 7 8 9; do
    said=$("$tmp/classify" samples/digits/images/digit_$digit.png 2>&1)
    case $said in "digit $digit (probability "[01].[0-9][0-9]")") ok "" 0 ;; *) ok "digit_$digit.png: $said" 1 ;; esac
done

# A one in text and in binary, and what is no picture.
printf 'P2\n# a one\n3 5\n9\n0 9 0\n0 9 0\n0 9 0\n0 9 0\n0 9 0' >"$tmp/one.pgm"
printf 'P5 3 5 255\n\0\377\0\0\377\0\0\377\0\0\377\0\0\377\0' >"$tmp/one5.pgm"
"$tmp/classify" "$tmp/one.pgm" "$tmp/one5.pgm" 2>&1 | grep -c 'digit 1' | grep -qx 2
ok "PGM" $?
head -c 600 samples/digits/images/digit_7.png >"$tmp/cut.png"
printf 'P5 30000 30000 255\n' >"$tmp/large.pgm"
printf 'P5 4 4 255\nabc' >"$tmp/short.pgm"
printf 'P2 2 2 9 0 0 0 0' >"$tmp/blank.pgm"
for bad in cut.png large.pgm short.pgm blank.pgm absent.png .; do
    said=$("$tmp/classify" "$tmp/$bad" 2>&1)
    [ $? = 1 ] && case $said in *"no PNG or PGM picture"*) true ;; *) false ;; esac
    ok "$bad is refused: $said" $?
done

if [ "$1" != quick ]; then
    "$PYTHON" samples/digits/accuracy.py c native >"$tmp/log" 2>&1
    status=$?
    tail -n 5 "$tmp/log"
    ok "held-out accuracy" $status
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
