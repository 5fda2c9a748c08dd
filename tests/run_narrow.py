#!/usr/bin/env python3
"""Contractions of narrow types on machines with instructions for them; amx is not listed by `lcc targets`.

usage: LCC=build/lcc tests/run_narrow.py [quick|normal|full]

Integers: convolutions and matrix products of 8 bits, of many shapes, run on avx512-vnni, avx512 and avx2 and
must give the bytes that numpy (int64 sums) and target c give. Quantised networks: at most one element in 10^4
differs from target c, by one quantum. bf16: matrix products on amx run with tiles emulated in C
(amx_emulation.h), and the same C is compiled by gcc and clang as it is. On a processor without the instructions the generated C is compiled
and not run; the reason is printed. Last line: N passed, N failed, N skipped."""
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper, numpy_helper

import lepton
from run_models import cpu_flags

MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
HERE = os.path.dirname(os.path.abspath(__file__))
AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
INTEGERS = ("avx512-vnni", "avx512", "avx2")  # machines with instructions for sums of 8-bit products
NEEDS = {"avx2": {"avx2", "fma", "f16c"}, "avx512": AVX512, "avx512-vnni": AVX512 | {"avx512_vnni"}, "amx": AVX512 | {"avx512_vnni"}}
TYPES = {"i8": np.int8, "u8": np.uint8}


class Skipped(Exception):
    """A case that this processor cannot run."""


def constant(name, value, dtype):
    return numpy_helper.from_array(np.array(value, dtype), name)


