#!/usr/bin/env python3
"""Random operators: their bits are lcc's own, so what is tested is the distribution, the type, the shape.

usage: LCC=build/lcc tests/run_random.py [quick|normal|full]

No oracle can give the numbers themselves: ONNX names the distribution only. (The official suite's
bernoulli cases store one draw of NumPy's generator; tests/official/status.txt says so.) Every model also
has to give the same bits twice and on each target, and others with another seed.
Last line: N passed, N failed."""
import sys

import numpy as np
from onnx.parser import parse_model

import lepton

MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
N = 40000
SIGMAS = 5.0  # a fair generator fails one check of 10^6; the seeds are fixed
CASES = []


def case(name, text, inputs, dtype, fits):
    """text holds SEED where an attribute `seed` may stand; fits(y) -> None or what is wrong."""
    CASES.append((name, text, inputs, dtype, fits))


def moments(mean, std, low=-np.inf, high=np.inf, kurtosis=None):
    def fits(y):
        y = y.astype(np.float64)
        if y.min() < low or y.max() >= high:
            return f"values from {y.min()} to {y.max()}"
        if abs(y.mean() - mean) > SIGMAS * std / np.sqrt(y.size):
            return f"mean {y.mean()} instead of {mean}"
        if abs(y.std() / std - 1) > SIGMAS * np.sqrt(0.5 / y.size):
            return f"deviation {y.std()} instead of {std}"
        centred = (y - y.mean()) / y.std()
        if kurtosis and abs((centred ** 4).mean() - kurtosis) > 0.25:
            return f"kurtosis {(centred ** 4).mean()} instead of {kurtosis}"
        neighbours = (centred[:-1] * centred[1:]).mean()
        if abs(neighbours) > SIGMAS / np.sqrt(y.size):
            return f"neighbours are correlated: {neighbours}"
        return None
    return fits


def coins(p):
    def fits(y):
        y = y.astype(np.float64)
        if not np.isin(y, (0, 1)).all():
            return "values beside 0 and 1"
        wrong = np.abs(y.mean(axis=1) - p) > SIGMAS * np.sqrt(p * (1 - p) / y.shape[1])
        return f"rows {np.flatnonzero(wrong)} do not have their share of ones" if wrong.any() else None
    return fits


def shares(p):
    def fits(y):
        for row, want in zip(y, p):
            seen = np.bincount(row, minlength=len(want)) / row.size
            if len(seen) > len(want) or (np.abs(seen - want) > SIGMAS * np.sqrt(want / row.size)).any():
                return f"shares {seen} instead of {want}"
        return None
    return fits


P = np.array([0, 0.01, 0.25, 0.5, 0.9, 1], np.float32)
for kind, onnx_type, dtype in (("float", 1, np.float32), ("double", 11, np.float64),
                               ("int32", 6, np.int32), ("bool", 9, np.bool_)):
    case(f"Bernoulli, {kind}",
         f"g (float[6,{N}] p) => ({kind}[6,{N}] y) {{ y = Bernoulli <dtype = {onnx_type}SEED> (p) }}",
         [np.repeat(P[:, None], N, 1)], dtype, coins(P))
case("RandomUniform", f"g () => (float[{N}] y) {{ y = RandomUniform <low = -2.0, high = 6.0, shape = [{N}]SEED> () }}",
     [], np.float32, moments(2, 8 / np.sqrt(12), -2, 6, 1.8))
case("RandomUniformLike", f"g (double[{N}] x) => (double[{N}] y) {{ y = RandomUniformLike <high = 1.0SEED> (x) }}",
     [np.zeros(N)], np.float64, moments(0.5, 1 / np.sqrt(12), 0, 1, 1.8))
case("RandomNormal", f"g () => (float[{N}] y) {{ y = RandomNormal <mean = 3.0, scale = 0.5, shape = [{N}]SEED> () }}",
     [], np.float32, moments(3, 0.5, kurtosis=3))
case("RandomNormalLike", f"g (float[{N}] x) => (float[{N}] y) {{ y = RandomNormalLike <scale = 2.0SEED> (x) }}",
     [np.zeros(N, np.float32)], np.float32, moments(0, 2, kurtosis=3))
ODDS = np.array([[0.1, 0.2, 0.3, 0.4], [0.97, 0.01, 0.01, 0.01]], np.float32)
case("Multinomial",
     f"g (float[2,4] x) => (int32[2,{N}] y) {{ y = Multinomial <dtype = 6, sample_size = {N}SEED> (x) }}",
     [np.log(ODDS)], np.int32, shares(ODDS))


def compiled(text, seed, target):
    text = text.replace("SEED", f", seed = {seed:.1f}" if seed is not None else "")
    return lepton.compile(parse_model(f'<ir_version: 8, opset_import: ["" : 18]>\n{text}').SerializeToString(),
                          target=target)


def check(text, inputs, dtype, fits, targets):
    first = None
    for target in targets:
        m = compiled(text, 7, target)
        y, again = m.run(inputs)[0], m.run(inputs)[0]
        if y.dtype != dtype:
            return f"{target}: {y.dtype} instead of {np.dtype(dtype)}"
        wrong = fits(y)
        if wrong:
            return f"{target}: {wrong}"
        first = y if first is None else first
        if not np.array_equal(y, again) or not np.array_equal(y, first):
            return f"{target}: other bits than before"
    other, free = compiled(text, 8, targets[0]).run(inputs)[0], compiled(text, None, targets[0]).run(inputs)[0]
    if np.array_equal(first, other):
        return "another seed gives the same bits"
    return fits(free)


def main():
    passed = failed = 0
    for name, text, inputs, dtype, fits in CASES:
        try:
            wrong = check(text, inputs, dtype, fits, ["c"] if MODE == "quick" else ["c", "native"])
        except Exception as e:  # a failure to compile or run fails the case
            wrong = f"{type(e).__name__}: {e}"
        if wrong:
            print(f"FAIL {name}: {wrong}")
        failed += wrong is not None
        passed += wrong is None
    print(f"{passed} passed, {failed} failed")
    return failed > 0


sys.exit(main())
