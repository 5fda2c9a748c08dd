#!/usr/bin/env python3
"""Speed of single kernels: share of the probed FMA peak, one thread, and onnxruntime beside it when it is installed.

usage: bench/kernels.py [-k TEXT] [--target=avx512] [--triples=15] [--json=FILE]

A figure is the median of probe-kernel-probe triples, in processor time of the thread; triples whose probes differ by
more than 5 % are dropped. Cases: the residual blocks of ResNet-18 and GEMM at the sizes of transformers.
$LCC, $BUILD as for the tests; gcc from $CC.
"""
import argparse, ctypes, json, os, statistics, subprocess, sys, tempfile, time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD", os.path.join(HERE, "..", "build"))
LCC = os.environ.get("LCC", os.path.join(BUILD, "lcc"))
CC = os.environ.get("CC", "gcc")
rng = np.random.default_rng(1)


def model(nodes, x, y, consts):
    init = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in consts.items()]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [info("x", TensorProto.FLOAT, x)], [info("y", TensorProto.FLOAT, y)], init)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def nhwc(nodes, src, dst):
    """The nodes between transposes, so that both ends are stored with channels innermost, as inside a network."""
    first = helper.make_node("Transpose", ["x"], [src], perm=[0, 3, 1, 2])
    return [first, *nodes, helper.make_node("Transpose", [dst], ["y"], perm=[0, 2, 3, 1])]


def block(c, p):
    w = {f"w{i}": rng.standard_normal((c, c, 3, 3)) * (2 / (9 * c)) ** 0.5 for i in (1, 2)}
    b = {f"b{i}": rng.standard_normal(c) * 0.1 for i in (1, 2)}
    n = [helper.make_node("Conv", ["t", "w1", "b1"], ["a"], pads=[1] * 4), helper.make_node("Relu", ["a"], ["ar"]),
         helper.make_node("Conv", ["ar", "w2", "b2"], ["c"], pads=[1] * 4), helper.make_node("Add", ["c", "t"], ["s"]),
         helper.make_node("Relu", ["s"], ["z"])]
    return model(nhwc(n, "t", "z"), [1, p, p, c], [1, p, p, c], {**w, **b}), 2 * 2.0 * 9 * c * c * p * p


