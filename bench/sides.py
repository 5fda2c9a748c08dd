"""The sides of a comparison: lcc's C and its peers, all called the same way.

A side is made of a model file, a target and a number of threads, may refuse with any exception, and then has
`bind(arrays)`, which runs once and returns the outputs, and `step()`, one call with every buffer bound before.
A peer that is not installed refuses with ImportError.
"""
import ctypes
import os
import sys
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
import lepton  # noqa: E402 (of this checkout)


class Lepton:
    """lcc's C as a shared object; a call is one bridge call."""
    name, label = "lcc", "lcc"
    options = ()

    def __init__(self, path, target, threads, names=None):
        start = time.time()
        self.model = lepton.compile(path, target=target, threads=threads, options=self.options)
        self.seconds = time.time() - start

    def run(self, arrays):
        """The outputs, and what the memory of inputs and outputs hangs on."""
        outputs = self.model.run(arrays)
        return outputs, (arrays, outputs)

    def bind(self, arrays):
        enter, bound = self.model._enter, []

        def note(*args):
            bound[:] = args
            return enter(*args)

        self.model._enter = note
        outputs, self.arrays = self.run(arrays)
        del self.model._enter  # the method again
        call = self.model._run
        if self.model._pool:
            call, bound = self.model._library.lepton_run_on, [self.model._pool[1], *bound]
        self.step = lambda: call(*bound)
        return outputs


class LeptonState(Lepton):
    """With every cache in one buffer; each call writes the same rows again."""
    options = ("--state=auto",)

    def states(self):
        """{number of an input: of the output in its place}"""
        said = self.model.signature
        places = {port["c_name"]: i for i, port in enumerate(said["outputs"])}
        return {i: places[port["c_name"]] for i, port in enumerate(said["inputs"]) if port["c_name"] in places}

    def run(self, arrays):
        arrays, out = list(arrays), [None] * len(self.model.outputs)
        for i, o in self.states().items():
            port = self.model.signature["outputs"][o]
            whole = np.zeros(port.get("storage", port["shape"]), arrays[i].dtype)
            past = whole[tuple(map(slice, arrays[i].shape))]
            past[...] = arrays[i]
            arrays[i], out[o] = past, whole[tuple(map(slice, port["shape"]))]
        outputs = self.model.run(arrays, out=out)
        return outputs, (arrays, outputs)


class Loops(Lepton):
    """Plain loops: what the C compiler alone makes of the model."""
    name, label = "loops", "plain loops (--target=c -O0)"
    options = ("-O0",)

    def __init__(self, path, target, threads, names=None):
        super().__init__(path, "c", 1)


class OnnxRuntime:
    name, label = "ort", "onnxruntime"

    def __init__(self, path, target, threads, names, rewrites=True):
        import onnxruntime as ort
        opt = ort.SessionOptions()
        if not rewrites:
            opt.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        opt.intra_op_num_threads, opt.inter_op_num_threads = threads, 1
        opt.log_severity_level = 3
        self.session = ort.InferenceSession(path, opt, providers=["CPUExecutionProvider"])
        self.names = names

    def bind(self, arrays):
        outputs = self.session.run(None, dict(zip(self.names, arrays)))
        io = self.session.io_binding()
        for name, a in zip(self.names, arrays):
            io.bind_cpu_input(name, a)
        for o in self.session.get_outputs():
            io.bind_output(o.name, "cpu")
        self.session.run_with_iobinding(io)
        # bound buffers, as with the others: what the first run allocated is given to the next
        try:
            for o, value in zip(self.session.get_outputs(), io.get_outputs()):
                io.bind_ortvalue_output(o.name, value)
        except Exception:  # no tensor: it allocates in every run
            pass
        self.io, self.step = io, lambda: self.session.run_with_iobinding(io)
        return outputs


class OpenVino:
    name, label = "ov", "openvino, f32"
    config = {"INFERENCE_PRECISION_HINT": "f32"}

    def __init__(self, path, target, threads, names):
        import openvino as ov
        self.model = ov.Core().compile_model(path, "CPU", {
            **self.config, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False})
        self.names = names

    def bind(self, arrays):
        import openvino as ov
        request = self.model.create_infer_request()
        for name, a in zip(self.names, arrays):
            request.set_tensor(name, ov.Tensor(a, shared_memory=True))
        request.infer(share_outputs=True)
        self.step = lambda: request.infer(share_outputs=True, decode_strings=False)
        return [request.get_tensor(o).data.copy() for o in self.model.outputs]


