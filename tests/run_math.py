#!/usr/bin/env python3
"""Our own exp, log, tanh, erf, sigmoid and sin to atanh: their errors in units of the last place,
and the same bits on every target.

usage: LCC=build/lcc tests/run_math.py [quick|normal|full] [-k NAME]

Floats of every exponent, evenly spread over their bits, 4 or 64 million of them; `full`: every float there is,
by scalars and by vectors of 4, 8 and 16, on every target of this machine (generated/math_all.c; two threads).
Last line: N passed, N failed, N skipped."""
import argparse
import concurrent.futures
import ctypes
import math
import os
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
from onnx import TensorProto, helper

import lepton
from run_models import cpu_flags

HERE = os.path.dirname(os.path.abspath(__file__))
LCC = os.path.abspath(os.environ.get("LCC") or os.path.join(HERE, "..", "build", "lcc"))
NEEDS = {"c": set(), "sse2": {"sse2"}, "avx2": {"avx2", "fma"},
         "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
TARGETS = [t for t, flags in NEEDS.items() if flags <= cpu_flags()]
WIDEST = {"c": 1, "sse2": 4, "avx2": 8, "avx512": 16}  # lanes
SIZE = 1 << 20
BLOCKS = 1 << 10  # of 2^14 floats, in one call of all_part


def erf(x):
    return np.fromiter(map(math.erf, x), np.float64, len(x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Units in the last place; of which exponent at least (a sigmoid that is no normal number may be 0).
BOUNDS = {"Exp": (np.exp, 1.0, -149), "Tanh": (np.tanh, 1.0, -149), "Erf": (erf, 1.0, -149),
          "Log": (np.log, 1.0, -149), "Sigmoid": (sigmoid, 2.9, -126),
          **{name: (function, 0.51, -149) for name, function in
             {"Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan,
              "Sinh": np.sinh, "Cosh": np.cosh, "Asinh": np.arcsinh, "Acosh": np.arccosh,
              "Atanh": np.arctanh}.items()}}
# Where `full` found the largest errors: part of every run.
WORST = {"Log": [0.7071, 1.4142, 1e-40, 0.0, 1.0], "Exp": [70.37191009521484, -5.160946846008301], "Tanh": [7.964386940002441], "Erf": [0.3751140534877777], "Sigmoid": [-16.6932]}

REMAINDERS = ["Mod", "Mod fmod"]


def model_make(op, size=SIZE):
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [size]) for n in "xy"]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)],
                             ir_version=8).SerializeToString()


def error(got, exact, least):
    """In units of the last place of the f32 nearest to the exact value."""
    near = exact.astype(np.float32)
    same = (got == near) | (np.isnan(got) & np.isnan(near))
    with np.errstate(all="ignore"):
        unit = np.ldexp(1.0, np.maximum(np.frexp(exact)[1] - 24, least))
        e = np.abs(got.astype(np.float64) - exact) / unit
    return np.where(same, np.minimum(e, 0.5), np.where(np.isfinite(e), e, np.inf))


