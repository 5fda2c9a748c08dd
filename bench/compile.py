#!/usr/bin/env python3
"""Time and memory of lcc itself on the networks of $LEPTON_MODELS (default ../shared/models).

    python3 bench/compile.py [FOLDER…]     default: every folder; -n RUNS (3), --target T (native), --option FLAG

For each: user + system seconds and peak memory of `lcc model.onnx -o …` (the median of the runs, the output in
memory where /dev/shm is there), the model's bytes with external data, and memory as a share of them.
Nothing is needed but Python, whose own 15 MB are the least that the peak can read.
"""
import argparse
import glob
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECONDS = 2.0  # the goal, each


def run_once(lcc, model, options, folder):
    """(exit code, seconds, peak bytes, last line of the messages) of one run."""
    with open(os.path.join(folder, "said"), "w+b") as said:
        process = subprocess.Popen([lcc, model, *options, "-o", os.path.join(folder, "model.c")],
                                   stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
    return (process.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024,
            lines[-1] if lines else "")


def bytes_of(folder):
    return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)
               if os.path.isfile(os.path.join(folder, f)) and not f.endswith((".md", ".txt")))


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="*")
    p.add_argument("-n", type=int, default=3, metavar="RUNS")
    p.add_argument("--target", default="native", help="default: native (c has a limit on weights)")
    p.add_argument("--option", action="append", default=[], help="a further option for lcc")
    args = p.parse_args()
    options = [f"--target={args.target}", *args.option]
    lcc = os.environ.get("LCC") or os.path.join(ROOT, "build", "lcc")
    base = os.environ.get("LEPTON_MODELS") or os.path.join(ROOT, "..", "shared", "models")
    folders = args.folders or sorted(map(os.path.dirname, glob.glob(f"{base}/*/model.onnx")))
    if not folders:
        sys.exit(f"no models in {base} (set LEPTON_MODELS)")
    slow = refused = 0
    print(f"{'model':24} {'seconds':>8} {'peak MB':>8} {'file MB':>8} {'peak/file':>9}")
    for folder in folders:
        tmp = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        try:
            runs = [run_once(lcc, os.path.join(folder, "model.onnx"), options, tmp)
                    for _ in range(args.n)]
        finally:
            shutil.rmtree(tmp)
        name = os.path.basename(os.path.normpath(folder))
        if runs[0][0]:
            refused += 1
            print(f"{name:24} exit code {runs[0][0]}: {runs[0][3][:100]}")
            continue
        seconds, peak = (statistics.median(r[i] for r in runs) for i in (1, 2))
        size = bytes_of(folder)
        slow += seconds > SECONDS
        print(f"{name:24} {seconds:8.2f} {peak / 1e6:8.0f} {size / 1e6:8.1f} {peak / size:9.1f}"
              f"{'  over ' + str(SECONDS) + ' s' if seconds > SECONDS else ''}")
    print(f"{len(folders) - slow - refused} of {len(folders)} within {SECONDS} s, {slow} slower, {refused} refused")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
