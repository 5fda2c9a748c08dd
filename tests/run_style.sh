#!/bin/sh
# The style rules as a test; quick in every mode.
exec sh "$(dirname "$0")/style.sh"
