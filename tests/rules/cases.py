"""Random parts of models, one generator a schedule rule, rewrite or pass, for run_rules.py."""
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper, numpy_helper

VECTORS = ("sse2", "avx2", "avx512")
FUSED = ("avx2", "avx512")  # with multiply-add
SIZES = (1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17, 23, 29, 31, 32, 33, 37, 40, 47, 48, 49, 61, 64, 67)


class Net:
    """A model being written. Values of part i are named pi…."""

    def __init__(self, rng, lanes):
        self.rng, self.lanes, self.part = rng, lanes, 0
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []
        self.data, self.expected = {}, {}  # by name: of the inputs; of outputs that numpy knows

    def size(self, low=1, high=67):
        return int(self.rng.choice([s for s in SIZES if low <= s <= high]))

    def chance(self, of=2):
        return self.rng.integers(of) == 0

    def pick(self, *of):
        return of[self.rng.integers(len(of))]

    def ints(self, shape, top=4, dtype=np.float32):
        low = 0 if np.dtype(dtype).kind == "u" else -top
        return self.rng.integers(low, top + 1, shape).astype(dtype)

    def name(self, kind):
        return f"p{self.part}{kind}{len(self.nodes)}_{len(self.constants)}_{len(self.inputs)}"

    def const(self, value):
        name = self.name("c")
        if value.dtype == ml_dtypes.bfloat16:
            self.constants.append(helper.make_tensor(name, TensorProto.BFLOAT16, value.shape, value.tobytes(), raw=True))
        else:
            self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def input(self, shape, top=4, free=(), dtype=np.float32):
        """Dimensions in `free` are known at run time only."""
        name = self.name("x")
        self.data[name] = self.ints(shape, top, dtype)
        dims = [f"{name}_{i}" if i in free else int(d) for i, d in enumerate(shape)]
        self.inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims))
        return name

    def add(self, op, *inputs, outputs=1, **attributes):
        names = [self.name(f"v{i}") for i in range(outputs)]
        inputs = [i if isinstance(i, str) else self.const(np.asarray(i)) for i in inputs]
        self.nodes.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def out(self, value, rank, dtype=np.float32, expected=None):
        name = f"p{self.part}y{len(self.outputs)}"
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.outputs.append(helper.make_tensor_value_info(name, kind, [None] * rank))
        if expected is not None:
            self.expected[name] = expected

    def model(self):
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


class Case(NamedTuple):
    """How a rule is forced, and what is compared."""
    part: Any             # part(net): adds nodes and outputs
    targets: tuple
    forced: str = ""      # --rule; "": shapes decide
    near: float = 0       # 0: bit by bit; else this times the largest output
    steps: bool = True    # is it a rule of kernels? else a pass, or a rewrite that explain names
    oracle: str = "ort"   # or reference, or numpy
    every: bool = True    # has each part such a kernel? else one of them
    threads: int = 1      # --threads
    halo: bool = False    # does it need a halo, with which no equations are evaluated? its golden is, step by step


CASES = {}


def case(rule, targets=FUSED, forced=None, **more):
    """Registers the generator below for one rule; --rule forces it unless `forced` says otherwise."""
    def register(part):
        CASES[rule] = Case(part, targets, rule if forced is None else forced, **more)
        return part
    return register


# ---- sums of products ----------------------------------------------------------------------------

def epilogue(net, y, shape, channels=-1):
    """Bias, residual, ReLU, each or not."""
    side = [1] * len(shape)
    side[channels] = shape[channels]
    if net.chance():
        y = net.add("Add", y, net.ints(side))
    if net.chance(3):
        y = net.add("Add", net.input(shape), y)
    return net.add("Relu", y) if net.chance() else y


def product(net, rows=(2, 67), constant=True):
    m, k, n = net.size(*rows), net.size(2), net.size(4)
    batch = [] if net.chance() else [net.size(1, 4)]
    if not constant:
        x = net.input([*batch, m, k], free=(len(batch),) if rows[1] > 1 and net.chance(3) else ())
        y = net.add("MatMul", x, net.input([*batch, k, n]))
    elif rows[1] > 1 and net.chance(3):
        x = net.input([*batch, m, k], free=range(len(batch), len(batch) + 1))
        y = net.add("MatMul", x, net.ints([k, n]))
        net.out(net.add("Relu", y), len(batch) + 2)
        return
    else:
        x = net.input([*batch, m, k] if rows[1] > 1 else [m, k])
        batch = batch if rows[1] > 1 else []
        y = net.add("MatMul", x, net.ints([k, n]))
    net.out(epilogue(net, y, [*batch, m, n]) if constant else y, len(batch) + 2)