def model_make(nodes, inputs, outputs, constants):
    def ports(all_of):
        return [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.dtype(t)), s)
                for n, t, s in all_of]
    graph = helper.make_graph(nodes, "g", ports(inputs), ports(outputs), constants)
    opset = [helper.make_opsetid("", 19)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def integers(rng, dtype, shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def code_of(model, target):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.onnx")
        with open(path, "wb") as f:
            f.write(model)
        out = os.path.join(folder, "m.c")
        subprocess.run([lepton.lcc_path(), path, f"--target={target}", "-q", "--weights=c", "-o", out],
                       check=True)
        text = {}
        for name in ("m.c", "m.h"):
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                text[name] = f.read()
        return text


def run_on(model, target, inputs, options=()):
    built = lepton.compile(model, target=target, options=options)
    missing = NEEDS.get(target, set()) - cpu_flags()
    if missing:
        raise Skipped(f"compiled, not run: the processor has no {' '.join(sorted(missing))}")
    return built.run(inputs)


def same(got, want, what):
    for g, w in zip(got, want):
        assert g.dtype == w.dtype and g.shape == w.shape, f"{what}: {g.dtype}{g.shape}"
        assert np.array_equal(g, w), f"{what}: {np.count_nonzero(g != w)} of {g.size} differ"


# ---- integers: exact -------------------------------------------------------------------------------

def conv_reference(x, w, zx, zw, stride, pad):
    """y[n,m,p,q] of ConvInteger in int64, then i32."""
    x = np.pad(x.astype(np.int64) - zx, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    w = w.astype(np.int64) - zw
    rows, cols = w.shape[2:]
    p, q = (x.shape[2] - rows) // stride + 1, (x.shape[3] - cols) // stride + 1
    y = np.zeros((x.shape[0], w.shape[0], p, q), np.int64)
    for r, s in itertools.product(range(rows), range(cols)):
        part = x[:, :, r:r + (p - 1) * stride + 1:stride, s:s + (q - 1) * stride + 1:stride]
        y += np.einsum("ncpq,mc->nmpq", part, w[:, :, r, s])
    return y.astype(np.int32)


def check_conv(rng, target, types, shape, zx, zw):
    n, c, h, m, k, stride, pad = shape
    tx, tw = (TYPES[t] for t in types)
    x, w = integers(rng, tx, (n, c, h, h + 1)), integers(rng, tw, (m, c, k, k))
    want = conv_reference(x, w, zx, zw, stride, pad)
    node = helper.make_node("ConvInteger", ["x", "w", "zx", "zw"], ["y"], strides=[stride] * 2,
                            pads=[pad] * 4, kernel_shape=[k, k])
    model = model_make([node], [("x", tx, x.shape)], [("y", np.int32, want.shape)],
                       [constant("w", w, tw), constant("zx", zx, tx), constant("zw", zw, tw)])
    same(run_on(model, target, [x]), [want], target)


def check_depthwise(rng, target, types, shape, zx, zw):
    """Two in a row, a convolution of each channel by itself; the first one's output is laid out for the second."""
    n, c, h, k, stride, pad = shape
    tx, tw = (TYPES[t] for t in types)
    x = integers(rng, tx, (n, c, h, h + 1))
    nodes = [helper.make_node("QLinearConv", [at, "s", "zx", f"w{i}", "s", "zw", "s", "zx"], [to], group=c,
                              strides=[stride] * 2, pads=[pad] * 4, kernel_shape=[k, k])
             for i, (at, to) in enumerate((("x", "q"), ("q", "y")))]
    constants = [constant(f"w{i}", integers(rng, tw, (c, 1, k, k)), tw) for i in range(2)]
    constants += [constant("s", 0.02, np.float32), constant("zx", zx, tx), constant("zw", zw, tw)]
    model = model_make(nodes, [("x", tx, x.shape)], [("y", tx, [None] * 4)], constants)
    same(run_on(model, target, [x]), run_on(model, "c", [x]), target)


def check_matmul(rng, target, types, shape, zx, zw):
    m, k, n = shape
    tx, tw = (TYPES[t] for t in types)
    x, w = integers(rng, tx, (m, k)), integers(rng, tw, (k, n))
    want = ((x.astype(np.int64) - zx) @ (w.astype(np.int64) - zw)).astype(np.int32)
    node = helper.make_node("MatMulInteger", ["x", "w", "zx", "zw"], ["y"])
    model = model_make([node], [("x", tx, x.shape)], [("y", np.int32, want.shape)],
                       [constant("w", w, tw), constant("zx", zx, tx), constant("zw", zw, tw)])
    same(run_on(model, target, [x]), [want], target)


def check_chain(rng, target, types, shape, zx, zw):
    """Two QLinearConv in a row: the first one's output is laid out for the second."""
    n, c, h, m, k, stride, pad = shape
    tx, tw = (TYPES[t] for t in types)
    x = integers(rng, tx, (n, c, h, h + 1))
    names = ["q", "sx", "zx", "w", "sw", "zw", "sy", "zy", "b"]
    nodes = [helper.make_node("QLinearConv", ["x", *names[1:]], ["q"], strides=[stride] * 2,
                              pads=[pad] * 4, kernel_shape=[k, k]),
             helper.make_node("QLinearConv", ["q", "sy", "zy", "v", "sw", "zw", "sy", "zy"], ["y"],
                              pads=[1] * 4, kernel_shape=[3, 3])]
    constants = [constant("w", integers(rng, tw, (m, c, k, k)), tw),
                 constant("v", integers(rng, tw, (5, m, 3, 3)), tw),
                 constant("b", rng.integers(-999, 999, m), np.int32),
                 constant("sx", 0.02, np.float32), constant("sw", 0.01, np.float32),
                 constant("sy", 0.5, np.float32), constant("zx", zx, tx), constant("zw", zw, tw),
                 constant("zy", 3, tx)]
    model = model_make(nodes, [("x", tx, x.shape)], [("y", tx, [None] * 4)], constants)
    same(run_on(model, target, [x]), run_on(model, "c", [x]), target)


# n c h m k stride pad
CONVS = [(1, 16, 9, 32, 3, 1, 1), (1, 3, 11, 16, 3, 2, 1), (2, 5, 8, 19, 3, 1, 0), (1, 1, 12, 8, 5, 1, 2),
         (1, 64, 7, 64, 1, 1, 0), (1, 7, 6, 48, 1, 2, 0), (1, 12, 10, 12, 4, 1, 1), (1, 4, 15, 33, 2, 3, 1),
         (3, 6, 5, 4, 3, 1, 1), (1, 33, 16, 17, 3, 1, 2)]
DEPTHWISE = [(1, 32, 9, 3, 1, 1), (1, 19, 12, 3, 2, 1), (2, 16, 7, 5, 1, 0), (1, 3, 8, 3, 1, 1)]
MATMULS = [(1, 480, 32), (5, 7, 3), (16, 64, 64), (33, 30, 17), (1, 5, 10), (7, 129, 65), (64, 128, 16)]
SIGNS = [("u8", "i8", 0, 0), ("u8", "i8", 130, 0), ("i8", "i8", 0, 0), ("i8", "i8", -128, 0),
         ("i8", "i8", 17, -5), ("u8", "u8", 200, 128), ("u8", "u8", 3, 0), ("i8", "u8", -7, 131)]


def integer_cases():
    step = {"quick": 203, "normal": 7, "full": 1}[MODE]
    checks = [("conv", check_conv, CONVS), ("matmul", check_matmul, MATMULS),
              ("chain", check_chain, CONVS), ("depthwise", check_depthwise, DEPTHWISE)]
    every = [(f"{name} {target} {tx}{tw} zx={zx} zw={zw} {'x'.join(map(str, shape))}",
              lambda rng, f=f, m=target, s=shape, t=(tx, tw), a=zx, b=zw: f(rng, m, t, s, a, b))
             for name, f, shapes in checks for shape in shapes for tx, tw, zx, zw in SIGNS
             for target in INTEGERS]
    return every[::step]


def check_instruction(rng):
    """The schedule is really taken: the conv of each sign is one rule with the instruction."""
    for tx, helper_name in (("u8", "lcc_dot4_u8x16"), ("i8", "lcc_dot4_i8x16")):
        t = TYPES[tx]
        x, w = integers(rng, t, (1, 16, 9, 9)), integers(rng, np.int8, (32, 16, 3, 3))
        node = helper.make_node("ConvInteger", ["x", "w", "zx"], ["y"], pads=[1] * 4)
        model = model_make([node], [("x", t, x.shape)], [("y", np.int32, [1, 32, 9, 9])],
                           [constant("w", w, np.int8), constant("zx", 5, t)])
        text = code_of(model, "avx512-vnni")["m.c"]
        assert "rule tile_dot4" in text and re.search(rf"= {helper_name}\(", text), tx
        assert "dpbusd" not in code_of(model, "avx512")["m.c"]


def check_hidden(_):
    """A machine that is only emulated is found by name and not listed."""
    listed = subprocess.run([lepton.lcc_path(), "targets"], stdout=subprocess.PIPE, check=True).stdout
    assert b"vnni" in listed and b"amx" not in listed


# ---- quantised networks: to the quantum ---------------------------------------------------------------

def quantised(nodes, at, scale, zero, tag):
    nodes += [helper.make_node("QuantizeLinear", [at, scale, zero], [tag + "q"]),
              helper.make_node("DequantizeLinear", [tag + "q", scale, zero], [tag + "d"])]
    return tag + "d"


def qdq_model(rng, t, per_channel, size):
    """QDQ around conv + bias + relu, max pool, conv, global pool, matmul."""
    lo = np.iinfo(t).min
    nodes, consts = [], [constant("s0", 0.03, np.float32), constant("s1", 0.05, np.float32),
                         constant("s2", 0.1, np.float32), constant("z0", lo + 120, t),
                         constant("z1", lo, t)]
    at, channels = quantised(nodes, "x", "s0", "z0", "a"), 3
    for i, (m, k) in enumerate(((16, 3), (24, 3))):
        shape = (m, channels, k, k)
        scale = rng.uniform(0.001, 0.004, m if per_channel else ()).astype(np.float32)
        consts += [constant(f"w{i}", rng.integers(-127, 128, shape), np.int8),
                   constant(f"ws{i}", scale, np.float32), constant(f"b{i}", rng.normal(size=m), np.float32),
                   constant(f"wz{i}", np.zeros(scale.shape), np.int8)]
        nodes += [helper.make_node("DequantizeLinear", [f"w{i}", f"ws{i}", f"wz{i}"], [f"wd{i}"],
                                   axis=0),
                  helper.make_node("Conv", [at, f"wd{i}", f"b{i}"], [f"c{i}"], pads=[1] * 4),
                  helper.make_node("Relu", [f"c{i}"], [f"r{i}"])]
        at, channels = quantised(nodes, f"r{i}", "s1", "z1", f"l{i}"), m
        nodes.append(helper.make_node("MaxPool", [at], [f"p{i}"], kernel_shape=[2, 2], strides=[2, 2]))
        at = quantised(nodes, f"p{i}", "s1", "z1", f"m{i}")
    outputs = [("y", np.float32, [1, channels, size // 4, size // 4])]
    nodes.append(helper.make_node("Identity", [at], ["y"]))
    return model_make(nodes, [("x", np.float32, [1, 3, size, size])], outputs, consts)


def check_raise(rng, t, per_channel):
    model = qdq_model(rng, t, per_channel, 24)
    wrong = total = 0
    for _ in range(20):
        x = rng.normal(size=(1, 3, 24, 24)).astype(np.float32)
        want, got = run_on(model, "c", [x])[0], run_on(model, "avx512-vnni", [x])[0]
        steps = np.abs(got - want) / 0.05
        assert steps.max() < 1.5, f"{steps.max():.1f} quanta"
        wrong, total = wrong + np.count_nonzero(steps > 0.5), total + steps.size
    assert wrong <= 1 + total * 1e-4, f"{wrong} of {total} differ"
    text = code_of(model, "avx512-vnni")["m.c"]
    assert text.count("rule tile_dot4") == 2, "not raised"
    same(run_on(model, "avx512-vnni", [x], ("--strict",)), [want], "--strict")


# ---- bf16 on tiles -----------------------------------------------------------------------------------

def compile_only(text, compilers=("gcc", "clang")):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in text.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(content)
        for cc in compilers:
            if shutil.which(cc):
                subprocess.run([cc, "-O2", "-std=c99", "-Wall", "-Wextra", "-Werror", "-c", "m.c"],
                               cwd=folder, check=True)


def check_tile(rng, shape):
    m, k, n = shape
    x = rng.normal(size=(m, k)).astype(ml_dtypes.bfloat16)
    w = rng.normal(size=(k, n)).astype(ml_dtypes.bfloat16)
    bf16 = TensorProto.BFLOAT16
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", bf16, x.shape)],
        [helper.make_tensor_value_info("y", bf16, (m, n))],
        [helper.make_tensor("w", bf16, w.shape, w.view(np.uint16).tobytes(), raw=True)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)],
                              ir_version=9).SerializeToString()
    text = code_of(model, "amx")
    assert ("lcc_tile_bf16(" in text["m.c"]) == (min(m, n) >= 16 and k >= 32), "not the rule expected"
    compile_only(text)
    want = run_on(model, "c", [x])[0].astype(np.float32)
    os.environ["CFLAGS"] = f"-include {HERE}/amx_emulation.h"
    try:
        got = run_on(model, "amx", [x])[0].astype(np.float32)
    finally:
        del os.environ["CFLAGS"]
    assert np.allclose(got, want, rtol=2**-7, atol=1e-5), f"{np.abs(got - want).max()}"


TILES = [(16, 32, 16), (40, 96, 48), (33, 70, 20), (64, 64, 64), (17, 35, 16), (15, 64, 64)]
CASES = [(f"tile {'x'.join(map(str, s))}", lambda rng, s=s: check_tile(rng, s)) for s in TILES]
CASES += [("instruction", check_instruction), ("hidden", check_hidden)]
CASES += [(f"qdq {t} {'per channel' if c else 'per tensor'}",
           lambda rng, t=t, c=c: check_raise(rng, TYPES[t], c)) for t in TYPES for c in (False, True)]
CASES += integer_cases()


def evaluated():
    """narrow_test: lowered modules against the evaluator, on any processor; (passed, failed)."""
    rounds = {"quick": "30", "normal": "600", "full": "6000"}[MODE]
    test = os.path.join(os.environ.get("BUILD", os.path.join(HERE, "..", "build")), "tests", "narrow_test")
    done = subprocess.run([test, rounds], stdout=subprocess.PIPE, check=False, text=True)
    last = re.search(r"(\d+) passed, (\d+) failed\s*$", done.stdout)
    print(done.stdout[:last.start()] if last else done.stdout, end="")
    return (int(last[1]), int(last[2])) if last else (0, 1)


def main():
    counts = dict(zip(("passed", "failed", "skipped"), (*evaluated(), 0)))
    reasons = set()
    for i, (name, check) in enumerate(CASES):
        try:
            check(np.random.default_rng(i))
            counts["passed"] += 1
        except Skipped as e:
            counts["skipped"] += 1
            reasons.add(str(e))
        except Exception as e:  # pylint: disable=broad-except
            counts["failed"] += 1
            print(f"FAILED {name}: {type(e).__name__}: {str(e)[:300]}")
    for reason in sorted(reasons):
        print(f"skipped: {reason}")
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    return counts["failed"] != 0


if __name__ == "__main__":
    sys.exit(main())
