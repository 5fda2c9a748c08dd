#!/usr/bin/env python3
"""The kernels of networks by share of their roof, slowest first; each timed inside the real program (ticks.py).

usage: bench/run.sh slowest [-k TEXT,…] [--top=20] [--by=share|lost] [--least=0.01] [--runs=15] [--json=FILE] [MODEL.onnx ...]

Without models: every net and model of cases.txt. A kernel's roof is the longer of its FLOP at the probed FMA peak and
its bytes at the probed read rate of the level they fit in (all weights and the arena decide between L3 and DRAM; work
and traffic are what lcc writes above each function). `share` is roof / time, wall time, the median of the runs; calls
of one function are added up. Kernels below --least of their network's time are left out; `lost` is the part of the
network's time that the roof would save. Free dims are bound to the inputs' extents. One thread.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile

import cases
from measure import dims_of
from probe import Probe
from sides import Lepton, lepton
from ticks import compile_ticked, kernel_times


class Ticked(Lepton):
    def __init__(self, model):
        self.model = model


def kernel_rows(sites, name, probe, rates, footprint):
    """One row a function: its calls added up, its roof."""
    total = sum(s["ns"] for s in sites) or 1.0
    by_name = {}
    for site in sites:
        by_name.setdefault(site["kernel"], []).append(site)
    rows = []
    for kernel, calls in by_name.items():
        one, ns = calls[0], sum(s["ns"] for s in calls)
        size = one["reads"] + one["writes"]
        level = "L2" if size <= probe.sizes["L2"] else probe.level_of(footprint)
        roof = len(calls) * max(one["flop"] / probe.peak, size / rates[level])  # ns: both rates are a nanosecond's
        rows.append({"network": name, "kernel": kernel, "rule": one["rule"], "node": one["node"], "calls": len(calls),
                     "us": ns / len(calls) * 1e-3, "part": ns / total, "gflops": one["flop"] * len(calls) / max(ns, 1.0),
                     "gbs": size * len(calls) / max(ns, 1.0), "level": level,
                     "bound": "fma" if one["flop"] / probe.peak >= size / rates[level] else level,
                     "share": roof / max(ns, 1.0), "lost": max(0.0, ns - roof) / total})
    return rows


def network_rows(name, path, target, runs, probe):
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LEPTON_CACHE"] = os.path.join(folder, "cache")
        model = compile_ticked(path, target, {}, folder)
        arrays = cases.inputs_of(path, model)
        dims = dims_of(model, arrays)
        if dims:
            model = compile_ticked(path, target, dims, folder)
        side = Ticked(model)
        side.bind(arrays)
        peaks, reads = [probe.fma()], probe.reads()
        sites = kernel_times(model, side.step, runs)
        peaks.append(probe.fma())
        probe.peak = statistics.mean(peaks)
        footprint = (model.signature.get("weights_bytes") or 0) + (model.arena_bytes or 0)
        return kernel_rows(sites, name, probe, reads, footprint)


def head_print():
    print(f"{'network':22}{'kernel':30}{'rule':14}{'calls':>6}{'us':>9}{'part':>7}{'GFLOP/s':>9}{'GB/s':>7} {'bound':5}{'share':>7}"
          f"{'lost':>7}  node")


def row_print(r):
    print(f"{r['network'][:21]:22}{r['kernel'][:29]:30}{r['rule'][:13]:14}{r['calls']:6}{r['us']:9.1f}{r['part']:7.1%}"
          f"{r['gflops']:9.1f}{r['gbs']:7.1f} {r['bound']:5}{r['share']:7.1%}{r['lost']:7.1%}  {r['node'][:60]}", flush=True)


def chosen_networks(models, texts):
    if models:
        return [(os.path.splitext(os.path.basename(p))[0] if os.path.basename(p) != "model.onnx"
                 else os.path.basename(os.path.dirname(os.path.abspath(p))), p) for p in models]
    return [(c.name, c.path("")) for c in cases.cases_read() if c.kind in ("net", "model")
            and any(t in f"{c.group.name}/{c.name}" for t in texts.split(","))]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*")
    p.add_argument("-k", default="", help="only networks whose group/name holds one of these texts")
    p.add_argument("--target", default="native")
    p.add_argument("--top", type=int, default=20)
    p.add_argument("--by", default="share", choices=["share", "lost"])
    p.add_argument("--least", type=float, default=0.01)
    p.add_argument("--runs", type=int, default=15)
    p.add_argument("--json")
    a = p.parse_args()
    rows, missing = [], []
    with tempfile.TemporaryDirectory() as folder:
        probe = Probe(a.target, folder, wall=True)
        for name, path in chosen_networks(a.models, a.k):
            if not os.path.isfile(path):
                missing.append(name)
                continue
            try:
                found = network_rows(name, path, a.target, a.runs, probe)
            except (lepton.CompileError, lepton.RunError, TypeError, ValueError) as e:
                print(f"{name}: {str(e).strip().splitlines()[0][:120]}", file=sys.stderr)
                continue
            rows += found
            print(f"{name}: {len(found)} functions, {sum(r['us'] * r['calls'] for r in found) * 1e-3:.3f} ms in kernels, "
                  f"roof {1 - sum(r['lost'] for r in found):.0%}", file=sys.stderr, flush=True)
    if missing:
        print(f"no files, left out (bench/run.sh export makes them): {', '.join(missing)}", file=sys.stderr)
    order = (lambda r: r["share"]) if a.by == "share" else (lambda r: -r["lost"])
    head_print()
    for row in sorted((r for r in rows if r["part"] >= a.least), key=order)[:a.top]:
        row_print(row)
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump({"schema": 1, "rows": rows}, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
