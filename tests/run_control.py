#!/usr/bin/env python3
"""Control flow, sequences and old opsets: small models against onnxruntime.

usage: LCC=build/lcc tests/run_control.py [quick|normal|full]

Each case is a model in ONNX's text syntax with inputs. It runs twice: as it is, and with every input
but the first turned into a constant, so that conditions and trip counts are known when compiling.
`quick` compiles for C only, the other modes for this machine too. Last line: N passed, N failed."""
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnx.parser import parse_model

import lepton

MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
RNG = np.random.default_rng(7)
CASES = []


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def i64(v):
    return np.array(v, np.int64)


def case(name, text, *inputs, opset=18):
    ir = 8 if opset >= 10 else 3
    CASES.append((name, f'<ir_version: {ir}, opset_import: ["" : {opset}]>\n{text}', inputs))


def body(ports, results, text):
    """A Loop body that takes iteration and condition and hands the condition on."""
    return (f"body = b (int64 i, bool c, {ports}) => (bool co, {results}) "
            f"{{ co = Identity(c) {text} }}")


# ---- If --------------------------------------------------------------------------------------------

for c in (True, False):
    cond = np.array(c)
    case(f"if: rows differ, {c}", """g (float[4,3] x, bool c) => (float[A,B] y) {
        y = If <then_branch = t () => (float[4,3] a) { a = Relu(x) },
                else_branch = e () => (float[8,3] b) { b = Concat <axis = 0> (x, x) }> (c) }""",
         f32(4, 3), cond)
    case(f"if: columns differ, {c}", """g (float[4,3] x, bool c) => (float[A,B] z) {
        y = If <then_branch = t () => (float[4,3] a) { a = Relu(x) },
                else_branch = e () => (float[4,6] b) { b = Concat <axis = 1> (x, x) }> (c)
        z = Mul(y, y) }""", f32(4, 3), cond)
    case(f"if: sizes by data, {c}", """g (float[4,3] x, bool c) => (int64[A,B] z) {
        z = If <then_branch = t () => (int64[A,B] a) { a = NonZero(x) },
                else_branch = e () => (int64[B,C] b) { r = Relu(x) n = NonZero(r) b = Neg(n) }> (c) }""",
         f32(4, 3), cond)
    case(f"if: nested, {c}", """g (float[4,3] x, bool c, bool d) => (float[4,3] y, float[4,3] w) {
        k = Exp(x)
        y, w = If <then_branch = t () => (float[4,3] a, float[4,3] a2) {
              q = Neg(k)
              a = If <then_branch = t2 () => (float[4,3] p) { p = Add(q, k) },
                      else_branch = e2 () => (float[4,3] p2) { p2 = Sub(q, x) }> (d)
              a2 = Identity(x) },
            else_branch = e () => (float[4,3] b, float[4,3] b2) { b = Add(x, k) b2 = Mul(k, k) }> (c) }""",
         f32(4, 3), cond, np.array(False))

# ---- Loop ------------------------------------------------------------------------------------------

