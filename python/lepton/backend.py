"""lcc as an ONNX backend, for the official test runner and the scoreboard.

    import onnx.backend.test, lepton.backend
    tests = onnx.backend.test.BackendTest(lepton.backend.LeptonBackend, __name__)
    globals().update(tests.test_cases)

This module alone imports onnx. $LEPTON_TARGET (default native) and $LEPTON_OPTIONS choose how lcc
is called when `prepare` is not told. A model lcc refuses fails its test, it is never skipped.
"""
import os

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from .build import compile


def shape_text(value):
    """`--shape` for an input that is no tensor, from a value of it (docs/bridge.md)."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(shape_text(v) for v in value) + "]"
    return "x".join(map(str, np.shape(value))) or "scalar"


def is_tensor(value_info):
    return value_info.type.WhichOneof("value") == "tensor_type"


class LeptonRep(BackendRep):
    """A prepared model. One with sequence or optional inputs is compiled when their lengths are
    known: at the first run, and again for other lengths."""

    def __init__(self, model, target, options):
        initialised = {t.name for t in model.graph.initializer}
        self._inputs = [i for i in model.graph.input if i.name not in initialised]
        self._bytes, self._target, self._options = model.SerializeToString(), target, list(options)
        self._made = {}
        if all(map(is_tensor, self._inputs)):
            self._model(())

    def _model(self, shapes):
        if shapes not in self._made:
            self._made[shapes] = compile(self._bytes, target=self._target,
                                         options=self._options + list(shapes))
        return self._made[shapes]

    def run(self, inputs, **kwargs):
        if isinstance(inputs, dict):
            values = [inputs[i.name] for i in self._inputs]
        elif isinstance(inputs, (list, tuple)):
            values = list(inputs)
        else:
            values = [inputs]
        shapes = tuple(f"--shape={i.name}={shape_text(v)}" for i, v in zip(self._inputs, values)
                       if not is_tensor(i))
        return tuple(self._model(shapes).run(values))


class LeptonBackend(Backend):
    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs):
        return True

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        target = kwargs.get("target") or os.environ.get("LEPTON_TARGET", "native")
        options = kwargs.get("options") or os.environ.get("LEPTON_OPTIONS", "").split()
        return LeptonRep(model, target, options)

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **kwargs):
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **kwargs):
        """Runs a single node on arrays; `outputs_info` is not needed, lcc infers shapes."""
        names = [name for name in node.input if name]
        values = [onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(np.asarray(v).dtype), np.shape(v))
            for name, v in zip(names, inputs)]
        results = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", values, results)
        opsets = [onnx.helper.make_opsetid(node.domain, kwargs.pop("opset_version", None)
                                           or onnx.defs.onnx_opset_version())]
        return cls.run_model(onnx.helper.make_model(graph, opset_imports=opsets), list(inputs),
                             device, **kwargs)

    @classmethod
    def supports_device(cls, device):
        return device == "CPU"


is_compatible = LeptonBackend.is_compatible
prepare = LeptonBackend.prepare
run_model = LeptonBackend.run_model
run_node = LeptonBackend.run_node
supports_device = LeptonBackend.supports_device
