"""A compiled model: the shared object that `lcc --emit=so` wrote, called through its bridge.

The bridge is docs/bridge.md: flat tensors in and out, a JSON signature that says how the graph's
own inputs and outputs (tensors, sequences, optionals, maps) are made of them, dims solved here.
"""
import ctypes
import json
import math
import os
import threading
import weakref
from typing import Any, NamedTuple, Optional

import numpy as np

from .extent import extent_parse
from .types import SIGNED_NARROW, STRING, dtype_of, wire_of

SCHEMA = 1
CODES = {1: "EINDEX: a run-time index is out of range", 2: "ECAPACITY: an output does not fit",
         3: "EDIM: a dimension contradicts the model", 4: "ENOMEM: out of memory"}
ECAPACITY, ENOMEM = 2, 4
ARENA_FIRST = 1 << 20   # bytes beyond the least, where the data decides how much the arena needs
ARENA_LAST = 1 << 34
MAX_RANK = 8
ALIGNED = 1 << 16       # bytes of an output from which on it is worth a cache line's alignment
FIRST_GUESS = 4096    # elements given to an output about whose size nothing is known
TRUSTED_BOUND = 1 << 24  # a bound of more elements than this is not allocated before it is needed


class RunError(RuntimeError):
    """The compiled model refused its inputs; `code` is the LCC_E… code of lcc.h."""

    def __init__(self, code):
        super().__init__(CODES.get(code, f"code {code}"))
        self.code = code


class Port(NamedTuple):
    """One input or output of the graph. dtype and shape are None for what is no tensor; an extent
    is an int, a text over symbolic dims, or None where it depends on data."""
    name: str
    kind: str
    dtype: Optional[np.dtype]
    shape: Optional[tuple]


class CTensor(ctypes.Structure):
    """lepton_tensor."""
    _fields_ = [("data", ctypes.c_void_p), ("count", ctypes.c_int64),
                ("dims", ctypes.c_int64 * MAX_RANK), ("rank", ctypes.c_int32),
                ("reserved", ctypes.c_int32)]


class Flat:
    """A flat tensor of the signature."""

    def __init__(self, entry):
        self.name, self.type = entry["name"], entry["type"]
        self.dtype, self.wire = dtype_of(self.type), wire_of(self.type)
        self.shape = tuple(entry["shape"])
        bound = [m if e is None else e
                 for e, m in zip(self.shape, entry.get("max_shape") or [None] * len(self.shape))]
        self.exact = None not in self.shape
        self.static = self.shape if all(isinstance(e, int) for e in self.shape) else None
        self.extents = [extent_parse(e) for e in self.shape]
        self.bounds = [extent_parse(e) for e in bound]
        self.storage = [extent_parse(e) for e in entry["storage"]] if "storage" in entry else None

    def strides(self, env):
        """In bytes: of a state with room for rows to come, which is the corner of a larger array."""
        strides, step = [], self.wire.itemsize
        for extent in reversed(self.storage):
            strides.insert(0, step)
            step *= extent(env)
        return strides

    def in_place(self, array, env):
        """Does the array lie as the model wants it?"""
        return self.dtype == self.wire and array.dtype == self.wire and array.flags.aligned and all(
            n < 2 or have == want for n, have, want in zip(array.shape, array.strides, self.strides(env)))

    def corner(self, whole, shape, env):
        return np.lib.stride_tricks.as_strided(whole, shape, self.strides(env))

    def capacity(self, env):
        """Elements to allocate before the first call."""
        if self.storage:
            return math.prod(extent(env) for extent in self.storage)
        if None in self.bounds:
            return FIRST_GUESS
        count = 1
        for bound in self.bounds:
            count *= max(bound(env), 0)
        return count if self.exact else min(count, TRUSTED_BOUND)


