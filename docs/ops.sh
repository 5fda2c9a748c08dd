#!/bin/sh
# Rewrites docs/ops.md from `lcc ops`. usage: sh docs/ops.sh [LCC]; with - as second word it goes to standard output.
cd "$(dirname "$0")/.." || exit 6
lcc=${1:-${LCC:-build/lcc}}
said=$("$lcc" ops) || exit 7
table() {
    cat <<'END'
# Operators

Made by `sh docs/ops.sh` from `lcc ops`; do not edit. `lcc ops model.onnx` says what a model uses and whether it is supported. The number is the version an
op's meaning is written for; older ones are upgraded to it (`frontend/upgrade.def`). The last column says how it is defined: *map* and *reduce* as one
line of text, *func* as a text over other ops, *tensor* by a function that builds its equations, *host* with a function of the runtime stub, *ctrl* as control flow.

END
    printf '%s\n' "$said" | LC_ALL=C sort | awk '
        { name = $1; version = name; sub(/.*-/, "", version); sub(/-[0-9]*$/, "", name)
          domain = "ai.onnx"
          if (match(name, /.*\./)) { domain = substr(name, 1, RLENGTH - 1); name = substr(name, RLENGTH + 1) }
          if (!(domain in count)) order[++n] = domain
          count[domain]++; total++
          row[domain] = row[domain] "| " name " | " version " | " $2 " |\n" }
        END {
          printf "%d operators.\n", total
          for (pass = 0; pass < 2; pass++) for (i = 1; i <= n; i++)
              if ((order[i] == "ai.onnx") == !pass)
                  printf "\n## %s (%d)\n| op | version | kind |\n|---|---|---|\n%s", order[i], count[order[i]], row[order[i]]
        }'
}
if [ "$2" = - ]; then table; else table >docs/ops.md; fi
