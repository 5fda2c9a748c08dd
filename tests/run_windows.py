#!/usr/bin/env python3
"""Convolutions that become contractions: transposed ones without overlap, and 3x3 ones of images of free size.

usage: LCC=build/lcc tests/run_windows.py [quick|normal|full]

Random sizes, strides, groups, paddings and epilogues, fixed and free dims, weights as constants, on every target with
vectors that this processor runs: against onnxruntime. Where a rewrite must fire, the program after it shows that it did.
Last line: N passed, N failed, N skipped."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import lepton
from run_models import cpu_flags

MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
NEEDS = {"avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
TARGETS = [t for t, flags in NEEDS.items() if flags <= cpu_flags()]
RANDOM = {"quick": 3, "normal": 16, "full": 400}[MODE]
TOLERANCE = 1e-5  # of the largest output; F(4x4) reaches 7e-6


def model_of(op, x, w, after, free, **attributes):
    """y = after(op(x, w, b)); with free dims all of x but its channels are."""
    channels = w.shape[1 if op == "ConvTranspose" else 0] * (attributes["group"] if op == "ConvTranspose" else 1)
    bias = np.linspace(-1, 1, channels, dtype=np.float32)
    dims = ["N", x.shape[1], "H", "W"] if free else x.shape
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w", "b"], ["t"], **attributes), helper.make_node(after, ["t"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(bias, "b")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def transposed(rng, free):
    """The program holds the contraction of all phases (`t.acc.phases`) unless groups share the weights."""
    side = [int(rng.integers(1, 4)), int(rng.integers(2, 4))]
    group, out = int(rng.choice([1, 1, 2])), int(rng.integers(2, 20))
    x = rng.standard_normal((int(rng.integers(1, 3)), group * int(rng.integers(2, 9)), *rng.integers(2, 9, 2)))
    w = rng.standard_normal((x.shape[1], out, *side)).astype(np.float32)
    model = model_of("ConvTranspose", x, w, str(rng.choice(["Relu", "Sigmoid"])), free, strides=side, group=group)
    return model, x, ".phases f32" if group == 1 else None, "graph_phases", ()


def window(rng, free):
    """The program holds the tiles (`t.acc.in`)."""
    pads = [int(p) for p in rng.integers(0, 2, 4)]
    x = rng.standard_normal((int(rng.integers(1, 3)), int(rng.integers(2, 20)), *rng.integers(4, 14, 2)))
    w = rng.standard_normal((int(rng.integers(2, 40)), x.shape[1], 3, 3)).astype(np.float32)
    filter_name = str(rng.choice(["winograd2", "winograd4"]))
    model = model_of("Conv", x, w, "Relu", free, pads=pads)
    return model, x, ".in f32", "kernel_winograd", (f"--rule={filter_name}",)


def program_after(model, target, stop, options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.onnx")
        with open(path, "wb") as f:
            f.write(model)
        command = [lepton.lcc_path(), path, f"--target={target}", f"--stop-after={stop}", *options]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()


def check(model, x, mark, stop, options, target):
    want, = onnxruntime.InferenceSession(model).run(None, {"x": x})
    got, = lepton.compile(model, target=target, options=options).run([x])
    assert got.shape == want.shape, f"shape {got.shape}, {want.shape} expected"
    error = np.abs(got - want).max() / max(1, np.abs(want).max())
    assert error <= TOLERANCE, f"{error:.1e} off onnxruntime"
    assert mark is None or mark in program_after(model, target, stop, options), f"{stop} changed nothing"


def main():
    passed = failed = 0
    for seed in range(RANDOM):
        for kind in (transposed, window):
            model, x, *expected = kind(np.random.default_rng(seed), seed % 2 == 1)
            for target in TARGETS:
                try:
                    check(model, x.astype(np.float32), *expected, target)
                    passed += 1
                except Exception as e:  # noqa: BLE001
                    failed += 1
                    print(f"FAILED {kind.__name__} {seed} {target}: {e}")
    print(f"{passed} passed, {failed} failed, {0 if TARGETS else 1} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
