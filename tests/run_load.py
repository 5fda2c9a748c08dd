#!/usr/bin/env python3
"""Tensors as the loader reads them, against numpy and the onnx package.

usage: LCC=build/lcc tests/run_load.py [quick|full]

Every data type stored in raw_data, in its typed field and as external data must come out equal; the
test data of the official suite must survive a copy; external data that names anything but a plain
file beneath the model's folder must be refused. Uses tests/fuzz_load beside $LCC.
Last line: N passed, N failed."""
import glob
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

FUZZ = os.path.join(os.path.dirname(os.path.abspath(os.environ.get("LCC", "build/lcc"))),
                    "tests", "fuzz_load")
QUICK = sys.argv[1:] == ["quick"]
IO, MALFORMED = 6, 3
TYPES = {name: number for name, number in T.DataType.items() if number}
BITS = {T.UINT4: 4, T.INT4: 4, T.FLOAT4E2M1: 4, T.UINT2: 2, T.INT2: 2}
TYPED = {T.FLOAT: "float_data", T.COMPLEX64: "float_data", T.DOUBLE: "double_data",
         T.COMPLEX128: "double_data", T.INT64: "int64_data", T.UINT64: "uint64_data",
         T.UINT32: "uint64_data"}
SHAPES = [(), (0,), (1,), (3,), (2, 5), (0, 7), (1, 1, 4), (17,)]


class Tally:
    passed = failed = 0

    def note(self, name, ok, why=""):
        self.passed += ok
        self.failed += not ok
        if not ok:
            print(f"FAIL {name} {why}")


def values_of(t):
    a = numpy_helper.to_array(t)
    return str(a.dtype), a.shape, a.tolist() if a.dtype == object else a.tobytes()


