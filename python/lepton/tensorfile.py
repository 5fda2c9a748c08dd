"""Reads a serialized ONNX TensorProto (`input_0.pb` of a test_data_set) without the onnx package.

Only the fields a stand-alone tensor has: dims, data_type, raw_data and the typed lists. External
data is refused: such a file does not stand alone.
"""
import struct

import numpy as np

from .types import BY_ONNX, dtype_of

PACKED_BITS = {"i4": 4, "u4": 4, "f4e2m1": 4, "i2": 2, "u2": 2}


class TensorFileError(ValueError):
    """The file is no tensor that stands alone."""


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise TensorFileError("a number of more than ten bytes")


def fields(data):
    """Yields (field number, wire type, value); value is an int or bytes."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if wire == 2:
                size, at = varint(data, at)
            if size is None or at + size > len(data):
                raise TensorFileError(f"damaged field {number}")
            value, at = data[at:at + size], at + size
        yield number, wire, value


def varints(value):
    """The signed numbers of a field, packed or not."""
    if isinstance(value, int):
        return [value - (1 << 64) if value >> 63 else value]
    out, at = [], 0
    while at < len(value):
        v, at = varint(value, at)
        out.append(v - (1 << 64) if v >> 63 else v)
    return out


def unpack_bits(raw, bits, count):
    """`count` unsigned elements of `bits` bits, lowest bits first."""
    octets = np.frombuffer(raw, np.uint8)
    parts = [(octets >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=1).reshape(-1)[:count]


def from_bits(bits, kind):
    """Unsigned elements -> the narrow dtype `kind`."""
    dtype = dtype_of(kind)
    if kind in ("i4", "i2"):
        half = 1 << (PACKED_BITS[kind] - 1)
        return ((bits.astype(np.int8) ^ half) - half).astype(dtype)
    return bits.astype(np.uint8).view(dtype) if kind == "f4e2m1" else bits.astype(dtype)


def from_raw(raw, kind, count):
    if kind in PACKED_BITS:
        return from_bits(unpack_bits(raw, PACKED_BITS[kind], count), kind)
    dtype = dtype_of(kind)
    if len(raw) != count * dtype.itemsize:
        raise TensorFileError(f"{len(raw)} bytes for {count} elements of {kind}")
    return np.frombuffer(raw, np.uint8).view(dtype).copy()


def from_typed(parts, kind, count):
    """Typed lists: int32_data carries every type of up to 32 bits, narrow ones as their bits."""
    dtype = dtype_of(kind)
    values = np.array(parts, dtype=np.uint64 if kind == "u64" else None)
    if kind in PACKED_BITS:
        return from_raw(values.astype(np.int64).astype(np.uint8).tobytes(), kind, count)
    if kind.startswith(("bf16", "f16", "f8")):
        width = np.uint16 if dtype.itemsize == 2 else np.uint8
        return values.astype(np.int64).astype(width).view(dtype)
    if kind.startswith("c"):
        return values.astype(np.float64).view(np.complex128).astype(dtype)
    return values.astype(dtype)


def tensor_parse(data):
    """(name, array) of a serialized TensorProto."""
    dims, kind, raw, typed, strings, name = [], None, None, [], [], ""
    try:
        for number, wire, value in fields(bytes(data)):
            if number == 1:
                dims += varints(value)
            elif number == 2:
                kind = BY_ONNX.get(value)
            elif number == 6:
                strings.append(value.decode("utf-8", "surrogateescape"))
            elif number == 8:
                name = value.decode("utf-8", "replace")
            elif number == 9:
                raw = value
            elif number == 14 and value == 1:
                raise TensorFileError("external data")
            elif number in (5, 7):
                typed += varints(value)
            elif number == 11:
                typed += [v & 0xFFFFFFFFFFFFFFFF for v in varints(value)]
            elif number in (4, 10):
                typed += [v[0] for v in struct.iter_unpack("<f" if number == 4 else "<d", value)]
    except (IndexError, AttributeError, struct.error) as e:
        raise TensorFileError(f"damaged: {e}") from e
    if kind is None or any(d < 0 for d in dims):
        raise TensorFileError("no tensor")
    count = int(np.prod(dims, dtype=np.int64))
    if kind == "str":
        flat = np.array(strings, dtype=object)
    else:
        flat = from_raw(raw, kind, count) if raw is not None else from_typed(typed, kind, count)
    if flat.size != count:
        raise TensorFileError(f"{flat.size} elements for the shape {dims}")
    return name, flat.reshape(dims)


def tensor_load(path):
    """(name, array) of a file such as `input_0.pb`."""
    with open(path, "rb") as f:
        return tensor_parse(f.read())
