#!/usr/bin/env python3
"""Malformed, hostile and merely odd models: points 1-14 and 20 of what lcc promises.

usage: LCC=build/lcc tests/run_malformed.py [quick|full]

Every case is a file (or something that is not one). `$LCC case.onnx -o -` must end within the time
and memory limits, without a signal, with one of the exit codes the case names (0 where the file is
legal), with printable errors that name the model, and leave nothing behind. Point 2 (every cut,
every flipped bit) runs in process: the program tests/fuzz_load beside $LCC.
Last line: N passed, N failed."""
import gzip
import os
import re
import resource
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
from onnx import AttributeProto
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

OK, MALFORMED, UNSUPPORTED, LIMIT, IO = 0, 3, 4, 5, 6
MIB = 1 << 20
TIME_LIMIT = 20  # seconds of processor time
MODE = sys.argv[1] if len(sys.argv) > 1 else "default"
CASES = []  # (name, allowed codes, function that writes the file and may return options)


def case(name, *codes):
    """Registers a function of no argument that returns the file's bytes (or a ModelProto)."""
    def add(make):
        CASES.append((name, codes, make))
        return make
    return add


def each(prefix, codes, table):
    """One case per item of {name: function or bytes}."""
    for name, make in table.items():
        CASES.append((f"{prefix}: {name}", codes, make if callable(make) else (lambda m=make: m)))


# ---- wire bytes ------------------------------------------------------------------------------

def varint(v):
    v &= (1 << 64) - 1
    out = bytearray()
    while v >= 128:
        out.append(v & 127 | 128)
        v >>= 7
    return bytes(out) + bytes([v])


def num(field, v):
    return varint(field << 3) + varint(v)


def msg(field, body):
    body = body.encode() if isinstance(body, str) else body
    return varint(field << 3 | 2) + varint(len(body)) + body


def opset(version=18, domain=None):
    return msg(8, (msg(1, domain) if domain is not None else b"") + num(2, version))


# ---- models ----------------------------------------------------------------------------------

def value(name, shape=(2,), elem=T.FLOAT):
    return h.make_tensor_value_info(name, elem, shape)


def model(nodes=None, inputs=None, outputs=None, inits=None, functions=(), opsets=None, ir=10):
    """y = x + w, with whatever is replaced."""
    nodes = [h.make_node("Add", ["x", "w"], ["y"], name="add")] if nodes is None else nodes
    inits = [h.make_tensor("w", T.FLOAT, [2], [1, 2])] if inits is None else inits
    inputs = [value("x")] if inputs is None else inputs
    outputs = [value("y")] if outputs is None else outputs
    opsets = [("", 18), ("local", 1)] if opsets is None else opsets
    graph = h.make_graph(nodes, "g", inputs, outputs, inits)
    m = h.make_model(graph, functions=list(functions),
                     opset_imports=[h.make_opsetid(d, v) for d, v in opsets])
    m.ir_version = ir
    return m


def one(op, inputs=("x",), outputs=("y",), **attrs):
    return model([h.make_node(op, list(inputs), list(outputs), **attrs)])


def parts(m=None):
    """The model's top-level fields as wire bytes: (ir_version, opsets, graph)."""
    m = m or model()
    ops = b"".join(msg(8, o.SerializeToString()) for o in m.opset_import)
    return num(1, m.ir_version), ops, msg(7, m.graph.SerializeToString())


def with_init(init):
    """A model whose initialiser w is the given TensorProto (or its bytes)."""
    init = init if isinstance(init, bytes) else init.SerializeToString()
    m = model(inits=[])
    ir, ops, _ = parts(m)
    return ir + ops + msg(7, m.graph.SerializeToString() + msg(5, init))


def tensor(dims=(2,), elem=T.FLOAT, name="w", body=b""):
    out = b"".join(num(1, d) for d in dims)
    return out + num(2, elem) + msg(8, name) + body


RAW2 = msg(9, np.array([1, 2], np.float32).tobytes())


# ---- 1 not a model -----------------------------------------------------------------------------

each("1 not a model", (MALFORMED,), {
    "empty": b"",
    "one byte": b"\x08",
    "one zero byte": b"\0",
    "text": b"This is a text file, not a model.\nIt has two lines.\n",
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(range(200)),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(100),
    "gzip": lambda: gzip.compress(model().SerializeToString()),
    "zip": b"PK\3\4" + bytes(60),
    "numpy": b"\x93NUMPY\1\0v\0" + bytes(118),
    "zeros": bytes(100000),
    "ones": b"\xff" * 100000,
})


def make_directory(path):
    os.mkdir(path)