def raw_tensor(elem, shape, rng):
    """Random bits of the type, as raw_data; floats without NaN, whose bits numpy may change."""
    count = int(np.prod(shape, dtype=np.int64))
    t = T(dims=shape, data_type=elem, name="t")
    if elem == T.STRING:
        t.string_data.extend(bytes(rng.integers(0, 256, n, np.uint8)) for n in range(count))
        return t
    bits = BITS.get(elem) or 8 * np.dtype(h.tensor_dtype_to_np_dtype(elem)).itemsize
    raw = bytearray(rng.integers(0, 256, -(-count * bits // 8), np.uint8).tobytes())
    if elem == T.BOOL:
        raw = bytearray(b & 1 for b in raw)
    if count * bits % 8:
        raw[-1] &= (1 << count * bits % 8) - 1
    t.raw_data = bytes(raw)
    return t


def typed_tensor(t):
    """The same tensor in its typed field."""
    out = T(dims=t.dims, data_type=t.data_type, name="t")
    if t.data_type == T.STRING:
        return t
    field = TYPED.get(t.data_type, "int32_data")
    if field == "int32_data":
        width = BITS.get(t.data_type, 0) or 8 * np.dtype(
            h.tensor_dtype_to_np_dtype(t.data_type)).itemsize
        signed = t.data_type in (T.INT8, T.INT16, T.INT32)
        kind = ("i" if signed else "u") + str(max(width, 8) // 8)
    else:
        kind = {"float_data": "f4", "double_data": "f8", "int64_data": "i8"}.get(
            field, "u4" if t.data_type == T.UINT32 else "u8")
    getattr(out, field).extend(np.frombuffer(t.raw_data, "<" + kind).tolist())
    return out


def model_with(tensors):
    graph = h.make_graph([], "g", [], [], tensors)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21)])


def copied(lines, mode):
    p = subprocess.run([FUZZ, mode], input="".join(lines), capture_output=True, text=True,
                       errors="replace")
    return p.stdout if p.returncode in (0, 1) else f"ended with {p.returncode}: {p.stderr[-2000:]}"


def sequence_of(path):
    s = onnx.SequenceProto()
    with open(path, "rb") as f:
        s.ParseFromString(f.read())
    return list(s.tensor_values)


def run_types(tally, tmp):
    rng = np.random.default_rng(1)
    for name, elem in TYPES.items():
        tensors = [raw_tensor(elem, shape, rng) for shape in SHAPES]
        for way in ("raw", "typed", "external"):
            given = [typed_tensor(t) for t in tensors] if way == "typed" else tensors
            m = model_with(given)
            path, out = os.path.join(tmp, "m.onnx"), os.path.join(tmp, "out.pb")
            if way == "external" and elem != T.STRING:
                with open(os.path.join(tmp, "w.bin"), "wb"):
                    pass  # onnx.save appends
                onnx.save(m, path, save_as_external_data=True, location="w.bin", size_threshold=0)
            else:
                onnx.save(m, path)
            log = copied([f"{path} {out}\n"], "--weights")
            ok = log.startswith("1 passed")
            got = sequence_of(out) if ok else []
            for t, g in zip(given, got):
                ok = ok and bits_of(t) == bits_of(g)
            tally.note(f"{name} {way}", ok, log)


def bits_of(t):
    """Bits when the tensor has raw_data, so that NaN compares; values otherwise."""
    if t.HasField("raw_data"):
        return tuple(t.dims), t.raw_data
    if t.data_type == T.STRING:
        return tuple(t.dims), list(t.string_data)
    return tuple(t.dims), raw_of_typed(t)


def raw_of_typed(t):
    field = TYPED.get(t.data_type, "int32_data")
    values = list(getattr(t, field))
    if field == "int32_data":
        width = 1 if t.data_type in BITS else np.dtype(
            h.tensor_dtype_to_np_dtype(t.data_type)).itemsize
        return b"".join((v & (1 << 8 * width) - 1).to_bytes(width, "little") for v in values)
    kind = {"float_data": "f4", "double_data": "f8", "int64_data": "i8"}.get(
        field, "u4" if t.data_type == T.UINT32 else "u8")
    return np.array(values, "<" + kind).tobytes()


def run_suite(tally, tmp):
    """Every value of the official test data, copied; bytes or at least values are equal."""
    folder = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
    lines, pairs = [], []
    for model in sorted(glob.glob(os.path.join(folder, "*", "*", "model.onnx")))[::20 if QUICK else 1]:
        graph = onnx.load(model, load_external_data=False).graph
        for kind, values in (("input", graph.input), ("output", graph.output)):
            for i, v in enumerate(values):
                number = {"sequence_type": 1, "optional_type": 2}.get(v.type.WhichOneof("value"), 0)
                for path in glob.glob(os.path.join(os.path.dirname(model), "test_data_set_*",
                                                   f"{kind}_{i}.pb")):
                    out = os.path.join(tmp, f"{len(pairs)}.pb")
                    lines.append(f"{number} {path} {out}\n")
                    pairs.append((number, path, out))
    log = copied(lines, "--values")
    for number, path, out in pairs:
        if not os.path.exists(out):
            tally.note(path, False, log[-300:])
            continue
        with open(path, "rb") as a, open(out, "rb") as b:
            before, after = a.read(), b.read()
        ok = before == after
        if not ok and number == 0:
            t, u = T(), T()
            t.ParseFromString(before)
            u.ParseFromString(after)
            ok = t.name == u.name and values_of(t) == values_of(u)
        tally.note(path, ok)
        os.remove(out)


def external(**entries):
    t = T(dims=[2], data_type=T.FLOAT, name="w", data_location=T.EXTERNAL)
    for key, value in entries.items():
        t.external_data.add(key=key, value=value)
    return t


def run_attacks(tally, tmp):
    """Points 17 to 19: paths that leave the folder, links, offsets and lengths that lie."""
    base = os.path.join(tmp, "base")
    os.makedirs(os.path.join(base, "sub", "deep"))
    data = np.array([1, 2], "<f4").tobytes()
    for path in ("w.bin", "sub/w.bin", "sub/deep/w.bin", "../outside.bin"):
        with open(os.path.join(base, path), "wb") as f:
            f.write(data)
    with open(os.path.join(base, "twice.bin"), "wb") as f:
        f.write(data)
    with open(os.path.join(base, "nothing.bin"), "wb"):
        pass
    os.link(os.path.join(base, "twice.bin"), os.path.join(base, "again.bin"))
    os.symlink("w.bin", os.path.join(base, "link.bin"))
    os.symlink("sub", os.path.join(base, "linked"))
    os.symlink("..", os.path.join(base, "up"))
    os.mkfifo(os.path.join(base, "fifo"))
    loc = lambda s, **more: external(location=s, **more)
    good = {
        "plain": loc("w.bin"), "dot": loc("./w.bin"), "sub": loc("sub/w.bin"),
        "deep": loc("sub/./deep//w.bin"), "length": loc("w.bin", offset="0", length="8"),
        "checksum": loc("w.bin", checksum="00"),
    }
    bad = {
        "no location": external(), "empty location": loc(""), "absolute": loc(base + "/w.bin"),
        "parent": loc("../outside.bin"), "hidden parent": loc("sub/../../outside.bin"),
        "sub and back": loc("sub/../w.bin"), "only dots": loc(".."), "dot only": loc("."),
        "folder": loc("sub"), "folder with slash": loc("sub/"), "link": loc("link.bin"),
        "linked folder": loc("linked/w.bin"), "link up": loc("up/outside.bin"),
        "hard link": loc("again.bin"), "FIFO": loc("fifo"), "missing": loc("none.bin"),
        "file as a folder": loc("w.bin/x"), "long name": loc("n" * 300),
        "very long path": loc("sub/" * 2000 + "w.bin"), "device": loc("/dev/zero"),
        "empty file": loc("nothing.bin"), "offset past the end": loc("w.bin", offset="4"),
        "huge offset": loc("w.bin", offset=str(2**63 - 1)), "offset above 2^63": loc(
            "w.bin", offset=str(2**64 + 8)), "negative offset": loc("w.bin", offset="-8"),
        "offset with junk": loc("w.bin", offset="0x0"), "empty offset": loc("w.bin", offset=""),
        "length short": loc("w.bin", length="4"), "length long": loc("w.bin", length="12"),
        "negative length": loc("w.bin", length="-1"), "escape": loc("\x1b[31m\n.bin"),
        "proc": loc("/proc/self/environ"), "backslash": loc("..\\outside.bin"),
    }
    for name, t in [*good.items(), *bad.items()]:
        path, out = os.path.join(base, "m.onnx"), os.path.join(tmp, "o.pb")
        onnx.save(model_with([t]), path)
        log = copied([f"{path} {out}\n"], "--weights")
        if name in good:
            ok = log.startswith("1 passed") and sequence_of(out)[0].raw_data == data
        else:
            ok = any(log.startswith(f"{path} {code} {path}: error: tensor 'w' f32[2]")
                     for code in (MALFORMED, IO)) and log.count("\n") == 2
        tally.note(f"external data: {name}", ok, log)


def main():
    if not os.access(FUZZ, os.X_OK):
        print(f"{FUZZ} is not there (set $LCC)\n0 passed, 1 failed")
        return 1
    tally = Tally()
    with tempfile.TemporaryDirectory() as tmp:
        run_types(tally, tmp)
        run_suite(tally, tmp)
        run_attacks(tally, tmp)
    print(f"{tally.passed} passed, {tally.failed} failed")
    return tally.failed > 0


if __name__ == "__main__":
    sys.exit(main())
