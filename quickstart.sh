#!/bin/sh
# From a bare Debian 12 to an answer: installs what is missing, builds lcc, compiles the sample model
# to C, and classifies a picture with it. Safe to run again. The last line is the answer.
cd "$(dirname "$0")" || exit 6
. cmake/setup.sh

image=${1:-samples/digits/images/digit_7.png}

setup_apt build
setup_python build ||
    say "The Python packages could not be installed (build/pip.log); the C sample needs none of them."
build_lcc build
if [ ! -x build/lcc ]; then
    say "build/lcc is missing: driver/main.c is not in this checkout."
    exit 7
fi
if ! make -s -C samples/digits LCC="$PWD/build/lcc" OUT="$PWD/build/digits"; then
    say "The sample did not compile."
    exit 7
fi
say "samples/digits/digits.onnx -> build/digits/digits.c -> build/digits/classify $image"
exec build/digits/classify "$image"