def strings_pack(array):
    """Object array of str or bytes -> array of lcc_str, and the text it points into."""
    parts = [s if isinstance(s, bytes) else str(s).encode("utf-8", "surrogateescape")
             for s in array.reshape(-1).tolist()]
    text = ctypes.create_string_buffer(b"".join(parts), sum(map(len, parts)) + 1)
    packed = np.zeros(array.shape, STRING)
    sizes = np.array([len(p) for p in parts], np.int64)
    ends = np.cumsum(sizes)
    packed["len"] = sizes.reshape(array.shape)
    packed["data"] = (ctypes.addressof(text) + ends - sizes).reshape(array.shape).astype(np.uintp)
    return packed, text


def strings_unpack(packed):
    out = np.empty(packed.size, dtype=object)
    for i, (data, size) in enumerate(packed.reshape(-1).tolist()):
        out[i] = ctypes.string_at(data, size).decode("utf-8", "surrogateescape") if size else ""
    return out.reshape(packed.shape)


def array_of(flat, value):
    """`value` as an array of the tensor's dtype; only Python numbers and lists are converted."""
    if flat.type == "str":
        array = np.asarray(value)
        if array.dtype.kind not in "OSU" and array.size:
            raise TypeError(f"input '{flat.name}': text expected, got {array.dtype}")
        return array.astype(object)
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype != flat.dtype:
            raise TypeError(f"input '{flat.name}': {flat.dtype} expected, got {array.dtype}")
        return array
    return np.asarray(value, dtype=flat.dtype)


def to_wire(flat, array, keep, env):
    """The elements as the bridge wants them, C-contiguous but for states with room for rows to come; what must
    stay alive goes to `keep`."""
    if flat.storage and flat.in_place(array, env):
        keep.append(array)
        return array
    if flat.type == "str":
        array, text = strings_pack(array)
        keep.append(text)
    elif flat.type in SIGNED_NARROW:
        array = array.astype(np.int8)
    if flat.storage:
        whole = np.zeros(flat.capacity(env), array.dtype)
        flat.corner(whole, array.shape, env)[...] = array
        array = whole
    elif not (array.flags.c_contiguous and array.flags.aligned):
        array = np.array(array, order="C")
    keep.append(array)
    return array


def from_wire(flat, array):
    if flat.type == "str":
        return strings_unpack(array)
    return array.astype(flat.dtype) if flat.type in SIGNED_NARROW else array


def empty_aligned(count, dtype):
    """Large ones begin with a cache line, so that no vector of theirs lies in two."""
    size = count * dtype.itemsize
    if size < ALIGNED:
        return np.empty(count, dtype)
    memory = np.empty(size + 64, np.uint8)
    at = -memory.ctypes.data % 64
    return memory[at:at + size].view(dtype)


class Scratch:
    """What one call in flight owns: the tensor records and the arena."""

    def __init__(self, inputs, outputs):
        self.ins, self.outs = (CTensor * max(inputs, 1))(), (CTensor * max(outputs, 1))()
        self.arena = np.empty(0, np.uint8)

    def arena_at(self, size):
        if self.arena.size < size + 64:
            self.arena = np.empty(size + 64, np.uint8)
        at = self.arena.ctypes.data
        return at + -at % 64


def stop_threads(library, pool, memory):
    """The memory is the pool's until then."""
    library.lepton_pool_stop(pool)
    del memory