def make_socket(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.close()


def make_unreadable(path):
    with open(path, "wb") as f:
        f.write(model().SerializeToString())
    os.chmod(path, 0)


SPECIAL = [  # name, codes, function of a path
    ("1 missing", (IO,), lambda path: None),
    ("1 directory", (IO,), make_directory),
    ("1 FIFO", (IO,), os.mkfifo),
    ("1 socket", (IO,), make_socket),
    ("1 dangling link", (IO,), lambda path: os.symlink("nowhere", path)),
    ("1 link to itself", (IO,), lambda path: os.symlink(os.path.basename(path), path)),
    ("1 link to a device", (IO,), lambda path: os.symlink("/dev/zero", path)),
    ("1 unreadable", (IO,), make_unreadable),
]

# ---- 3 wire format -------------------------------------------------------------------------------

GOOD = b"".join(parts())
each("3 wire", (MALFORMED,), {
    "varint of 11 bytes": GOOD + b"\x08" + b"\x80" * 10 + b"\x01",
    "varint above 64 bits": GOOD + b"\x08" + b"\xff" * 9 + b"\x02",
    "varint that does not end": GOOD + b"\x08\x80",
    "tag 0": GOOD + b"\0\0",
    "field number 0": GOOD + b"\x02\x00",
    "field number 2^29": GOOD + varint(1 << 32) + b"\0",
    "wire type 3": GOOD + b"\x0b\x08\x01\x0c",
    "wire type 4": GOOD + b"\x0c",
    "wire type 6": GOOD + b"\x0e\0",
    "wire type 7": GOOD + b"\x0f\0",
    "unknown group": GOOD + varint(999 << 3 | 3) + varint(999 << 3 | 4),
    "length past the end": GOOD + b"\x12\x7f",
    "length past its message": parts()[0] + msg(7, b"\x12\x09g"),
    "length 2^31": GOOD + b"\x12" + varint(1 << 31),
    "length 2^63": GOOD + b"\x12" + varint(1 << 63),
    "length 2^64-1": GOOD + b"\x12" + varint((1 << 64) - 1),
    "graph as a varint": parts()[0] + parts()[1] + num(7, 5),
    "ir_version as a message": GOOD + msg(1, b"ab"),
    "graph as fixed32": parts()[0] + varint(7 << 3 | 5) + b"abcd",
    "packed floats of odd length": lambda: with_init(tensor(body=msg(4, b"123456789"))),
    "packed varints cut": lambda: with_init(tensor(elem=T.INT64, body=msg(7, b"\x01\x80"))),
    "NUL inside a name": lambda: with_init(tensor(name="w\0w", body=RAW2)),
})

# ---- 4 odd but legal -----------------------------------------------------------------------------

each("4 legal", (OK,), {
    "scalar twice, the last wins": num(1, 999) + GOOD,
    "fields in reverse": b"".join(reversed(parts())),
    "unknown fields": GOOD + num(900, 5) + msg(901, b"abc") + varint(902 << 3 | 1) + bytes(8) +
                      varint(903 << 3 | 5) + bytes(4),
    "varints longer than need be": b"\x08\x8a\x80\x00" + parts()[1] + parts()[2],
    "graph in two pieces": lambda: b"".join(parts()[:2]) +
                           msg(7, model(inits=[]).graph.SerializeToString()) +
                           msg(7, msg(5, tensor(body=RAW2))),
    "dims packed": lambda: with_init(msg(1, b"\x02") + tensor(dims=(), body=RAW2)),
    "floats unpacked": lambda: with_init(tensor(body=varint(4 << 3 | 5) + bytes(4) +
                                                varint(4 << 3 | 5) + bytes(4))),
    "floats packed and not": lambda: with_init(tensor(body=msg(4, bytes(4)) +
                                                      varint(4 << 3 | 5) + bytes(4))),
    "oneof given twice": lambda: type_twice(),
    "empty packed field": lambda: with_init(tensor(body=RAW2 + msg(4, b"") + msg(7, b""))),
})


def type_twice():
    """The type of x: first a sequence, then a tensor; the last member of a oneof counts."""
    x = value("x").type.SerializeToString()
    return wrap_type(msg(4, msg(1, x)) + x)


# ---- 5 nesting -----------------------------------------------------------------------------------

def nest_type(depth):
    """x is a sequence of sequences of …; every level is two messages."""
    inner = value("x").type.SerializeToString()
    for _ in range(depth):
        inner = msg(4, msg(1, inner))
    return wrap_type(inner)


def wrap_type(inner):
    m = model(inputs=[])
    body = m.graph.SerializeToString() + msg(11, msg(1, "x") + msg(2, inner))
    return parts(m)[0] + parts(m)[1] + msg(7, body)


def nest_graph(depth):
    """If in If in If …; built outwards, since 10^6 levels are deeper than any library goes."""
    pieces, size = [], 0
    for _ in range(depth):
        for field in (6, 5, 1):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            head = varint(field << 3 | 2) + varint(size)
            pieces.append(head)
            size += len(head)
    body = b"".join(reversed(pieces))
    return parts()[0] + parts()[1] + msg(7, body)


def nest_if(depth):
    """A legal chain of nested Ifs."""
    body = h.make_graph([h.make_node("Neg", ["x"], ["o0"])], "b0", [], [value("o0")])
    other = h.make_graph([h.make_node("Abs", ["x"], ["a"])], "o", [], [value("a")])
    for i in range(1, depth + 1):
        node = h.make_node("If", ["c"], [f"o{i}"], then_branch=body, else_branch=other)
        body = h.make_graph([node], f"b{i}", [], [value(f"o{i}")])
    return model(body.node, [value("x"), value("c", (), T.BOOL)], [value(f"o{depth}")], [])


each("5 nesting", (MALFORMED, UNSUPPORTED), {
    "types 101": lambda: nest_type(101),
    "types 10^4": lambda: nest_type(10 ** 4),
    "graphs 101": lambda: nest_graph(101),
    "graphs 10^4": lambda: nest_graph(10 ** 4),
    "graphs 10^6": lambda: nest_graph(10 ** 6),
})
case("5 nesting: If 30 deep, legal", OK, UNSUPPORTED, LIMIT)(lambda: nest_if(30))
case("5 nesting: a sequence type 40 deep", MALFORMED, UNSUPPORTED)(lambda: nest_type(40))

# ---- 6 graph and opsets --------------------------------------------------------------------------

IR, OPS, GRAPH = parts()
each("6 model", (MALFORMED,), {
    "no graph": IR + OPS,
    "no opset": IR + GRAPH,
    "opset 0": IR + opset(0) + GRAPH,
    "opset -1": IR + opset(-1) + GRAPH,
    "opset 2^63": IR + opset(1 << 63) + GRAPH,
    "opset without version": IR + msg(8, msg(1, "")) + GRAPH,
    "two opsets of one domain": IR + opset(18) + opset(17) + GRAPH,
})
each("6 model", (MALFORMED, UNSUPPORTED), {
    "opset 2^31": IR + opset(1 << 31) + GRAPH,
    "opset 10^6": IR + opset(10 ** 6) + GRAPH,
    "ir_version 0": num(1, 0) + OPS + GRAPH,
    "ir_version -1": num(1, -1) + OPS + GRAPH,
    "ir_version 10^9": num(1, 10 ** 9) + OPS + GRAPH,
    "no ir_version": OPS + GRAPH,
    "node of an unknown domain": lambda: model(
        [h.make_node("Add", ["x", "w"], ["y"], domain="no.such")], opsets=[("", 18), ("no.such", 1)]),
    "node of an unimported domain": lambda: model(
        [h.make_node("Add", ["x", "w"], ["y"], domain="no.such")]),
    "empty graph": IR + OPS + msg(7, b""),
})
case("6 model: an unknown domain nobody uses", OK)(lambda: IR + OPS + opset(1, "no.such") + GRAPH)
case("6 model: the same opset twice", OK, MALFORMED)(lambda: IR + opset(18) + opset(18) + GRAPH)

# ---- 7 nodes -------------------------------------------------------------------------------------

def dequantize(scale, zero, **attrs):
    inits = [h.make_tensor("s", T.FLOAT, scale, [1] * int(np.prod(scale))),
             h.make_tensor("z", T.INT8, zero, [1] * int(np.prod(zero)))]
    return model([h.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], **attrs)],
                 [value("x", (2, 4), T.INT8)], [value("y", (2, 4))], inits, opsets=[("", 21)])