for n in (0, 1, 5, 30):
    case(f"loop: swap, {n}", "g (float[3] x, float[3] y, int64 n, bool go) => (float[3] p, float[3] q) { p, q = Loop <"
         + body("float[3] a, float[3] b", "float[3] ao, float[3] bo", "ao = Identity(b) bo = Identity(a)")
         + "> (n, go, x, y) }", f32(3), f32(3), i64(n), np.array(True))
    case(f"loop: scan output, {n}", "g (int64[1] x, int64[1] y, int64 n) => (int64[1] p, int64[1] q, int64[A,1] s) { p, q, s = Loop <"
         + body("int64[1] a, int64[1] b", "int64[1] ao, int64[1] bo, int64[1] so",
                "ao = Identity(b) bo = Add(a, b) so = Mul(bo, i)") + "> (n, , x, y) }",
         i64([1]), i64([1]), i64(n))
    case(f"loop: early exit, {n}", """g (float[3] x, int64 n, float lim) => (float[3] p, float[A,3] s, float[A] t) {
        p, s, t = Loop <body = b (int64 i, bool c, float[3] a) => (bool co, float[3] ao, float[3] so, float to) {
            one = Constant <value_float = 1.0> ()  ao = Add(a, one)  r = ReduceSum <keepdims = 0> (ao)
            co = Less(r, lim)  so = Neg(ao)  to = Identity(r) }> (n, , x) }""",
         np.array([0, 1, 2], np.float32), i64(n), np.array(20, np.float32))
    case(f"loop: known count, {n}", f"""g (float[2,3] x) => (float[2,3] p) {{
        n = Constant <value_int = {n}> ()
        p = Loop <""" + body("float[2,3] a", "float[2,3] ao", "fi = CastLike(i, a) ao = Add(a, fi)")
         + "> (n, , x) }", f32(2, 3))
    if n:
        case(f"loop: rows grow, {n}", """g (float[1,2] x, int64 n) => (float[A,2] p) {
            one = Constant <value_int = 1> ()  m = Constant <value_int = 40> ()
            p = Loop <body = b (int64 i, bool c, float[A,2] a) => (bool co, float[B,2] ao) {
                nn = Sub(n, one)  co = Less(i, nn)  ao = Concat <axis = 0> (a, x) }> (m, , x) }""",
             f32(1, 2), i64(n))
        case(f"loop: columns grow, {n}", """g (float[2,1] x, int64 n) => (float[2,A] q, float[B,2] s) {
            ax = Constant <value_ints = [1]> ()  one = Constant <value_int = 1> ()
            m = Constant <value_int = 40> ()
            p, s = Loop <body = b (int64 i, bool c, float[2,A] a) => (bool co, float[2,B] ao, float[2] so) {
                nn = Sub(n, one)  co = Less(i, nn)  ao = Concat <axis = 1> (a, x)
                so = ReduceSum <keepdims = 0> (ao, ax) }> (m, , x)
            q = Neg(p) }""", f32(2, 1), i64(n))

case("loop: while", """g (float[2] x) => (float[2] p, int64 k) {
    one = Constant <value_int = 1> ()  z = Constant <value_int = 0> ()  tr = Constant <value = bool {1}> ()
    p, k = Loop <body = b (int64 i, bool c, float[2] a, int64 n) => (bool co, float[2] ao, int64 no) {
        h = Constant <value_float = 1.5> ()  ao = Mul(a, h)  s = ReduceSum <keepdims = 0> (ao)
        lim = Constant <value_float = 100.0> ()  co = Less(s, lim)  no = Add(n, one) }> (, tr, x, z) }""",
     np.array([1, 2], np.float32))
case("loop: nested", "g (float[3] x, int64 n) => (float[3] p, float[A,B,3] s) { p, s = Loop <"
     + body("float[3] a", "float[3] ao, float[C,3] so",
            """ao, so = Loop <body = b2 (int64 j, bool c2, float[3] a2) => (bool d2, float[3] e2, float[3] s2) {
               d2 = Identity(c2) ij = Add(i, j) k = CastLike(ij, a2) e2 = Add(a2, k) s2 = Mul(e2, x) }> (n, , a)""")
     + "> (n, , x) }", f32(3), i64(4))
for n in (0, 3, 17):
    case(f"loop: branches, {n}", """g (float[3] x, int64 n) => (float[3] p) {
        two = Constant <value_int = 2> ()  zero = Constant <value_int = 0> ()  p = Loop <"""
         + body("float[3] a", "float[3] ao",
                """r = Mod(i, two) ev = Equal(r, zero)
                   ao = If <then_branch = t () => (float[3] u) { u = Add(a, x) },
                            else_branch = e () => (float[3] v) { v = Mul(a, x) }> (ev)""")
         + "> (n, , x) }", f32(3), i64(n))
