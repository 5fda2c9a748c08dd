#!/usr/bin/env python3
"""Measures the cases of cases.txt: lcc's C beside its peers, and how the groups stand to their bars.

usage: bench/run.sh [quick|full] [-k TEXT,…] [--threads=1,2] [--target=native,…] [--peers=ort,ov,…] [--list]
       (run.sh prepares the peers and calls this file; it can be called by itself where they are installed)

Prints a line a case, writes JSON and an SVG (build/bench/results.*, or --out=STEM). A case counts with default flags
and an error <= 1e-6 + 1e-4 x the largest output. `ratio` is best peer's time / lcc's time, the median of paired
ratios; `share` lcc's part of the probed multiply-add peak; `roof` its part of what peak or memory allow. bench/README.md
says how a case is timed. Exit code 1 when a row has no figure for lcc although the model compiles for one thread.
"""
import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys

import cases as case_list
import chart
from measure import measure_apart
from probe import cache_bytes, target_of
from sides import PEERS, lepton

ROOT = os.path.dirname(case_list.HERE)
MODES = {"quick": {"rounds": 7, "turn": 0.05, "tries": 2, "peers": "ort,ov,ovd,blas"},
         "full": {"rounds": 11, "turn": 0.05, "tries": 5, "peers": "ort,ov,ovd,blas,loops,iree"}}
PACKAGES = ("onnxruntime", "openvino", "scipy-openblas32", "iree-base-compiler", "numpy")