each("7 node", (MALFORMED, UNSUPPORTED), {
    "unknown op": lambda: one("NoSuchOp"),
    "no op_type": lambda: one(""),
    "op of a later opset": lambda: model([h.make_node("Gelu", ["x"], ["y"])], opsets=[("", 13)]),
    "op that was removed": lambda: model(
        [h.make_node("Upsample", ["x", "w"], ["y"], mode="nearest")], opsets=[("", 18)]),
    "Add without inputs": lambda: one("Add", []),
    "Add with one input": lambda: one("Add"),
    "Add with three inputs": lambda: one("Add", ["x", "w", "w"]),
    "Add with an empty name": lambda: one("Add", ["x", ""]),
    "Neg without outputs": lambda: one("Neg", ["x"], []),
    "Neg with two outputs": lambda: one("Neg", ["x"], ["y", "z"]),
    "Neg with an empty output": lambda: one("Neg", ["x"], [""]),
    "Split with 100 outputs of 2": lambda: one("Split", ["x"], ["y"] + [f"y{i}" for i in range(99)],
                                               num_outputs=100),
    "Add of a float and an int": lambda: model(
        inits=[h.make_tensor("w", T.INT64, [2], [1, 2])]),
    "Add of shapes that do not fit": lambda: model(
        inits=[h.make_tensor("w", T.FLOAT, [3], [1, 2, 3])]),
    "output that nothing makes": lambda: model(outputs=[value("nothing")]),
    "one scale, five zero points": lambda: dequantize([], [5], axis=0),
    "two scales, three zero points": lambda: dequantize([2], [3], axis=0),
    "blocks of scales, one row of zero points": lambda: dequantize([2, 1], [2, 2], axis=1,
                                                                       block_size=4),
})

# ---- 8 attributes --------------------------------------------------------------------------------

TRANSPOSE = dict(inputs=[value("x", (2, 3))], outputs=[value("y", (3, 2))], inits=[])


def attribute(*attrs):
    node = h.make_node("Transpose", ["x"], ["y"])
    node.attribute.extend(attrs)
    return model([node], **TRANSPOSE)


def perm(**fields):
    a = h.make_attribute("perm", [1, 0])
    for k, v in fields.items():
        setattr(a, k, v)
    return a


def attribute_with_two():
    a = h.make_attribute("perm", [1, 0])
    a.f = 1.0
    return attribute(a)


each("8 attribute", (MALFORMED, UNSUPPORTED), {
    "a float for ints": lambda: attribute(h.make_attribute("perm", 1.5)),
    "an int for ints": lambda: attribute(h.make_attribute("perm", 1)),
    "a string for ints": lambda: attribute(h.make_attribute("perm", "01")),
    "a graph for ints": lambda: attribute(h.make_attribute("perm", model().graph)),
    "a type that its value is not": lambda: attribute(perm(type=1)),
    "type 99": IR + OPS + msg(7, msg(1, msg(1, "x") + msg(2, "y") + msg(4, "Neg") +
                                     msg(5, msg(1, "a") + num(20, 99)))),
    "given twice": lambda: attribute(perm(), perm()),
    "without a name": lambda: attribute(perm(name="")),
    "unknown": lambda: attribute(perm(), h.make_attribute("no_such", 1)),
    "missing": lambda: one("Cast"),
    "perm of the wrong rank": lambda: attribute(h.make_attribute("perm", [0])),
    "perm that repeats": lambda: attribute(h.make_attribute("perm", [0, 0])),
    "perm out of range": lambda: attribute(h.make_attribute("perm", [0, 2 ** 62])),
    "10^7 ints": lambda: attribute(h.make_attribute("perm", np.zeros(10 ** 7, np.int64).tolist())),
    "reference outside a function": lambda: attribute(
        AttributeProto(name="perm", type=AttributeProto.INTS, ref_attr_name="outer")),
})
case("8 attribute: NaN", OK)(lambda: one("LeakyRelu", alpha=float("nan")))
case("8 attribute: infinity", OK)(lambda: one("LeakyRelu", alpha=float("inf")))
case("8 attribute: a value beside the right one", OK, MALFORMED)(attribute_with_two)