case("loop: a state that stays", "g (float[3] x, float[3] k, int64 n) => (float[3] p, float[3] q) { p, q = Loop <"
     + body("float[3] a, float[3] b", "float[3] ao, float[3] bo", "ao = Add(a, b) bo = Identity(b)")
     + "> (n, , x, k) }", f32(3), f32(3), i64(20))
case("loop: a sequence", """g (float[6,2] x) => (float[A,2] y) {
    n = Constant <value_int = 3> ()  e = SequenceEmpty <dtype = 1> ()  z = Constant <value_int = 0> ()
    zz = Constant <value_ints = [0]> ()  two = Constant <value_int = 2> ()  m1 = Constant <value_ints = [-1]> ()
    s = Loop <""" + body("seq(float[A,2]) a", "seq(float[A,2]) ao",
                         """st = Mul(i, two) st1 = Reshape(st, m1) en = Add(st1, two) sl = Slice(x, st1, en, zz)
                            r = Neg(sl) ao = SequenceInsert(a, r, z)""")
     + "> (n, , e)  y = ConcatFromSequence <axis = 0> (s) }", f32(6, 2))
case("loop: slices at run time", """g (float[9] x, int64 n) => (float[A,B] s) {
    tr = Constant <value = bool {1}> ()  three = Constant <value_int = 3> ()
    m1 = Constant <value_ints = [-1]> ()
    s = Loop <body = b (int64 i, bool c) => (bool co, float[B] so) {
        co = Identity(c)  st = Mul(i, three)  st1 = Reshape(st, m1)  en = Add(st1, three)
        so = Slice(x, st1, en) }> (n, tr) }""", f32(9), i64(3))

# ---- Scan ------------------------------------------------------------------------------------------

for n in (1, 4, 40):
    case(f"scan: axes and directions, {n}",
         f"g (float[3] st, float[{n},3] a, float[2,{n}] b) => (float[3] fs, float[3,{n}] y, float[{n},2] z) {{"
         """ fs, y, z = Scan <num_scan_inputs = 2, scan_input_axes = [0, 1], scan_input_directions = [0, 1],
             scan_output_axes = [1, 0], scan_output_directions = [0, 1],
             body = b (float[3] s, float[3] u, float[2] v) => (float[3] so, float[3] yo, float[2] zo) {
                t = Add(s, u) m = ReduceSum <keepdims = 1> (v) so = Mul(t, m) yo = Identity(so) zo = Sub(v, m) }>
             (st, a, b) }""", f32(3), f32(n, 3) * 0.3, f32(2, n) * 0.3)
    case(f"scan: symbolic length, {n}", """g (float[3] st, float[N,3] a) => (float[3] fs, float[N,3] y) {
        fs, y = Scan <num_scan_inputs = 1, body = b (float[3] s, float[3] u) => (float[3] so, float[3] yo) {
            so = Add(s, u) yo = Tanh(so) }> (st, a) }""", f32(3), f32(n, 3))
case("scan: captured weights", """g (float[3] st, float[5,3] a, float[3,3] w) => (float[1,3] fs, float[5,1,3] y) {
    z = Constant <value_ints = [0]> ()  s0 = Unsqueeze(st, z)
    fs, y = Scan <num_scan_inputs = 1, body = b (float[1,3] s, float[3] u) => (float[1,3] so, float[1,3] yo) {
        p = MatMul(s, w) q = Add(p, u) so = Tanh(q) yo = Identity(so) }> (s0, a) }""",
     f32(3), f32(5, 3), f32(3, 3))
case("scan: inside a loop", "g (float[3] x, float[4,3] a, int64 n) => (float[3] p, float[A,4,3] s) { p, s = Loop <"
     + body("float[3] v", "float[3] vo, float[4,3] so",
            """vo, so = Scan <num_scan_inputs = 1, body = b2 (float[3] s, float[3] u) => (float[3] t, float[3] yo) {
               t = Add(s, u) yo = Mul(t, x) }> (v, a)""") + "> (n, , x) }", f32(3), f32(4, 3), i64(18))