class Model:
    """Callable: `m.run([x, y])` or `m.run({"x": x, "y": y})` or `m(x, y)`; safe in threads."""
    _pool = None  # a lock and the pool; a run at the same time as another does without

    def __init__(self, path, threads=None):
        self.path = os.path.abspath(path)
        self._library = ctypes.CDLL(self.path)
        self._library.lepton_signature.restype = ctypes.c_char_p
        self._arena_bytes = self._library.lepton_arena_bytes
        self._arena_bytes.restype = ctypes.c_size_t
        self._arena_bytes.argtypes = [ctypes.c_void_p]
        self._run = self._library.lepton_run
        self._run.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_size_t]
        self._describe(self._library.lepton_signature().decode("utf-8"))
        if threads is None and "threads" in self.signature:
            threads = self.signature["threads"] or os.cpu_count() or 1
        if threads and "threads" in self.signature:
            self._start_threads(threads)

    def _start_threads(self, count):
        library = self._library
        library.lepton_pool_bytes.restype = ctypes.c_size_t
        library.lepton_pool_start.restype = ctypes.c_void_p
        library.lepton_pool_start.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.lepton_pool_stop.argtypes = [ctypes.c_void_p]
        library.lepton_run_on.argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_size_t]
        memory = ctypes.create_string_buffer(library.lepton_pool_bytes(count))
        pool = library.lepton_pool_start(memory, count)
        weakref.finalize(self, stop_threads, library, pool, memory)
        self._pool = threading.Lock(), pool

    def _enter(self, *args):
        """The run itself."""
        if self._pool is None or not self._pool[0].acquire(blocking=False):
            return self._run(*args)
        try:
            return self._library.lepton_run_on(self._pool[1], *args)
        finally:
            self._pool[0].release()

    def _describe(self, text):
        """Takes in the signature."""
        sig = json.loads(text)
        if sig["schema"] != SCHEMA:
            raise ValueError(f"{self.path}: signature schema {sig['schema']}, {SCHEMA} expected")
        self.signature = sig
        self._in = [Flat(e) for e in sig["inputs"]]
        self._out = [Flat(e) for e in sig["outputs"]]
        self._dims = [(d["name"], d) for d in sig.get("dims", [])]
        self._seen = {name: [(i, axis) for i, flat in enumerate(self._in)
                             for axis, e in enumerate(flat.shape) if e == name]
                      for name, _ in self._dims}
        self.inputs = [self._port(tree, self._in) for tree in sig["args"]]
        self.outputs = [self._port(tree, self._out) for tree in sig["results"]]
        self.arena_bytes = sig.get("arena_bytes")  # None when it depends on the dims
        self._scratch = []

    @staticmethod
    def _port(tree, flats):
        if "tensor" in tree:
            flat = flats[tree["tensor"]]
            return Port(tree.get("name", flat.name), "tensor", flat.dtype, flat.shape)
        kind = "optional" if "optional" in tree or "none" in tree else "sequence"
        return Port(tree.get("name", ""), kind, None, None)

    def __call__(self, *inputs):
        return self.run(list(inputs))

    def __repr__(self):
        name, target = self.signature.get("name"), self.signature.get("target")
        return f"<lepton.Model {name} for {target}: {self.path}>"

    def run(self, inputs=(), out=None):
        """Outputs in graph order. `inputs`: a list in graph order or {name: value}. `out`: a list
        of arrays (or None) in graph order to write tensor outputs into; the result holds them, cut
        to the true shape where that is smaller."""
        arrays = [None] * len(self._in)
        for tree, value in zip(self.signature["args"], self._arrange(inputs)):
            self._put(tree, value, arrays)
        env = self._solve(arrays)
        dims = (ctypes.c_int64 * max(len(self._dims), 1))(*[env[name] for name, _ in self._dims])
        scratch = self._scratch.pop() if self._scratch else Scratch(len(self._in), len(self._out))
        try:
            found = self._call(scratch, dims, env, arrays, self._given(out))
            results = [self._get(tree, found) for tree in self.signature["results"]]
        finally:
            self._scratch.append(scratch)
        return results

    def _arrange(self, inputs):
        """The values in graph order."""
        if isinstance(inputs, dict):
            names = [port.name for port in self.inputs]
            unknown = [name for name in inputs if name not in names]
            missing = [name for name in names if name not in inputs]
            if unknown or missing:
                wrong = f"no input '{unknown[0]}'" if unknown else f"no value for '{missing[0]}'"
                raise ValueError(f"{wrong}; the model's inputs are {', '.join(names) or 'none'}")
            return [inputs[name] for name in names]
        values = list(inputs)
        if len(values) != len(self.inputs):
            raise ValueError(f"{len(self.inputs)} inputs expected, got {len(values)}")
        return values

    def _put(self, tree, value, arrays):
        """Takes a graph input apart into flat arrays."""
        if "tensor" in tree:
            flat = self._in[tree["tensor"]]
            arrays[tree["tensor"]] = array_of(flat, value)
        elif "sequence" in tree:
            kids = tree["sequence"]
            if value is None or len(value) != len(kids):
                raise ValueError(f"input '{tree.get('name')}': a sequence of {len(kids)} expected")
            for kid, v in zip(kids, value):
                self._put(kid, v, arrays)
        elif "packed" in tree:
            self._put_packed(tree["packed"], value, arrays)
        elif "none" in tree:
            if value is not None:
                raise ValueError(f"input '{tree.get('name')}' was compiled as an empty optional")
        else:
            if "present" in tree:
                arrays[tree["present"]] = np.asarray(value is not None)
            if value is None and "present" in tree:
                self._put_absent(tree["optional"], arrays)
            else:
                self._put(tree["optional"], value, arrays)

    def _put_absent(self, tree, arrays):
        """Valid tensors nobody reads, for an optional that is empty this time."""
        if "sequence" in tree:
            for kid in tree["sequence"]:
                self._put_absent(kid, arrays)
            return
        for i in [tree["tensor"]] if "tensor" in tree else tree["packed"].values():
            flat = self._in[i]
            shape = [e if isinstance(e, int) else 0 for e in flat.shape]
            arrays[i] = np.full(shape, "" if flat.type == "str" else 0, flat.dtype)

    def _put_packed(self, tree, value, arrays):
        flat, shapes = self._in[tree["data"]], self._in[tree["shapes"]]
        items = [array_of(flat, v) for v in value]
        rank = shapes.shape[1] if isinstance(shapes.shape[1], int) else max(
            [item.ndim for item in items], default=0)
        for item in items:
            if item.ndim != rank:
                raise ValueError(f"input '{flat.name}': elements of rank {rank} expected")
        data = [item.reshape(-1) for item in items]
        arrays[tree["data"]] = np.concatenate(data) if data else np.empty(0, flat.dtype)
        arrays[tree["shapes"]] = np.array([i.shape for i in items], np.int64).reshape(-1, rank)

    def _solve(self, arrays):
        """{dim: value} from the actual shapes; every extent of every input is checked."""
        for flat, array in zip(self._in, arrays):
            if array.ndim != len(flat.shape):
                raise ValueError(f"input '{flat.name}': rank {len(flat.shape)} expected, got shape "
                                 f"{list(array.shape)}")
        env = {}
        for name, facts in self._dims:
            if not self._seen[name]:
                raise ValueError(f"dim '{name}' stands in no input")
            i, axis = self._seen[name][0]
            env[name] = n = arrays[i].shape[axis]
            fits = facts.get("min", 0) <= n <= facts.get("max", n)
            if not fits or n % facts.get("multiple", 1):
                raise ValueError(f"input '{self._in[i].name}': axis {axis} is {n}, outside what "
                                 f"dim '{name}' was compiled for")
        for flat, array in zip(self._in, arrays):
            if array.shape == flat.static:
                continue
            for axis, extent in enumerate(flat.extents):
                if extent is not None and extent(env) != array.shape[axis]:
                    raise ValueError(f"input '{flat.name}': axis {axis} is {array.shape[axis]}, "
                                     f"{flat.shape[axis]} = {extent(env)} expected")
        return env

    def _given(self, out):
        """{flat index: array} of the caller's preallocated outputs."""
        if out is None:
            return {}
        given = {}
        for tree, array in zip(self.signature["results"], out):
            if array is None:
                continue
            if "tensor" not in tree:
                raise ValueError("out= takes arrays for tensor outputs only")
            flat = self._out[tree["tensor"]]
            lies = array.flags.c_contiguous or flat.storage
            if array.dtype != flat.dtype or not lies or array.dtype == object:
                raise ValueError(f"out= for '{flat.name}' must be a contiguous {flat.dtype} array")
            given[tree["tensor"]] = array
        return given

    def _call(self, scratch, dims, env, arrays, given):
        """Runs the model; returns the flat outputs as arrays of their own dtype."""
        keep = []
        for record, flat, array in zip(scratch.ins, self._in, arrays):
            wire = to_wire(flat, array, keep, env)
            record.data, record.rank = wire.ctypes.data, array.ndim
            record.count = flat.capacity(env) if flat.storage else wire.size
            record.dims[:array.ndim] = array.shape
        buffers = [self._buffer(i, flat.capacity(env), given, env) for i, flat in enumerate(self._out)]
        need = self._arena_bytes(dims)
        if "arena_least" in self.signature:  # grows until the run is content
            need += ARENA_FIRST
        while True:
            arena = scratch.arena_at(need)
            for record, buffer in zip(scratch.outs, buffers):
                record.data, record.count = buffer.ctypes.data, buffer.size
            for record, flat in zip(scratch.outs, self._out):
                record.count = flat.capacity(env) if flat.storage else record.count
            code = self._enter(dims, scratch.ins, scratch.outs, arena, need)
            if code == ENOMEM and "arena_least" in self.signature and need < ARENA_LAST:
                need *= 4
                continue
            if code not in (0, ECAPACITY):
                raise RunError(code)
            shapes = [tuple(record.dims[:record.rank]) for record, _ in zip(scratch.outs, buffers)]
            counts = [int(np.prod(shape, dtype=np.int64)) for shape in shapes]
            if code == 0:
                break
            small = [i for i, n in enumerate(counts) if n > buffers[i].size]
            if not small:
                raise RunError(code)
            for i in small:
                buffers[i] = self._buffer(i, counts[i], {}, env)
        return [self._take(i, buffer, shape, n, given, env)
                for i, (buffer, shape, n) in enumerate(zip(buffers, shapes, counts))]

    def _buffer(self, i, count, given, env):
        flat = self._out[i]
        if flat.storage:
            shape = tuple(extent(env) for extent in flat.extents)
            mine = i in given and given[i].shape == shape and flat.in_place(given[i], env)
            return given[i] if mine else np.zeros(max(count, 1), flat.wire)
        if i in given and given[i].size >= count and flat.type not in SIGNED_NARROW:
            return given[i]
        return empty_aligned(max(count, 1), flat.wire)

    def _take(self, i, buffer, shape, count, given, env):
        if self._out[i].storage and (i not in given or buffer is not given[i]):
            array = self._out[i].corner(buffer, shape, env)
        elif buffer.shape == shape:
            array = buffer
        else:
            array = buffer.reshape(-1)[:count].reshape(shape)
        array = from_wire(self._out[i], array)
        if i in given and array.base is not given[i] and array is not given[i]:
            if given[i].size < count:
                raise ValueError(f"out= for '{self._out[i].name}' is too small for {list(shape)}")
            target = given[i]
            if target.shape != shape:
                target = target.reshape(-1)[:count].reshape(shape)
            target[...] = array
            return target
        return array

    def _get(self, tree, found) -> Any:
        """Puts a graph output together from flat arrays."""
        if "tensor" in tree:
            return found[tree["tensor"]]
        if "sequence" in tree:
            return [self._get(kid, found) for kid in tree["sequence"]]
        if "packed" in tree:
            data, at, items = found[tree["packed"]["data"]], 0, []
            for shape in found[tree["packed"]["shapes"]].tolist():
                count = int(np.prod(shape, dtype=np.int64))
                items.append(data[at:at + count].reshape(shape))
                at += count
            return items
        if "rows" in tree:
            return [dict(zip(tree["keys"], row.tolist())) for row in found[tree["rows"]]]
        if "none" in tree or ("present" in tree and not found[tree["present"]]):
            return None
        return self._get(tree["optional"], found)


def load(path, threads=None):
    """Loads what `lcc model.onnx --emit=so -o model.so` wrote. `threads`: how many share a run, where it was
    compiled with --threads (default: what that says)."""
    return Model(path, threads)
