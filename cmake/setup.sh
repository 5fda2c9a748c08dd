# Shared by quickstart.sh and test.sh (sourced, in the repository's root): installs what
# cmake/packages.txt names and is missing, and builds lcc. Safe to run again: nothing is done twice.
# LCC_NO_SETUP=1 installs nothing and takes what is there; PYTHON then names the Python to use.

say() {
    printf '%s\n' "$*" >&2
}

# packages apt|pip build|test|bench|...
packages() {
    source=$1
    shift
    for when in "$@"; do
        awk -v s="$source" -v w="$when" '$1 == s && $2 == w { print $3 }' cmake/packages.txt
    done
}

setup_apt() {
    if [ -n "$LCC_NO_SETUP" ]; then return 0; fi
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        say "This is no Debian-like system. lcc needs these packages (Debian's names):"
        packages apt "$@" | sed 's/^/  /' >&2
        say "Install them and run again with LCC_NO_SETUP=1."
        exit 7
    fi
    missing=
    for name in $(packages apt "$@"); do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)
        [ "$state" = installed ] || missing="$missing $name"
    done
    if [ -z "$missing" ]; then return 0; fi
    say "Installing with apt:$missing"
    sudo=
    if [ "$(id -u)" != 0 ]; then sudo="sudo"; fi
    mkdir -p build
    export DEBIAN_FRONTEND=noninteractive
    if ! { $sudo apt-get -q update && $sudo apt-get -q install -y --no-install-recommends $missing; } \
        >build/apt.log 2>&1; then
        tail -n 20 build/apt.log >&2
        say "apt failed (build/apt.log). By hand: apt-get install$missing"
        exit 7
    fi
}

# The Python of the project: build/venv ($LCC_VENV). Sets PYTHON; returns 1 when a package could not be had.
setup_python() {
    if [ -n "$LCC_NO_SETUP" ]; then
        PYTHON=${PYTHON:-python3}
        return 0
    fi
    venv=${LCC_VENV:-$PWD/build/venv}
    PYTHON=$venv/bin/python
    mkdir -p build
    wanted=$(packages pip "$@")
    have=$("$PYTHON" -m pip freeze 2>/dev/null | sed 's/ml-dtypes/ml_dtypes/')
    missing=
    for name in $wanted; do
        printf '%s\n' "$have" | grep -qxF "$name" || missing="$missing $name"
    done
    if [ -z "$missing" ]; then return 0; fi
    say "Installing with pip into $venv:$missing"
    [ -x "$PYTHON" ] || python3 -m venv "$venv" || return 1
    if ! "$PYTHON" -m pip install -q --disable-pip-version-check $missing >build/pip.log 2>&1; then
        tail -n 5 build/pip.log >&2
        return 1
    fi
}

# build_lcc FOLDER [cmake options]: exits 7 with the compiler's words when it fails.
build_lcc() {
    folder=$1
    shift
    mkdir -p "$folder"
    say "Building lcc in $folder"
    if ! { cmake -S . -B "$folder" "$@" && cmake --build "$folder" -j"$(nproc)"; } \
        >"$folder/build.log" 2>&1; then
        grep -iE -A5 'error|missing' "$folder/build.log" | head -n 40 >&2
        say "The build failed ($folder/build.log)."
        exit 7
    fi
}