# ---- 9 names of values ---------------------------------------------------------------------------

def node(op, ins, outs, **attrs):
    return h.make_node(op, ins.split(), outs.split(), **attrs)


def shadow():
    body = h.make_graph([node("Neg", "x", "w"), node("Abs", "w", "t")], "b", [], [value("t")])
    other = h.make_graph([node("Neg", "x", "e")], "e", [], [value("e")])
    return model([h.make_node("If", ["c"], ["y"], then_branch=body, else_branch=other)],
                 [value("x"), value("c", (), T.BOOL)])


each("9 values", (MALFORMED,), {
    "a node that reads itself": lambda: model([node("Add", "x y", "y")]),
    "a cycle of two": lambda: model([node("Add", "x b", "a"), node("Neg", "a", "b"),
                                     node("Neg", "b", "y")]),
    "a cycle nobody needs": lambda: model([node("Neg", "b", "a"), node("Neg", "a", "b"),
                                           node("Neg", "x", "y")]),
    "a value that does not exist": lambda: model([node("Add", "x nowhere", "y")]),
    "two nodes that make y": lambda: model([node("Neg", "x", "y"), node("Abs", "x", "y")]),
    "one node that makes y twice": lambda: model([node("Split", "x", "y y", num_outputs=2)]),
    "a node that makes the input": lambda: model([node("Neg", "w", "x"), node("Neg", "x", "y")]),
    "a node that makes the initialiser": lambda: model([node("Neg", "x", "w"),
                                                        node("Neg", "w", "y")]),
    "two inputs x": lambda: model(inputs=[value("x"), value("x")]),
    "input without a name": lambda: model(inputs=[value("x"), value("")]),
    "two initialisers w": lambda: model(inits=[h.make_tensor("w", T.FLOAT, [2], [1, 2])] * 2),
    "initialiser without a name": lambda: with_init(tensor(name="", body=RAW2)),
})
case("9 values: use before definition", OK, MALFORMED)(
    lambda: model([node("Neg", "a", "y"), node("Neg", "x", "a")]))
case("9 values: two outputs y", OK, MALFORMED)(lambda: model(outputs=[value("y"), value("y")]))
case("9 values: shadowing in a body", OK, MALFORMED, UNSUPPORTED)(shadow)
case("9 values: output = input", OK)(lambda: model([], outputs=[value("x")], inits=[]))
case("9 values: output = initialiser", OK)(lambda: model([], outputs=[value("w")]))
case("9 values: input = initialiser = output", OK)(
    lambda: model([], inputs=[value("w")], outputs=[value("w")]))
case("9 values: input = initialiser", OK)(lambda: model(inputs=[value("x"), value("w")]))

# ---- 10 functions --------------------------------------------------------------------------------

def function(name, nodes):
    return h.make_function("local", name, ["p"], ["r"], nodes,
                           [h.make_opsetid("", 18), h.make_opsetid("local", 1)])


def call(name, i="p", o="r"):
    return h.make_node(name, [i], [o], domain="local")


def call_model(functions, name="f0"):
    return model([call(name, "x", "y")], functions=functions, inits=[])


def hidden_recursion():
    body = h.make_graph([call("f0", "p", "t")], "b", [], [value("t")])
    other = h.make_graph([h.make_node("Neg", ["p"], ["e"])], "e", [], [value("e")])
    f = function("f0", [
        h.make_node("Constant", [], ["c"], value=h.make_tensor("c", T.BOOL, [], [True])),
        h.make_node("If", ["c"], ["r"], then_branch=body, else_branch=other)])
    return call_model([f])


def function_chain(n, times=1):
    """f0 calls f1 (so many times), f1 calls f2, …"""
    out = [function(f"f{n}", [h.make_node("Neg", ["p"], ["r"])])]
    for i in range(n):
        names = ["p"] + [f"t{k}" for k in range(times - 1)] + ["r"]
        out.append(function(f"f{i}", [call(f"f{i + 1}", a, b) for a, b in zip(names, names[1:])]))
    return call_model(out)


each("10 function", (MALFORMED, UNSUPPORTED, LIMIT), {
    "recursive": lambda: call_model([function("f0", [call("f0")])]),
    "mutual": lambda: call_model([function("f0", [call("f1")]), function("f1", [call("f0")])]),
    "recursive inside an If body": hidden_recursion,
    "doubling to 2^30": lambda: function_chain(30, 2),
    "unknown": lambda: call_model([function("f1", [call("f0")])]),
    "defined twice": lambda: call_model([function("f0", [h.make_node("Neg", ["p"], ["r"])])] * 2),
    "too many inputs": lambda: model([h.make_node("f0", ["x", "w"], ["y"], domain="local")],
                                     functions=[function("f0", [node("Neg", "p", "r")])]),
    "output that nothing makes": lambda: call_model([function("f0", [node("Neg", "p", "q")])]),
})
case("10 function: chain of 30", OK)(lambda: function_chain(30))
case("10 function: chain of 3000", OK, LIMIT)(lambda: function_chain(3000))
case("10 function: recursive but unused", OK, MALFORMED)(
    lambda: model(functions=[function("f0", [call("f0")])]))

# ---- 11 dims -------------------------------------------------------------------------------------

def shaped(*dims):
    """x has these dims."""
    return model([node("Neg", "x", "y")], [value("x", list(dims))], [value("y", None)], [])


