#!/bin/sh
# Golden tests. usage: tests/run_golden.sh [quick|normal|full|--bless] [FILE.lcc …]
# --bless writes what lcc does now into the files (all, or those named).
cd "$(dirname "$0")/.." || exit 6
bless=
[ "$1" = --bless ] && bless=--bless
[ $# = 0 ] || shift
[ $# != 0 ] || set -- tests/golden/*/*.lcc
"${BUILD:-build}/tests/check" $bless "$@"
