#!/usr/bin/env python3
"""Single kernels as they run inside a network: share of the probed FMA peak, one thread, onnxruntime beside it.

usage: bench/kernels.py [-k TEXT,…] [--target=avx2,avx512] [--rounds=15] [--json=FILE]

For work on one kernel; bench/run.sh is the measurement. Convolutions lie between transposes, so that both ends have
channels innermost (onnxruntime pays for the transposes: its ratio here says little, that of run.sh does). Figures are
those of timing.py, in processor time, without repeats; `best` is the share of the fastest round. $LCC and $CC as for
the tests.
"""
import argparse
import json
import sys
import tempfile

import numpy as np

import layers
import timing
from probe import Probe
from sides import Lepton, OnnxRuntime, error_of, lepton


def cases():
    for c, p in ((64, 56), (128, 28), (256, 14), (512, 7)):
        yield f"block-{p}x{p}x{c}", lambda c=c, p=p: layers.block(c, p, inner=True)
    for m in (1, 16, 64, 128, 197, 384):
        for k, n in ((768, 768), (768, 2304), (768, 3072), (3072, 768), (1024, 4096)):
            yield f"gemm-{m}x{k}x{n}", lambda m=m, k=k, n=n: layers.gemm(m, k, n)
    for m, k, n in ((3136, 576, 64), (784, 1152, 128), (196, 2304, 256), (49, 4608, 512)):
        yield f"gemm-{m}x{k}x{n}", lambda m=m, k=k, n=n: layers.gemm(m, k, n)

    def conv(*args):
        return lambda: layers.conv(*args, inner=True)

    yield "first-7x7s2-224x3-64", conv(3, 64, 224, 7, 2)
    yield "first-3x3s2-224x3-32", conv(3, 32, 224, 3, 2)
    for c, p, s in ((32, 112, 1), (96, 112, 2), (144, 56, 1), (192, 28, 1), (384, 14, 1), (576, 14, 1), (960, 7, 1)):
        yield f"dw3x3s{s}-{p}x{c}", conv(c, c, p, 3, s, c)
    yield "dw5x5s1-14x672", conv(672, 672, 14, 5, 1, 672)
    for c, m, p, s in ((64, 256, 56, 1), (256, 64, 56, 1), (512, 128, 28, 1), (1024, 256, 14, 1), (2048, 512, 7, 1),
                       (256, 512, 56, 2), (16, 96, 112, 1), (24, 144, 56, 1), (144, 24, 56, 1), (960, 160, 7, 1)):
        yield f"1x1s{s}-{p}x{c}-{m}", conv(c, m, p, 1, s)
    yield "3x3s2-56x64-128", conv(64, 128, 56, 3, 2)
    yield "group32-3x3-28x256", conv(256, 256, 28, 3, 1, 32)


def measure(name, make, target, rounds, folder):
    made, flop = make()
    path = layers.layer_save((made, flop), folder)
    first = Lepton(path, target, 1)
    shape = [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim]
    arrays = [np.random.default_rng(1).standard_normal(shape).astype(np.float32)]
    sides, error, outputs = [first], None, first.bind(arrays)
    try:
        sides.append(OnnxRuntime(path, target, 1, ["x"]))
        error = error_of(outputs, sides[1].bind(arrays))[0]
    except ImportError:
        pass
    row = timing.compare(sides, Probe(target, folder), rounds, tries=1, seconds=0.02)
    lcc, ort = row["sides"]["lcc"], row["sides"].get("ort", {})
    rate = flop / lcc["ms"] * 1e-6
    return {"case": name, "target": target, "us": lcc["ms"] * 1e3, "gflops": rate, "peak": row["fma"],
            "share": rate / row["fma"], "best_share": flop / lcc["best_ms"] * 1e-6 / row["fma"], "moved": row["moved"],
            "ort_us": ort.get("ms", 0) * 1e3, "ratio": ort.get("ratio"), "error": error, "cc_seconds": first.seconds}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-k", default="")
    p.add_argument("--target", default="avx2,avx512")
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--json")
    a = p.parse_args()
    rows = []
    print(f"{'case':26}{'target':8}{'us':>9}{'GF/s':>8}{'peak':>7}{'share':>7}{'best':>7}{'moved':>7}{'ort us':>9}{'ratio':>7}"
          f"{'error':>9}{'cc s':>6}")
    for name, make in cases():
        if not any(k in name for k in a.k.split(",")):
            continue
        for target in a.target.split(","):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    r = measure(name, make, target, a.rounds, folder)
                except (lepton.CompileError, lepton.RunError) as e:
                    print(f"{name:26}{target:8}{str(e).splitlines()[0][:100]}")
                    continue
            rows.append(r)
            extra = f"{r['ort_us']:9.1f}{r['ratio']:7.2f}{r['error']:9.1e}" if r["ratio"] else " " * 25
            print(f"{name:26}{target:8}{r['us']:9.1f}{r['gflops']:8.1f}{r['peak']:7.0f}{r['share']:7.3f}"
                  f"{r['best_share']:7.3f}{r['moved']:7.0%}{extra}{r['cc_seconds']:6.1f}", flush=True)
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
