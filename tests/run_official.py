#!/usr/bin/env python3
"""Runs the official ONNX backend suite (1914 models of the onnx 1.22.0 wheel) through lcc.

    python3 tests/run_official.py                      all four modes against status.txt (CI)
    python3 tests/run_official.py --mode inputs        the official number
    python3 tests/run_official.py quick                a fixed subset, in seconds
    python3 tests/run_official.py -k attention -v      cases whose name matches, with details
    python3 tests/run_official.py --bless              rewrites the rows of what was run

A case with a row in tests/official/status.txt that does not pass counts as skipped; one that fails
without a row, or passes with one, is a failure. The last line is `N passed, N failed, N skipped`.
Needs numpy, ml_dtypes and onnx 1.22.0.
"""
import argparse
import hashlib
import multiprocessing
import os
import re
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "python")]
try:
    import onnx

    from official import cases, modes, statuslist, worker
except ImportError as missing:
    sys.exit(f"run_official: {missing}: pip install numpy ml_dtypes onnx==1.22.0")
import lepton
from lepton.build import lcc_hash

QUICK_SHARE = 16  # one case of this many is in the quick subset
FAMILIES_SHOWN = 12


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("suite", nargs="?", default="normal", choices=["quick", "normal", "full"],
                   help="quick: a fixed subset of the cases; full: no tcc in mode inputs")
    p.add_argument("--mode", choices=modes.MODES, action="append", help="default: all four")
    p.add_argument("--target", default="c", help="lcc's target (default c)")
    p.add_argument("--cc", help="compiler (default: tcc, and lcc's choice for a fixed share)")
    p.add_argument("-k", metavar="TEXT", help="only cases matching this pattern")
    p.add_argument("-j", type=int, default=2, metavar="N", help="worker processes (default 2)")
    p.add_argument("-v", action="store_true", help="every result, with details")
    p.add_argument("--bless", action="store_true", help="write the results to status.txt")
    args = p.parse_args()
    args.quick = args.suite == "quick"
    return args


def in_quick(case):
    return not case.light and hashlib.sha256(case.name.encode()).digest()[0] % QUICK_SHARE == 0


def compiler(args, mode, case):
    """Options that choose the C compiler: tcc is quick for small models, not for light ones. lcc's
    own choice compiles a fixed share of the cases in mode inputs (with `full`, all of them)."""
    own = case.light or mode == "inputs" and (args.suite == "full" or
                                              not args.quick and in_quick(case))
    tcc = args.target == "c" and not own and shutil.which("tcc")
    cc = args.cc if args.cc and not (args.cc == "tcc" and case.light) else "tcc" if tcc else None
    return [f"--cc={cc}"] if cc else []


def jobs(args, everything):
    chosen = [c for c in everything if (not args.quick or in_quick(c))
              and (not args.k or re.search(args.k, c.name))]
    chosen.sort(key=lambda c: (not c.light, c.name))  # the long ones first
    wanted = args.mode or (["inputs"] if args.quick else modes.MODES)
    return [(c, mode, args.target, compiler(args, mode, c)) for mode in wanted for c in chosen]


def judge(result, rows):
    """(verdict, text) of a result: passed, failed or skipped."""
    name, mode, status, reason = result[:4]
    row = rows.get((mode, name))
    if status == "pass":
        return ("failed", "passes, but status.txt has a row for it") if row else ("passed", "")
    wrong = statuslist.excused(status, reason, row) if row else f"{status}: {reason}"
    return ("failed", wrong) if wrong else ("skipped", reason)


def summary(mode, judged, rows):
    """Prints a mode's failures, expected failures by family, and counts; returns the counts."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for result, (outcome, text) in judged:
        counts[outcome] += 1
        if outcome == "failed":
            print(f"FAIL {mode} {result[0]}: {text}")
    known = [rows[mode, r[0]][1] for r, (outcome, _) in judged if outcome == "skipped"]
    grouped = statuslist.families(known)
    for n, text in grouped[:FAMILIES_SHOWN]:
        print(f"  {n:4} {text}")
    if len(grouped) > FAMILIES_SHOWN:
        rest = grouped[FAMILIES_SHOWN:]
        print(f"  {sum(n for n, _ in rest):4} for {len(rest)} other reasons")
    line = ", ".join(f"{n} {what}" for what, n in counts.items())
    print(f"{mode}: {line}", flush=True)
    return counts


def run(args, work):
    """Results of all jobs, in order of name within each mode."""
    results, started = [], time.monotonic()
    with multiprocessing.get_context("fork").Pool(args.j) as pool:
        for result in pool.imap_unordered(worker.job_run, work):
            results.append(result)
            name, mode, status, reason, detail, seconds = result
            if args.v:
                print(f"{status} {mode} {name} {seconds:.2f} s {reason}")
                if status != "pass" and detail:
                    print("    " + detail.strip().replace("\n", "\n    "))
            elif sys.stderr.isatty():
                print(f"\r{len(results)}/{len(work)}", end="\r", file=sys.stderr)
    print(f"{len(work)} runs in {time.monotonic() - started:.0f} s")
    return sorted(results, key=lambda r: (modes.MODES.index(r[1]), r[0]))


def bless(results, rows, everything):
    ran = {(r[1], r[0]) for r in results}
    names = {c.name for c in everything}
    kept = {key: row for key, row in rows.items() if key not in ran and key[1] in names}
    kept.update({(r[1], r[0]): statuslist.row_new(r[2], r[3], rows.get((r[1], r[0])))
                 for r in results if r[2] != "pass" and not statuslist.internal(r[2], r[3])})
    statuslist.rows_save(kept)
    return kept


def main():
    args = arguments()
    if onnx.__version__ != cases.ONNX_VERSION:
        sys.exit(f"run_official: onnx {onnx.__version__}: pip install onnx=={cases.ONNX_VERSION}")
    try:
        lcc_hash(lepton.lcc_path())  # before the workers fork, so that each has it
    except lepton.CompileError as e:
        sys.exit(f"run_official: {e}")
    everything, rows = cases.cases_load(), statuslist.rows_load()
    results = run(args, jobs(args, everything))
    if args.bless:
        rows = bless(results, rows, everything)
    unknown = {name for _, name in rows} - {c.name for c in everything}
    total = {"passed": 0, "failed": len(unknown), "skipped": 0}
    for name in sorted(unknown):
        print(f"FAIL status.txt names no case: {name}")
    for mode in modes.MODES:
        judged = [(r, judge(r, rows)) for r in results if r[1] == mode]
        for what, n in (summary(mode, judged, rows) if judged else {}).items():
            total[what] += n
    print(", ".join(f"{n} {what}" for what, n in total.items()))
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
