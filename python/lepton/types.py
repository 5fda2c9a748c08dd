"""Element types: lcc's names, ONNX numbers and numpy dtypes.

The narrow types come from ml_dtypes, which is imported only when a model has one. `wire` is how an
element crosses the bridge: i4 and i2 travel as int8 values, everything else as numpy holds it.
"""
import numpy as np

# lcc name: (ONNX TensorProto.DataType, numpy or ml_dtypes name)
TYPES = {
    "f64": (11, "float64"), "f32": (1, "float32"), "f16": (10, "float16"), "bf16": (16, "bfloat16"),
    "f8e4m3fn": (17, "float8_e4m3fn"), "f8e4m3fnuz": (18, "float8_e4m3fnuz"),
    "f8e5m2": (19, "float8_e5m2"), "f8e5m2fnuz": (20, "float8_e5m2fnuz"),
    "f8e8m0": (24, "float8_e8m0fnu"), "f4e2m1": (23, "float4_e2m1fn"),
    "i64": (7, "int64"), "i32": (6, "int32"), "i16": (5, "int16"), "i8": (3, "int8"),
    "i4": (22, "int4"), "i2": (26, "int2"),
    "u64": (13, "uint64"), "u32": (12, "uint32"), "u16": (4, "uint16"), "u8": (2, "uint8"),
    "u4": (21, "uint4"), "u2": (25, "uint2"),
    "bool": (9, "bool"), "str": (8, "object"), "c64": (14, "complex64"), "c128": (15, "complex128"),
}
BY_ONNX = {number: name for name, (number, _) in TYPES.items()}
SIGNED_NARROW = ("i4", "i2")
STRING = np.dtype([("data", np.uintp), ("len", np.int64)])


def dtype_of(name):
    """numpy's dtype for an lcc type name."""
    text = TYPES[name][1]
    try:
        return np.dtype(text)
    except TypeError:
        import ml_dtypes
        return np.dtype(getattr(ml_dtypes, text))


def wire_of(name):
    """dtype of the elements that cross the bridge."""
    if name in SIGNED_NARROW:
        return np.dtype(np.int8)
    return STRING if name == "str" else dtype_of(name)