def window(net, least=4):
    """A convolution of any stride, dilation, border and number of groups, behind one that gives it its layout."""
    n, c, m, k = net.size(1, 3), net.size(1, 13), net.size(least, 40), net.pick(1, 2, 3, 5)
    groups = net.pick(1, 1, 1, 2, 3) if least >= 4 else 1
    stride, dilation = net.pick(1, 1, 2, 3), net.pick(1, 1, 2)
    pads = [int(p) for p in net.rng.integers(0, k, 4)] if k > 1 else [0] * 4
    h, w = net.size(11, 23), net.size(11, 23)
    free = (2, 3) if net.chance(4) else ()
    x = net.add("Conv", net.input([n, c, h, w], 3, free), net.ints([groups * 8, c, 1, 1], 2))
    y = net.add("Conv", x, net.ints([groups * m, 8, k, k]), pads=pads, strides=[stride] * 2, dilations=[dilation] * 2,
                group=groups)
    if net.chance():
        y = net.add("Add", y, net.ints([groups * m, 1, 1]))
    net.out(net.add("Relu", y) if net.chance() else y, 4)


def depthwise(net, kernels=(3, 5), strides=(1, 1, 2), c=0, least=7):
    c, k, stride = c or net.size(4, 40), net.pick(*kernels), net.pick(*strides)
    x = net.add("Conv", net.input([net.size(1, 2), 5, net.size(least, least + 10), net.size(least, least + 10)]), net.ints([c, 5, 1, 1]))
    y = net.add("Conv", x, net.ints([c, 1, k, k]), group=c, pads=[k // 2] * 4, strides=[stride] * 2)
    net.out(net.add("Relu", y) if net.chance() else y, 4)


@case("window_rows", halo=True)
def _window_rows(net):
    wide = net.lanes > 8 and net.chance(3)
    depthwise(net, kernels=(3,) if wide else (2, 3), strides=(2,) if wide else (1,), c=net.lanes * net.pick(1, 2, 3),
              least=57 if wide else 7)


@case("window_row", halo=True)
def _window_row(net):
    depthwise(net, kernels=(4, 5), c=net.lanes * net.pick(1, 2, 3), least=23)


@case("tile_padded")
def _tile_padded(net):
    kinds = (product, product, window) if net.part else (product,)  # the steps of those with halos are not compared
    net.pick(*kinds)(net)


@case("tile_packed")
def _tile_packed(net):
    kinds = (product, window, depthwise) if net.part else (product,)
    net.pick(*kinds)(net)


@case("tile_rounded", halo=True)
def _tile_rounded(net):
    """In groups, depthwise or more, along positions of the caller's own buffer with a border, which may not double it."""
    c, m, k = net.pick(1, 2, 3), net.pick(1, 2, 5), net.pick(3, 5)
    groups = net.size(2, 9 if c > 1 else net.lanes - 1)
    stride = net.pick(1, 2) if c > 1 else 1
    size = [net.size(7 if k == 3 else 8, 40), stride * net.size(13, 37)]
    y = net.add("Conv", net.input([net.size(1, 2), groups * c, *size]), net.ints([groups * m, c, k, k]), group=groups,
                pads=[k // 2] * 4, strides=[stride] * 2)
    net.out(epilogue(net, y, [1, groups * m, 1, 1], 1) if net.chance() else y, 4)


@case("tile_pixels")
def _tile_pixels(net):
    """1x1 between buffers of the caller, what is added too."""
    c, m = net.size(2), net.size(4)
    shape = [net.size(1, 2), c, *(net.size(3, 23) for _ in range(net.pick(2, 2, 3)))]
    y = net.add("Conv", net.input(shape), net.ints([m, c] + [1] * (len(shape) - 2)), *[net.ints([m])] * net.pick(0, 1))
    if net.chance():
        y = net.add("Add", y, net.input([shape[0], m, *shape[2:]]))
    net.out(net.add("Relu", y) if net.chance() else y, len(shape))


@case("tile")
def _tile(net):
    product(net, constant=False)


@case("row_padded")
@case("row_packed")
def _row_constant(net):
    product(net, rows=(1, 1))


@case("row")
def _row(net):
    product(net, rows=(1, 1), constant=False)


@case("rows_scalar")
def _rows_scalar(net):
    k, (c, stride) = net.pick(2, 3), net.pick((3, 1), (3, 2), (2, 2), (1, 3))  # neighbours at least three apart
    x = net.add("Transpose", net.input([1, net.size(7, 23), net.size(7, 23), c]), perm=[0, 3, 1, 2])
    net.out(net.add("Conv", x, net.ints([1, c, k, k]), strides=[stride] * 2), 4)


# ---- reductions ------------------------------------------------------------------------------------

def features(net, channels, least=3):
    """Channels innermost, as convolutions leave them."""
    h, w = net.size(least, 17), net.size(least, 17)
    x = net.add("Conv", net.input([net.size(1, 2), 5, h, w]), net.ints([channels, 5, 1, 1]), net.ints([channels]))
    return net.add("Relu", x)


@case("lanes_tree_root")
def _lanes_tree_root(net):
    net.out(net.add("ReduceSum", features(net, net.size(4, 67)), np.array([2, 3]), keepdims=0), 2)


@case("lanes_tree")
def _lanes_tree(net):
    y = net.add("ReduceSum", features(net, net.size(4, 67)), np.array([2, 3]))
    net.out(net.add("Mul", y, np.float32([0.25])), 4)


def across(net, least, most):
    """Rows put together, whatever a row is."""
    op = net.pick("ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceSumSquare")
    shape = [net.size(2, 37), net.size(least, most)]
    if net.chance():
        shape.insert(0, net.size(1, 5))
    y = net.add(op, net.input(shape), np.array([len(shape) - 2]), keepdims=int(net.chance()))
    net.out(y, len(shape) - (not net.nodes[-1].attribute[0].i))


@case("lanes4", VECTORS)
def _lanes4(net):
    n = 4 * net.lanes + int(net.rng.integers(2 * net.lanes + 3))
    op = net.pick("ReduceSum", "ReduceMax", "ReduceMin")
    net.out(net.add(op, net.input([net.size(2, 37), n]), np.array([0]), keepdims=0), 1)


@case("lanes", VECTORS)
def _lanes(net):
    across(net, 4, 67)


# ---- maps --------------------------------------------------------------------------------------------

@case("map_part", VECTORS)
def _map_part(net):
    b, s, heads, d = net.size(1, 3), net.size(2, 13), net.size(2, 7), net.lanes * net.pick(1, 2, 3) + net.pick(0, 0, 4)
    x = net.add("Transpose", net.input([b, heads, s, d]), perm=[0, 2, 1, 3])
    x = net.add("Reshape", x, np.array([b, s, heads * d]))
    net.out(net.add("Add", x, net.ints([heads * d])) if net.chance() else x, 3)


@case("map_part_pairs", VECTORS)
def _map_part_pairs(net):
    a, s, b = net.size(1, 3), net.size(2, 7), net.size(4, 40)
    x = net.add("Transpose", net.input([a, b, s, 2]), perm=[0, 2, 1, 3])
    x = net.add("Sigmoid", net.add("Reshape", x, np.array([a, s, -1])))
    net.out(net.add("Round", net.add("Mul", x, np.float32(16))), 3)


@case("map_part_short", VECTORS)
def _map_part_short(net):
    a, s, b, part = net.size(2, 7), net.size(2, 7), net.size(2, 7), int(net.rng.integers(2, net.lanes))
    x = net.add("Transpose", net.input([a, s, b, part]), perm=[0, 2, 1, 3])
    net.out(net.add("Reshape", x, np.array([a * b, s * part])), 2)


def winograd(net, tile, rest=None, channels=None, border=1):
    """Weights are multiples of 4: F(2x2) then computes with integers only. rest: do tiles leave one at the side?"""
    n, c, m = net.size(1, 2), channels or net.size(2, 17), channels or net.size(2, 37)
    pads = [int(p) for p in net.rng.integers(0, border + 1, 4)]
    free = (2, 3) if rest is None and net.chance(4) else ()
    h, w = net.size(5, 23), net.size(5, 23)
    if rest is not None:
        p, q = (tile * int(net.rng.integers(2, 6)) for _ in "pq")
        over = net.pick((1, 0), (0, 1), (1, 1)) if rest else (0, 0)
        h, w = p + 2 - pads[0] - pads[2] + over[0], q + 2 - pads[1] - pads[3] + over[1]
    x = net.input([n, c, h, w], 3, free)
    if channels or net.chance(3):
        x = net.add("Conv", x, net.ints([c, c, 1, 1], 1))
    y = net.add("Conv", x, 4 * net.ints([m, c, 3, 3], 2), pads=pads)
    if net.chance():
        y = net.add("Add", y, net.ints([m, 1, 1]))
    net.out(net.add("Relu", y) if net.chance() else y, 4)


def lanes_of_channels(net):
    return net.lanes * net.pick(1, 2) + net.pick(0, 1, 3)


@case("map_tile", FUSED, forced="winograd2")
def _map_tile(net):
    """The first part without a border: no halo, so its equations can be evaluated."""
    winograd(net, 2, rest=None if net.part else False, channels=lanes_of_channels(net), border=net.part > 0)


@case("map_tile2", FUSED, forced="winograd2")
def _map_tile2(net):
    winograd(net, 2, rest=False, channels=lanes_of_channels(net))


@case("map_tile2_rest", FUSED, forced="winograd2")
def _map_tile2_rest(net):
    winograd(net, 2, rest=True, channels=lanes_of_channels(net))


def strassen(net, columns, plain=False):
    """A product with a constant matrix, or two from the same rows; not plain: the result added up or transposed."""
    k, n, head = 2 * net.size(1, 33), columns, [*net.pick([], [1], [3], [2, 3]), net.size(2, 41)]
    x = net.input([*head, k])
    y = net.add("MatMul", x, net.ints([k, n]))
    if not plain and net.chance(3):
        y = net.add("Add", y, net.add("MatMul", x, net.ints([k, n])))
    if net.chance():
        y = net.add("Relu", net.add("Add", y, net.ints([n])))
    rank = len(head) + 1
    if not plain and net.chance(4):
        y = net.add("Transpose", y, perm=[*range(rank - 2), rank - 1, rank - 2])
    net.out(y, rank)


@case("map_quarters", FUSED, forced="strassen")
def _map_quarters(net):
    strassen(net, 2 * net.lanes * net.pick(1, 2) + 2 * net.pick(0, 1, 3), plain=True)


@case("map_across", FUSED)
def _map_across(net):
    kind = net.pick(np.float32, np.float32, np.uint8, np.int16, np.int32, np.int64, np.bool_)
    a, b = net.size(8), net.size(2)
    if kind != np.float32:  # whole blocks, or channels of pixels
        a, b = net.size(16), net.size(8) if kind == np.bool_ or net.lanes < 16 or net.chance() else net.pick(3, 4)
    perm, shape = net.pick(([1, 0], [b, a]), ([0, 2, 1], [net.size(2, 3), b, a]), ([2, 1, 0], [b, net.size(2, 3), a]))
    shape = [shape[perm.index(i)] if len(shape) == 2 else s for i, s in enumerate(shape)]
    shape[-1], shape[perm[-1]] = b, a
    x = net.input(shape, 1 if kind == np.bool_ else 99, dtype=kind)
    if kind == np.bool_:
        net.data[x] = net.data[x].astype(bool)
    x = net.add("Transpose", x, perm=perm)
    add = kind in (np.float32, np.int64) and net.chance()
    net.out(net.add("Add", x, net.ints([a], dtype=kind)) if add else x, len(shape), kind)


@case("map_across_cut", FUSED)
def _map_across_cut(net):
    a, b = net.size(8), net.size(8)
    parts = [net.input([net.size(1, 5), b, a], 99) for _ in range(2)]
    x = net.add("Concat", *parts, axis=0)
    x = net.add("Transpose", x, perm=net.pick([2, 0, 1], [0, 2, 1]))
    net.out(net.add("Add", x, net.ints([1])) if net.chance() else x, 3)


@case("map_pieces", VECTORS)
def _map_pieces(net):
    kind, form = kinds(net), net.pick("edge", "wrap", "reflect", "mirror")
    shape = [net.size(1, 5), net.size(2, 7), net.size(16, 67)]
    x = net.input(shape, 99, dtype=kind)
    if form == "mirror":
        back = [net.add("Slice", x, np.array([-1]), np.array([-5]), np.array([2]), np.array([-1]))]
        x = net.add("Concat", *(net.pick([x, *back], [*back, x])), axis=2)
    else:
        rows, columns = net.rng.integers(0, shape[1], 2), net.rng.integers(0, 8, 2)
        side = net.rng.integers(2)
        columns[0 if form == "wrap" else side] += 1  # what wraps behind only is one form: a remainder
        x = net.add("Pad", x, np.array([0, rows[0], columns[0], 0, rows[1], columns[1]]), mode=form)
    add = kind in (np.float32, np.int64) and net.chance()
    net.out(net.add("Add", x, np.array(3, kind)) if add else x, 3, kind)


@case("update_lanes", VECTORS)
def _update_lanes(net):
    kind, rows, row = kinds(net), net.size(2, 13), net.size(16, 67)
    x = net.input([rows, row], 99, dtype=kind)
    at = net.input([3, 1], rows - 1, dtype=np.int64)
    add = {"reduction": "add"} if kind in (np.float32, np.int64) and net.chance() else {}
    if not add:
        net.data[at] = net.rng.permutation(max(rows, 3))[:3].reshape(3, 1) % rows
    net.out(net.add("ScatterND", x, at, net.input([3, row], 9, dtype=kind), **add), 2, kind)
    if net.chance():
        among = net.add("Cast", net.input([rows], 1), to=TensorProto.BOOL)
        net.out(net.add("Compress", x, among, axis=0), 2, kind)


@case("map_gather", ("avx512",))
def _map_gather(net):
    kind = net.pick(np.float32, np.int32, np.int64, np.float64)
    rows, row, n = net.size(2, 13), net.size(8, 67), net.size(8, 67)
    x = net.input([rows, row], 99, dtype=kind)
    if net.chance():
        at = net.input([n], row - 1, dtype=net.pick(np.int64, np.int32))
        x = net.add("Gather", x, at, axis=1)
    else:
        axis = net.pick(0, 1)
        at = net.input([rows, row], (rows, row)[axis] - 1, dtype=np.int64)
        x = net.add("GatherElements", x, at, axis=axis)
    add = kind in (np.float32, np.int64) and net.chance()
    net.out(net.add("Add", x, np.array(3, kind)) if add else x, 2, kind)


@case("map_pairs", VECTORS)
def _map_pairs(net):
    c, h, w = net.size(4, 33), net.size(2, 7), net.size(2, 13)
    x = net.add("Conv", net.input([1, 5, h, w]), net.ints([2 * c, 5, 1, 1]))
    x = net.add("Reshape", x, np.array([1, 2, c, h, w]))
    x = net.add("Reshape", net.add("Transpose", x, perm=[0, 2, 1, 3, 4]), np.array([1, 2 * c, h, w]))
    net.out(net.add("Conv", x, net.ints([8, 2 * c, 1, 1])), 4)


def kinds(net):
    """SSE2 has two lanes of int64, which are no vector."""
    return net.pick(np.int8, np.uint8, np.int32, np.float32, *[np.int64] * (net.lanes > 4))


@case("map_lanes", VECTORS)
def _map_lanes(net):
    shape = [net.size(), net.size(4)]
    free = (0,) if net.chance(3) else ()
    if net.chance():  # of other types; truths have no vectors on SSE2
        kind, to = kinds(net), kinds(net)
        x = net.input(shape, 99, free, kind)
        if net.lanes > 4 and net.chance():
            x = net.add("Where", net.add("Less", x, net.ints(shape[1:], 99, kind)), x, net.ints(shape[1:], 99, kind))
        if kind == np.float32 and to == np.uint8:  # what is below 0 is nobody's promise
            x = net.add("Abs", x)
        if to != kind:
            x = net.add("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))
        else:
            x = net.add("Max", x, net.ints(shape[1:], 99, kind))
        net.out(x, 2, to)
        return
    x, y = net.input(shape, free=free), net.input(shape[1:])
    for _ in range(int(net.rng.integers(1, 4))):
        x = net.add(net.pick("Add", "Sub", "Mul", "Max", "Min"), x, y)
        x = net.add("Clip", net.add(net.pick("Abs", "Neg", "Relu", "Sign"), x), np.float32(-50), np.float32(60))
    net.out(x, 2)


@case("map_flat", VECTORS, oracle="reference")
def _map_flat(net):
    """Rows of an odd number of elements, which are no whole vectors."""
    kind = kinds(net)
    shape = [net.size(1, 4), net.size(2, 8), net.pick(3, 5, 7, 11, 13, 37)]
    x = net.input(shape, 99, dtype=kind)
    if net.chance():
        x = net.add("Add", x, net.input([shape[0], 1, 1], 99, dtype=kind))
    net.out(net.add("Mul", x, net.input(shape, 99, dtype=kind)), 3, kind)


@case("map_narrow", FUSED, oracle="reference")
def _map_narrow(net):
    kind = net.pick(np.int8, np.uint8)
    x = net.input([net.size(2, 17), net.size(net.lanes)], 300)
    if net.chance():
        x = net.add("Relu", x)
    scale = np.float32(net.pick(0.5, 1, 2, 4))
    net.out(net.add("QuantizeLinear", x, scale, np.array(net.rng.integers(100), kind)), 2, kind)


# ---- 8 bits, bf16 ------------------------------------------------------------------------------------

def octets(net, m):
    k, n = net.size(4), net.size(4)
    kind, wkind = net.pick(np.uint8, np.int8), net.pick(np.int8, np.uint8)
    low, high = np.iinfo(wkind).min, np.iinfo(wkind).max + 1
    w = net.rng.integers(low, high, (k, n)).astype(wkind)
    x = net.input([m, k], 255 if kind == np.uint8 else 127, dtype=kind)
    zx = np.array(net.rng.integers(0, 99), kind)
    want = ((net.data[x].astype(np.int64) - zx) @ w.astype(np.int64)).astype(np.int32)
    net.out(net.add("MatMulInteger", x, w, zx), 2, np.int32, want)


@case("tile_dot4", ("avx512-vnni",), oracle="numpy")
@case("tile_dot2", FUSED, oracle="numpy")
def _tile_octets_product(net):
    octets(net, net.size(2))


@case("row_dot4", ("avx512-vnni",), oracle="numpy")
@case("row_dot2", FUSED, oracle="numpy")
def _row_octets_product(net):
    octets(net, 1)


@case("tile_octets", FUSED, oracle="reference")
def _tile_octets(net):
    """Two in a row, each of each channel by itself; powers of two scale exactly. The first part without a border: no
    halo, so its equations can be evaluated."""
    c, k, stride = net.size(net.lanes, 67), net.pick(3, 5) if net.part else 3, net.pick(1, 2)
    kind = net.pick(np.uint8, np.int8)
    at = net.input([net.size(1, 2), c, net.size(13, 17), net.size(13, 17)], 100, dtype=kind)
    zero, one = np.array(2 * net.rng.integers(0, 30), kind), np.float32(1)  # ties are even with it and without
    for _ in range(2):
        w = net.ints([c, 1, k, k], 20, np.int8)
        at = net.add("QLinearConv", at, one, zero, w, np.float32(1 / 64), np.int8(0), one, zero, group=c,
                     pads=[k // 2 if net.part else 0] * 4, strides=[stride] * 2)
        stride = 1
    net.out(at, 4, kind)


@case("tile_bf16", ("amx",), oracle="numpy")
def _tile_bf16(net):
    m, k, n = net.size(16), net.size(32), net.size(16)
    x, w = net.input([m, k], 1, dtype=ml_dtypes.bfloat16), net.ints([k, n], 1)
    want = (net.data[x].astype(np.float32) @ w).astype(ml_dtypes.bfloat16)
    net.out(net.add("MatMul", x, net.const(w.astype(ml_dtypes.bfloat16))), 2, ml_dtypes.bfloat16, want)


# ---- kernels of several sums -----------------------------------------------------------------------

def attention(net, keys, between):
    heads, rows, depth = net.size(1, 4), net.size(7, 33), net.size(4, 33)
    width = net.size(net.lanes, 48)
    s = net.add("MatMul", net.input([heads, rows, depth]), net.input([heads, depth, keys]))
    net.out(net.add("MatMul", between(net, s), net.input([heads, keys, width])), 3)


@case("chain")
def _chain(net):
    attention(net, net.size(net.lanes), lambda net, s: net.add("Relu", net.add("Add", s, net.ints([1])) if net.chance() else s))


@case("online", near=1e-5, steps=False)
def _online(net):
    attention(net, net.pick(32, 48, 80), lambda net, s: net.add("Softmax", net.add("Mul", s, np.float32([0.125])), axis=-1))


@case("scan")
def _scan(net):
    hidden, steps, batch, wide = net.size(net.lanes, 40), net.size(1, 4), net.size(1, 5), net.size(1, 8)
    ways = net.pick(("forward", 1), ("reverse", 1), ("bidirectional", 2))
    y, _ = net.add("RNN", net.input([steps, batch, wide], 1), net.ints([ways[1], hidden, wide], 1),
                   net.ints([ways[1], hidden, hidden], 1), net.ints([ways[1], 2 * hidden], 1), outputs=2,
                   hidden_size=hidden, activations=["Relu"] * ways[1], direction=ways[0])
    net.out(y, 4)


# ---- what is built in ------------------------------------------------------------------------------

def anything(net):
    net.pick(product, window, depthwise, _lanes, _map_across, _map_lanes, _scan, _lanes_tree)(net)


for _rule, _targets in (("nested_lanes", VECTORS), ("nested", ("c", *VECTORS)), ("naive", ("c", "avx2"))):
    case(_rule, _targets, every=False)(anything)


# ---- rewrites, passes -------------------------------------------------------------------------------

@case("winograd2", VECTORS, steps=False)
def _winograd2(net):
    winograd(net, 2)


@case("winograd4", VECTORS, steps=False, near=2e-5)
def _winograd4(net):
    winograd(net, 4)


@case("strassen", ("c", *VECTORS), steps=False)
def _strassen(net):
    strassen(net, 2 * net.size(1, 33))


@case("chunk", ("c", *VECTORS), forced="slide", steps=False, threads=3)
@case("slide", ("c", *VECTORS), steps=False)
def _slide(net):
    """Two to four stages by rows: windows of any stride and border, a projection, a shortcut over some of them. An even
    number of rows at the end, since a rest of blocks of two does not slide, and at least four: two chunks."""
    n, c, h, w = net.pick(1, 1, 2), net.size(16, 40), net.size(7, 17), net.size(7, 17)
    x = shortcut = net.add("Relu", net.add("Conv", net.input([n, 3, h, w], 2), net.ints([c, 3, 1, 1], 2)))
    for stage in range(net.pick(1, 2, 3)):
        k, s = net.pick(2, 3, 3, 5), net.pick(1, 1, 2)
        pads = [int(p) for p in net.rng.integers(0, k, 4)] if stage == 0 and net.chance() else [k // 2] * 4
        kind = net.pick("depthwise", "depthwise", "conv", "pool")
        if (h + pads[0] + pads[2] - k) // s < 3 or (h - 1) // s < 3:
            s, pads = 1, [k // 2] * 4
        if kind == "depthwise":
            x = net.add("Conv", x, net.ints([c, 1, k, k], 1), group=c, pads=pads, strides=[s, s])
            h = (h + pads[0] + pads[2] - k) // s + 1
        elif kind == "pool":
            x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[s, s], pads=[1] * 4)
            h = (h - 1) // s + 1
        else:
            x = net.add("Conv", x, net.ints([c, c, 1, 1], 1))
        x = net.add("Relu", x) if net.chance() else x
        if kind == "conv" and stage == 0:
            x = net.add("Add", x, shortcut)
    k = 2 + (h + 1) % 2
    x = net.add("Conv", x, net.ints([c, 1, k, 3], 1), group=c, pads=[k - 2, 1, k - 2, 1])
    net.out(net.add("Conv", x, net.ints([net.size(16, 40), c, 1, 1], 1)), 4)


@case("copy", ("c", *VECTORS), steps=False)
def _copy(net):
    """A cache and its new rows, an output and read: by a product of one row with or of its rows, a sum, a map."""
    heads, rows, k = net.size(1, 4), net.size(2, 33), net.size(4)
    axis = net.pick(1, 1, 1, 2)
    new = [heads, net.size(1, 3), k] if axis == 1 else [heads, rows, net.size(1, 17)]
    present = net.add("Concat", net.input([heads, rows, k]), net.input(new), axis=axis)
    rows, k = (rows + new[1], k) if axis == 1 else (rows, k + new[2])
    net.out(present, 3)
    reader = net.pick("scores", "values", "sum", "map")
    if reader == "scores":
        y = net.add("MatMul", net.input([heads, 1, k]), net.add("Transpose", present, perm=[0, 2, 1]))
    elif reader == "values":
        y = net.add("MatMul", net.input([heads, 1, rows]), present)
    elif reader == "sum":
        y = net.add("ReduceSum", present, np.array([net.pick(1, 2)]), keepdims=1)
    else:
        y = net.add("Mul", net.add("Relu", present), net.ints([k]))
    net.out(y, 3)


@case("kernel_lift", FUSED, forced="", steps=False)
def _kernel_lift(net):
    c, k = net.size(4, 33), net.pick(2, 3)
    x = net.add("Conv", net.input([1, 3, net.size(7, 17), net.size(7, 17)]), net.ints([c, 3, 3, 3]), net.ints([c]))
    x = net.add("Relu", x) if net.chance() else net.add("Add", x, net.ints([c, 1, 1]))
    net.out(net.add("MaxPool", x, kernel_shape=[k, k], strides=[k, k]), 4)


@case("kernel_ways", FUSED, forced="", steps=False)
def _kernel_ways(net):
    k = 4 * net.size(5, 17)
    if net.chance():
        x = net.add("Conv", features(net, k), net.ints([1, k, 3, 3]), pads=[1] * 4)
        net.out(net.add("Relu", x) if net.chance() else x, 4)
    elif net.chance():
        k = 4 * net.lanes + net.size(1, 40)
        net.out(net.add("MatMul", net.input([net.size(1, 17), k]), net.ints([k, 1])), 2)
    else:
        net.out(net.add("Gemm", net.input([net.size(1, 3), k]), net.input([net.size(4), k]), transB=1), 2)


@case("graph_phases", FUSED, forced="", steps=False)
def _graph_phases(net):
    groups, s = net.pick(1, 1, 2, 5), net.pick(2, 3)
    c, m = (1, 1) if groups == 5 else (net.size(2, 13), net.size(4, 17))
    k = net.pick(s + 1, 2 * s) if groups == 5 else net.pick(s, 2 * s, 2, 3, 5)
    pads = [int(p) for p in net.rng.integers(0, min(k, 2), 4)]
    y = net.add("ConvTranspose", net.input([1, groups * c, net.size(3, 13), net.size(3, 13)]),
                net.ints([groups * c, m, k, k]), strides=[s] * 2, pads=pads, group=groups)
    net.out(net.add("Relu", y) if net.chance() else y, 4)


@case("graph_places", FUSED, forced="", steps=False)
def _graph_places(net):
    """A slice written by ScatterND, whose indices are all of its places or those of its first dimensions."""
    shape = [net.size(2, 17) for _ in range(net.pick(1, 2, 3))]
    low = [int(net.rng.integers(0, n)) for n in shape]
    box = [np.arange(a, int(net.rng.integers(a + 1, n + 1))) for a, n in zip(low, shape)]
    given = net.pick(*range(1, len(shape) + 1))
    at = np.stack(np.meshgrid(*box[:given], indexing="ij"), -1)
    u = net.input([len(b) for b in box[:given]] + shape[given:])
    y = net.add("ScatterND", net.input(shape), at, u, reduction=net.pick("none", "none", "add", "max"))
    net.out(net.add("Relu", y) if net.chance() else y, len(shape))


@case("kernel_concat", FUSED, forced="", steps=False)
def _kernel_concat(net):
    x = features(net, 8, 8)
    parts = [x] + [net.add("Relu", net.add("Conv", x, net.ints([net.size(4, 23), 8, k, k], 2), pads=[k // 2] * 4))
                   for k in (1, 3)]
    x = net.add("Concat", *parts, axis=1)
    channels = 8 + sum(int(c.dims[0]) for c in net.constants[-2:])
    net.out(net.add("Conv", x, net.ints([5, channels, 1, 1], 1)), 4)
