#!/usr/bin/env python3
"""Prints the rows of NARROW_CASES in tests/expr_test.c: sums over the conversions between f32 and the
floats below 32 bits, as ml_dtypes and onnx.numpy_helper do them. Needs numpy, ml_dtypes and onnx."""
import warnings

import ml_dtypes
import numpy as np
from onnx import numpy_helper

warnings.simplefilter("ignore")

TYPES = {
    "F16": "float16", "BF16": "bfloat16", "F8E4M3FN": "float8_e4m3fn",
    "F8E4M3FNUZ": "float8_e4m3fnuz", "F8E5M2": "float8_e5m2", "F8E5M2FNUZ": "float8_e5m2fnuz",
    "F8E8M0": "float8_e8m0fnu", "F4E2M1": "float4_e2m1fn",
}


def checksum(values):
    """The sum that sum_add of expr_test.c builds."""
    index = np.arange(1, len(values) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (values.astype(np.uint64) + np.uint64(1)) * index
    z ^= z >> np.uint64(32)
    z *= np.uint64(0xD6E8FEB86659FD93)
    return int(z.sum(dtype=np.uint64))


def samples(decoded):
    """Spread-out bit patterns, every value of the type, the middles between neighbours, and next to them."""
    spread = (np.arange(1 << 20, dtype=np.uint64) * 2654435761 % (1 << 32)).astype(np.uint32)
    wide = decoded.astype(np.float64)
    middle = ((wide[:-1] + wide[1:]) / 2).astype(np.float32)
    up, down = (np.nextafter(middle, np.float32(to)) for to in (np.inf, -np.inf))
    every = np.concatenate([spread.view(np.float32), decoded, middle, up, down])
    return every[~np.isnan(every)]


def narrowed(values, name, dtype, saturate):
    if name == "F8E8M0":
        return numpy_helper.to_float8e8m0(values, saturate, "nearest")
    if not saturate:
        return values.astype(dtype)
    if name in ("F16", "BF16"):
        limits = ml_dtypes.finfo(dtype)
        return np.clip(values, float(limits.min), float(limits.max)).astype(dtype)
    return numpy_helper.saturate_cast(values, dtype)


for name, text in TYPES.items():
    dtype = np.dtype(text)
    bits = np.uint16 if dtype.itemsize == 2 else np.uint8
    codes = 65536 if dtype.itemsize == 2 else 16 if name == "F4E2M1" else 256
    decoded = np.arange(codes).astype(bits).view(dtype).astype(np.float32)
    plain = decoded.view(np.uint32).copy()
    plain[np.isnan(decoded)] = 0x7FC00000
    sums = [checksum(plain)]
    for saturate in (False, True):
        sums.append(checksum(narrowed(samples(decoded), name, dtype, saturate).view(bits)))
    print("    {T_%s, %d, %s}," % (name, codes, ", ".join("UINT64_C(0x%016x)" % s for s in sums)))
