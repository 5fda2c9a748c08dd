#!/usr/bin/env python3
"""--threads: the same bits for every number of threads, no data races, no threads left behind.

usage: LCC=build/lcc tests/run_threads.py [quick|normal|full]

Small networks of every kind of kernel and the networks of $LEPTON_MODELS, compiled with --threads=auto, against
what they give without the option: alone, without a pool, and by 2, 3 and 7 threads; beside --state, --min-ram and
--tune, too. The pool itself, with sleepers, with and without futex, and some of the networks under the thread sanitizer. Last line: N passed, N failed, N skipped."""
import glob
import os
import re
import shutil
import sys
import tempfile
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import lepton
from generated import check
from run_models import cpu_flags

HERE = os.path.dirname(os.path.abspath(__file__))
MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
NEEDS = {"c": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
TARGETS = [t for t, flags in NEEDS.items() if flags <= cpu_flags()]
COUNTS = (1, 2, 3, 7)
LCC = os.path.abspath(lepton.lcc_path())
MODELS = os.environ.get("LEPTON_MODELS", os.path.join(HERE, "..", "..", "shared", "models"))
REAL = {"quick": ["mnist-external"],
        "normal": ["mnist-external", "tinybert", "yunet-n-dynamic", "micro-kws-qdq", "gtcrn-simplified", "captcha-crnn"],
        "full": sorted(os.path.basename(os.path.dirname(p)) for p in glob.glob(os.path.join(MODELS, "*", "model.onnx")))}
SPECIAL = {"rows": ("--rule=slide",)}  # options of generated code under the sanitizers
STRESS = {"quick": 100, "normal": 1000, "full": 5000}
SECONDS = 300
result = {"passed": 0, "failed": 0, "skipped": 0}


def say(ok, name, what=""):
    result["passed" if ok else "failed"] += 1
    if not ok:
        print(f"FAIL {name}: {what}")


# ---- networks --------------------------------------------------------------------------------------------


def weights(rng, *shape):
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) + 1)).astype(np.float32)


