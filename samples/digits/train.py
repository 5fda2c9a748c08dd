"""Makes digits.onnx and images/: a small CNN trained on scikit-learn's bundled 8x8 digits.

    python3 train.py          needs numpy, scipy, scikit-learn and onnx; about half a minute

Conv 3x3 (16) + ReLU, Conv 3x3 (32) + ReLU, MaxPool 2, Gemm (32) + ReLU, Gemm (10), Softmax. Seeds are
fixed; another BLAS may still change the last bits of the weights. data.py holds the split.
"""
import os
import struct
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy.ndimage import affine_transform, zoom

from data import held_out, training

HERE = os.path.dirname(os.path.abspath(__file__))
EPOCHS, BATCH, RATE, DECAY = 90, 32, 2e-3, 1e-4


def patches(x):
    """[N,C,H,W] -> [N,H,W,C*9]: the 3x3 neighbourhoods, zero outside."""
    p = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    w = np.lib.stride_tricks.sliding_window_view(p, (3, 3), axis=(2, 3))
    return w.transpose(0, 2, 3, 1, 4, 5).reshape(*x.shape[:1], *x.shape[2:], -1)


def patches_back(g, shape):
    """The transpose of patches()."""
    n, c, h, w = shape
    g = g.reshape(n, h, w, c, 3, 3)
    p = np.zeros((n, c, h + 2, w + 2), g.dtype)
    for r in range(3):
        for s in range(3):
            p[:, :, r:r + h, s:s + w] += g[..., r, s].transpose(0, 3, 1, 2)
    return p[:, :, 1:-1, 1:-1]


def conv(x, w, b):
    cols = patches(x)
    y = cols @ w.reshape(len(w), -1).T + b
    return cols, np.maximum(y, 0).transpose(0, 3, 1, 2)


def conv_back(g, y, cols, w, shape):
    g = (g * (y > 0)).transpose(0, 2, 3, 1)
    flat = g.reshape(-1, len(w))
    dw = (flat.T @ cols.reshape(len(flat), -1)).reshape(w.shape)
    return dw, flat.sum(0), patches_back(g @ w.reshape(len(w), -1), shape)


def step(p, x, label):
    """Gradients of the cross-entropy of one batch."""
    cols1, y1 = conv(x, p["w1"], p["b1"])
    cols2, y2 = conv(y1, p["w2"], p["b2"])
    n, c, h, w = y2.shape
    blocks = y2.reshape(n, c, h // 2, 2, w // 2, 2)
    pool = blocks.max((3, 5))
    flat = pool.reshape(n, -1)
    hid = np.maximum(flat @ p["w3"] + p["b3"], 0)
    z = hid @ p["w4"] + p["b4"]
    e = np.exp(z - z.max(1, keepdims=True))
    d = e / e.sum(1, keepdims=True)
    d[np.arange(n), label] -= 1
    d /= n
    g = {"w4": hid.T @ d, "b4": d.sum(0)}
    d = (d @ p["w4"].T) * (hid > 0)
    g["w3"], g["b3"] = flat.T @ d, d.sum(0)
    d = (d @ p["w3"].T).reshape(pool.shape)
    first = blocks == pool[:, :, :, None, :, None]
    d = (d[:, :, :, None, :, None] * first).reshape(y2.shape)
    g["w2"], g["b2"], d = conv_back(d, y2, cols2, p["w2"], y1.shape)
    g["w1"], g["b1"], _ = conv_back(d, y1, cols1, p["w1"], x.shape)
    return g


def variants(rng, x):
    """Each image moved by up to a pixel and scaled by up to a sixth, as the sample's scaling may."""
    out = np.empty_like(x)
    for i, a in enumerate(x[:, 0]):
        scale = rng.uniform(0.85, 1.15, 2)
        move = rng.uniform(-1, 1, 2) * (0.4, 1)
        out[i, 0] = affine_transform(a, scale, 3.5 - 3.5 * scale + move, order=1)
    return out


def train():
    x, label = training()
    rng = np.random.default_rng(1)
    shapes = {"w1": (16, 1, 3, 3), "b1": (16,), "w2": (32, 16, 3, 3), "b2": (32,),
              "w3": (512, 32), "b3": (32,), "w4": (32, 10), "b4": (10,)}
    fan = {"w1": 9, "w2": 144, "w3": 512, "w4": 32}
    p = {k: rng.normal(0, (2 / fan[k]) ** 0.5, s).astype(np.float32) if k in fan
         else np.zeros(s, np.float32) for k, s in shapes.items()}
    m = {k: np.zeros_like(v) for k, v in p.items()}
    v = {k: np.zeros_like(q) for k, q in p.items()}
    t = 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        rate = RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        drawn = variants(rng, x) if epoch % 3 else x
        for i in range(0, len(x), BATCH):
            pick = order[i:i + BATCH]
            t += 1
            for k, g in step(p, drawn[pick], label[pick]).items():
                m[k] = 0.9 * m[k] + 0.1 * g
                v[k] = 0.999 * v[k] + 0.001 * g * g
                move = m[k] / (1 - 0.9 ** t) / (np.sqrt(v[k] / (1 - 0.999 ** t)) + 1e-8)
                p[k] = (p[k] - rate * (move + DECAY * p[k])).astype(np.float32)
    return p


def model(p):
    p = {k: v.astype(np.float32) for k, v in p.items()}
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("MaxPool", ["r2"], ["p2"], "pool2", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p2"], ["f2"], "flatten2"),
        helper.make_node("Gemm", ["f2", "w3", "b3"], ["g3"], "fc3"),
        helper.make_node("Relu", ["g3"], ["r3"], "relu3"),
        helper.make_node("Gemm", ["r3", "w4", "b4"], ["g4"], "fc4"),
        helper.make_node("Softmax", ["g4"], ["output"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(v, k) for k, v in p.items()])
    made = helper.make_model(graph, producer_name="lcc samples/digits/train.py",
                             opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def png_write(path, gray):
    h, w = gray.shape
    rows = b"".join(b"\0" + row.tobytes() for row in gray.astype(np.uint8))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", w, h, 8, 0, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def images():
    """One held-out picture a digit, enlarged to 64..200 pixels with a margin; the odd ones are ink on
    paper (dark on light), the even ones light on dark."""
    x, label = held_out()
    os.makedirs(os.path.join(HERE, "images"), exist_ok=True)
    for digit in range(10):
        small = x[np.flatnonzero(label == digit)[3], 0]
        size = 64 + 15 * digit
        big = np.clip(zoom(np.pad(small, 1), (size + digit % 3 * 8) / 10, order=1), 0, 1)
        if digit % 2:
            big = 1 - 0.9 * big
        png_write(os.path.join(HERE, "images", f"digit_{digit}.png"), np.rint(255 * big))


if __name__ == "__main__":
    onnx.save(model(train()), os.path.join(HERE, "digits.onnx"))
    images()
    print("digits.onnx and images/ written; accuracy.py measures them")
