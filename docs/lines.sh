#!/bin/sh
# Lines per folder: C, tables and texts (.def .rules .sched .onnxtxt .lcc), scripts. usage: sh docs/lines.sh
cd "$(dirname "$0")/.." || exit 6
count() {
    folder=$1
    shift
    args=
    for suffix in "$@"; do args="$args -o -name *.$suffix"; done
    set -f
    find "$folder" \( -name build -o -name __pycache__ \) -prune -o -type f \( ${args# -o} \) -print | tr '\n' '\0' |
        xargs -0 cat /dev/null | wc -l
    set +f
}
printf '%-14s%8s%8s%9s\n' folder C tables scripts
all_c=0 all_t=0 all_s=0
for folder in ir frontend lower codegen runtime-stub driver python samples tests bench cmake; do
    c=$(count $folder c h) t=$(count $folder def rules sched onnxtxt lcc) s=$(count $folder py sh cmake awk)
    printf '%-14s%8d%8d%9d\n' $folder "$c" "$t" "$s"
    all_c=$((all_c + c)) all_t=$((all_t + t)) all_s=$((all_s + s))
done
printf '%-14s%8d%8d%9d\n' all $all_c $all_t $all_s