class OpenVinoDefault(OpenVino):
    """As it comes: bf16 where the processor has instructions for it."""
    name, label = "ovd", "openvino, its default precision"
    config = {}


class OpenBlas:
    """sgemm (sgemv for one row) on a model that is one MatMul, weights as they come: row by row."""
    name, label = "blas", "OpenBLAS sgemm"

    def __init__(self, path, target, threads, names):
        import onnx
        import scipy_openblas32
        graph = onnx.load(path).graph
        if [n.op_type for n in graph.node] != ["MatMul"]:
            raise ValueError("sgemm is one MatMul")
        self.weights = np.array(onnx.numpy_helper.to_array(graph.initializer[0]), np.float32, order="C")
        lib = ctypes.CDLL(os.path.join(scipy_openblas32.get_lib_dir(), "libscipy_openblas.so"))
        lib.scipy_openblas_set_num_threads(threads)
        self.gemm, self.gemv = lib.scipy_cblas_sgemm, lib.scipy_cblas_sgemv
        i, p, f = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
        self.gemm.argtypes = [i, i, i, i, i, i, f, p, i, p, i, f, p, i]
        self.gemv.argtypes = [i, i, i, i, f, p, i, p, i, f, p, i]
        self.gemm.restype = self.gemv.restype = None

    def bind(self, arrays):
        x, (k, n) = arrays[0], self.weights.shape
        m = x.size // k
        self.arrays = y = np.zeros((m, n), np.float32)
        at, of, to = (ctypes.c_void_p(v.ctypes.data) for v in (self.weights, x, y))
        if m == 1:  # 101 row major, 111 as it is, 112 transposed
            call, bound = self.gemv, (101, 112, k, n, 1.0, at, n, of, 1, 0.0, to, 1)
        else:
            call, bound = self.gemm, (101, 111, 111, m, n, k, 1.0, of, k, at, n, 0.0, to, n)
        self.step = lambda: call(*bound)
        self.step()
        return [y.copy()]


class Iree:
    """IREE's CPU backend; its runtime's own Python call."""
    name, label = "iree", "IREE llvm-cpu"

    def __init__(self, path, target, threads, names):
        import iree.compiler.tools as tools
        import iree.runtime as rt
        import tempfile
        import subprocess
        with tempfile.TemporaryDirectory() as folder:
            mlir = os.path.join(folder, "m.mlir")
            subprocess.run([sys.executable, "-m", "iree.compiler.tools.import_onnx", path, "-o", mlir], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
            code = tools.compile_file(mlir, target_backends=["llvm-cpu"], input_type="onnx",
                                      extra_args=["--iree-llvmcpu-target-cpu=host", "--iree-opt-const-eval"])
        if threads > 1:
            rt.flags.FUNCTION_INPUT_VALIDATION = False
            rt.flags.parse_flags(f"--task_topology_group_count={threads}")
        config = rt.Config("local-task" if threads > 1 else "local-sync")
        self.device = config.device
        module = rt.load_vm_module(rt.VmModule.copy_buffer(config.vm_instance, code), config)
        exported = [n for n in module.vm_module.function_names if not n.startswith("__") and "$async" not in n]
        self.call = module[exported[0]]

    def bind(self, arrays):
        import iree.runtime as rt
        bound = [rt.asdevicearray(self.device, a) for a in arrays]

        def step():
            return self.call(*bound)

        self.step = step
        found = step()
        found = found if isinstance(found, (list, tuple)) else [found]
        return [np.array(a.to_host()) for a in found]


PEERS = {side.name: side for side in (OnnxRuntime, OpenVino, OpenVinoDefault, OpenBlas, Loops, Iree)}


def error_of(got, want):
    """(largest difference over all numeric outputs, each over its largest magnitude; whether each is within
    1e-6 + 1e-4 x its largest magnitude)."""
    worst, within = 0.0, True
    for g, w in zip(got, want):
        if not isinstance(w, np.ndarray) or w.dtype.kind not in "fiub" or not w.size:
            continue
        g, w = np.asarray(g).astype(np.float64), np.asarray(w).astype(np.float64)
        if g.shape != w.shape:
            return float("inf"), False
        if not np.array_equal(np.isfinite(g), np.isfinite(w)):
            return float("inf"), False
        with np.errstate(invalid="ignore"):
            differ = np.nanmax(np.where(np.isfinite(w), np.abs(g - w), 0.0))
            top = np.nanmax(np.where(np.isfinite(w), np.abs(w), 0.0))
        worst = max(worst, float(differ / max(1e-30, top)))
        within = within and bool(differ <= 1e-6 + 1e-4 * top)
    return worst, within
