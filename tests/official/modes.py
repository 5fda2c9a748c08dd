"""The four modes every case is run in.

inputs     the case as it is
constants  every tensor input but the first becomes an initialiser
dynamic    every dim of every input is a symbol of its own and no other shape is declared; only the
           length of an operand that fixes an output's rank stays (ranks are always static)
external   constants, with the initialisers in an external data file
"""
import os

import onnx
from onnx import numpy_helper

from .cases import graph_inputs

MODES = ("inputs", "constants", "dynamic", "external")
ALIGN = 64

# op: the operand whose length fixes the rank of an output, or the length of an output sequence
RANK_OPERAND = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Squeeze": 1, "Unsqueeze": 1,
                "Col2Im": 1, "AffineGrid": 1, "SplitToSequence": 1}
# op: the operand whose last extent fixes the rank
RANK_LAST = {"GatherND": 1, "ScatterND": 1}
LENGTHLESS = ("Shape", "Size")  # their result does not depend on the operand's elements


def is_tensor(info):
    return info.type.WhichOneof("value") == "tensor_type"


def to_constants(model, inputs):
    """Moves all tensor inputs but the first to initialisers; returns the values still given."""
    initialised = {t.name for t in model.graph.initializer}
    kept, values = [], []
    for i, (info, value) in enumerate(zip(graph_inputs(model), inputs)):
        if i == 0 or not is_tensor(info):
            kept.append(info)
            values.append(value)
        else:
            model.graph.initializer.append(numpy_helper.from_array(value, info.name))
            initialised.add(info.name)
    kept = [onnx.ValueInfoProto.FromString(info.SerializeToString()) for info in kept]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)  # before that, initialisers had to be inputs too
    return values


def to_external(model, folder):
    """Moves the initialisers' elements to folder/weights.bin."""
    at = 0
    with open(os.path.join(folder, "weights.bin"), "wb") as f:
        for t in model.graph.initializer:
            if t.data_type == onnx.TensorProto.STRING:
                continue
            raw = numpy_helper.from_array(numpy_helper.to_array(t)).raw_data
            f.write(b"\0" * (-at % ALIGN) + raw)
            at += -at % ALIGN
            name, dims, kind = t.name, list(t.dims), t.data_type
            t.Clear()
            t.name, t.data_type, t.data_location = name, kind, onnx.TensorProto.EXTERNAL
            t.dims.extend(dims)
            for key, value in (("location", "weights.bin"), ("offset", at), ("length", len(raw))):
                t.external_data.add(key=key, value=str(value))
            at += len(raw)


def attribute(node, name, default):
    for a in node.attribute:
        if a.name == name:
            return a.i
    return default


def bodies(node):
    return [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]


def names_used(graph):
    """All names that the nodes of a graph and of its bodies read."""
    used = {o.name for o in graph.output}
    for node in graph.node:
        used.update(node.input)
        for body in bodies(node):
            used |= names_used(body)
    return used


def rank_operands(node):
    """Inputs of a node whose length fixes a rank."""
    at = RANK_OPERAND.get(node.op_type)
    if node.op_type.startswith("Reduce") and not attribute(node, "keepdims", 1):
        at = 1
    return [node.input[at]] if at is not None and len(node.input) > at else []


def spread(graph, names):
    """One round of growing `names` by what is computed from them; true when one fixes a rank."""
    fixes = False
    for node in graph.node:
        fixes |= any(name in names for name in rank_operands(node))
        inside = bodies(node)
        read = set(node.input).union(*map(names_used, inside)) if inside else set(node.input)
        if node.op_type in LENGTHLESS or not read & names:
            continue
        names.update(name for name in node.output if name)
        for body in inside:
            names.update(i.name for i in body.input)
            fixes |= spread(body, names)
    return fixes


def fixes_rank(graph, name):
    """May the length of this input fix a rank?"""
    names, before, fixes = {name}, 0, False
    while len(names) > before and not fixes:
        before = len(names)
        fixes = spread(graph, names)
    return fixes


def last_fixes_rank(graph, name):
    return any(len(node.input) > at and node.input[at] == name
               for node in graph.node for at in [RANK_LAST.get(node.op_type)] if at is not None)


def forget(type_proto):
    """Drops the extents of a type, keeps its rank."""
    kind = type_proto.WhichOneof("value")
    if kind == "tensor_type":
        for dim in type_proto.tensor_type.shape.dim:
            dim.Clear()
    elif kind in ("sequence_type", "optional_type"):
        forget(getattr(type_proto, kind).elem_type)


def forget_inside(graph):
    del graph.value_info[:]
    for info in graph.output:
        forget(info.type)
    for node in graph.node:
        for body in bodies(node):
            for info in body.input:
                forget(info.type)
            forget_inside(body)


def to_dynamic(model):
    graph = model.graph
    forget_inside(graph)
    for k, info in enumerate(graph_inputs(model)):
        if not is_tensor(info):
            forget(info.type)
            continue
        dims = info.type.tensor_type.shape.dim
        fixed = set()
        if len(dims) == 1 and fixes_rank(graph, info.name):
            fixed.add(0)
        if last_fixes_rank(graph, info.name):
            fixed.add(len(dims) - 1)
        for axis, dim in enumerate(dims):
            if axis not in fixed:
                dim.dim_param = f"d{k}_{axis}"


def mode_apply(mode, model, inputs, folder):
    """Changes the model in place; returns the inputs to give."""
    if mode in ("constants", "external"):
        inputs = to_constants(model, inputs)
    if mode == "external":
        to_external(model, folder)
    if mode == "dynamic":
        to_dynamic(model)
    return inputs