each("11 dims of an initialiser", (MALFORMED, LIMIT), {
    "-1": lambda: with_init(tensor((-1,), body=RAW2)),
    "-2^63": lambda: with_init(tensor((-1 << 63,), body=RAW2)),
    "2^31": lambda: with_init(tensor((1 << 31,), body=RAW2)),
    "2^63-1": lambda: with_init(tensor(((1 << 63) - 1,), body=RAW2)),
    "product wraps to 2": lambda: with_init(tensor((1 << 32, 1 << 32, 2), body=RAW2)),
    "bytes wrap to 8": lambda: with_init(tensor(((1 << 62) + 2,), body=RAW2)),
    "0 beside a product that wraps": lambda: with_init(tensor((0, 1 << 62, 1 << 62))),
    "rank 65": lambda: with_init(tensor((1,) * 64 + (2,), body=RAW2)),
    "rank 10^6": lambda: with_init(tensor((1,) * 10 ** 6 + (2,), body=RAW2)),
})
each("11 dims of an input", (MALFORMED, UNSUPPORTED, LIMIT), {
    "-1": lambda: shaped(-1),
    "-2^63": lambda: shaped(-1 << 63),
    "2^63-1": lambda: shaped((1 << 63) - 1),
    "product wraps": lambda: shaped(1 << 32, 1 << 32, 2),
    "bytes wrap": lambda: shaped(1 << 62),
    "rank 65": lambda: shaped(*[1] * 65),
    "rank 10^6": lambda: shaped(*[1] * 10 ** 6),
})
case("11 dims of an input: 0, legal", OK)(lambda: shaped(0, 3))
case("11 dims of an input: 2^31", OK, LIMIT, UNSUPPORTED)(lambda: shaped(1 << 31))
case("11 dims of an initialiser: 0, legal", OK)(
    lambda: model([node("Neg", "w", "y")], [], [value("y", (0, 3))],
                  [h.make_tensor("w", T.FLOAT, [0, 3], [])]))

# ---- 12 tensor data ------------------------------------------------------------------------------

INT4 = dict(dims=(3,), elem=T.INT4)
each("12 data", (MALFORMED,), {
    "raw_data short": lambda: with_init(tensor(body=msg(9, bytes(4)))),
    "raw_data long": lambda: with_init(tensor(body=msg(9, bytes(12)))),
    "raw_data odd": lambda: with_init(tensor(body=msg(9, bytes(7)))),
    "raw_data empty": lambda: with_init(tensor(body=msg(9, b""))),
    "raw and typed": lambda: with_init(tensor(body=RAW2 + msg(4, bytes(8)))),
    "raw and external": lambda: with_init(tensor(body=RAW2 + num(14, 1))),
    "wrong typed field": lambda: with_init(tensor(body=msg(10, bytes(16)))),
    "two typed fields": lambda: with_init(tensor(body=msg(4, bytes(8)) + msg(10, bytes(16)))),
    "typed short": lambda: with_init(tensor(body=msg(4, bytes(4)))),
    "typed long": lambda: with_init(tensor(body=msg(4, bytes(12)))),
    "none": lambda: with_init(tensor()),
    "no data_type": lambda: with_init(num(1, 2) + msg(8, "w") + RAW2),
    "data_type -1": lambda: with_init(tensor(elem=-1, body=RAW2)),
    "strings in raw_data": lambda: with_init(tensor(elem=T.STRING, body=RAW2)),
    "int32_data that is no int8": lambda: with_init(
        tensor(elem=T.INT8, body=msg(5, varint(1) + varint(300)))),
    "uint64_data that is no uint32": lambda: with_init(
        tensor(elem=T.UINT32, body=msg(11, varint(1) + varint(1 << 32)))),
    "odd int4, one byte short": lambda: with_init(tensor(**INT4, body=msg(9, b"\x21"))),
    "odd int4, one byte long": lambda: with_init(tensor(**INT4, body=msg(9, b"\x21\x03\x04"))),
    "data_location 7": lambda: with_init(tensor(body=RAW2 + num(14, 7))),
    "external without a location": lambda: with_init(tensor(body=num(14, 1))),
    "external twice over": lambda: with_init(tensor(
        body=num(14, 1) + msg(13, msg(1, "offset") + msg(2, "-1")) +
        msg(13, msg(1, "location") + msg(2, "w.bin")))),
})
case("12 data: data_type 99", MALFORMED, UNSUPPORTED)(lambda: with_init(tensor(elem=99, body=RAW2)))
case("12 data: a segment", UNSUPPORTED)(
    lambda: with_init(tensor(body=RAW2 + msg(3, num(1, 0) + num(2, 1)))))
case("12 data: odd int4, legal", OK, UNSUPPORTED)(
    lambda: model([node("Cast", "w", "y", to=T.FLOAT)], [], [value("y", (3,))],
                  [h.make_tensor("w", T.INT4, [3], [1, -2, 3])], opsets=[("", 21)]))
case("12 data: an attribute tensor cut short", MALFORMED)(
    lambda: IR + OPS + msg(7, msg(1, msg(2, "y") + msg(4, "Constant") + msg(5, msg(1, "value") + num(
        20, 4) + msg(5, tensor(body=msg(9, bytes(3)))))) + msg(12, value("y").SerializeToString())))

# ---- 13 small files that ask for much memory -------------------------------------------------------

def merge_bomb():
    """An optional type given twice on each of 45 levels: merging copies the inside every time."""
    body = msg(6, "d" * 5_000_000)
    for _ in range(45):
        body = msg(9, msg(1, body)) + msg(9, msg(1, b""))
    return wrap_type(body)


case("13 much: 10^7 empty nodes", LIMIT)(lambda: IR + OPS + msg(7, b"\x0a\0" * 10 ** 7))
case("13 much: 400 MB of weights that are one number", OK)(lambda: model(
    [h.make_node("ConstantOfShape", ["n"], ["w"], value=h.make_tensor("v", T.FLOAT, [1], [0.5])),
     node("MatMul", "x w", "y")], [value("x", (1, 10 ** 4))], [value("y", (1, 10 ** 4))],
    [h.make_tensor("n", T.INT64, [2], [10 ** 4, 10 ** 4])]))
