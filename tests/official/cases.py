"""The official suite: its 1914 cases, their data and its rule, taken from the onnx 1.22.0 wheel.

Everything is done as onnx.backend.test.runner does it, with its own functions where it has them.
The nine light models have no stored inputs: the runner feeds arange(n)/n, and so do we.
"""
import glob
import os
from typing import NamedTuple

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

ONNX_VERSION = "1.22.0"  # later versions no longer store the node tests
KINDS = ("node", "real", "simple", "pytorch-converted", "pytorch-operator")
COUNT = 1914


class Case(NamedTuple):
    name: str
    kind: str
    model: str  # path
    rtol: float
    atol: float

    @property
    def light(self):
        return self.kind == "real"


def cases_load():
    """All cases, by name."""
    data = os.path.join(os.path.dirname(onnx.backend.test.__file__), "data")
    cases = []
    for kind in KINDS:
        for t in load_model_tests(kind=kind):
            path = os.path.join(t.model_dir or "", "model.onnx")
            if t.url is not None:
                path = os.path.join(data, "light", os.path.basename(t.url))
            cases.append(Case(t.name, kind, path, t.rtol, t.atol))
    if len({c.name for c in cases}) != COUNT:
        raise RuntimeError(f"onnx {onnx.__version__} holds {len(cases)} cases, {COUNT} expected")
    return sorted(cases, key=lambda c: c.name)


def graph_inputs(model):
    """The inputs a caller gives: those that are not initialised."""
    initialised = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in initialised]


def value_load(path, type_proto):
    with open(path, "rb") as f:
        content = f.read()
    kind = type_proto.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


def values_load(prefix, infos):
    """prefix0.pb, prefix1.pb, … as far as they exist."""
    paths = [f"{prefix}{i}.pb" for i in range(len(glob.glob(glob.escape(prefix) + "*.pb")))]
    return [value_load(path, info.type) for path, info in zip(paths, infos)]


def data_sets(case, model):
    """[(inputs, expected outputs)], inputs in the order of graph_inputs()."""
    if case.light:
        inputs = [Runner.generate_dummy_data(i) for i in graph_inputs(model)]
        stem = os.path.splitext(case.model)[0]
        return [(inputs, values_load(f"{stem}_output_", model.graph.output))]
    folders = sorted(glob.glob(os.path.join(os.path.dirname(case.model), "test_data_set*")))
    return [(values_load(f"{folder}/input_", graph_inputs(model)),
             values_load(f"{folder}/output_", model.graph.output)) for folder in folders]


def first_difference(expected, outputs, where="output"):
    """What differs, in words that do not depend on compiler or machine."""
    if not isinstance(outputs, (list, tuple)) or len(outputs) != len(expected):
        count = len(outputs) if isinstance(outputs, (list, tuple)) else type(outputs).__name__
        return f"{where}s: {count} instead of {len(expected)}"
    for i, (ref, out) in enumerate(zip(expected, outputs)):
        name = f"{where} {i}"
        if isinstance(ref, (list, tuple)) or isinstance(out, (list, tuple)):
            if type(ref) is not type(out):
                return f"{name}: {type(out).__name__} instead of {type(ref).__name__}"
            found = first_difference(ref, out, f"{name} element")
            if found:
                return found
        elif ref is None or out is None:
            if ref is not out:
                return f"{name}: {'absent' if out is None else 'present'}"
        elif out.shape != ref.shape:
            return f"{name}: shape {list(out.shape)} instead of {list(ref.shape)}"
        elif out.dtype != ref.dtype and ref.dtype != object:  # text of any dtype will do
            return f"{name}: {out.dtype} instead of {ref.dtype}"
    return None


def verdict(case, expected, outputs):
    """None when the outputs pass the official rule, else (reason, detail)."""
    found = first_difference(expected, outputs)
    if found:
        return found, ""
    try:
        Runner.assert_similar_outputs(expected, outputs, case.rtol, case.atol, case.model)
    except (AssertionError, TypeError) as e:
        detail = " ".join(line.strip() for line in str(e).split("\n")
                          if line.startswith(("Mismatched", "Max")))
        return "values differ" if isinstance(e, AssertionError) else f"rule: {e}", detail
    return None


def describe(value):
    """Short text of a value, for -v."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(describe(v) for v in value) + "]"
    return "None" if value is None else np.array2string(np.asarray(value), threshold=20)
