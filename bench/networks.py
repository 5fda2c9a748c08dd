#!/usr/bin/env python3
"""Whole networks at a glance: lcc's C beside onnxruntime and openvino (f32), sides interleaved.

usage: bench/networks.py [-k TEXT] [--target=native] [--threads=1] [--rounds=11] [--json=FILE] [MODEL.onnx ...]

For work on one network; bench/run.sh is the measurement. Without models: every folder of $LEPTON_MODELS, and every
.onnx under $LEPTON_BENCH_MODELS (bench/export.py makes them). Figures are those of timing.py, without repeats. Inputs
are the folder's own, or random; the error is lcc's against onnxruntime, over the largest output. A peer that is not
installed, or refuses the network, shows as a dash. $LCC as for the tests; gcc from $CC.
"""
import argparse
import glob
import json
import os
import statistics
import sys
import tempfile

import cases
import timing
from probe import Probe
from sides import Lepton, OnnxRuntime, OpenVino, error_of, lepton


def measure(path, target, threads, rounds, probe):
    first = Lepton(path, target, threads)
    arrays = cases.inputs_of(path, first.model)
    names = [p.name for p in first.model.inputs]
    sides, results, row = [first], [first.bind(arrays)], {"cc_seconds": first.seconds}
    for kind in (OnnxRuntime, OpenVino):
        try:
            side = kind(path, target, threads, names)
            results.append(side.bind(arrays))
            sides.append(side)
        except Exception as e:  # whatever a peer says about this network
            row[kind.name + "_refuses"] = str(e).splitlines()[0][:120] if str(e) else type(e).__name__
    if len(sides) > 1:
        row["error"] = error_of(results[0], results[1])[0]
    row.update(timing.compare(sides, probe, rounds, threads, tries=1))
    row["ratio"] = min((row["sides"][s.name]["ratio"] for s in sides[1:]), default=None)
    return row


def networks(chosen):
    if chosen:
        return [(os.path.basename(os.path.dirname(os.path.abspath(p))) if os.path.basename(p) == "model.onnx"
                 else os.path.splitext(os.path.basename(p))[0], p) for p in chosen]
    found = [(name, os.path.join(cases.MODELS, name, "model.onnx")) for name in cases.model_names()]
    exports = sorted(glob.glob(os.path.join(cases.EXPORTS, "*.onnx")))
    return found + [(os.path.splitext(os.path.basename(p))[0], p) for p in exports]


def show(name, row):
    def cell(value, form, width):
        return f"{value:{form}}" if value is not None else f"{'-':>{width}}"

    took = "".join(cell(row["sides"].get(s, {}).get("ms"), "10.3f", 10) for s in ("lcc", "ort", "ov"))
    print(f"{name:24}{took}{cell(row['ratio'], '8.2f', 8)}{cell(row.get('error'), '10.1e', 10)}{row['fma']:8.0f}"
          f"{row['moved']:7.0%}{row['apart']:7.0%}{row['cc_seconds']:8.1f}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*")
    p.add_argument("-k", default="", help="only networks whose name holds TEXT")
    p.add_argument("--target", default="native")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=11)
    p.add_argument("--json")
    a = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        probe = Probe(a.target, folder, a.threads, wall=a.threads > 1)
        print(f"{'network':24}{'lcc ms':>10}{'ort ms':>10}{'ov ms':>10}{'ratio':>8}{'error':>10}{'GFLOP/s':>8}{'moved':>7}"
              f"{'apart':>7}{'build s':>8}")
        for name, path in networks(a.models):
            if a.k not in name:
                continue
            try:
                row = measure(path, a.target, a.threads, a.rounds, probe)
            except (lepton.CompileError, lepton.RunError, ValueError) as e:
                print(f"{name:24}{str(e).splitlines()[0][:100]}")
                continue
            rows.append({"network": name, **row})
            show(name, row)
    ratios = [r["ratio"] for r in rows if r.get("ratio")]
    if ratios:
        print(f"geometric mean against the faster peer, {len(ratios)} networks: {statistics.geometric_mean(ratios):.2f}")
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