case("13 much: merging nested messages", LIMIT)(merge_bomb)


def ints(name, *v):
    return h.make_tensor(name, T.INT64, [len(v)], list(v))


def much(op, inits, ins="x w", **attrs):
    """One node whose constants ask for about 2^40 elements. Generated code may, lcc may not hold them."""
    return model([node(op, ins, "y", **attrs)], [value("x", (1, 1, 4, 4))], [value("y", None)], inits)


each("13 much", (OK, MALFORMED, UNSUPPORTED, LIMIT), {
    "ConstantOfShape 2^40": lambda: much("ConstantOfShape", [ints("w", 1 << 40)], "w"),
    "ConstantOfShape that wraps": lambda: much("ConstantOfShape", [ints("w", 1 << 32, 1 << 32, 2)], "w"),
    "Expand to 2^40": lambda: much("Expand", [ints("w", 1 << 36, 1, 4, 4)]),
    "Tile by 2^40": lambda: much("Tile", [ints("w", 1, 1 << 38, 1, 1)]),
    "Tile that wraps": lambda: much("Tile", [ints("w", 1 << 62, 1 << 62, 1, 1)]),
    "Pad by 2^40": lambda: much("Pad", [ints("w", 0, 0, 0, 0, 0, 0, 0, 1 << 40)]),
    "Resize to 2^40": lambda: model(
        [h.make_node("Resize", ["x", "", "", "w"], ["y"])], [value("x", (1, 1, 4, 4))],
        [value("y", None)], [ints("w", 1, 1, 1 << 20, 1 << 20)]),
    "Range of 2^40": lambda: model(
        [node("Range", "a b c", "y")], [], [value("y", None, T.INT64)],
        [h.make_tensor(n, T.INT64, [], [v]) for n, v in (("a", 0), ("b", 1 << 40), ("c", 1))]),
    "OneHot of 2^40": lambda: model(
        [node("OneHot", "i d v", "y")], [value("i", (4,), T.INT64)], [value("y", None)],
        [h.make_tensor("d", T.INT64, [], [1 << 40]), h.make_tensor("v", T.FLOAT, [2], [0, 1])]),
    "constants multiplied to 2^40": lambda: model(
        [node("Expand", "s w", "t"), node("ReduceSum", "t", "y", keepdims=0)], [], [value("y", ())],
        [h.make_tensor("s", T.FLOAT, [2], [1, 2]), ints("w", 1 << 39, 2)]),
})

# ---- 14 attributes out of range --------------------------------------------------------------------

CONV = dict(inits=[h.make_tensor("w", T.FLOAT, [1, 1, 2, 2], [1, 2, 3, 4])])


def conv(**attrs):
    return much("Conv", **CONV, **attrs)


BIG = (1 << 63) - 1
each("14 range", (MALFORMED, UNSUPPORTED, LIMIT), {
    **{f"Conv {name} {v}": lambda name=name, v=v: conv(**{name: [v, v]})
       for name in ("strides", "dilations", "kernel_shape") for v in (0, -1, 1 << 40, BIG)
       if (name, v) != ("strides", 1 << 40) and (name, v) != ("strides", BIG)},
    **{f"Conv group {v}": lambda v=v: conv(group=v) for v in (0, -1, 3, BIG)},
    "Conv pads that wrap": lambda: conv(pads=[BIG, 0, BIG, 0]),
    "MaxPool kernel 0": lambda: much("MaxPool", [], "x", kernel_shape=[0, 0]),
    **{f"DepthToSpace blocksize {v}": lambda v=v: much("DepthToSpace", [], "x", blocksize=v)
       for v in (0, -1, 3, 1 << 40)},
    **{f"Concat axis {v}": lambda v=v: much("Concat", [], "x x", axis=v) for v in (4, -5, BIG, -BIG)},
    **{f"Softmax axis {v}": lambda v=v: much("Softmax", [], "x", axis=v) for v in (4, -5, BIG)},
    **{f"Split {v}": lambda v=v: much("Split", [ints("w", *v)], axis=3)
       for v in ((5,), (-1,), (BIG,))},
    "Reshape to a product that wraps": lambda: much("Reshape", [ints("w", 1 << 32, 1 << 32, 1 << 32)]),
    "Reshape with two -1": lambda: much("Reshape", [ints("w", -1, -1)]),
    "Unsqueeze twice the same axis": lambda: much("Unsqueeze", [ints("w", 1, 1)]),
})
case("14 range: Conv pads that leave nothing", OK, MALFORMED)(lambda: conv(pads=[-9, 0, -9, 0]))
case("14 range: Transpose perm counted from the end", OK, MALFORMED)(
    lambda: much("Transpose", [], "x", perm=[0, 1, 2, -1]))
case("14 range: Conv stride 2^40", OK, MALFORMED, LIMIT)(lambda: conv(strides=[1 << 40, BIG]))

# ---- 20 names ------------------------------------------------------------------------------------

HOSTILE = {
    "keyword": "int", "main": "main", "end of comment": "*/ int evil(void){return 1;} /*",
    "line comment": "// evil", "line splice": "evil\\\nint evil", "trigraph": "??/\nint evil;",
    "quote": "\"; int evil; \"", "percent": "%n%s%1000000d", "shell": "$(rm -rf evil)`evil`",
    "newline": "a\nint evil;\nb", "bidi": "\u202eevil\u2066", "long": "n" * MIB,
    "path": "../../../../tmp/evil", "number": "123", "only dots": "...", "stdlib": "memcpy",
    "preprocessor": "#include </etc/passwd>", "empty looking": "\u200b\u00a0", "emoji": "\U0001f4a9",
    "invalid utf-8": b"\xff\xfe\x80", "format": "{0} %(x)s", "lookalike": "x_y",
}


