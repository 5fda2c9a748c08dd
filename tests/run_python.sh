#!/bin/sh
# The Python package's own tests (python/tests), which need no lcc; quick in every mode.
cd "$(dirname "$0")/.." || exit 6
said=$("${PYTHON:-python3}" python/tests/run.py 2>&1)
ran=$(printf '%s\n' "$said" | sed -n 's/^Ran \([0-9]*\) test.*/\1/p')
bad=$(printf '%s\n' "$said" | grep -cE '^(FAIL|ERROR): ')
if [ -z "$ran" ] || [ "$bad" != 0 ]; then
    printf '%s\n' "$said"
fi
[ -n "$ran" ] || { ran=0 bad=1; }
echo "$((ran > bad ? ran - bad : 0)) passed, $bad failed"
[ "$bad" = 0 ]
