#!/usr/bin/env python3
"""Our own exp, tanh and erf: the error in units in the last place, and the same bits on every target.

usage: LCC=build/lcc tests/run_math.py [quick|normal|full]

Floats of every exponent, evenly spread over their bits: 4, 64 or 512 million of them. Last line:
N passed, N failed, N skipped."""
import math
import sys

import numpy as np
from onnx import TensorProto, helper

import lepton
from run_models import cpu_flags

MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
NEEDS = {"c": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
TARGETS = [t for t, flags in NEEDS.items() if flags <= cpu_flags()]
SIZE = 1 << 20


def erf(x):
    return np.fromiter(map(math.erf, x), np.float64, len(x))


PARTS = {"quick": 4, "full": 512}.get(MODE, 64)
BOUNDS = {"Exp": (np.exp, 1.0), "Tanh": (np.tanh, 1.0), "Erf": (erf, 1.0)}


def model_make(op):
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [SIZE]) for n in "xy"]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)],
                             ir_version=8).SerializeToString()


def error(got, exact):
    """In units of the last place of the f32 nearest to the exact value."""
    near = exact.astype(np.float32)
    same = (got == near) | (np.isnan(got) & np.isnan(near))
    with np.errstate(all="ignore"):
        unit = np.ldexp(1.0, np.maximum(np.frexp(exact)[1] - 24, -149))
        e = np.abs(got.astype(np.float64) - exact) / unit
    return np.where(same, np.minimum(e, 0.5), np.where(np.isfinite(e), e, np.inf))


def check(op):
    exact, bound = BOUNDS[op]
    models = [lepton.compile(model_make(op), target=t) for t in TARGETS]
    worst = 0.0
    for part in range(PARTS):
        bits = np.arange(SIZE, dtype=np.uint32) * np.uint32(4096) + np.uint32(part * (4096 // PARTS))
        x = bits.view(np.float32)
        y = [m.run([x])[0] for m in models]
        with np.errstate(all="ignore"):
            e = error(y[0], exact(x.astype(np.float64)))
        at = int(np.nanargmax(np.nan_to_num(e, nan=0)))
        worst = max(worst, float(e[at]))
        assert e[at] <= bound, f"{op}({x[at]!r}) = {y[0][at]!r}, {e[at]:.3f} ULP"
        for target, other in zip(TARGETS, y):
            differ = (y[0].view(np.uint32) != other.view(np.uint32)) & ~(np.isnan(x) & np.isnan(other))
            assert not differ.any(), f"{op}({x[differ][0]!r}) differs on {target}"
    return worst


def main():
    passed = failed = 0
    for op in BOUNDS:
        try:
            print(f"{op}: at most {check(op):.4f} ULP on {PARTS * SIZE} floats")
            passed += 1
        except AssertionError as e:
            failed += 1
            print(f"FAIL {e}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
