#!/usr/bin/env python3
"""Attention as one kernel: two contractions and the softmax between them, by blocks of rows.

usage: LCC=build/lcc tests/run_attention.py [quick|normal|full]

Every form (MatMul, Softmax, MatMul as torch exports it; the Attention op; with and without a mask, causal,
grouped heads, lengths that are no multiple of anything) on every target this processor runs: against numpy in
f64; against the same model with the contractions in kernels of their own (--rule=tile), bit by bit; the kernels
and the arena are counted; against onnxruntime where it is installed. Last line: N passed, N failed, N skipped."""
import json
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
TARGETS = [t for t, flags in NEEDS.items() if flags <= cpu_flags()]
TOLERANCE = 3e-6
# batch, query heads, key heads, queries, keys, size of a key, of a value
SHAPES = [(1, 2, 2, 32, 48, 32, 32), (2, 3, 3, 19, 37, 20, 21), (1, 1, 1, 5, 16, 16, 16)]
LARGER = [(1, 12, 12, 128, 128, 64, 64), (1, 3, 3, 197, 197, 64, 64), (2, 2, 2, 64, 200, 40, 72)]
GROUPED = [(1, 4, 2, 24, 40, 16, 32)]


class Case:
    """A model, its inputs and what numpy says of them."""

    def __init__(self, shape, mask=None, form="torch", causal=False):
        b, h, g, length, keys, size, width = shape
        rng = np.random.default_rng(sum(shape))
        self.name = f"{form} {'x'.join(map(str, shape))} {mask or 'no mask'}{' causal' * causal}"
        self.keys = keys
        self.inputs = [rng.standard_normal(s).astype(np.float32)
                       for s in ((b, h, length, size), (b, g, keys, size), (b, g, keys, width))]
        q, k, v = (x.astype(np.float64) for x in self.inputs)
        score = np.einsum("bhid,bhjd->bhij", q, np.repeat(k, h // g, 1)) / np.sqrt(size)
        m = None
        if mask == "padding":
            m = np.where(np.arange(keys) < keys - 3, 0, -1e4).astype(np.float32).reshape(1, 1, 1, keys)
            m = np.broadcast_to(m, (b, 1, 1, keys)).copy()
        elif mask == "float":
            m = rng.standard_normal((b, 1, length, keys)).astype(np.float32)
        elif mask == "bool":
            m = rng.random((1, 1, length, keys)) < 0.7
            m[..., 0] = True
        if m is not None:
            self.inputs.append(m)
            score = np.where(m, score, -np.inf) if m.dtype == bool else score + m
        if causal:
            score = np.where(np.tril(np.ones((length, keys), bool)), score, -np.inf)
        p = np.exp(score - score.max(-1, keepdims=True))
        self.want = np.einsum("bhij,bhje->bhie", p / p.sum(-1, keepdims=True), np.repeat(v, h // g, 1))
        self.model = (self.torch_form if form == "torch" else self.op_form)(size, causal)

    def save(self, nodes, constants, opset):
        names = ["q", "k", "v", "mask"][:len(self.inputs)]
        ports = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
                 for n, x in zip(names, self.inputs)]
        out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, self.want.shape)]
        graph = helper.make_graph(nodes, "g", ports, out, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        onnx.checker.check_model(model)
        return model.SerializeToString()

    def torch_form(self, size, _causal):
        scale = numpy_helper.from_array(np.float32(size ** -0.25), "scale")
        nodes = [helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
                 helper.make_node("Mul", ["q", "scale"], ["qs"]),
                 helper.make_node("Mul", ["kt", "scale"], ["ks"]),
                 helper.make_node("MatMul", ["qs", "ks"], ["s"])]
        score = "s"
        if len(self.inputs) > 3:
            nodes.append(helper.make_node("Add", ["s", "mask"], ["sm"]))
            score = "sm"
        nodes += [helper.make_node("Softmax", [score], ["p"], axis=-1),
                  helper.make_node("MatMul", ["p", "v"], ["y"])]
        return self.save(nodes, [scale], 17)

    def op_form(self, _size, causal):
        names = ["q", "k", "v", "mask"][:len(self.inputs)]
        return self.save([helper.make_node("Attention", names, ["y"], is_causal=int(causal))], [], 23)


def cases():
    shapes = SHAPES[1:2] if MODE == "quick" else SHAPES + LARGER
    for shape in shapes:
        for mask in (None, "padding", "float"):
            yield Case(shape, mask)
        for mask in (None, "bool", "float"):
            yield Case(shape, mask, "op")
        yield Case(shape, None, "op", causal=True)
    for shape in GROUPED:
        yield Case(shape, None, "op")


def summary(case, target, options=()):
    """What lcc says of the model: kernels, bytes of the arena."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.onnx")
        with open(path, "wb") as f:
            f.write(case.model)
        said = subprocess.run([lepton.lcc_path(), path, f"--target={target}", "--json", "-q", *options,
                               "-o", os.path.join(folder, "m.c")], check=True, stdout=subprocess.PIPE)
        return json.loads(said.stdout)


def bits(y):
    return y.view(np.uint32)


def check(case, target):
    got, = lepton.compile(case.model, target=target).run(case.inputs)
    error = np.abs(got - case.want).max()
    assert error <= TOLERANCE * max(1, np.abs(case.want).max()), f"{error:.1e} off numpy"
    told = summary(case, target)
    assert told["kernels"] == 1, f"{told['kernels']} kernels"
    if target != "c":
        check_online(case, target)
    if target == "c" or "torch" not in case.name:
        return error
    apart, = lepton.compile(case.model, target=target, options=["--rule=tile"]).run(case.inputs)
    assert summary(case, target, ["--rule=tile"])["kernels"] > 1, "--rule=tile is one kernel, too"
    assert np.array_equal(bits(got), bits(apart)), \
        f"{np.count_nonzero(bits(got) != bits(apart))} of {got.size} differ from separate kernels"
    return error


def check_online(case, target):
    """Columns in blocks, put together afterwards."""
    got, = lepton.compile(case.model, target=target, options=["--rule=online"]).run(case.inputs)
    error = np.abs(got - case.want).max()
    assert error <= TOLERANCE * max(1, np.abs(case.want).max()), f"online: {error:.1e} off numpy"
    if case.keys % 32 == 0:
        assert summary(case, target, ["--rule=online"])["kernels"] > 1, "--rule=online changes nothing"


def check_masked():
    """A row that is masked entirely is NaN, a block of columns that is counts for nothing."""
    case = Case((1, 1, 1, 8, 64, 16, 16), "bool", "op")
    case.inputs[3][..., 0, :] = False
    case.inputs[3][..., 1, :40] = False
    plain, = lepton.compile(case.model, target=TARGETS[-1]).run(case.inputs)
    online, = lepton.compile(case.model, target=TARGETS[-1], options=["--rule=online"]).run(case.inputs)
    assert np.isnan(plain[0, 0, 0]).all() and np.isnan(online[0, 0, 0]).all(), "a masked row is a number"
    assert np.abs(plain - online)[0, 0, 1:].max() <= TOLERANCE, "online differs where not masked"


def check_long():
    """Too long for one block of rows: in blocks without being asked, the scores never whole."""
    case = Case((1, 1, 1, 32, 4096, 16, 16), None, "op")
    for target in TARGETS[1:]:
        told = summary(case, target)
        assert told["arena_bytes"] < 32 * 4096 * 4, f"arena of {told['arena_bytes']} bytes"
        got, = lepton.compile(case.model, target=target).run(case.inputs)
        assert np.abs(got - case.want).max() <= TOLERANCE, "off numpy"


def check_ort(case, session):
    want, = session(case.model).run(None, dict(zip(["q", "k", "v", "mask"], case.inputs)))
    got, = lepton.compile(case.model, target=TARGETS[-1]).run(case.inputs)
    error = np.abs(got - want).max()
    assert error <= TOLERANCE * max(1, np.abs(want).max()), f"{error:.1e} off onnxruntime"
    return error


def main():
    passed = failed = skipped = 0
    try:
        import onnxruntime

        def session(model):
            return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    except ImportError:
        session = None
    for case in cases():
        for target in (TARGETS[-1:] if MODE == "quick" else TARGETS) + ["onnxruntime"]:
            if target == "onnxruntime" and not session:
                skipped += 1
                continue
            try:
                error = check_ort(case, session) if target == "onnxruntime" else check(case, target)
                passed += 1
                if MODE == "full":
                    print(f"passed {target} {case.name}: {error:.1e}")
            except (AssertionError, lepton.CompileError) as e:
                failed += 1
                print(f"FAIL {target} {case.name}: {e}")
    for special in (check_masked, check_long):
        try:
            special()
            passed += 1
        except (AssertionError, lepton.CompileError) as e:
            failed += 1
            print(f"FAIL {special.__name__}: {e}")
    if not session:
        print("skipped: against onnxruntime, which is not installed")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
