#!/usr/bin/env python3
"""Checks the C code that lcc writes: of the networks of $LEPTON_MODELS (default ../shared/models) and of
a fixed subset of the official ONNX tests, for each target of this machine.

    python3 tests/run_generated.py [quick|normal|full]    more cases, more compilers
    python3 tests/run_generated.py -k gtcrn --target c -v

A case passes when its code is clean under the warning list (gcc, clang; the header also as C++; tcc for
target c), calls neither heap nor stdio and has no variables, has frames of fixed size only, comes out
byte for byte the same from another folder and another build of lcc ($LCC_ASAN), and runs silently under
ASan, UBSan and MSan on its test data, twice with the same bytes, with the same bits from gcc and clang.
Largest stack frames are printed. What lcc refuses (exit code 4) is skipped. Last line: N passed, N
failed, N skipped.
"""
import argparse
import glob
import hashlib
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from typing import Any, NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(ROOT, "python")]
from generated import check  # noqa: E402
from run_models import FLAGS, cpu_flags, files_load  # noqa: E402

try:
    import onnx

    from lepton.backend import is_tensor, shape_text
    from official.cases import cases_load, data_sets, graph_inputs
except ImportError:
    onnx = None

SHARE = {"quick": 251, "normal": 16, "full": 3}  # one official case of this many
QUICK_MODELS = {"centerface-postprocess"}
SECONDS, SECONDS_MODEL = 20, 240  # a run under a sanitizer


class Job(NamedTuple):
    """A case and what is done with it."""
    name: str
    target: str
    model: str
    lcc: str
    lcc_other: str
    sanitizers: list
    times: int      # runs in one process, with different arena contents
    seconds: int    # a run may take
    folder: str = ""
    options: list = []
    inputs: list = []


def case_inputs(job, case):
    """The job with its input data, and with the shapes of inputs that are no tensors."""
    if case is None:
        folder = os.path.join(os.path.dirname(job.model), "test_data_set_0")
        return job._replace(inputs=[files_load(folder, "input")])
    model = onnx.load(case.model)
    sets = [inputs for inputs, _ in data_sets(case, model)]
    shapes = [f"--shape={i.name}={shape_text(v)}" for i, v in zip(graph_inputs(model), sets[0])
              if not is_tensor(i)]
    return job._replace(inputs=sets if not shapes else sets[:1], options=[*job.options, *shapes])


def job_try(job, case):
    """(status, complaints, largest frame)."""
    job = case_inputs(job, case)
    complaints, frame = [], (0, "")
    try:
        job = job._replace(options=check.lcc_emit(job.lcc, job.model, job.options, job.folder, "net.c"))
    except check.Refused as e:
        return "skipped", [str(e)], frame
    for step in (check.check_compilers, check.check_symbols, check.check_frames, check.check_bytes,
                 check.check_runs):
        complaints += step(job)
    frame = max((row[:2] for row in check.frames(job)), default=frame)
    return "failed" if complaints else "passed", complaints, frame


def job_run(work):
    job, case = work
    started = time.monotonic()
    folder = tempfile.mkdtemp(prefix="lcc-generated-")
    try:
        job = job._replace(folder=folder, options=[f"--target={job.target}"])
        status, complaints, frame = job_try(job, case)
    except Exception as e:  # whatever a case does, it is that case's failure
        status, complaints, frame = "failed", [f"{type(e).__name__}: {e}"], (0, "")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return job.name, job.target, status, complaints, frame, time.monotonic() - started


def sanitizers(suite, target, name, network):
    """Full runs take all that the target allows. Else: networks one by the name's hash on c, and gcc's on vector
    targets, where clang needs minutes; official cases all on c, and one by the name's hash on vector targets."""
    every = [s for s in check.SANITIZERS if check.sanitizer_there(s)]
    if target != "c":
        every = [s for s in every if "MSan" not in s]
    if not every or suite == "full" or (target == "c" and not network):
        return every
    first = 0 if network and target != "c" else hashlib.sha256(name.encode()).digest()[1] % len(every)
    return every[first:first + 1]


def jobs(args):
    base = os.environ.get("LEPTON_MODELS") or os.path.join(ROOT, "..", "shared", "models")
    lcc = os.path.abspath(os.environ.get("LCC") or os.path.join(ROOT, "build", "lcc"))
    other = os.environ.get("LCC_ASAN") or os.path.join(ROOT, "build", "asan", "lcc")
    other = os.path.abspath(other) if os.access(other, os.X_OK) else ""
    here = cpu_flags()
    targets = args.target or [t for t, needs in FLAGS.items() if here.issuperset(needs)]
    models = sorted(glob.glob(os.path.join(glob.escape(base), "*", "model.onnx")))
    cases = [(os.path.basename(os.path.dirname(m)), os.path.abspath(m), None) for m in models]
    if args.suite == "quick":
        cases, targets = [c for c in cases if c[0] in QUICK_MODELS], targets[:1]
    share = 1 if args.k else SHARE[args.suite]
    cases += [(c.name, c.model, c) for c in (cases_load() if onnx else [])
              if hashlib.sha256(c.name.encode()).digest()[0] % 251 % share == 0 and not c.light]
    return [(Job(name, target, model, lcc, other, sanitizers(args.suite, target, name, case is None),
                 2 if case else 1, SECONDS if case else SECONDS_MODEL), case)
            for name, model, case in cases if re.search(args.k, name) for target in targets]


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("suite", nargs="?", default="normal", choices=list(SHARE))
    p.add_argument("--target", action="append", help="default: each of c, avx2, avx512 the CPU has")
    p.add_argument("-k", metavar="TEXT", default="", help="only cases matching this, of all there are")
    p.add_argument("-j", type=int, default=2, metavar="N", help="worker processes (default 2)")
    p.add_argument("-v", action="store_true", help="every result")
    return p.parse_args()


def report(result: Any, verbose):
    name, target, status, complaints, frame, seconds = result
    if status == "failed":
        for complaint in complaints:
            print(f"FAIL {target} {name}: {complaint}", flush=True)
    elif verbose:
        print(f"{status} {target} {name}: {'; '.join(complaints) or f'frame {frame[0]} bytes'}, "
              f"{seconds:.1f} s", flush=True)


def main():
    args = arguments()
    for tool in ("gcc", "clang", "nm"):
        if not shutil.which(tool):
            print(f"run_generated: {tool} is missing")
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    frames = {}
    with multiprocessing.get_context("fork").Pool(args.j) as pool:
        for result in pool.imap_unordered(job_run, jobs(args)):
            report(result, args.v)
            counts[result[2]] += 1
            frames[result[1]] = max(frames.get(result[1], (0, "", "")), (*result[4], result[0]))
    for target, (size, function, name) in sorted(frames.items()):
        print(f"largest stack frame, {target}: {size} bytes ({function} of {name})")
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