def conv(c, m, p, k=3, stride=1, group=1):
    q = (p - 1) // stride + 1
    w = {"w": rng.standard_normal((m, c // group, k, k)) * (2 / (k * k * c // group)) ** 0.5, "b": rng.standard_normal(m)}
    n = [helper.make_node("Conv", ["t", "w", "b"], ["c"], pads=[k // 2] * 4, strides=[stride] * 2, group=group),
         helper.make_node("Relu", ["c"], ["z"])]
    return model(nhwc(n, "t", "z"), [1, p, p, c], [1, q, q, m], w), 2.0 * k * k * (c // group) * m * q * q


def gemm(m, k, n):
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return model([node], [m, k], [m, n], {"w": rng.standard_normal((k, n)) / k**0.5}), 2.0 * m * k * n


def cases():
    yield "block-56x56x64", lambda: block(64, 56)
    yield "block-28x28x128", lambda: block(128, 28)
    yield "block-14x14x256", lambda: block(256, 14)
    yield "block-7x7x512", lambda: block(512, 7)
    for m in (1, 16, 64, 128, 197, 384):
        for k, n in ((768, 768), (768, 2304), (768, 3072), (3072, 768), (1024, 4096)):
            yield f"gemm-{m}x{k}x{n}", lambda m=m, k=k, n=n: gemm(m, k, n)
    for m, k, n in ((3136, 576, 64), (784, 1152, 128), (196, 2304, 256), (49, 4608, 512)):
        yield f"gemm-{m}x{k}x{n}", lambda m=m, k=k, n=n: gemm(m, k, n)
    yield "first-7x7s2-224x3-64", lambda: conv(3, 64, 224, 7, 2)
    yield "first-3x3s2-224x3-32", lambda: conv(3, 32, 224, 3, 2)
    for c, p, s in ((32, 112, 1), (96, 112, 2), (144, 56, 1), (192, 28, 1), (384, 14, 1), (576, 14, 1), (960, 7, 1)):
        yield f"dw3x3s{s}-{p}x{c}", lambda c=c, p=p, s=s: conv(c, c, p, 3, s, c)
    yield "dw5x5s1-14x672", lambda: conv(672, 672, 14, 5, 1, 672)
    for c, m, p, s in ((64, 256, 56, 1), (256, 64, 56, 1), (512, 128, 28, 1), (1024, 256, 14, 1), (2048, 512, 7, 1),
                       (256, 512, 56, 2), (16, 96, 112, 1), (24, 144, 56, 1), (144, 24, 56, 1), (960, 160, 7, 1)):
        yield f"1x1s{s}-{p}x{c}-{m}", lambda c=c, m=m, p=p, s=s: conv(c, m, p, 1, s)
    yield "3x3s2-56x64-128", lambda: conv(64, 128, 56, 3, 2)
    yield "group32-3x3-28x256", lambda: conv(256, 256, 28, 3, 1, 32)


def aligned(n):
    raw = np.zeros(n + 16, np.float32)
    at = (-raw.ctypes.data // 4) % 16
    return raw[at : at + n]


class Built:
    """One model as a shared object with the probe beside it."""

    def __init__(self, name, onnx_model, target, folder):
        self.stem = os.path.join(folder, "k")
        onnx.save(onnx_model, self.stem + ".onnx")
        subprocess.run([LCC, self.stem + ".onnx", "-o", self.stem + ".c", "--weights=obj", "--target", target],
                       check=True, capture_output=True)
        flags = {"avx2": ["-mavx2", "-mfma", "-DLANES=8"],
                 "avx512": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -DLANES=16".split()}[target]
        start = time.time()
        so = os.path.join(folder, name.replace("/", "_") + target + ".so")
        subprocess.run([CC, "-O2", "-ffp-contract=off", "-shared", "-fPIC", *flags, self.stem + ".c",
                        self.stem + "_weights.o", os.path.join(HERE, "peak.c"), "-o", so], check=True)
        self.cc_seconds = time.time() - start
        self.lib = ctypes.CDLL(so)
        for fn in ("probe_peak", "probe_read", "time_run"):
            getattr(self.lib, fn).restype = ctypes.c_double
        header = open(self.stem + ".h").read()
        arena = int(header.split("K_ARENA_BYTES ((size_t)")[1].split(")")[0])
        shape = lambda v: [d.dim_value for d in v.type.tensor_type.shape.dim]
        self.xshape, self.yshape = shape(onnx_model.graph.input[0]), shape(onnx_model.graph.output[0])
        self.x, self.y = aligned(int(np.prod(self.xshape))), aligned(int(np.prod(self.yshape)))
        self.x[:] = rng.standard_normal(self.x.size)
        self.arena = aligned(arena // 4 + 16)

    def probe(self):
        return self.lib.probe_peak(ctypes.c_int64(40000))

    def run(self, times):
        ptr = lambda a: ctypes.c_void_p(a.ctypes.data)
        return self.lib.time_run(ctypes.cast(self.lib.k_run, ctypes.c_void_p), ptr(self.x), ptr(self.y), ptr(self.arena),
                                 ctypes.c_int64(times))


def ort_session(path):
    try:
        import onnxruntime as ort
    except ImportError:
        return None
    opt = ort.SessionOptions()
    opt.intra_op_num_threads = opt.inter_op_num_threads = 1
    opt.log_severity_level = 3
    return ort.InferenceSession(path, opt, providers=["CPUExecutionProvider"])


def ort_bind(session, x, shape, y, yshape):
    import onnxruntime as ort
    io = session.io_binding()
    io.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x.reshape(shape)))
    out = ort.OrtValue.ortvalue_from_numpy(y.reshape(yshape))
    io.bind_ortvalue_output("y", out)
    return io, out


def measure(name, make, target, triples, folder):
    onnx_model, flop = make()
    b = Built(name, onnx_model, target, folder)
    session = ort_session(b.stem + ".onnx")
    b.run(1)
    error = None
    if session:
        io, out = ort_bind(session, b.x, b.xshape, np.zeros_like(b.y), b.yshape)
        session.run_with_iobinding(io)
        want = out.numpy().ravel()
        error = float(np.abs(want - b.y).max() / max(1e-30, np.abs(want).max()))
    times = max(1, int(2e-3 / max(1e-7, b.run(2))))
    shares, ours, theirs, peaks = [], [], [], []
    for _ in range(triples):
        before = b.probe()
        took = b.run(times)
        after = b.probe()
        if abs(before - after) > 0.05 * max(before, after):
            continue
        peak = (before + after) / 2
        peaks.append(peak)
        ours.append(took)
        shares.append(flop / took * 1e-9 / peak)
        if session:
            start = time.thread_time_ns()
            for _ in range(times):
                session.run_with_iobinding(io)
            theirs.append((time.thread_time_ns() - start) * 1e-9 / times)
    if not shares:
        return {"case": name, "target": target, "note": "no quiet triple"}
    med = statistics.median
    row = {"case": name, "target": target, "us": med(ours) * 1e6, "best_us": min(ours) * 1e6, "gflops": flop / med(ours) * 1e-9,
           "peak": med(peaks), "share": med(shares), "best_share": max(shares), "triples": len(shares), "cc_seconds": b.cc_seconds}
    if session:
        row.update(ort_us=med(theirs) * 1e6, ratio=med([t / o for t, o in zip(theirs, ours)]), error=error)
    return row


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-k", default="")
    p.add_argument("--target", default="avx2,avx512")
    p.add_argument("--triples", type=int, default=15)
    p.add_argument("--json")
    a = p.parse_args()
    rows = []
    print(f"{'case':26}{'target':8}{'us':>9}{'GF/s':>8}{'peak':>7}{'share':>7}{'best':>7}{'ort us':>9}{'ratio':>7}{'error':>9}{'cc s':>6}")
    for name, make in cases():
        if not any(k in name for k in a.k.split(",")):
            continue
        for target in a.target.split(","):
            with tempfile.TemporaryDirectory() as folder:
                r = measure(name, make, target, a.triples, folder)
            rows.append(r)
            if "note" in r:
                print(f"{name:26}{target:8}{r['note']}")
                continue
            extra = f"{r['ort_us']:9.1f}{r['ratio']:7.2f}{r['error']:9.1e}" if "ort_us" in r else " " * 25
            print(f"{name:26}{target:8}{r['us']:9.1f}{r['gflops']:8.1f}{r['peak']:7.0f}{r['share']:7.3f}{r['best_share']:7.3f}{extra}{r['cc_seconds']:6.1f}",
                  flush=True)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