def net(nodes, shape, consts=(), dims=None, opset=17):
    """Nodes (op, inputs, attributes): the last one's value is the output; each gives v0, v1, …"""
    made = [helper.make_node(op, ins, [f"v{i}"], **attrs) for i, (op, ins, attrs) in enumerate(nodes)]
    graph = helper.make_graph(
        made, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims or list(shape))],
        [helper.make_tensor_value_info(f"v{len(made) - 1}", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(c, f"w{i}") for i, c in enumerate(consts)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return model.SerializeToString(), shape


def networks():
    """name -> (model, shape of x)."""
    r = np.random.default_rng(5)
    pad = {"pads": [1] * 4}
    heads = [("Reshape", ["x", "w0"], {}), ("Transpose", ["v0"], {"perm": [0, 2, 1, 3]}),
             ("Transpose", ["v0"], {"perm": [0, 2, 3, 1]}), ("MatMul", ["v1", "v2"], {}),
             ("Softmax", ["v3"], {"axis": -1}), ("MatMul", ["v4", "v1"], {}),
             ("Transpose", ["v5"], {"perm": [0, 2, 1, 3]})]
    return {
        "gemm": net([("MatMul", ["x", "w0"], {}), ("Add", ["v0", "w1"], {}), ("Relu", ["v1"], {})],
                    (50, 70), [weights(r, 70, 100), weights(r, 100)]),
        "gemm_free": net([("MatMul", ["x", "w0"], {}), ("Relu", ["v0"], {})], (37, 64), [weights(r, 64, 96)], ["N", 64]),
        "row": net([("MatMul", ["x", "w0"], {}), ("Tanh", ["v0"], {})], (1, 600), [weights(r, 600, 533)]),
        "conv": net([("Conv", ["x", "w0", "w1"], pad), ("Relu", ["v0"], {}), ("Conv", ["v1", "w2"], pad),
                     ("Add", ["v2", "v1"], {}), ("MaxPool", ["v3"], {"kernel_shape": [3, 3], "strides": [2, 2]})],
                    (1, 8, 29, 31), [weights(r, 24, 8, 3, 3), weights(r, 24), weights(r, 24, 24, 3, 3)]),
        "wide": net([("Conv", ["x", "w0"], pad), ("Conv", ["v0", "w1"], pad)], (1, 32, 30, 30),
                    [weights(r, 32, 32, 3, 3), weights(r, 32, 32, 3, 3)]),
        "depthwise": net([("Conv", ["x", "w0"], {"group": 48, **pad}), ("Clip", ["v0", "w1", "w2"], {}),
                          ("Conv", ["v1", "w3"], {}), ("GlobalAveragePool", ["v2"], {})], (1, 48, 33, 20),
                         [weights(r, 48, 1, 3, 3), np.float32(0).reshape(()), np.float32(6).reshape(()),
                          weights(r, 20, 48, 1, 1)]),
        "rows": net([("Conv", ["x", "w0"], {"strides": [2, 2], **pad}), ("Relu", ["v0"], {}),
                     ("Conv", ["v1", "w1"], {"group": 32, **pad}), ("Relu", ["v2"], {}), ("Conv", ["v3", "w2"], {})],
                    (1, 3, 61, 50), [weights(r, 32, 3, 3, 3), weights(r, 32, 1, 3, 3), weights(r, 24, 32, 1, 1)]),
        "heads": net(heads, (2, 45, 64), [np.array([0, 0, 4, 16], np.int64)]),
        "norm": net([("LayerNormalization", ["x", "w0", "w1"], {}), ("Sigmoid", ["v0"], {}), ("Mul", ["v0", "v1"], {}),
                     ("Softmax", ["v2"], {"axis": 1})], (3, 60, 96), [weights(r, 96), weights(r, 96)]),
        "sums": net([("ReduceMean", ["x"], {"axes": [1], "keepdims": 1}), ("Sub", ["x", "v0"], {}),
                     ("ReduceL2", ["v1"], {"axes": [2], "keepdims": 1}), ("Div", ["v1", "v2"], {})], (4, 120, 55)),
        # no rule fits the sum over the first axis of what is summed and read again
        "top": net([("ReduceSum", ["x", "w0"], {"keepdims": 1}), ("Div", ["x", "v0"], {}), ("ReduceMax", ["v1", "w0"], {"keepdims": 1})],
                   (130, 9, 41), [np.array([0], np.int64)], opset=18),
        "turn": net([("Transpose", ["x"], {"perm": [2, 0, 1]}), ("Exp", ["v0"], {}), ("Concat", ["v0", "v1"], {"axis": 1}),
                     ("CumSum", ["v2", "w0"], {})], (40, 50, 30), [np.array(0, np.int64)]),
        "look": net([("Gather", ["x", "w0"], {"axis": 0}), ("Resize", ["v0", "", "w1"], {"mode": "linear"})],
                    (60, 5, 40, 30), [np.arange(59, 0, -7).astype(np.int64), np.array([1, 1, 2, 1.5], np.float32)]),
        "gru": net([("GRU", ["x", "w0", "w1"], {"hidden_size": 40})], (30, 2, 48),
                   [weights(r, 1, 120, 48), weights(r, 1, 120, 40)]),
    }


# ---- equal bits ------------------------------------------------------------------------------------------


def equal(a, b):
    return len(a) == len(b) and all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
                                    for x, y in zip(a, b))


def check_equal(name, model, target, inputs, options=(), dims=None, arena=True):
    """arena: threads need as much (each chunk of rows that slide has rings of its own)."""
    plain = lepton.compile(model, target=target, options=options, dims=dims)
    shared = lepton.compile(model, target=target, threads="auto", options=options, dims=dims)
    expected = plain.run(inputs)
    for count in COUNTS:
        other = lepton.load(shared.path, threads=count)
        for again in range(3):
            say(equal(other.run(inputs), expected), f"{name} {target}", f"{count} threads, run {again}: other bits")
    other = lepton.load(shared.path)
    other._pool = None  # a pool of NULL
    say(equal(other.run(inputs), expected), f"{name} {target}", "no pool: other bits")
    say(not arena or shared.arena_bytes == plain.arena_bytes, f"{name} {target}", "another arena")


def small_networks():
    rng = np.random.default_rng(3)
    chosen = list(networks().items())
    for name, (model, shape) in chosen[::4] if MODE == "quick" else chosen:
        x = rng.standard_normal(shape).astype(np.float32)
        for target in TARGETS if MODE != "quick" else TARGETS[-1:]:
            check_equal(name, model, target, [x])


def real_networks():
    for name in REAL[MODE]:
        path = os.path.join(MODELS, name, "model.onnx")
        if not os.path.isfile(path):
            result["skipped"] += 1
            continue
        folder = sorted(glob.glob(os.path.join(MODELS, name, "test_data_set_*")))[0]
        try:
            model = lepton.compile(path, target=TARGETS[-1])
        except lepton.CompileError as e:
            say(e.code == 4, name, str(e))
            continue
        inputs = [lepton.tensor_load(os.path.join(folder, f"input_{i}.pb"))[1] for i in range(len(model.inputs))]
        check_equal(name, path, TARGETS[-1], inputs, arena=False)


def with_options(folder):
    """--threads beside --state, --min-ram, --rule=slide and --tune: the same bits, too."""
    rng = np.random.default_rng(4)
    state = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
        g (float[64,400] past, float[1,400] row) => (float[64,400] present, float[64,64] y) {
            one = Constant<value_ints = [1]>() ends = Constant<value_ints = [64]>() zero = Constant<value_ints = [0]>()
            kept = Slice(past, one, ends, zero) present = Concat<axis = 0>(kept, row)
            turned = Transpose<perm = [1, 0]>(present) s = MatMul(present, turned) y = Softmax(s) }""")
    kept = [rng.standard_normal((n, 400)).astype(np.float32) for n in (64, 1)]
    check_equal("--state", state.SerializeToString(), TARGETS[-1], kept, ("--state=past=present",))
    for name in ("wide", "heads"):
        model, shape = networks()[name]
        check_equal(f"--min-ram {name}", model, TARGETS[-1], [rng.standard_normal(shape).astype(np.float32)], ("--min-ram",))
    model, shape = networks()["rows"]
    for option in ("--min-ram", "--rule=slide"):
        check_equal(f"{option} rows", model, TARGETS[-1], [rng.standard_normal(shape).astype(np.float32)], (option,), arena=False)
    model, shape = networks()["gemm"]
    path, tuned = os.path.join(folder, "tune.onnx"), os.path.join(folder, "best.tune")
    with open(path, "wb") as f:
        f.write(model)
    code, said = check.run([LCC, path, f"--target={TARGETS[-1]}", "--threads=2", f"--tune={tuned}", "-q", "-o", "tune.c"],
                           folder, SECONDS)
    say(not code and os.path.isfile(tuned), "--tune --threads=2", said)
    check_equal("--tune-file", model, TARGETS[-1], [rng.standard_normal(shape).astype(np.float32)], (f"--tune-file={tuned}",))


def too_small(folder):
    """A model that gains nothing starts no threads."""
    model, shape = net([("Relu", ["x"], {})], (3, 5))
    path = os.path.join(folder, "small.onnx")
    with open(path, "wb") as f:
        f.write(model)
    code, said = check.run([LCC, path, "--threads=auto", "-q", "-o", "small.c"], folder)
    with open(os.path.join(folder, "small.c"), encoding="utf-8") as f:
        say(not code and "return lcc_pool_start(memory, 1);" in f.read(), "a small model", said)
    check_equal("a small model", model, TARGETS[-1], [np.ones(shape, np.float32)])


# ---- races, compilers ------------------------------------------------------------------------------------


class Job(NamedTuple):
    """What generated/check.py asks of one model."""
    target: str
    model: str
    lcc: str
    folder: str
    options: list
    sanitizers: list
    inputs: list
    seconds: int = SECONDS
    times: int = 2


def command(folder):
    """lcc run and check with threads; libtcc's code has none, and gives the same."""
    path = os.path.join(folder, "run.onnx")
    with open(path, "wb") as f:
        f.write(networks()["gemm"][0])
    texts = set()
    for options in (["--jit=cc"], ["--jit=cc", "--threads=3"], ["--jit=cc", "--threads=auto"]):
        code, said = check.run([LCC, "run", path, "x=random:3", "--target=c", "-q", *options], folder)
        say(not code, f"lcc run {' '.join(options)}", said)
        texts.add(said)
    say(len(texts) == 1, "lcc run", texts)
    code, said = check.run([LCC, "run", path, "x=random:3", "-q", "--jit=tcc", "--threads=3"], folder)
    if code == 7:
        result["skipped"] += 1
    else:
        say(not code and said.startswith("v2  f32[50,100]"), "lcc run --jit=tcc --threads=3", said)


def pool_alone(folder):
    for cc in filter(shutil.which, ("gcc", "clang")):
        kinds = {"plain": ["-O2"], "without threads": ["-O2", "-DLCC_NO_THREADS"],
                 "without futex": ["-O2", "-DLCC_NO_FUTEX"]}
        if check.sanitizer_there(f"{cc} TSan"):
            kinds["TSan"] = ["-O1", "-g", "-fsanitize=thread"]
            kinds["TSan without futex"] = [*kinds["TSan"], "-DLCC_NO_FUTEX"]
        if check.sanitizer_there(f"{cc} ASan"):
            kinds["ASan"] = ["-O1", "-g", *check.SANITIZERS[f"{cc} ASan"][1]]
        for kind, flags in kinds.items():
            code, said = check.run([cc, *check.ISO, f"-I{check.ROOT}", *flags, os.path.join(HERE, "generated", "pool.c"),
                                    "-pthread", "-o", "pool"], folder)
            if not code and not said:
                code, said = check.run(["./pool", str(STRESS[MODE] if kind == "plain" else 150)], folder, SECONDS)
            say(not code and said == "ok", f"pool, {cc}, {kind}", said[-600:])


def generated(folder):
    """The C itself: no warning, and no races between three threads."""
    rng = np.random.default_rng(3)
    chosen = networks()
    if MODE == "quick":
        chosen = {k: chosen[k] for k in ("conv", "rows")}
    races = [r for r in check.RACES if check.sanitizer_there(r)]
    for name, (model, shape) in chosen.items():
        for target in TARGETS[-1:] if MODE == "quick" else TARGETS:
            at = os.path.join(folder, f"{name}_{target}")
            os.makedirs(at)
            path = os.path.join(at, "in.onnx")
            with open(path, "wb") as f:
                f.write(model)
            options = check.lcc_emit(LCC, path, [f"--target={target}", "--threads=3", *SPECIAL.get(name, ())], at, "net.c")
            job = Job(target, path, LCC, at, options, races if target == TARGETS[-1] else races[:1],
                      [[rng.standard_normal(shape).astype(np.float32)]])
            for part in (check.check_compilers, check.check_runs):
                said = list(part(job))
                say(not said, f"{part.__name__} {name} {target}", "; ".join(said))
            with open(os.path.join(at, "net.h"), encoding="utf-8") as f:
                text = f.read()
            say("lcc_pool *pool)" in text and "#define NET_THREADS 3" in text, f"header of {name}", text)
            with open(os.path.join(at, "net.c"), encoding="utf-8") as f:
                text = f.read()
            say(re.search(r"lcc_pool_run\(pool, \w+, &job, ", text), f"source of {name} {target}", "nothing is shared")


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LEPTON_CACHE"] = os.path.join(folder, "cache")
        small_networks()
        real_networks()
        with_options(folder)
        too_small(folder)
        command(folder)
        pool_alone(folder)
        generated(folder)
    print(f"{result['passed']} passed, {result['failed']} failed, {result['skipped']} skipped")
    return result["failed"] > 0


if __name__ == "__main__":
    sys.exit(main())
