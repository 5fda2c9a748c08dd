#!/usr/bin/env python3
"""States in place (--state IN=OUT): step by step the same as the program without it.

usage: LCC=build/lcc tests/run_state.py [quick|normal|full]

Caches updated by ScatterND, ScatterElements and Where, caches that grow, averages, shift registers, gated recurrences, states that are read
after their update, swapped, handed through or shared by layers; on every target this processor runs. In one buffer and
in two, all outputs equal bit by bit. Where nothing has to be kept, no call copies. Messages of what can't be bound.
Last line: N passed, N failed, N skipped."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx

import lepton
from run_models import cpu_flags

MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
NEEDS = {"c": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
TARGETS = [t for t, flags in NEEDS.items() if flags <= cpu_flags()][:1 if MODE == "quick" else None]
STEPS = 5

# name: (graph, states, copies that may be left); a graph's inputs are states, or random at each step
CASES = {
    "scatter": ("""(float[16,8] past, int64[2,1] pos, float[2,8] row) => (float[16,8] present, float[8] y) {
        present = ScatterND(past, pos, row)  axis = Constant<value_ints = [0]>()
        y = ReduceSum<keepdims = 0>(present, axis) }""", {"past": "present"}, 0),
    "elements": ("""(float[16,8] past, int64[1,8] pos, float[1,8] row) => (float[16,8] present, float[1,8] y) {
        present = ScatterElements<axis = 0>(past, pos, row)  q = Identity(row)  t = Transpose(present)
        s = MatMul(q, t)  w = Softmax(s)  y = MatMul(w, present) }""", {"past": "present"}, 0),
    "where": ("""(float[4,16,8] past, bool[16,1] here, float[4,1,8] row) => (float[4,16,8] present, float[4,1,16] y) {
        present = Where(here, row, past)  t = Transpose<perm = [0, 2, 1]>(present)  y = MatMul(row, t) }""",
              {"past": "present"}, 0),
    "average": ("""(float[33] s, float[33] x) => (float[33] y, float[33] n) {
        h = Constant<value_float = 0.5>()  a = Mul(s, h)  n = Add(a, x)  y = Relu(n) }""", {"s": "n"}, 0),
    "shift": ("""(float[40] s, float[3] x) => (float[40] n, float[40] y) {
        a = Constant<value_ints = [3]>()  b = Constant<value_ints = [40]>()  t = Slice(s, a, b)
        n = Concat<axis = 0>(t, x)  y = Sigmoid(s) }""", {"s": "n"}, 1),
    "read late": ("""(float[24] s, float[24] x) => (float[24] n, float[24] y) {
        a = Add(s, x)  n = Tanh(a)  e = Exp(n)  y = Sub(e, s) }""", {"s": "n"}, 1),
    "recurrence": ("""(float[1,24] h, float[1,8] x, float[24,24] w, float[8,24] u) => (float[1,24] n, float[1,24] y) {
        a = MatMul(h, w)  b = MatMul(x, u)  c = Add(a, b)  n = Tanh(c)  y = Mul(n, n) }""", {"h": "n"}, 1),
    "swap": ("""(float[20] a, float[20] b, float[20] x) => (float[20] p, float[20] q) {
        p = Add(b, x)  q = Mul(a, x) }""", {"a": "p", "b": "q"}, 2),
    "through": ("""(float[20] a, float[20] x) => (float[20] p, float[20] y) {
        p = Identity(a)  y = Add(a, x) }""", {"a": "p"}, 0),
    "layers": ("""(float[16,8] k, float[16,8] v, int64[1,1] pos, float[1,8] x)
        => (float[16,8] m, float[16,8] n, float[1,8] y) {
        a = Neg(x)  m = ScatterND(k, pos, x)  n = ScatterND(v, pos, a)  t = Transpose(m)  s = MatMul(x, t)
        w = Softmax(s)  y = MatMul(w, n) }""", {"k": "m", "v": "n"}, 0),
    "one of two": ("""(float[32] a, float[32] b, float[32] x) => (float[32] p, float[32] q, float[32] y) {
        p = Sub(a, x)  q = Sub(b, x)  y = Mul(p, q) }""", {"a": "p"}, 1),
    "gated": ("""(float[3,20] h, float[3,20] x) => (float[3,20] n, float[3,20] y) {
        g = Sigmoid(x)  d = Sub(x, h)  e = Mul(g, d)  n = Add(h, e)  y = Softmax(n) }""", {"h": "n"}, 0),
    "free": ("""(float[N,8] h, float[N,8] x) => (float[N,8] n, float[N,8] y) {
        g = Sigmoid(x)  e = Mul(g, h)  n = Add(e, x)  y = Relu(n) }""", {"h": "n"}, 0),
    "rows": ("""(float[N,8] past, float[1,8] row) => (float[M,8] present, float[1,8] y) {
        present = Concat<axis = 0>(past, row)  t = Transpose(present)  s = MatMul(row, t)
        w = Softmax(s)  y = MatMul(w, present) }""", {"past": "present"}, 0),
    "rows of one": ("""(float[1,N,4] past, float[1,2,4] row) => (float[1,M,4] present, float[1,M,4] y) {
        present = Concat<axis = 1>(past, row)  y = Relu(present) }""", {"past": "present"}, 0),
    "loop": ("""(float[6] h, float[6] x, int64 times) => (float[6] n) {
        t = Cast<to = 9>(times)
        n = Loop(times, t, h) <body = g (int64 i, bool go, float[6] a) => (bool on, float[6] b) {
            on = Identity(go)  c = Add(a, x)  b = Tanh(c) }> }""", {"h": "n"}, 1),
}
HEADS = """(float[1,4,N,8] past, float[1,4,1,8] row) => (float[1,4,M,8] present) {
    present = Concat<axis = 2>(past, row) }"""
WRONG = [
    ("average", ["--state", "s"], "expected INPUT=OUTPUT"),
    ("average", ["--state", "z=n"], "the model has no input 'z'"),
    ("average", ["--state", "s=z"], "the model has no output 'z'"),
    ("average", ["--state", "s=n", "--state", "x=n"], "one of them is bound already"),
    ("scatter", ["--state", "past=y"], "'past' is f32[16,8], 'y' is f32[8]"),
    ("heads", ["--state", "past=present"], "or grows along its first dimension over 1"),
]


def model_of(text):
    made = onnx.parser.parse_model('<ir_version: 9, opset_import: ["": 18]> g ' + text)
    onnx.checker.check_model(made)
    return made


def value_of(rng, port, free):
    shape = [d.dim_value or free for d in port.type.tensor_type.shape.dim]
    kind = port.type.tensor_type.elem_type
    if kind == onnx.TensorProto.INT64:
        return rng.permutation(16)[:int(np.prod(shape))].reshape(shape).astype(np.int64) if shape else np.int64(3)
    if kind == onnx.TensorProto.BOOL:
        return rng.integers(0, 4, shape) == 0
    return rng.standard_normal(shape).astype(np.float32)


def lcc(model, options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.onnx")
        onnx.save(model, path)
        return subprocess.run([lepton.lcc_path(), path, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False)


def check(name, target, one_buffer):
    text, states, copies = CASES[name]
    model = model_of(text)
    options = [f"--state={a}={b}" for a, b in states.items()]
    plain, bound = lepton.compile(model.SerializeToString(), target=target), lepton.compile(
        model.SerializeToString(), target=target, options=options)
    rng = np.random.default_rng(3)
    outs = [o.name for o in model.graph.output]
    held = {p.name: value_of(rng, p, 7) for p in model.graph.input if p.name in states}
    grows = name.startswith("rows")  # a buffer with room for the rows of all steps
    mine = {n: v.copy() for n, v in held.items()}
    if grows:
        whole = np.empty((*held["past"].shape[:-2], 40, held["past"].shape[-1]), np.float32)
        mine["past"] = whole[..., :7, :]
        mine["past"][:] = held["past"]
    for step in range(STEPS):
        fresh = {p.name: value_of(rng, p, 7) for p in model.graph.input if p.name not in states}
        want = dict(zip(outs, plain.run({**held, **fresh})))
        room = {states[n]: v for n, v in mine.items()} if one_buffer else {}
        if one_buffer and grows:
            room["present"] = whole[..., :want["present"].shape[-2], :]
        got = dict(zip(outs, bound.run({**mine, **fresh}, out=[room.get(n, np.empty_like(want[n])) for n in outs])))
        for n in outs:
            assert np.array_equal(got[n], want[n]), f"step {step}: {n} differs"
        held = {n: want[o] for n, o in states.items()}
        mine = {n: got[o] for n, o in states.items()}
    said = lcc(model, [f"--target={target}", "--stop-after=memory_plan", *options])
    calls = said.stdout.decode().split("\nentry")[1].count("_copy(")
    assert calls <= copies, f"{calls} copies"


def check_api(name):
    text, states, _ = CASES[name]
    said = lcc(model_of(text), ["-o", "-", *(f"--state={a}={b}" for a, b in states.items())])
    line = [s for s in said.stdout.decode().splitlines() if s.startswith("int ") and "_run(" in s][0]
    for a, b in states.items():
        assert f"before: {a}" in line and f"const float *{a} " not in line, f"{b}: {line}"


def check_wrong(name, options, message):
    said = lcc(model_of(HEADS if name == "heads" else CASES[name][0]), ["-o", "-", *options])
    assert said.returncode == 2 and message in said.stderr.decode(), f"{said.returncode} {said.stderr.decode()}"


def main():
    jobs = [(f"{name} {target}{' one buffer' * one}", check, (name, target, one))
            for name in CASES for target in TARGETS for one in (True, False)]
    jobs += [(f"{name} api", check_api, (name,)) for name in CASES]
    jobs += [(" ".join(w[1]), check_wrong, w) for w in WRONG]
    failed = 0
    for name, job, args in jobs:
        try:
            job(*args)
        except Exception as e:  # noqa: BLE001
            failed += 1
            print(f"FAILED {name}: {e}")
    print(f"{len(jobs) - failed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
