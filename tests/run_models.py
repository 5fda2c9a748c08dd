#!/usr/bin/env python3
"""Runs the real networks of $LEPTON_MODELS (default ../shared/models) through lcc.

    python3 tests/run_models.py                           every folder, each target of this machine
    python3 tests/run_models.py -k tinybert --target avx2  one folder, one target

Each folder holds model.onnx and test_data_set_N/{input,output}_I.pb. Without the folder all is
skipped. Needs numpy and ml_dtypes only. Last line: N passed, N failed, N skipped.
"""
import argparse
import glob
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
import traceback

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(ROOT, "python")]
import lepton  # noqa: E402
from lepton.build import lcc_hash  # noqa: E402
from official.isolate import isolated  # noqa: E402

# Bound on |d|: ABSOLUTE + share * (largest |expected| of that output).
ABSOLUTE, SHARE = 1e-6, 1e-4
SHARES = {
    "micro-kws-qdq": 1.6e-2, "micro-kws-qoperator": 1.6e-2,  # four quanta
    "vscode-recommender": 2e-2,  # dynamic quantisation
    "basic-pitch": 5e-3,  # ONNX Runtime with and without optimisations differs by 1.3e-3
}
# Folders lcc may still refuse, each with its reason; one that passes must leave the table.
EXPECTED = {
    "utau-g2p-man": "operators on strings and general loops",
    "lgbm-trees": "ai.onnx.ml classifiers and ZipMap",
    "sklearn-lr-mnist": "ai.onnx.ml classifiers and ZipMap",
}
TWINS, TWIN_SHARE = ("gtcrn", "gtcrn-simplified"), 0.1
FLAGS = {"c": (), "avx2": ("avx2", "fma", "f16c"),
         "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
         "avx512-vnni": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni")}
NARROW = ("avx512-vnni", ("micro-kws-qdq", "micro-kws-qoperator", "vscode-recommender"))  # others: as avx512
UNSUPPORTED = 4
LIMIT = 300  # seconds a folder and target


def cpu_flags():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            m = re.search(r"^flags\s*:(.*)$", f.read(), re.M)
        return set(m.group(1).split()) if m else set()
    except OSError:
        return set()


def files_load(folder, what):
    paths = (os.path.join(folder, f"{what}_{i}.pb") for i in range(1000))
    arrays = []
    for path in paths:
        if not os.path.exists(path):
            return arrays
        arrays.append(lepton.tensor_load(path)[1])
    return arrays


def expected_load(folder, count):
    """Expected outputs; ZipMap's maps have no .pb, their values are in zipmap_input.npy."""
    arrays = files_load(folder, "output")
    extra = os.path.join(folder, "zipmap_input.npy")
    if len(arrays) == count - 1 and os.path.exists(extra):
        arrays.append(np.load(extra))
    return arrays


def as_array(output, like):
    """An output as an array; of a sequence of maps, their values row by row."""
    if isinstance(output, list) and output and isinstance(output[0], dict):
        return np.array([list(row.values()) for row in output], like.dtype)
    return output


def compare(name, i, expected, output):
    """(error as a share of the largest expected value, None), or (None, what is wrong)."""
    output = as_array(output, expected)
    if not isinstance(output, np.ndarray) or output.dtype != expected.dtype:
        return None, f"output {i}: {getattr(output, 'dtype', type(output))}, not {expected.dtype}"
    if output.shape != expected.shape:
        return None, f"output {i}: shape {list(output.shape)}, not {list(expected.shape)}"
    if expected.dtype.kind not in "fV" or not expected.size:
        wrong = np.sum(output != expected)
        return (None, f"output {i}: {wrong} elements differ") if wrong else (0.0, None)
    ref, out = expected.astype(np.float64), output.astype(np.float64)
    same = (ref == out) | (np.isnan(ref) & np.isnan(out))
    largest = np.max(np.abs(ref[np.isfinite(ref)]), initial=0.0)
    worst = np.max(np.abs(np.where(same, 0.0, ref - out)))
    share = worst / largest if largest else worst
    if not worst <= ABSOLUTE + SHARES.get(name, SHARE) * largest:
        return None, f"output {i}: largest error {worst:.3g} is {share:.2g} of the largest value"
    return float(share), None


def folder_try(scratch, path, target, options):
    """(status, text) of a folder; `scratch` is not needed."""
    del scratch
    started = time.monotonic()
    try:
        model = lepton.compile(os.path.join(path, "model.onnx"), target=target, options=options)
    except lepton.CompileError as e:
        first = next((s for s in e.text.split("\n") if "error: " in s), e.text.strip())
        return "unsupported" if e.code == UNSUPPORTED else "failed", f"lcc exit {e.code}: {first}"
    compiled, errors, spent = time.monotonic() - started, [0.0], 1e9
    sets = sorted(glob.glob(os.path.join(glob.escape(path), "test_data_set_*")))
    for folder in sets:
        inputs = files_load(folder, "input")
        started = time.monotonic()
        outputs = model.run(inputs)
        spent = min(spent, time.monotonic() - started)
        expected = expected_load(folder, len(outputs))
        if len(expected) != len(outputs):
            return "failed", f"{len(outputs)} outputs, {len(expected)} expected"
        for i, (ref, out) in enumerate(zip(expected, outputs)):
            error, wrong = compare(os.path.basename(path), i, ref, out)
            if wrong:
                return "failed", f"{os.path.basename(folder)}: {wrong}"
            errors.append(error)
    return "passed", (f"{len(sets)} sets, largest error {max(errors):.1e} of the largest value, "
                      f"build {compiled:.1f} s, run {spent * 1e3:.1f} ms")


def folder_run(*job):
    try:
        return folder_try(*job)
    except Exception as e:  # whatever a model does, it is that model's failure
        return "failed", f"{type(e).__name__}: {e}\n{traceback.format_exc()}".strip()


def job_run(job):
    """job = (path, target, options); returns (folder, target, status, text)."""
    result, trouble = isolated(folder_run, job, LIMIT)
    return (os.path.basename(job[0]), job[1], *(result or ("failed", trouble)))


def judge(name, status, text):
    """passed, failed or skipped, given what EXPECTED says."""
    if name not in EXPECTED:
        return "failed" if status == "unsupported" else status, text
    if status == "passed":
        return "failed", "passes, but the table EXPECTED has a row for it"
    if status == "unsupported":
        return "skipped", f"expected ({EXPECTED[name]}): {text}"
    return status, text


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("suite", nargs="?", default="normal", choices=["normal", "full"],
                   help="what ./test.sh passes; there is no quick part")
    p.add_argument("--target", action="append", help="default: each of c, avx2, avx512 the CPU has; avx512-vnni for quantised networks")
    p.add_argument("--option", action="append", default=[], help="a further option for lcc")
    p.add_argument("-k", metavar="TEXT", default="", help="only folders matching this pattern")
    p.add_argument("-j", type=int, default=2, metavar="N", help="worker processes (default 2)")
    return p.parse_args()


def twins(paths, target, counts):
    """A raw export is as small as its simplified twin: kernel counts within TWIN_SHARE."""
    kernels = {}
    for name in TWINS:
        for path in paths:
            if os.path.basename(path) == name:
                text = subprocess.run([lepton.lcc_path(), "info", "--json", f"--target={target}",
                                       os.path.join(path, "model.onnx")], capture_output=True, check=True).stdout
                kernels[name] = json.loads(text)["kernels"]
    if len(kernels) == len(TWINS):
        ok = max(kernels.values()) <= (1 + TWIN_SHARE) * min(kernels.values())
        counts["passed" if ok else "failed"] += 1
        print(f"{'passed' if ok else 'failed':7} {target:6} kernels: {kernels}", flush=True)


def main():
    args = arguments()
    base = os.environ.get("LEPTON_MODELS") or os.path.join(ROOT, "..", "shared", "models")
    found = sorted(glob.glob(os.path.join(glob.escape(base), "*", "model.onnx")))
    paths = [p for p in map(os.path.dirname, found) if re.search(args.k, os.path.basename(p))]
    if not paths:
        print(f"no models in {base} (set LEPTON_MODELS)\n0 passed, 0 failed, 1 skipped")
        return 0
    try:
        lcc_hash(lepton.lcc_path())
    except lepton.CompileError as e:
        sys.exit(f"run_models: {e}")
    here = cpu_flags()
    targets = args.target or [t for t, needs in FLAGS.items() if here.issuperset(needs)]
    work = [(path, target, args.option) for path in paths for target in targets
            if args.target or target != NARROW[0] or os.path.basename(path) in NARROW[1]]
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    with multiprocessing.get_context("fork").Pool(args.j) as pool:
        for name, target, status, text in pool.imap(job_run, work):
            outcome, text = judge(name, status, text)
            counts[outcome] += 1
            print(f"{outcome:7} {target:6} {name}: {text}", flush=True)
    for target in (t for t in targets if t != NARROW[0]):
        twins(paths, target, counts)
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