def named(name):
    """Every name of the model is the hostile one: graph, node, input, output, dim, initialiser."""
    raw = name if isinstance(name, bytes) else name.encode()
    vi = lambda n: msg(1, n) + msg(2, msg(1, num(1, 1) + msg(2, msg(1, msg(2, raw)))))
    add = (msg(1, raw) + msg(1, raw + b"w") + msg(2, raw + b"y") + msg(3, raw) + msg(4, "Add") +
           msg(6, raw))
    graph = (msg(1, add) + msg(2, raw) + msg(5, tensor((1,), body=msg(9, bytes(4))).replace(
        msg(8, "w"), msg(8, raw + b"w"))) + msg(10, raw) + msg(11, vi(raw)) + msg(12, vi(raw + b"y")))
    return IR + msg(2, raw) + msg(6, raw) + OPS + msg(7, graph)


for _name, _bytes in HOSTILE.items():
    case(f"20 names: {_name}", OK)(lambda b=_bytes: named(b))
case("20 names: NUL", MALFORMED)(lambda: named("a\0b"))
case("20 names: clashes after mapping", OK)(lambda: model(
    [node("Add", "x.y x_y", "x/y"), node("Add", "x/y x:y", "x-y")],
    [value("x.y"), value("x_y"), value("x:y")], [value("x/y"), value("x-y")], []))
case("20 names: an op named like an attack", MALFORMED, UNSUPPORTED)(
    lambda: one("*/\n\x1b[31mevil\u202e%n"))


# ---- running ---------------------------------------------------------------------------------------

LCC = os.path.abspath(os.environ.get("LCC", "build/lcc"))
FUZZ = os.path.join(os.path.dirname(LCC), "tests", "fuzz_load")


def sanitized(path):
    try:
        with open(path, "rb") as f:
            return b"__asan_init" in f.read()
    except OSError:
        return False


ASAN = sanitized(LCC)


class Outcome:
    def __init__(self, code, out, err, rss, seconds):
        self.code, self.out, self.err, self.rss, self.seconds = code, out, err, rss, seconds


def run(args, cwd, stdin=subprocess.DEVNULL, uid=None):
    """Runs $LCC under limits of time and memory."""
    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if uid is not None:
            os.setgroups([])
            os.setuid(uid)
    start = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        p = subprocess.Popen([LCC, *args], cwd=cwd, stdin=stdin, stdout=out, stderr=err,
                             preexec_fn=limit)
        timer = threading.Timer(3 * TIME_LIMIT, p.kill)
        timer.start()
        _, status, usage = os.wait4(p.pid, 0)
        timer.cancel()
        p.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Outcome(p.returncode, out.read(), err.read().decode("utf-8", "surrogateescape"),
                       usage.ru_maxrss * 1024, time.monotonic() - start)


def complaints(o, codes, label, size):
    """What is wrong with an outcome; empty when nothing is."""
    bad = []
    if o.code not in codes:
        bad.append(f"exit code {o.code}, expected {' or '.join(map(str, codes))}")
    lines = o.err.splitlines()
    errors = [line for line in lines if line.startswith(f"{label}: error: ")]
    if o.code != OK and not errors:
        bad.append("no line 'MODEL: error: …' on stderr")
    if o.code != OK and o.out:
        bad.append("output on stdout beside an error")
    if o.code == OK and not o.out:
        bad.append("no output")
    if len(lines) > 60 or any(len(line) > 4000 for line in lines):
        bad.append("errors are too long")
    if re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\udc80-\udcff]",
                 o.err):
        bad.append("unprintable bytes on stderr")
    if not ASAN and o.rss > 4 * size + 256 * MIB:
        bad.append(f"{o.rss // MIB} MiB of memory for a file of {size} bytes")
    return bad


class Tally:
    def __init__(self):
        self.passed = self.failed = 0

    def note(self, name, bad, o=None):
        if not bad:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAIL {name}: {'; '.join(bad)}")
        if o and o.err:
            print("     " + o.err[:300].encode("ascii", "backslashreplace").decode().rstrip())


def to_bytes(made):
    return made if isinstance(made, bytes) else made.SerializeToString()


def run_files(tally, cwd):
    path = os.path.join(cwd, "case.onnx")
    for name, codes, make in CASES:
        data = to_bytes(make())
        with open(path, "wb") as f:
            f.write(data)
        o = run(["case.onnx", "-o", "-"], cwd)
        bad = complaints(o, codes, "case.onnx", len(data))
        left = sorted(set(os.listdir(cwd)) - {"case.onnx"})
        if left:
            bad.append(f"left behind: {left}")
        tally.note(name, bad, o)
        if not bad and o.code == OK and name.startswith("20 names") and b"evil" in data:
            tally.note(name + ": nothing leaks", leaks(o.out))


def leaks(code):
    """A hostile name must not reach the code other than as [A-Za-z0-9_.:/-]."""
    text = code.decode("utf-8", "replace")
    found = [s for s in ("int evil", "evil(", "$(rm", "`evil", "// evil", "??/", "\u202e") if s in text]
    return [f"the code has {s!r}" for s in found]


def run_same(tally, cwd):
    """Legal ways of writing one model give the same code, but for its SHA-256."""
    codes = {}
    for name, data in (("plain", GOOD), ("reversed", b"".join(reversed(parts()))),
                       ("scalar twice", num(1, 999) + GOOD), ("unknown field", GOOD + num(900, 5))):
        with open(os.path.join(cwd, "case.onnx"), "wb") as f:
            f.write(data)
        codes[name] = re.sub(rb"[0-9a-f]{64}", b"", run(["case.onnx", "-o", "-"], cwd).out)
    for name in codes:
        tally.note(f"4 same code: {name}",
                   [] if codes[name] and codes[name] == codes["plain"] else ["the code differs"])