def check(op, parts):
    exact, bound, least = BOUNDS[op]
    models = [lepton.compile(model_make(op), target=t) for t in TARGETS]
    worst = 0.0
    for part in range(parts):
        bits = np.arange(SIZE, dtype=np.uint32) * np.uint32(4096) + np.uint32(part * (4096 // parts))
        x = bits.view(np.float32)
        worst_at = WORST.get(op, [])
        x[:len(worst_at)] = worst_at
        y = [m.run([x])[0] for m in models]
        with np.errstate(all="ignore"):
            e = error(y[0], exact(x.astype(np.float64)), least)
        at = int(np.nanargmax(np.nan_to_num(e, nan=0)))
        worst = max(worst, float(e[at]))
        assert e[at] <= bound, f"{op}({x[at]!r}) = {y[0][at]!r}, {e[at]:.3f} ULP"
        for target, other in zip(TARGETS, y):
            differ = (y[0].view(np.uint32) != other.view(np.uint32)) & ~(np.isnan(x) & np.isnan(other))
            assert not differ.any(), f"{op}({x[differ][0]!r}) differs on {target}"
    return f"at most {worst:.4f} ULP on {parts * SIZE} floats"


# ---- every float --------------------------------------------------------------------------------

class Found(ctypes.Structure):
    """What all_part found."""
    _fields_ = [("worst", ctypes.c_double), ("worst_reference", ctypes.c_double), ("at", ctypes.c_uint32),
                ("differs_at", ctypes.c_uint32), ("differs", ctypes.c_int32)]


def library(folder, command, name):
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(os.path.join(folder, name))


def versions(op, folder):
    """(name, width, function) of every version there is: a model of as many elements as a vector has is one call."""
    made = []
    for target in TARGETS:
        for width in (w for w in (1, 4, 8, 16) if w <= WIDEST[target]):
            stem = f"{target}_{width}"
            with open(os.path.join(folder, stem + ".onnx"), "wb") as f:
                f.write(model_make(op, width))
            command = [LCC, stem + ".onnx", f"--target={target}", "-q", f"--prefix={stem}"]
            subprocess.run([*command, "-o", stem + ".c"], cwd=folder, check=True)
            with open(os.path.join(folder, stem + ".c"), encoding="utf-8") as f:
                function = f"lcc_{op.lower()}_f32{f'x{width}' if width > 1 else ''}("
                assert function in f.read(), f"{stem} does not call {function})"
            loaded = library(folder, [*command, "--emit=so", "-o", stem + ".so"], stem + ".so")
            made.append((stem, width, loaded[stem + "_run"]))
    return made


def check_all(op, folder):
    number = list(BOUNDS).index(op)
    made = versions(op, folder)
    part = library(folder, [os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", "all.so",
                            os.path.join(HERE, "generated", "math_all.c"), "-lm"], "all.so").all_part
    runs = (ctypes.c_void_p * len(made))(*(ctypes.cast(f, ctypes.c_void_p) for _, _, f in made))
    widths = (ctypes.c_int32 * len(made))(*(w for _, w, _ in made))

    def one(first):
        found = Found()
        part(number, BOUNDS[op][2], runs, widths, len(made), ctypes.c_uint32(first), BLOCKS, ctypes.byref(found))
        return found

    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # ctypes lets go of the interpreter
        found = list(pool.map(one, range(0, 1 << 32, BLOCKS << 14)))
    worst = max(found, key=lambda f: f.worst)
    at = struct.unpack("f", struct.pack("I", worst.at))[0]
    assert worst.worst <= BOUNDS[op][1], f"{op}({at!r}): {worst.worst:.4f} ULP"
    for f in found:
        assert f.differs < 0, f"{op}: {made[f.differs][0]} differs from {made[0][0]} at bits {f.differs_at:#010x}"
    reference = max(f.worst_reference for f in found)
    assert reference < 1e-6, f"{op}: the reference itself is {reference:.3g} ULP off"
    return (f"at most {worst.worst:.4f} ULP on all 2^32 floats, at {at!r}; the same bits from "
            f"{' '.join(name for name, _, _ in made)}; reference within {reference:.2g} ULP")


def check_mod(fmod):
    """Remainders are exact: random bits, numbers of one size, multiples and their neighbours, subnormal numbers."""
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 1 << 32, (2, SIZE), np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        near = (bits[1].astype(np.float64) * rng.integers(1, 1 << 28, SIZE)).astype(np.float32)
    whole = rng.integers(-99, 99, (2, SIZE)).astype(np.float32)
    tiny = rng.integers(0, 1 << 24, (2, SIZE)).astype(np.uint32).view(np.float32)
    pairs = [bits, rng.standard_normal((2, SIZE)).astype(np.float32), (near, bits[1]),
             (np.nextafter(near, np.float32(0)), bits[1]), whole, tiny]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [SIZE]) for n in "aby"]
    graph = helper.make_graph([helper.make_node("Mod", ["a", "b"], ["y"], fmod=fmod)], "g", ports[:2], ports[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    for target in TARGETS:
        m = lepton.compile(model, target=target)
        for a, b in pairs:
            y = m.run([a, b])[0]
            with np.errstate(all="ignore"):
                want = (np.fmod if fmod else np.mod)(a, b)
            differ = (y.view(np.uint32) != want.view(np.uint32)) & ~(np.isnan(y) & np.isnan(want))
            assert not differ.any(), f"{a[differ][0]!r} modulo {b[differ][0]!r} is {y[differ][0]!r} on {target}"
    return f"exact on {len(pairs) * SIZE} pairs"


def try_op(op, mode):
    if op in REMAINDERS:
        return check_mod(REMAINDERS.index(op))
    if mode != "full":
        return check(op, {"quick": 4, "normal": 64}[mode])
    with tempfile.TemporaryDirectory() as folder:
        return check_all(op, folder)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("mode", nargs="?", default="normal", choices=["quick", "normal", "full"])
    p.add_argument("-k", metavar="TEXT", default="", help="only functions whose name holds this")
    args = p.parse_args()
    passed = failed = 0
    for op in (op for op in [*BOUNDS, *REMAINDERS] if args.k.lower() in op.lower()):
        started = time.monotonic()
        try:
            print(f"{op}: {try_op(op, args.mode)}, {time.monotonic() - started:.0f} s", flush=True)
            passed += 1
        except (AssertionError, subprocess.CalledProcessError) as e:
            failed += 1
            print(f"FAIL {op}: {e}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
