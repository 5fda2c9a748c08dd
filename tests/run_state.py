#!/usr/bin/env python3
"""States in place (--state IN=OUT): step by step the same as the program without it.

usage: LCC=build/lcc tests/run_state.py [quick|normal|full]

Caches updated by ScatterND, ScatterElements and Where, caches that grow, averages, shift registers, gated recurrences, states that are read
after their update, swapped, handed through or shared by layers; on every target this processor runs. In one buffer and
in two, all outputs equal bit by bit. Where nothing has to be kept, no call copies. Messages of what can't be bound.
Last line: N passed, N failed, N skipped."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

import lepton
from run_models import cpu_flags

MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
NEEDS = {"c": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
TARGETS = [t for t, flags in NEEDS.items() if flags <= cpu_flags()][:1 if MODE == "quick" else None]
STEPS, FIRST = 5, 7  # rows before the first step
ROWS = 40            # that the caches of heads have room for

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
    "update, read late": ("""(float[16,8] past, int64[2,1] pos, float[2,8] row) => (float[16,8] present, float[8] y) {
        present = ScatterND(past, pos, row)  axis = Constant<value_ints = [0]>()  a = Sum(present)
        s = ReduceSum<keepdims = 0>(a, axis)  d = Sub(past, s)  y = ReduceSum<keepdims = 0>(d, axis) }""",
                          {"past": "present"}, 2),
    "rows, read late": ("""(float[N,8] past, float[1,8] row) => (float[M,8] present, float[N,8] y) {
        present = Concat<axis = 0>(past, row)  a = Constant<value_ints = [0]>()
        s = ReduceSum(present, a)  y = Sub(past, s) }""", {"past": "present"}, 2),
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
    "attention": ("""(float[1,4,1,8] q, float[1,4,1,8] k, float[1,4,1,8] v, float[1,4,16,8] past, float[1,4,16,8] pv,
        int64[1] at) => (float[1,4,16,8] present, float[1,4,16,8] nv, float[1,4,1,8] y) {
        present = TensorScatter(past, k, at)  nv = TensorScatter(pv, v, at)  one = Constant<value_ints = [1]>()
        n = Add(at, one)  y = Attention(q, present, nv, , , , n) }""", {"past": "present", "pv": "nv"}, 0),
    "free": ("""(float[N,8] h, float[N,8] x) => (float[N,8] n, float[N,8] y) {
        g = Sigmoid(x)  e = Mul(g, h)  n = Add(e, x)  y = Relu(n) }""", {"h": "n"}, 0),
    "rows": ("""(float[N,8] past, float[1,8] row) => (float[M,8] present, float[1,8] y) {
        present = Concat<axis = 0>(past, row)  t = Transpose(present)  s = MatMul(row, t)
        w = Softmax(s)  y = MatMul(w, present) }""", {"past": "present"}, 0),
    "rows of one": ("""(float[1,N,4] past, float[1,2,4] row) => (float[1,M,4] present, float[1,M,4] y) {
        present = Concat<axis = 1>(past, row)  y = Relu(present) }""", {"past": "present"}, 0),
    "heads": ("""(float[2,4,N,8] past, float[2,4,1,8] row) => (float[2,4,M,8] present, float[2,4,1,8] y) {
        present = Concat<axis = 2>(past, row)  t = Transpose<perm = [0, 1, 3, 2]>(present)  s = MatMul(row, t)
        w = Softmax(s)  y = MatMul(w, present) }""", {"past": "present"}, 0),
    "heads, two rows": ("""(float[B,3,N,16] past, float[B,3,2,16] row) => (float[B,3,M,16] present, float[B,3,M,16] y) {
        present = Concat<axis = 2>(past, row)  y = Relu(present) }""", {"past": "present"}, 0),
    "heads, layers": ("""(float[1,4,N,24] k, float[1,4,N,24] v, float[1,1,96] x)
        => (float[1,4,M,24] m, float[1,4,M,24] n, float[1,1,96] y) {
        to = Constant<value_ints = [1, 1, 4, 24]>()  q = Reshape(x, to)  r = Transpose<perm = [0, 2, 1, 3]>(q)
        a = Neg(r)  m = Concat<axis = 2>(k, a)  n = Concat<axis = 2>(v, r)  t = Transpose<perm = [0, 1, 3, 2]>(m)
        s = MatMul(r, t)  w = Softmax(s)  o = MatMul(w, n)  p = Transpose<perm = [0, 2, 1, 3]>(o)
        back = Constant<value_ints = [1, 1, 96]>()  y = Reshape(p, back) }""", {"k": "m", "v": "n"}, 0),
    "heads, attention": ("""(float[1,4,1,8] q, float[1,4,1,8] k, float[1,4,1,8] v, float[1,4,N,8] past, float[1,4,N,8] pv)
        => (float[1,4,1,8] y, float[1,4,M,8] present, float[1,4,M,8] nv) {
        y, present, nv = Attention(q, k, v, , past, pv) }""", {"past": "present", "pv": "nv"}, 0),
    "heads, columns": ("""(float[3,5,N] past, float[3,5,1] row) => (float[3,5,M] present, float[3,5] y) {
        present = Concat<axis = 2>(past, row)  a = Constant<value_ints = [2]>()
        y = ReduceSum<keepdims = 0>(present, a) }""", {"past": "present"}, 1),  # with zeros behind, for vectors
    "heads, changed": ("""(float[2,4,N,8] past, float[2,4,1,8] row) => (float[2,4,M,8] present, float[2,4,M,8] y) {
        a = Neg(past)  present = Concat<axis = 2>(a, row)  y = Exp(present) }""", {"past": "present"}, 1),
    "heads, read late": ("""(float[2,4,N,8] past, float[2,4,1,8] row) => (float[2,4,M,8] present, float[2,4,N,8] y) {
        present = Concat<axis = 2>(past, row)  a = Constant<value_ints = [2]>()
        s = ReduceSum(present, a)  y = Sub(past, s) }""", {"past": "present"}, 2),
    "heads, fixed": ("""(float[1,4,7,8] past, float[1,4,1,8] row) => (float[1,4,8,8] present, float[1,4,1,8] y) {
        present = Concat<axis = 2>(past, row)  t = Transpose<perm = [0, 1, 3, 2]>(present)  s = MatMul(row, t)
        y = MatMul(s, present) }""", {"past": "present"}, 0),
    "loop": ("""(float[6] h, float[6] x, int64 times) => (float[6] n) {
        t = Cast<to = 9>(times)
        n = Loop(times, t, h) <body = g (int64 i, bool go, float[6] a) => (bool on, float[6] b) {
            on = Identity(go)  c = Add(a, x)  b = Tanh(c) }> }""", {"h": "n"}, 1),
}
REFUSED = {
    "free heads": """(float[1,4,N,8] past, float[1,4,1,8] row) => (float[1,4,M,8] present) {
        present = Concat<axis = 2>(past, row) }""",
    "whole heads": """(float[1,4,N,8] past, float[1,4,1,8] row) => (float[1,4,M,8] present, int64[P] y) {
        present = Concat<axis = 2>(past, row)  u, y = Unique(present) }""",
}
WRONG = [
    ("average", ["--state", "s"], "expected INPUT=OUTPUT"),
    ("average", ["--state", "z=n"], "the model has no input 'z'"),
    ("average", ["--state", "s=z"], "the model has no output 'z'"),
    ("average", ["--state", "s=n", "--state", "x=n"], "one of them is bound already"),
    ("average", ["--state", "auto"], "no output is an input with new rows behind it"),
    ("free heads", ["--state", "auto"], "bounds an extent"),
    ("free heads", ["--state", "auto", "--dim=N=0..2000000000"], "its largest extent there must be known"),
    ("whole heads", ["--state", "past=present", "--dim=N=0..9"], "a function that takes whole tensors uses it"),
    ("scatter", ["--state", "past=y"], "'past' is f32[16,8], 'y' is f32[8]"),
    ("free heads", ["--state", "past=present"], "its largest extent there must be known"),
]


def model_of(text):
    opset = 24 if "Attention" in text else 18
    made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> g ' + text)
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


def options_of(name, states):
    """What lcc is told: a cache with heads in front of its rows needs to know how many they may be."""
    new = 2 if "two rows" in name else 1
    bound = [f"--dim=N=0..{ROWS - new}"] if name.startswith("heads") and "fixed" not in name else []
    return [*(f"--state={a}={b}" for a, b in states.items()), *bound]


class Caches:
    """The states that grow, in buffers with room for the rows of all steps."""

    def __init__(self, held, axis):
        self.axis, self.whole = axis, {}
        for name, past in held.items():
            shape = list(past.shape)
            shape[axis] = ROWS
            self.whole[name] = np.full(shape, np.nan, np.float32)
            self.rows(name, past.shape[axis])[...] = past

    def rows(self, name, count):
        return self.whole[name][(slice(None),) * self.axis + (slice(count),)]


def axis_of(model, states):
    """Along which the states grow; None: they do not."""
    ports = {p.name: [d.dim_value or d.dim_param for d in p.type.tensor_type.shape.dim]
             for p in [*model.graph.input, *model.graph.output]}
    a, b = next(iter(states.items()))
    return next((i for i, (x, y) in enumerate(zip(ports[a], ports[b])) if x != y), None)


def check(name, target, one_buffer, threads=1):
    text, states, copies = CASES[name]
    model = model_of(text)
    options, axis = options_of(name, states), axis_of(model, states)
    plain, bound = lepton.compile(model.SerializeToString(), target=target), lepton.compile(
        model.SerializeToString(), target=target, options=options, threads=threads)
    rng = np.random.default_rng(3)
    outs = [o.name for o in model.graph.output]
    held = {p.name: value_of(rng, p, FIRST) for p in model.graph.input if p.name in states}
    caches = Caches(held, axis) if axis is not None and one_buffer else None
    mine = {n: caches.rows(n, FIRST) if caches else v.copy() for n, v in held.items()}
    for step in range(1 if "fixed" in name else STEPS):
        fresh = {p.name: value_of(rng, p, FIRST) for p in model.graph.input if p.name not in states}
        want = dict(zip(outs, plain.run({**held, **fresh})))
        room = {states[n]: caches.rows(n, want[states[n]].shape[axis]) if caches else v
                for n, v in mine.items()} if one_buffer else {}
        got = dict(zip(outs, bound.run({**mine, **fresh}, out=[room.get(n, np.empty_like(want[n])) for n in outs])))
        for n in outs:
            assert np.array_equal(got[n], want[n]), f"step {step}: {n} differs"
        assert all(got[n] is v for n, v in room.items()), "not in place"
        held = {n: want[o] for n, o in states.items()}
        mine = {n: got[o] for n, o in states.items()}
    said = lcc(model, [f"--target={target}", "--stop-after=memory_plan", *options])
    calls = said.stdout.decode().split("\nentry")[1].count("_copy(")
    assert calls <= copies, f"{calls} copies"


def check_api(name):
    text, states, _ = CASES[name]
    said = lcc(model_of(text), ["-o", "-", *options_of(name, states)])
    line = [s for s in said.stdout.decode().splitlines() if s.startswith("int ") and "_run(" in s][0]
    for a, b in states.items():
        assert f"before: {a}" in line and f"const float *{a} " not in line, f"{b}: {line}"


def check_wrong(name, options, message):
    said = lcc(model_of(REFUSED.get(name) or CASES[name][0]), ["-o", "-", *options])
    assert said.returncode == 2 and message in said.stderr.decode(), f"{said.returncode} {said.stderr.decode()}"


# A caller in C: one buffer a cache, all its rows, and one call too many.
CALLER = """#include <stdio.h>
#include <stdlib.h>
#include "m.h"
int main(void) {
    float x[96], y[96], *m = malloc(4 * M_M_ROWS * 24 * sizeof *m), *n = malloc(4 * M_N_ROWS * 24 * sizeof *n);
    m_dims dims = {M_M_ROWS - 1};
    void *arena = aligned_alloc(64, (m_arena_bytes(&dims) + 63) / 64 * 64);
    int code = 0;
    for (dims.N = 0; !code && fread(x, sizeof x, 1, stdin) == 1; dims.N++) {
        code = m_run(&dims, x, m, n, y, arena);
        if (!code)
            fwrite(y, sizeof y, 1, stdout);
    }
    free(m);
    free(n);
    free(arena);
    return code;
}
"""


def check_c(target):
    """The generated C under the sanitizers against onnxruntime, which makes a longer cache in every step."""
    text, states, _ = CASES["heads, layers"]
    model, rng = model_of(text), np.random.default_rng(4)
    x = rng.standard_normal((ROWS + 1, 1, 1, 96)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, os.path.join(folder, "m.onnx"))
        with open(os.path.join(folder, "caller.c"), "w", encoding="ascii") as f:
            f.write(CALLER)
        for command in ([os.path.abspath(lepton.lcc_path()), "m.onnx", f"--target={target}", "--state=auto", "-q",
                         *options_of("heads", {})],
                        [os.environ.get("CC", "gcc"), "-O1", "-g", "-march=native", "-ffp-contract=off",
                         "-fsanitize=address,undefined", "-fno-sanitize-recover", "m.c", "caller.c", "-o", "m", "-lm"]):
            subprocess.run(command, cwd=folder, check=True)
        done = subprocess.run(["./m"], cwd=folder, input=x.tobytes(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False)
        session = onnxruntime.InferenceSession(os.path.join(folder, "m.onnx"), providers=["CPUExecutionProvider"])
    assert done.returncode == 3, f"{done.returncode}, LCC_EDIM expected: {done.stderr.decode()}"
    got = np.frombuffer(done.stdout, np.float32).reshape(-1, 1, 1, 96)
    assert len(got) == ROWS, f"{len(got)} steps"
    caches = {name: np.zeros((1, 4, 0, 24), np.float32) for name in states}
    for step in range(ROWS):
        *grown, y = session.run([*states.values(), "y"], {**caches, "x": x[step]})
        caches = dict(zip(states, grown))
        assert np.abs(got[step] - y).max() <= 1e-6 + 1e-4 * np.abs(y).max(), f"step {step}"


def check_command(verb):
    """lcc run and check, which hold a cache as the model file says."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.onnx")
        onnx.save(model_of(CASES["heads, layers"][0]), path)
        words = [path, "--state=auto", *options_of("heads", {}), "--target=c",
                 "x=random:1", "k=random:2", "v=random:3", "--shape=k=1x4x5x24", "--shape=v=1x4x5x24"]
        if verb == "check":
            done = subprocess.run([lepton.lcc_path(), "check", "--per-node", *words], stdout=subprocess.PIPE,
                                  check=False)
            assert not done.returncode and b" values match" in done.stdout, done.stdout.decode()
            return
        texts = {subprocess.run([lepton.lcc_path(), "run", "-q", *w], stdout=subprocess.PIPE, check=True).stdout
                 for w in (words, [*words, "-O0"], [w for w in words if w != "--state=auto"], [*words, "--threads=2"])}
        assert len(texts) == 1, texts
        said = subprocess.run([lepton.lcc_path(), "info", *words[:3]], stdout=subprocess.PIPE, check=True).stdout
        assert b"m  f32[1,4,N + 1,24] in the place of k, with room for 40 rows" in said, said
        said = subprocess.run([lepton.lcc_path(), "info", "--json", *words[:3]], stdout=subprocess.PIPE, check=True).stdout
        assert [(o.get("state"), o.get("rows")) for o in json.loads(said)["outputs"]] == [("k", 40), ("v", 40), (None, None)]


def main():
    jobs = [(f"{name} {target}{' one buffer' * one}", check, (name, target, one))
            for name in CASES for target in TARGETS for one in (True, False)]
    jobs += [(f"{name} two threads", check, (name, TARGETS[-1], True, 2)) for name in CASES]
    jobs += [(f"{name} api", check_api, (name,)) for name in CASES]
    jobs += [(f"C {target}", check_c, (target,)) for target in TARGETS]
    jobs += [(f"lcc {verb}", check_command, (verb,)) for verb in ("run", "check")]
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
