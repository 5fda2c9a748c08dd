#!/usr/bin/env python3
"""Products with weights by Strassen's multiplication: what two rows that meet in a sum do to each other.

usage: LCC=build/lcc tests/run_products.py [quick|normal|full]

Against products in f64: rows of very different size, each within 2e-5 of its own largest result; a row with an infinity
or NaN is not finite, as in onnxruntime, and no other row changes by it; rows of zeros are zeros. Columns of very
different size keep the direct product. On every target with vectors that this processor runs, the plain one too.
Last line: N passed, N failed, N skipped."""
import subprocess
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import lepton
from run_windows import program_after
from run_models import cpu_flags

MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
NEEDS = {"c": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
TARGETS = [t for t, flags in NEEDS.items() if flags <= cpu_flags()]
SHAPES = [(64, 256, 256), (7, 34, 38), (128, 512, 512)][:1 if MODE == "quick" else 3]  # the last one pays
TOLERANCE = 2e-5  # of a row's largest result
FORCED = ("--rule=strassen",)


def product(rows, w):
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, w.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, w.shape[1]])], [numpy_helper.from_array(w, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def rows_apart(run, x, w):
    x *= np.float32(10) ** np.random.default_rng(2).integers(-12, 13, (x.shape[0], 1))
    want = x.astype(np.float64) @ w
    error = (np.abs(run(x) - want).max(1) / np.abs(want).max(1)).max()
    assert error <= TOLERANCE, f"a row is {error:.1e} of its largest result away"


def rows_not_finite(run, x, w):
    clean = run(x)
    for row, value in ((2, np.inf), (3, np.nan), (len(x) - 1, -np.inf)):
        x[row, 5] = value
    got, bad = run(x), [2, 3, len(x) - 1]
    assert not np.isfinite(got[bad]).any(), "a row with an infinity or NaN has a finite result"
    good = np.delete(np.arange(len(x)), bad)
    assert np.abs(got[good] - clean[good]).max() <= TOLERANCE * np.abs(clean).max(), "it reaches another row"


def rows_empty(run, x, w):
    x[0] = 0
    x[1] *= np.float32(1e-39)
    got, want = run(x), x.astype(np.float64) @ w
    assert not got[0].any(), "a row of zeros has a result"
    assert np.abs(got[1] - want[1]).max() <= 1e-43 + 1e-4 * np.abs(want[1]).max(), "numbers below the normal ones"
    assert np.abs(got[2:] - want[2:]).max() <= TOLERANCE * np.abs(want).max(), "other rows"


def check(test, shape, target):
    rng = np.random.default_rng(1)
    m, k, n = shape
    x, w = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    model = product(m, w)
    assert ".scale" in program_after(model, target, "kernel_strassen", FORCED), "the product is direct"
    compiled = lepton.compile(model, target=target, options=FORCED)
    test(lambda rows: compiled.run([rows])[0], x, w)


def check_columns(target):
    """By default: columns alike are cut, columns apart and weights that are not finite are not; --strict never."""
    rng = np.random.default_rng(1)
    w = rng.standard_normal((768, 768)).astype(np.float32)
    apart, bad = w.copy(), w.copy()
    apart[:, 7] *= 1000
    bad[5, 5] = np.inf
    for weights, options, cut in ((w, (), True), (apart, (), False), (bad, (), False), (w, ("--strict",), False),
                                  (w, ("--weights-growth=1",), False)):
        program = program_after(product(128, weights), target, "kernel_strassen", options)
        assert (".scale" in program) == cut, f"{options}: {'direct' if cut else 'cut'}"


def main():
    jobs = [(f"{t.__name__} {shape} {target}", check, (t, shape, target)) for target in TARGETS
            for shape in SHAPES for t in (rows_apart, rows_not_finite, rows_empty)]
    jobs += [(f"columns {target}", check_columns, (target,)) for target in TARGETS if target != "c"]
    failed = 0
    for name, run, args in jobs:
        try:
            run(*args)
        except (AssertionError, lepton.CompileError, subprocess.CalledProcessError) as e:
            print(f"FAIL {name}: {e}")
            failed += 1
    print(f"{len(jobs) - failed} passed, {failed} failed, {len(NEEDS) - len(TARGETS)} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
