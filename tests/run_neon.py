#!/usr/bin/env python3
"""Code for AArch64 from a cross compiler, run by qemu: networks and official cases against their expected outputs.

    python3 tests/run_neon.py normal        skipped without aarch64-linux-gnu-gcc and qemu-aarch64
    python3 tests/run_neon.py normal TEXT   only models whose name matches
Last line: N passed, N failed, N skipped. Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user.
"""
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "python")]
import run_models  # noqa: E402
from lepton.tensorfile import tensor_load  # noqa: E402

LCC = os.environ.get("LCC") or os.path.join(os.path.dirname(HERE), "build", "lcc")
CC, QEMU = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
NETWORKS = "micro-kws-fp32 micro-kws-qdq mnist-external captcha-crnn gtcrn-simplified sklearn-lr-mnist tinybert ultraface-rfb320 yunet-n-dynamic silero-vad"
SHARE = {"normal": 16, "full": 4}  # one official case of so many
MAIN = """#include "m.h"
#include <stdio.h>
#include <stdlib.h>
static void *load(const char *path, size_t n) {
    FILE *f = fopen(path, "rb");
    void *p = malloc(n + 64);
    if (!f || !p || fread(p, 1, n, f) != n) exit(90);
    fclose(f);
    return p;
}
static void save(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) exit(91);
}
int main(void) {
%s
    return 0;
}
"""


def main_text(report, inputs, outputs):
    """A program that reads in_N, runs the model and writes out_N; None where this form does not do."""
    ports = report["inputs"] + report["outputs"]
    if any(d is None for p in ports for d in p["shape"]) or report["arena_bytes"] is None and not report["dims"]:
        return None
    values = {}
    for port, array in zip(report["inputs"], inputs):
        for dim, n in zip(port["shape"], array.shape):
            if isinstance(dim, str):
                values[dim] = n
    if any(d["name"] not in values for d in report["dims"]):
        return None
    lines, args = [], []
    if report["dims"]:
        lines.append("    m_dims dims = {" + ", ".join(str(values[d["name"]]) for d in report["dims"]) + "};")
        args.append("&dims")
    for i, a in enumerate(inputs):
        lines.append(f'    void *in_{i} = load("in_{i}", {a.nbytes});')
    for i, a in enumerate(outputs):
        lines.append(f"    void *out_{i} = malloc({a.nbytes + 64});")
    args += [f"in_{i}" for i in range(len(inputs))] + [f"out_{i}" for i in range(len(outputs))] + ["arena"]
    size = "m_arena_bytes(&dims)" if report["arena_bytes"] is None else "M_ARENA_BYTES"
    lines.append(f"    void *arena = aligned_alloc(64, ({size} + 127) / 64 * 64);")
    lines.append(f"    int rc = m_run({', '.join(args)});")
    lines.append("    if (rc) return rc;")
    lines += [f'    save("out_{i}", out_{i}, {a.nbytes});' for i, a in enumerate(outputs)]
    return MAIN % "\n".join(lines)


def call(args, cwd):
    p = subprocess.run(args, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    return p.returncode, p.stdout.decode("utf-8", "replace")


def try_model(path, folder, work):
    """(passed, failed or skipped, why)."""
    try:
        inputs = [tensor_load(f)[1] for f in numbered(folder, "input")]
        outputs = [tensor_load(f)[1] for f in numbered(folder, "output")]
    except ValueError as e:
        return "skipped", str(e)
    if any(not isinstance(a, np.ndarray) or a.dtype == object for a in inputs + outputs):
        return "skipped", "no plain tensors"
    rc, text = call([LCC, "info", "--json", "--target=neon", path], work)
    if rc:
        return "skipped", text
    report = json.loads(text)
    if len(report["inputs"]) != len(inputs) or len(report["outputs"]) != len(outputs):
        return "skipped", "other ports"
    program = main_text(report, inputs, outputs)
    if not program:
        return "skipped", "extents that depend on data"
    with open(os.path.join(work, "main.c"), "w", encoding="utf-8") as f:
        f.write(program)
    for i, a in enumerate(inputs):
        np.ascontiguousarray(a).tofile(os.path.join(work, f"in_{i}"))
    objects = ["m_weights.o"] if report["weights"] == "obj" else []
    for args in ([LCC, path, "--target=neon", "-q", "-o", "m.c"],
                 [CC, "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-c", "m.c"],
                 [CC, "-w", "main.c", "m.o", *objects, "-lm", "-o", "main"],
                 [QEMU, "-L", "/usr/aarch64-linux-gnu", "./main"]):
        rc, text = call(args, work)
        if rc:
            return "failed", f"{os.path.basename(args[0])} exit {rc}: {text[:2000]}"
    name = os.path.basename(os.path.dirname(path))
    for i, ref in enumerate(outputs):
        out = np.fromfile(os.path.join(work, f"out_{i}"), dtype=ref.dtype).reshape(ref.shape)
        official = "test_data_set" in folder and name.startswith("test_")
        wrong = official_wrong(ref, out) if official else run_models.compare(name, i, ref, out)[1]
        if wrong:
            return "failed", f"output {i}: {wrong}"
    return "passed", ""


def official_wrong(ref, out):
    """The official suite's rule."""
    if ref.dtype.kind in "fc":
        same = np.allclose(out, ref, rtol=1e-3, atol=1e-7, equal_nan=True)
    elif ref.dtype.kind == "V" or "float" in ref.dtype.name:
        same = np.allclose(out.astype(np.float32), ref.astype(np.float32), rtol=1e-2, atol=1e-2, equal_nan=True)
    else:
        same = np.array_equal(ref, out)
    return None if same else "differs"


def numbered(folder, side):
    return [os.path.join(folder, f"{side}_{i}.pb") for i in range(len(glob.glob(os.path.join(folder, f"{side}_*.pb"))))]


def official_cases(mode):
    try:
        import onnx.backend.test.data as data
    except ImportError:
        print("skipped: no onnx package, no official cases")
        return
    for path in sorted(glob.glob(os.path.join(list(data.__path__)[0], "*", "*", "model.onnx"))):
        name = os.path.basename(os.path.dirname(path))
        random = re.search("bernoulli|dropout|random|multinomial|training", name)
        if not random and hashlib.sha256(name.encode()).digest()[1] % SHARE[mode] == 0:
            yield path


def main():
    mode, only = (sys.argv[1:] + ["normal"])[0], (sys.argv[2:] + [""])[0]
    if mode == "quick":
        return 2
    if not CC or not QEMU:
        print("skipped: needs aarch64-linux-gnu-gcc and qemu-aarch64\n0 passed, 0 failed, 1 skipped")
        return 0
    base = os.environ.get("LEPTON_MODELS") or os.path.join(os.path.dirname(HERE), "..", "shared", "models")
    paths = [p for n in NETWORKS.split() for p in glob.glob(os.path.join(base, n, "model.onnx"))]
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in [*paths, *official_cases(mode)]:
        if only and not re.search(only, path):
            continue
        folder = os.path.join(os.path.dirname(path), "test_data_set_0")
        with tempfile.TemporaryDirectory() as work:
            status, why = try_model(path, folder, work)
        counts[status] += 1
        if status == "failed" or only:
            print(f"{status} {os.path.basename(os.path.dirname(path))}: {why}", flush=True)
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    return counts["failed"] > 0


if __name__ == "__main__":
    sys.exit(main())