# ---- old opsets ------------------------------------------------------------------------------------

case("opset 9: softmax over several axes", """g (float[2,3,4] x) => (float[2,3,4] a, float[2,3,4] b, float[2,3,4] c) {
    a = Softmax(x) b = LogSoftmax <axis = 0> (x) c = Hardmax <axis = 1> (x) }""", f32(2, 3, 4), opset=9)
case("opset 9: attributes that became inputs", """g (float[2,3,4] x) =>
    (float[2,3] a, float[1,2,3] b, float[2,3,4] c, float[2,3,2] d, float[4,3,6] e) {
    a = ReduceSum <axes = [2], keepdims = 0> (x)  b = Unsqueeze <axes = [0]> (a)
    c = Clip <min = -0.5, max = 0.5> (x)  d = Slice <axes = [2], starts = [1], ends = [3]> (x)
    e = Pad <pads = [1, 0, 1, 1, 0, 1], value = 2.0> (x) }""", f32(2, 3, 4), opset=9)
case("opset 7: dropout, split", """g (float[2,3,4] x) => (float[2,3,4] a, float[2,3,2] b, float[2,3,2] c) {
    a = Dropout <ratio = 0.3> (x)  b, c = Split <axis = 2> (x) }""", f32(2, 3, 4), opset=7)
case("opset 7: upsample", """g (float[1,2,3,4] x) => (float[1,2,6,12] a, float[1,2,6,12] b) {
    a = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 3.0]> (x)
    b = Upsample <mode = "linear", scales = [1.0, 1.0, 2.0, 3.0]> (x) }""", f32(1, 2, 3, 4), opset=7)
case("opset 10: resize", """g (float[1,2,3,4] x) => (float[1,2,6,12] a) {
    s = Constant <value = float[4] {1.0, 1.0, 2.0, 3.0}> ()  a = Resize <mode = "nearest"> (x, s) }""",
     f32(1, 2, 3, 4), opset=10)


# ---- running ---------------------------------------------------------------------------------------

def with_constants(model, inputs):
    """The model with all inputs but the first as initializers."""
    m = onnx.ModelProto()
    m.CopyFrom(model)
    for port, value in zip(list(m.graph.input)[1:], inputs[1:]):
        m.graph.initializer.append(numpy_helper.from_array(value, port.name))
        m.graph.input.remove(port)
    m.ir_version = max(m.ir_version, 4)
    return m


def check(model, inputs, target):
    """None, or what is wrong."""
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    expected = session.run(None, dict(zip((i.name for i in model.graph.input), inputs)))
    got = lepton.compile(data, target=target).run(list(inputs))
    for i, (a, b) in enumerate(zip(got, expected)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"output {i} is {a.dtype}{list(a.shape)}, not {b.dtype}{list(b.shape)}"
        if not np.allclose(a, b, rtol=1e-4, atol=1e-5):
            return f"output {i} differs by {np.abs(a - b).max()}"
    return None


def main():
    passed = failed = 0
    for name, text, inputs in CASES:
        model = parse_model(text)
        onnx.checker.check_model(model)
        variants = [("", model, inputs)]
        if len(inputs) > 1:
            variants.append((" as constants", with_constants(model, inputs), inputs[:1]))
        for target in ["c"] if MODE == "quick" else ["c", "native"]:
            for suffix, m, values in variants:
                try:
                    wrong = check(m, values, target)
                except Exception as e:  # a failure to compile or run fails the case
                    wrong = f"{type(e).__name__}: {e}"
                if wrong:
                    print(f"FAIL {name}{suffix}, {target}: {wrong}")
                failed += wrong is not None
                passed += wrong is None
    print(f"{passed} passed, {failed} failed")
    return failed > 0


sys.exit(main())
