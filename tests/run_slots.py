#!/usr/bin/env python3
"""Concatenations without copies: each part is computed where it belongs.

usage: LCC=build/lcc tests/run_slots.py [quick|normal|full]

Networks of convolutions, maps, pools and concatenations along any axis, with odd sizes, nested, with parts that are read
elsewhere too, used twice, or the caller's, on every target this processor runs, with fixed and with free dims: against
numpy in f64, as they are and with --min-ram. Where all parts can be in place, no call is a concatenation. Last line: N passed, N failed, N skipped."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import lepton
from run_models import cpu_flags

MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
NEEDS = {"c": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
TARGETS = [t for t, flags in NEEDS.items() if flags <= cpu_flags()][-1 if MODE == "quick" else 0:]
TOLERANCE = 3e-6
RANDOM = {"quick": 1, "normal": 24, "full": 200}[MODE]
SIZE = 13


class Net:
    """A network being written, and what numpy says of each of its values."""

    def __init__(self, seed, channels, free=False):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights, self.free = [], [], free
        self.value = {}
        self.input = self.rng.standard_normal((2 if free else 1, channels, SIZE, SIZE)).astype(np.float32)
        self.value["x"] = self.input.astype(np.float64)

    def add(self, op, inputs, value, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        self.value[name] = value
        return name

    def constant(self, data):
        self.weights.append(numpy_helper.from_array(data, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def conv(self, x, channels, size):
        v, pad = self.value[x], size // 2
        w = (self.rng.standard_normal((channels, v.shape[1], size, size)) / (v.shape[1] * size)).astype(np.float32)
        b = self.rng.standard_normal(channels).astype(np.float32)
        p = np.pad(v, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        y = sum(np.einsum("nchw,mc->nmhw", p[:, :, r:r + v.shape[2], s:s + v.shape[3]], w[:, :, r, s].astype(float))
                for r in range(size) for s in range(size)) + b.reshape(1, -1, 1, 1)
        return self.add("Conv", [x, self.constant(w), self.constant(b)], y, pads=[pad] * 4)

    def relu(self, x):
        return self.add("Relu", [x], np.maximum(self.value[x], 0))

    def pool(self, x):
        v = np.pad(self.value[x], ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        h, w = self.value[x].shape[2:]
        y = np.max([v[:, :, r:r + h, s:s + w] for r in range(3) for s in range(3)], axis=0)
        return self.add("MaxPool", [x], y, kernel_shape=[3, 3], pads=[1] * 4)

    def concat(self, parts, axis=1):
        return self.add("Concat", parts, np.concatenate([self.value[p] for p in parts], axis), axis=axis)

    def model(self, out):
        def port(name, shape):
            dims = ["N", *shape[1:2], "H", "W"] if self.free and name == "x" else shape
            dims = [None] * 4 if self.free and name != "x" else dims
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        graph = helper.make_graph(self.nodes, "g", [port("x", self.input.shape)],
                                  [port(out, self.value[out].shape)], self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        onnx.checker.check_model(made)
        return made.SerializeToString()


def fire(free):
    n = Net(1, 8, free)
    s = n.relu(n.conv("x", 6, 1))
    return n, n.relu(n.conv(n.concat([n.relu(n.conv(s, 12, 1)), n.relu(n.conv(s, 20, 3))]), 8, 3))


def dense(free):
    n = Net(2, 8, free)
    x = n.relu(n.conv("x", 16, 3))
    for _ in range(3):
        x = n.concat([x, n.relu(n.conv(x, 12, 3))])
    return n, n.conv(x, 8, 1)


def pyramid(free):
    n = Net(3, 8, free)
    x = n.relu(n.conv("x", 8, 1))
    a = n.pool(x)
    b = n.pool(a)
    return n, n.conv(n.concat([x, a, b, n.pool(b)]), 16, 1)


def rows(free):
    n = Net(4, 8, free)
    a = n.relu(n.conv("x", 8, 3))
    return n, n.conv(n.concat([a, n.relu(n.conv(a, 8, 3))], 2), 8, 3)


def twice(free):
    n = Net(5, 8, free)
    a = n.relu(n.conv("x", 8, 3))
    return n, n.conv(n.concat([a, n.relu(n.conv(a, 9, 3)), a, "x"]), 8, 3)


def anything(seed):
    n = Net(seed, 8, free=seed % 3 == 0)
    values = ["x"]
    for _ in range(int(n.rng.integers(4, 12))):
        x = values[int(n.rng.integers(max(0, len(values) - 4), len(values)))]
        kind = n.rng.integers(6)
        same = [v for v in values if n.value[v].shape[2:] == n.value[x].shape[2:]]
        if kind == 0:
            y = n.pool(x)
        elif kind < 3:
            y = n.relu(n.conv(x, int(n.rng.integers(3, 20)), int(n.rng.choice([1, 3]))))
        else:
            axis = int(n.rng.choice([1, 1, 1, 2, 3]))
            like = [v for v in same if axis == 1 or n.value[v].shape[1] == n.value[x].shape[1]]
            parts = [like[int(i)] for i in n.rng.integers(0, len(like), int(n.rng.integers(1, 4)))]
            y = n.concat([x, *parts], 1 if n.free else axis)
            y = n.conv(y, int(n.rng.integers(3, 12)), 3) if kind == 5 else y
        values.append(y)
    return n, n.conv(values[-1], 8, 1)


def concat_calls(model, target):
    """Calls of kernels whose own op is a concatenation."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.onnx")
        with open(path, "wb") as f:
            f.write(model)
        said = subprocess.run([lepton.lcc_path(), path, f"--target={target}", "--stop-after=memory_plan"],
                              check=True, stdout=subprocess.PIPE).stdout.decode().split("\nentry")[1]
    return sum("_concat(" in line and "_conv_" not in line for line in said.splitlines())


def check(net, out, target, copies):
    model = net.model(out)
    got, = lepton.compile(model, target=target).run([net.input])
    want = net.value[out]
    error = np.abs(got - want).max() / max(1, np.abs(want).max())
    assert error <= TOLERANCE, f"{error:.1e} off numpy"
    small = lepton.compile(model, target=target, options=["--min-ram"])
    error = np.abs(small.run([net.input])[0] - want).max() / max(1, np.abs(want).max())
    assert error <= TOLERANCE, f"{error:.1e} off numpy with --min-ram"
    calls = concat_calls(model, target)
    assert copies is None or calls <= copies, f"{calls} copies"


def main():
    passed = failed = 0
    cases = [(f"{f.__name__}{' free' * free}", *f(free), copies) for free in (False, True)[:1 if MODE == "quick" else 2]
             for f, copies in ((fire, 0), (dense, 0), (pyramid, 3), (twice, 2), (rows, 1)) if not (free and f is rows)]
    cases += [(f"random {seed}", *anything(seed), None) for seed in range(100, 100 + RANDOM)]
    for name, net, out, copies in cases:
        for target in TARGETS:
            try:
                check(net, out, target, copies)
                passed += 1
            except Exception as e:  # noqa: BLE001
                failed += 1
                print(f"FAILED {name} {target}: {e}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
