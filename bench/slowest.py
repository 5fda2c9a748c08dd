#!/usr/bin/env python3
"""The kernels of networks by share of their roof, slowest first; each timed inside the real program (--profile).

usage: bench/run.sh slowest [-k TEXT,…] [--top=20] [--by=share|lost] [--least=0.01] [--runs=15] [--json=FILE] [MODEL.onnx ...]

Without models: every net and model of cases.txt. A kernel's roof is the longer of its FLOP at the probed FMA peak and
its bytes at the probed read rate of the level they fit in (all weights and the arena decide between L3 and DRAM; work
and traffic are what lcc writes above each function; four integer MAC, two of dot2, take as long as an FMA). `share` is
roof / time, wall time, the least of the runs; calls of one function are added up. Kernels below --least of their
network's time are left out; `lost` is the part of the network's time that the roof would save. Free extents are bound
to the inputs'.
"""
import argparse
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

import cases
from measure import shapes_of
from probe import Probe
from sides import Lepton, lepton

KERNEL = re.compile(r"^/\* (k\d+_\w+)\b")
RULE = re.compile(r"^ \* rule (\w+)(?:, ([\d.e+-]+) FLOP)?(?:, ([\d.e+-]+) integer MAC)?"
                  r"(?:, reads ([\d.e+-]+) bytes)?(?:, writes ([\d.e+-]+))?")


class Call(ctypes.Structure):
    """A row of the table that --profile puts beside the entry."""
    _fields_ = [("kernel", ctypes.c_char_p), ("node", ctypes.c_char_p), ("calls", ctypes.c_uint64),
                ("ns", ctypes.c_uint64)]


class Profiled(Lepton):
    def __init__(self, path, target, threads, shapes):
        self.model = lepton.compile(path, target=target, threads=threads, options=["--profile", *shapes])


def work_of(path, target, threads, shapes, folder):
    """{kernel: (rule, FLOP, bytes read, bytes written)} as lcc writes it above each function."""
    out = os.path.join(folder, "model.c")
    command = [lepton.lcc_path(), path, f"--target={target}", "-q", "-o", out, "--weights=obj", *shapes]
    subprocess.run(command + ([f"--threads={threads}"] if threads > 1 else []), check=True)
    found, name = {}, None
    with open(out, encoding="utf-8") as f:
        for line in f:
            m = KERNEL.match(line)
            name = m.group(1) if m else name
            m = RULE.match(line)
            if m and name:
                flop, macs, reads, writes = (float(x or 0) for x in m.groups()[1:])
                group = 2 if "dot2" in m.group(1) else 4  # an instruction for integers takes as long as an FMA
                found[name] = (m.group(1), flop + 2 * macs / group, reads, writes)
    return found


def call_times(side, runs):
    """[(kernel, node, calls a run, least nanoseconds of the runs)] in the order of the program."""
    base = os.path.splitext(os.path.basename(side.model.path))[0]
    first = ctypes.addressof(Call.in_dll(side.model._library, base + "_profile"))
    count = 0
    while Call.from_address(first + count * ctypes.sizeof(Call)).kernel:
        count += 1
    table = (Call * count).from_address(first)
    side.step()
    rows, calls = [], [1] * count
    for _ in range(runs):
        before = [(c.calls, c.ns) for c in table]
        side.step()
        rows.append([c.ns - was[1] for c, was in zip(table, before)])
        calls = [c.calls - was[0] for c, was in zip(table, before)]
    return [(c.kernel.decode(), c.node.decode(errors="replace"), n, min(ns))
            for c, n, ns in zip(table, calls, zip(*rows))]


def kernel_rows(timed, work, name, probe, rates, peak, footprint):
    """One row a function: its calls added up, its roof."""
    total = sum(ns for *_, ns in timed) or 1.0
    functions = {}
    for kernel, node, calls, ns in timed:
        row = functions.setdefault(kernel, {"node": node, "calls": 0, "ns": 0.0})
        row["calls"] += calls
        row["ns"] += ns
    rows = []
    for kernel, f in functions.items():
        if not f["calls"]:
            continue
        rule, flop, reads, writes = work.get(kernel, ("-", 0.0, 0.0, 0.0))
        known = flop + reads + writes > 0
        size, ns = reads + writes, max(f["ns"], 1.0)
        level = "L2" if size <= probe.sizes["L2"] else probe.level_of(footprint)
        roof = f["calls"] * max(flop / peak, size / rates[level])  # nanoseconds: so much is a G a second
        rows.append({"network": name, "kernel": kernel, "rule": rule, "node": f["node"], "calls": f["calls"],
                     "us": ns / f["calls"] * 1e-3, "part": ns / total, "gflops": flop * f["calls"] / ns,
                     "gbs": size * f["calls"] / ns, "bound": "fma" if flop / peak >= size / rates[level] else level,
                     "share": roof / ns if known else None, "lost": max(0.0, ns - roof) / total if known else 0.0})
    return rows


def network_rows(name, path, a, probe):
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LEPTON_CACHE"] = os.path.join(folder, "cache")
        side = Profiled(path, a.target, a.threads, [])
        arrays = cases.inputs_of(path, side.model)
        shapes = shapes_of(side.model, arrays)
        try:
            side = Profiled(path, a.target, a.threads, shapes) if shapes else side
        except lepton.CompileError:  # a branch never taken may not fit them; the work then stays unknown
            shapes = []
        side.bind(arrays)
        peaks, rates = [probe.fma()], probe.reads()
        timed = call_times(side, a.runs)
        peaks.append(probe.fma())
        footprint = (side.model.signature.get("weights_bytes") or 0) + (side.model.arena_bytes or 0)
        return kernel_rows(timed, work_of(path, a.target, a.threads, shapes, folder), name, probe, rates,
                           statistics.mean(peaks), footprint)


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
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--top", type=int, default=20)
    p.add_argument("--by", default="share", choices=["share", "lost"])
    p.add_argument("--least", type=float, default=0.01)
    p.add_argument("--runs", type=int, default=15)
    p.add_argument("--json")
    a = p.parse_args()
    rows, missing = [], []
    with tempfile.TemporaryDirectory() as folder:
        probe = Probe(a.target, folder, a.threads, wall=a.threads > 1)
        for name, path in chosen_networks(a.models, a.k):
            if not os.path.isfile(path):
                missing.append(name)
                continue
            try:
                found = network_rows(name, path, a, probe)
            except (lepton.CompileError, lepton.RunError, OSError, TypeError, ValueError,
                    subprocess.CalledProcessError) as e:
                print(f"{name}: {str(e).strip().splitlines()[0][:120]}", file=sys.stderr)
                continue
            rows += found
            print(f"{name}: {len(found)} functions, {sum(r['us'] * r['calls'] for r in found) * 1e-3:.3f} ms in kernels, "
                  f"roof {1 - sum(r['lost'] for r in found):.0%}", file=sys.stderr, flush=True)
    if missing:
        print(f"no files, left out (bench/run.sh export makes them): {', '.join(missing)}", file=sys.stderr)
    order = (lambda r: r["share"]) if a.by == "share" else (lambda r: -r["lost"])
    head_print()
    large = [r for r in rows if r["part"] >= a.least]
    for row in sorted((r for r in large if r["share"] is not None), key=order)[:a.top]:
        row_print(row)
    unknown = sorted((r for r in large if r["share"] is None), key=lambda r: -r["part"])
    if unknown:
        print(f"without known work, {len(unknown)}: "
              + ", ".join(f"{r['network']} {r['kernel']} {r['part']:.0%}" for r in unknown[:10]))
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump({"schema": 1, "rows": rows}, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
