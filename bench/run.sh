#!/bin/sh
# Prepares the peers in build/bench-venv, builds lcc, and measures.
# usage: bench/run.sh [quick|full] [options of bench/run.py]      bench/run.sh slowest [options of bench/slowest.py]
#        bench/run.sh export [options of bench/export.py]         makes the networks, by both exporters
cd "$(dirname "$0")/.." || exit 6
. cmake/setup.sh
LCC_VENV=$PWD/build/bench-venv
verb=${1:-quick}
if [ $# -gt 0 ]; then shift; fi

setup_apt build
setup_python build bench || {
    say "The peers could not be installed (build/pip.log)."
    exit 7
}
case $verb in
export)
    setup_python build bench export || {
        say "What exports networks could not be installed (build/pip.log)."
        exit 7
    }
    "$PYTHON" bench/export.py "$@" && exec "$PYTHON" bench/export.py --exporter=dynamo "$@"
    exit
    ;;
full) setup_python iree || say "IREE does not install here: measured without it." ;;
esac
export LCC=${LCC:-$PWD/build/lcc}
if [ "$LCC" = "$PWD/build/lcc" ] && [ -z "$LCC_NO_SETUP" ]; then build_lcc build; fi
case $verb in
slowest) exec "$PYTHON" bench/slowest.py "$@" ;;
*) exec "$PYTHON" bench/run.py "$verb" "$@" ;;
esac
