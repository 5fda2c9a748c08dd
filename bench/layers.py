"""ONNX models of one layer or block, with random weights from a fixed seed: what cases.txt calls gemm, conv and block.

`gemm(m, k, n)`, `conv(…)` and `block(…)` return (ModelProto, multiply-adds counted as two). With inner=True both
ends of a convolution lie between transposes, so that they are stored with channels innermost as inside a network
that lcc compiled; without, they are NCHW, and every side pays for its own layout.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(1)


def model(nodes, x, y, consts):
    init = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in consts.items()]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [info("x", TensorProto.FLOAT, x)], [info("y", TensorProto.FLOAT, y)], init)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def image(nodes, src, dst, x, y, consts, inner):
    """The model of `nodes`, which read `src` (NCHW of extents x) and write `dst` (y)."""
    if not inner:
        for node in nodes:
            node.input[:] = ["x" if i == src else i for i in node.input]
            node.output[:] = ["y" if o == dst else o for o in node.output]
        return model(nodes, x, y, consts)
    first = helper.make_node("Transpose", ["x"], [src], perm=[0, 3, 1, 2])
    last = helper.make_node("Transpose", [dst], ["y"], perm=[0, 2, 3, 1])
    return model([first, *nodes, last], [x[i] for i in (0, 2, 3, 1)], [y[i] for i in (0, 2, 3, 1)], consts)


def gemm(m, k, n):
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return model([node], [m, k], [m, n], {"w": rng.standard_normal((k, n)) / k**0.5}), 2.0 * m * k * n


def conv(c, m, p, k=3, stride=1, group=1, inner=False):
    """Conv + Relu of a p x p map with c channels to m, kernel k, padded to keep the extents."""
    q = (p - 1) // stride + 1
    w = {"w": rng.standard_normal((m, c // group, k, k)) * (2 / (k * k * c // group)) ** 0.5, "b": rng.standard_normal(m)}
    n = [helper.make_node("Conv", ["t", "w", "b"], ["c"], pads=[k // 2] * 4, strides=[stride] * 2, group=group),
         helper.make_node("Relu", ["c"], ["z"])]
    return image(n, "t", "z", [1, c, p, p], [1, m, q, q], w, inner), 2.0 * k * k * (c // group) * m * q * q


def block(c, p, inner=False):
    """The residual block of ResNet-18."""
    w = {f"w{i}": rng.standard_normal((c, c, 3, 3)) * (2 / (9 * c)) ** 0.5 for i in (1, 2)}
    b = {f"b{i}": rng.standard_normal(c) * 0.1 for i in (1, 2)}
    n = [helper.make_node("Conv", ["t", "w1", "b1"], ["a"], pads=[1] * 4), helper.make_node("Relu", ["a"], ["ar"]),
         helper.make_node("Conv", ["ar", "w2", "b2"], ["c"], pads=[1] * 4), helper.make_node("Add", ["c", "t"], ["s"]),
         helper.make_node("Relu", ["s"], ["z"])]
    return image(n, "t", "z", [1, c, p, p], [1, c, p, p], {**w, **b}, inner), 2 * 2.0 * 9 * c * c * p * p


def layer_save(made, folder):
    """Writes a made layer; returns the path."""
    import os
    path = os.path.join(folder, "layer.onnx")
    onnx.save(made[0], path)
    return path
