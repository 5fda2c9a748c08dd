#!/usr/bin/env python3
"""Speed of whole networks: lcc's C beside onnxruntime and openvino (f32), one thread, sides interleaved.

usage: bench/networks.py [-k TEXT] [--target=native] [--rounds=11] [--json=FILE] [MODEL.onnx ...]

Without models: every folder of $LEPTON_MODELS, and every .onnx under $LEPTON_BENCH_MODELS (bench/export.py makes them).
A figure is the median over the rounds, in processor time of the thread; a ratio is the median of paired ratios,
peer / lcc. Inputs are the folder's own, or random; the error is lcc's against onnxruntime, over the largest output.
`peak` is the FMA rate probed around the rounds and how far it moved. A peer that is not installed, or refuses the
network, shows as a dash. $LCC as for the tests; gcc from $CC.
"""
import argparse, ctypes, glob, json, os, statistics, subprocess, sys, tempfile, time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))
import lepton
from lepton.tensorfile import tensor_load

MODELS = os.environ.get("LEPTON_MODELS", os.path.join(HERE, "..", "..", "shared", "models"))
EXPORTS = os.environ.get("LEPTON_BENCH_MODELS", os.path.join(HERE, "..", "build", "bench-models"))
ROUND_SECONDS = 0.05  # each side runs this long in each round
RANDOM_DIM = {"batch": 1, "batch_size": 1}
rng = np.random.default_rng(1)


def probe_load(folder):
    """Returns a function that probes the FMA peak of the widest vectors the machine has, in GFLOP/s."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        wide = "avx512f" in f.read()
    flags = ["-mavx512f", "-DLANES=16"] if wide else ["-mavx2", "-mfma", "-DLANES=8"]
    so = os.path.join(folder, "peak.so")
    subprocess.run([os.environ.get("CC", "gcc"), "-O2", "-shared", "-fPIC", *flags, os.path.join(HERE, "peak.c"), "-o", so],
                   check=True)
    peak = ctypes.CDLL(so).probe_peak
    peak.restype = ctypes.c_double
    return lambda: peak(ctypes.c_int64(200000))


def random_input(dtype, shape, name):
    shape = [s if isinstance(s, int) else RANDOM_DIM.get(s, 1) for s in shape]
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    top = 2 if "mask" in name or dtype.kind == "b" else 100
    return rng.integers(0, top, shape).astype(dtype)


def inputs_of(path, model):
    """The arrays of test_data_set_0 beside the model, else random ones."""
    data = os.path.join(os.path.dirname(path), "test_data_set_0")
    if os.path.isdir(data):
        return [tensor_load(os.path.join(data, f"input_{i}.pb"))[1] for i in range(len(model.inputs))]
    return [random_input(p.dtype, p.shape, p.name) for p in model.inputs]


class Lepton:
    """lcc's C as a shared object; timed calls repeat one bridge call with its buffers bound."""
    name = "lcc"

    def __init__(self, path, target, _):
        start = time.time()
        self.model = lepton.compile(path, target=target)
        self.seconds = time.time() - start

    def bind(self, arrays):
        call = self.model._run
        bound = []

        def note(*args):
            bound[:] = args
            return call(*args)

        self.model._run = note
        outputs = self.model.run(arrays)
        self.model._run = call
        self.arrays = arrays, outputs
        self.step = lambda: call(*bound)
        return outputs


class OnnxRuntime:
    name = "ort"

    def __init__(self, path, _, names):
        import onnxruntime as ort
        opt = ort.SessionOptions()
        opt.intra_op_num_threads = opt.inter_op_num_threads = 1
        opt.log_severity_level = 3
        self.session = ort.InferenceSession(path, opt, providers=["CPUExecutionProvider"])
        self.names = names

    def bind(self, arrays):
        outputs = self.session.run(None, dict(zip(self.names, arrays)))
        io = self.session.io_binding()
        for name, a in zip(self.names, arrays):
            io.bind_cpu_input(name, np.ascontiguousarray(a))
        for o in self.session.get_outputs():
            io.bind_output(o.name, "cpu")
        self.session.run_with_iobinding(io)
        self.io, self.step = io, lambda: self.session.run_with_iobinding(io)
        return outputs


class OpenVino:
    name = "ov"

    def __init__(self, path, _, names):
        import openvino as ov
        core = ov.Core()
        self.model = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1,
                                                      "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False})
        self.names = names

    def bind(self, arrays):
        import openvino as ov
        request = self.model.create_infer_request()
        for name, a in zip(self.names, arrays):
            request.set_tensor(name, ov.Tensor(np.ascontiguousarray(a), shared_memory=True))
        request.infer()
        self.step = request.infer
        return [request.get_tensor(o).data.copy() for o in self.model.outputs]