def run_special(tally):
    for name, codes, make in SPECIAL:
        with tempfile.TemporaryDirectory() as cwd:
            os.chmod(cwd, 0o755)
            make(os.path.join(cwd, "case.onnx"))
            uid = None
            if name.endswith("unreadable") and os.getuid() == 0:
                if not visible_to_all(LCC) or not visible_to_all(cwd):
                    print(f"SKIP {name}: root reads everything, and others cannot reach {LCC}")
                    continue
                uid = 65534
            o = run(["case.onnx", "-o", "-"], cwd, uid=uid)
            tally.note(name, complaints(o, codes, "case.onnx", 0), o)


def visible_to_all(path):
    while path != "/":
        mode = os.stat(path).st_mode
        if not mode & stat.S_IXOTH:
            return False
        path = os.path.dirname(path)
    return True


def run_stdin(tally, cwd):
    away = with_init(tensor(body=num(14, 1) + msg(13, msg(1, "location") + msg(2, "w.bin"))))
    for name, data, codes in (("empty", b"", (MALFORMED,)), ("a model", GOOD, (OK,)),
                              ("half a model", GOOD[:len(GOOD) // 2], (MALFORMED,)),
                              ("external data without a folder", away, (IO,))):
        for kind in ("pipe", "file"):
            with tempfile.TemporaryFile() as f:
                f.write(data)
                f.seek(0)
                source = f
                if kind == "pipe":
                    source = subprocess.Popen(["cat"], stdin=f, stdout=subprocess.PIPE).stdout
                o = run(["-", "-o", "-"], cwd, stdin=source)
                if kind == "pipe":
                    source.close()
            tally.note(f"1 stdin: {name} ({kind})", complaints(o, codes, "stdin", len(data)), o)


def small_model():
    """A few hundred bytes with one of everything, for damage at every bit."""
    then = h.make_graph([node("Neg", "x", "t")], "then", [], [value("t", None)])
    other = h.make_graph([node("Constant", "", "e", value=h.make_tensor("c", T.FLOAT, [2], [1, 2]))],
                         "else", [], [value("e")])
    nodes = [h.make_node("If", ["c"], ["y"], name="if", then_branch=then, else_branch=other),
             h.make_node("F", ["y", "w"], ["z"], domain="d", k=[1, 2, 3], a=1.5, s=b"ab")]
    inits = [h.make_tensor("w", T.FLOAT, [2], [1, 2]), h.make_tensor("q", T.INT4, [3], [1, -2, 3]),
             numpy_helper.from_array(np.arange(3, dtype=np.int64), "i"),
             h.make_tensor("st", T.STRING, [2], [b"a", b"bc"]),
             h.make_tensor("h", T.FLOAT16, [2], [1, 2]), h.make_tensor("d", T.DOUBLE, [1], [1]),
             h.make_tensor("u", T.UINT64, [1], [1]), h.make_tensor("b", T.BOOL, [2], [0, 1])]
    f = h.make_function("d", "F", ["p", "q"], ["r"], [node("Add", "p q", "r")],
                        [h.make_opsetid("", 18)])
    return model(nodes, [value("x", ["N", 2]), value("c", (), T.BOOL)], [value("z", None)], inits,
                 [f], [("", 18), ("d", 1)])


def run_damage(tally, cwd):
    """Point 2: the loader in process, and a sample of the damage through all of $LCC."""
    data = small_model().SerializeToString()
    path = os.path.join(cwd, "case.onnx")
    with open(path, "wb") as f:
        f.write(data)
    step = {"quick": "7", "full": "1"}.get(MODE, "1" if not ASAN else "3")
    p = subprocess.run([FUZZ, path, step], capture_output=True, text=True)
    last = (p.stdout.splitlines() or [""])[-1]
    count = re.fullmatch(r"(\d+) passed, (\d+) failed", last)
    if p.returncode < 0 or not count:
        tally.note("2 damage in process", [f"fuzz_load ended with {p.returncode}: {p.stderr[:500]}"])
    else:
        print(p.stdout[:2000] if int(count[2]) else f"fuzz_load: {last}")
        tally.passed += int(count[1])
        tally.failed += int(count[2])
    stride = {"quick": 97, "full": 1}.get(MODE, 29)
    good = GOOD
    damaged = [(f"cut at {i}", good[:i]) for i in range(0, len(good), stride)]
    for i in range(0, 8 * len(good), stride):
        flipped = bytearray(good)
        flipped[i // 8] ^= 1 << i % 8
        damaged.append((f"flip of bit {i}", bytes(flipped)))
    for name, data in damaged:
        with open(path, "wb") as f:
            f.write(data)
        o = run(["case.onnx", "-o", "-"], cwd)
        codes = (OK, MALFORMED, UNSUPPORTED, LIMIT, IO)
        tally.note(f"2 {name}", complaints(o, codes, "case.onnx", len(data)), o)


def main():
    if not os.access(LCC, os.X_OK):
        print(f"{LCC} is not there (set $LCC)\n0 passed, 1 failed")
        return 1
    tally = Tally()
    with tempfile.TemporaryDirectory() as cwd:
        run_files(tally, cwd)
        run_same(tally, cwd)
        run_stdin(tally, cwd)
        run_damage(tally, cwd)
    run_special(tally)
    print(f"{tally.passed} passed, {tally.failed} failed")
    return tally.failed > 0


if __name__ == "__main__":
    sys.exit(main())