def machine():
    """What a reader must know of this machine."""
    model = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), model)
    except OSError:
        pass
    found = {"cpu": model, "cores": os.cpu_count(), "caches": cache_bytes(), "target": target_of("native"),
             "load": os.getloadavg()[0], "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    said = subprocess.run([lepton.lcc_path(), "--version"], capture_output=True, text=True, check=False)
    return {**found, "lcc": said.stdout.strip()}


def head_print(peers):
    print(f"{'case':28}{'thr':>4}{'lcc ms':>10}{'p99':>10}{'ratio':>7} {'best':5}"
          + "".join(f"{p:>7}" for p in peers)
          + f"{'share':>7}{'roof':>6}{'error':>9}{'peak':>6}{'L2':>5}{'L3':>5}{'DRAM':>5}{'moved':>7}{'tries':>6}")


def row_print(row, peers):
    if "note" in row:
        print(f"{row['case']:28}{row['threads']:4}  {row['note']}", flush=True)
        return
    lcc = row["sides"]["lcc"]

    def cell(value, form, width):
        return f"{value:{width}{form}}" if value is not None else f"{'-':>{width}}"

    said = []
    if not row["counts"]:
        said.append("does not count: error")
    if "error_rewritten" in row:
        said.append(f"against onnxruntime without its rewrites; with them {row['error_rewritten']:.1e}")
    if row["constant"]:
        said.append("the outputs are constant: the error says nothing")
    if not row["quiet"]:
        said.append(f"unquiet: the probe moved by {row['moved']:.0%}")
    if not row["valid"]:
        worst = max(row["sides"], key=lambda n: abs(row["sides"][n]["apart"]))
        said.append(f"invalid: {worst} in turns {row['sides'][worst]['apart']:+.0%} of alone")
    print(f"{row['case']:28}{row['threads']:4}{lcc['ms']:10.4g}{lcc['p99_ms']:10.4g}{cell(row['ratio'], '.2f', 7)} "
          f"{row['best'] or '-':5}"
          + "".join(cell(row["sides"].get(p, {}).get("ratio"), ".2f", 7) for p in peers)
          + f"{cell(row['share'], '.0%', 7)}{row['roof']:6.0%}{cell(row['error'], '.1e', 9)}{row['fma']:6.0f}"
          + "".join(f"{row['reads'][level]:5.0f}" for level in ("L2", "L3", "DRAM"))
          + f"{row['moved']:7.0%}{row['tries']:6}  {'; '.join(said)}".rstrip(), flush=True)


def share_of(row):
    """What the bar on a group's share is about: large GEMMs; None for what is no such case."""
    large = row["kind"] == "gemm" and int(row["case"].split("-")[1].split("x")[0]) >= 64
    return row["share"] if large else None


def group_rows(rows):
    """How each group, thread count and target stands to its bars."""
    groups = {c.group.name: c.group for c in case_list.cases_read()}
    found = []
    for key in dict.fromkeys((r["group"], r["threads"], r["target"]) for r in rows if r.get("ratio")):
        counted = [r for r in rows if r.get("ratio") and (r["group"], r["threads"], r["target"]) == key and r["counts"]]
        if not counted:
            continue
        group, ratios = groups[key[0]], [r["ratio"] for r in counted]
        mean, least = statistics.geometric_mean(ratios), min(counted, key=lambda r: r["ratio"])
        shares = [share_of(r) for r in counted if share_of(r) is not None]
        native = key[2] == target_of("native")  # the bars are about that: peers take the widest vectors
        roof = min(r["roof"] for r in counted)
        met = all(bar is None or have >= bar for have, bar in (
            (mean, group.mean), (least["ratio"], group.least), (roof, group.roof)))
        found.append({"group": key[0], "threads": key[1], "target": key[2], "cases": len(counted), "mean": mean,
                      "least": least["ratio"], "least_case": least["case"], "bar_mean": group.mean,
                      "bar_least": group.least, "aim": group.aim,
                      "least_share": min(shares, default=None), "least_roof": roof, "bar_roof": group.roof, "calm": sum(r["quiet"] and r["valid"] for r in counted),
                      "met": met if native and (group.mean or group.least or group.roof) else None})
    return found


def groups_print(found):
    print(f"\n{'group':18}{'thr':>4} {'target':8}{'cases':>6}{'calm':>5}{'mean':>7}{'bar':>6}{'least':>7}{'bar':>6}{'aim':>6}{'share':>7}"
          f"{'roof':>6}{'bar':>6}")
    for g in found:
        bars = [f"{g[k]:6.2f}" if g[k] else f"{'-':>6}" for k in ("bar_mean", "bar_least", "aim")]
        bars.append(f"{g['least_share']:7.0%}" if g["least_share"] else f"{'-':>7}")
        bars.append(f"{g['least_roof']:6.0%}" + (f"{g['bar_roof']:6.0%}" if g["bar_roof"] else f"{'-':>6}"))
        verdict = {True: "met", False: "MISSED", None: ""}[g["met"]]
        print(f"{g['group']:18}{g['threads']:4} {g['target']:8}{g['cases']:6}{g['calm']:5}{g['mean']:7.2f}{bars[0]}"
              f"{g['least']:7.2f}{bars[1]}{bars[2]}{bars[3]}{bars[4]}  {verdict:7}least: {g['least_case']}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("mode", nargs="?", default="quick", choices=MODES)
    p.add_argument("-k", default="", help="only cases whose group/name holds one of these texts")
    p.add_argument("--threads", default="1", help="numbers of threads, 1,2 for both")
    p.add_argument("--target", default="native", help="targets, native,avx2 for both")
    p.add_argument("--peers", help=f"of {','.join(PEERS)}")
    p.add_argument("--rounds", type=int)
    p.add_argument("--tries", type=int)
    p.add_argument("--wall", action="store_true", help="wall time with one thread too")
    p.add_argument("--out", default=os.path.join(ROOT, "build", "bench", "results"), metavar="STEM")
    p.add_argument("--list", action="store_true", help="the cases that would run")
    a = p.parse_args()
    options = {**MODES[a.mode], "wall": a.wall}
    options.update({k: v for k, v in (("rounds", a.rounds), ("tries", a.tries), ("peers", a.peers)) if v})
    options["peers"] = peers = [name for name in options["peers"].split(",") if name]
    chosen = [c for c in case_list.cases_read() if (a.mode == "full" or c.quick)
              and any(k in f"{c.group.name}/{c.name}" for k in a.k.split(","))]
    if a.list:
        print("\n".join(f"{c.group.name}/{c.name}" for c in chosen))
        return 0
    facts = machine()
    print("; ".join(f"{k} {v}" for k, v in facts.items() if v is not None))
    head_print(peers)
    rows = []
    os.makedirs(os.path.dirname(os.path.abspath(a.out)), exist_ok=True)
    for target in a.target.split(","):
        for threads in map(int, a.threads.split(",")):
            for case in chosen:
                rows.append(measure_apart(case, target, threads, options))
                row_print(rows[-1], peers)
                with open(a.out + ".json", "w", encoding="utf-8") as f:  # after each: a long run may be broken off
                    json.dump({"schema": 1, "machine": facts, "mode": a.mode, "groups": group_rows(rows), "rows": rows}, f,
                              indent=1)
    groups_print(group_rows(rows))
    shown = [r for r in rows if r.get("ratio")]
    chart.svg_write(shown, f"best peer's time / lcc's time, {facts['cpu']} ({facts['target']})", a.out + ".svg")
    print(f"{len(shown)} of {len(rows)} with a ratio; {a.out}.json, {a.out}.svg")
    return int(any(r.get("note", "").startswith("measuring failed") for r in rows))


if __name__ == "__main__":
    sys.exit(main())