def error_of(got, want):
    """Largest difference over all numeric outputs, each over its largest magnitude."""
    worst = 0.0
    for g, w in zip(got, want):
        if not isinstance(w, np.ndarray) or w.dtype.kind not in "fiu" or not w.size:
            continue
        g, w = np.asarray(g, np.float64), np.asarray(w, np.float64)
        if g.shape != w.shape:
            return float("inf")
        with np.errstate(invalid="ignore"):
            worst = max(worst, float(np.nanmax(np.abs(g - w)) / max(1e-30, np.nanmax(np.abs(w)))))
    return worst


def timed(step, times):
    """Seconds a call. Processor time of the whole process: a peer may work in a thread of its own."""
    start = time.process_time_ns()
    for _ in range(times):
        step()
    return (time.process_time_ns() - start) * 1e-9 / times


def measure(path, target, rounds, probe):
    first = Lepton(path, target, None)
    arrays = inputs_of(path, first.model)
    names = [p.name for p in first.model.inputs]
    sides, results, row = [first], [first.bind(arrays)], {"cc_seconds": first.seconds}
    for kind in (OnnxRuntime, OpenVino):
        try:
            side = kind(path, target, names)
            results.append(side.bind(arrays))
            sides.append(side)
        except Exception as e:  # whatever a peer says about this network
            row[kind.name + "_refuses"] = str(e).splitlines()[0][:120] if str(e) else type(e).__name__
    if len(sides) > 1:
        row["error"] = error_of(results[0], results[1])
    times = [max(1, int(ROUND_SECONDS / max(1e-7, timed(s.step, 1)))) for s in sides]
    peaks, took = [probe()], [[] for _ in sides]
    for _ in range(rounds):
        for i, side in enumerate(sides):
            took[i].append(timed(side.step, times[i]))
        peaks.append(probe())
    row.update(peak=statistics.median(peaks), moved=max(peaks) / min(peaks) - 1)
    for i, side in enumerate(sides):
        row[side.name + "_ms"] = statistics.median(took[i]) * 1e3
        row[side.name + "_ratio"] = statistics.median(t / o for t, o in zip(took[i], took[0]))
    row["ratio"] = min((row[s.name + "_ratio"] for s in sides[1:]), default=None)
    return row


def networks(chosen):
    if chosen:
        return [(os.path.basename(os.path.dirname(os.path.abspath(p))) if os.path.basename(p) == "model.onnx"
                 else os.path.splitext(os.path.basename(p))[0], p) for p in chosen]
    found = [(os.path.basename(os.path.dirname(p)), p) for p in sorted(glob.glob(os.path.join(MODELS, "*", "model.onnx")))]
    return found + [(os.path.splitext(os.path.basename(p))[0], p) for p in sorted(glob.glob(os.path.join(EXPORTS, "*.onnx")))]


def show(name, row):
    def cell(key, form, width):
        return f"{row[key]:{form}}" if row.get(key) is not None else f"{'-':>{width}}"

    print(f"{name:24}{cell('lcc_ms', '10.3f', 10)}{cell('ort_ms', '10.3f', 10)}{cell('ov_ms', '10.3f', 10)}"
          f"{cell('ratio', '8.2f', 8)}{cell('error', '10.1e', 10)}{row['peak']:8.0f}{row['moved']:7.0%}{row['cc_seconds']:7.1f}",
          flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*")
    p.add_argument("-k", default="", help="only networks whose name holds TEXT")
    p.add_argument("--target", default="native")
    p.add_argument("--rounds", type=int, default=11)
    p.add_argument("--json")
    a = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        probe = probe_load(folder)
        print(f"{'network':24}{'lcc ms':>10}{'ort ms':>10}{'ov ms':>10}{'ratio':>8}{'error':>10}{'GFLOP/s':>8}{'moved':>7}{'build s':>7}")
        for name, path in networks(a.models):
            if a.k not in name:
                continue
            try:
                row = measure(path, a.target, a.rounds, probe)
            except (lepton.CompileError, lepton.RunError, ValueError) as e:
                print(f"{name:24}{str(e).splitlines()[0][:100]}")
                continue
            rows.append({"network": name, **row})
            show(name, row)
    ratios = [r["ratio"] for r in rows if r.get("ratio")]
    if ratios:
        print(f"geometric mean against the faster peer, {len(ratios)} networks: {statistics.geometric_mean(ratios):.2f}")
    if a.json:
        with open(a.json, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
