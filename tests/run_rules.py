#!/usr/bin/env python3
"""Every schedule rule and rewrite on random models that force it, bit by bit on exact integers.

usage: LCC=build/lcc tests/run_rules.py [quick|normal|full] [--seed N] [-k TEXT] [--target T] [-j N] [-v]

The rules are those that lcc names (--rule=?), so a new one without a case (rules/cases.py) fails. A model holds a few
parts, each of which has a kernel by the rule, or is changed by the pass (--dump). Their data are
integers so small that every order of every sum is exact. Compared: equations = naive loops = the loops after each
step of the schedule = lowered loops (build/tests/rule_test); and C by naive loops = C by the rule = onnxruntime,
numpy or onnx's reference. F(2x2) of Winograd has weights that are multiples of 4, and equal bits; F(4x4) is within
its normwise bound (docs/architecture.md), softmax within 1e-5. quick: models of one part, one target, without naive C;
full: other models in every run. A failure names its seed: --seed N -k RULE repeats it. Last line: N passed, N failed, N skipped."""
import argparse
import collections
import glob
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
import zlib

import numpy as np
from onnx.reference import ReferenceEvaluator

import lepton
from rules.cases import CASES, Net
from run_models import FLAGS, cpu_flags

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

HERE = os.path.dirname(os.path.abspath(__file__))
RULE_TEST = os.path.join(os.environ.get("BUILD", os.path.join(HERE, "..", "build")), "tests", "rule_test")
ROUNDS = {"quick": 1, "normal": 1, "full": 10}
SEED = 1  # of quick and normal
# Rewrites that are no passes by name: the pass that does them, and what its text then holds.
PASS = {"winograd2": ("kernel_winograd", ""), "winograd4": ("kernel_winograd", ""), "online": ("kernel_online", ""),
        "strassen": ("kernel_strassen", ""),
        "slide": ("sched_rows", r"\bslide "), "copy": ("sched_copies", r"\bstore_at "),
        "chunk": ("sched_rows", r"\bchunk "),
        "kernel_ways": ("kernel_partition", r"_w f32\[")}
LANES = {"c": 4, "sse2": 4, "avx2": 8}  # else 16
EMULATED = {"amx": f"-include {HERE}/amx_emulation.h"}
NEEDS = {**FLAGS, "sse2": ("sse2",), "amx": FLAGS["avx512-vnni"]}


class Wrong(Exception):
    """What a trial found."""


def told(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line]
        raise Wrong(f"{' '.join(command)}: exit code {done.returncode}: {' | '.join(lines[:1] + lines[-4:])}")
    return done.stdout


def rules_named():
    """What --rule takes, says lcc."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.onnx")
        net = Net(np.random.default_rng(1), 8)
        net.out(net.add("Relu", net.input([2, 8])), 2)
        with open(path, "wb") as f:
            f.write(net.model().SerializeToString())
        done = subprocess.run([lepton.lcc_path(), path, "--rule=?", "--target=avx2", "-o", "-"], capture_output=True,
                              text=True, check=False)
    return " ".join(re.findall(r"note: (?:it has|beside them --rule takes) (.*)", done.stderr)).split()


# ---- one model ---------------------------------------------------------------------------------------

def check_fired(rule, path, options, parts, every):
    """Every part (or one) has a kernel by the rule."""
    text = told([lepton.lcc_path(), path, "--stop-after=sched_choose", *options])
    kernels = [(set(re.findall(r"\bp(\d+)[xcvy]", k)), re.search(r'^  rule "(\w+)"', k, re.M)[1])
               for k in re.findall(r"^kernel .*?^}", text, re.M | re.S)]
    for part in range(parts):
        mine = [by for of, by in kernels if not every or str(part) in of]
        if rule not in mine:
            raise Wrong(f"part {part} has no kernel by the rule: {mine}")


def check_changed(rule, path, options, folder):
    """The pass made something else of it."""
    name, holds = PASS.get(rule, (rule, ""))
    told([lepton.lcc_path(), path, "--dump=all", "-q", "-o", "dumped.c", *options], cwd=folder)
    texts = sorted(glob.glob(os.path.join(glob.escape(folder), "*.lcc")))
    at = [i for i, t in enumerate(texts) if t.endswith(f".{name}.lcc")]
    content = []
    for t in texts[at[0] - 1:at[0] + 1]:
        with open(t, encoding="utf-8") as f:
            content.append(f.read())
    if content[0] == content[1] or re.search(holds, content[0]) and holds or not re.search(holds, content[1]):
        raise Wrong(f"pass {name} changed nothing")


def check_steps(rule, near, path, options):
    """After each step; without halos where there are some, since equations that read them cannot be evaluated."""
    stages = collections.Counter()
    for more in ([], ["--min-ram"]):
        lines = told([RULE_TEST, *(["--near"] if near else []), path, *options, *more]).splitlines()[:-1]
        for line in lines:
            stages[line.split()[0]] += int(line.split()[1])
        if not any(line.endswith(" 0") for line in lines):
            break
    if rule and not stages[rule]:
        raise Wrong(f"no kernel by the rule was compared step by step: {dict(stages)}")


def expected(case, net, model):
    if case.oracle == "numpy":
        return [net.expected[o.name] for o in net.outputs]
    if case.oracle == "reference" or not onnxruntime:
        return ReferenceEvaluator(model).run(None, net.data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, net.data)


def compare(case, got, want, what):
    for i, (g, w) in enumerate(zip(got, want)):
        if g.dtype != w.dtype or g.shape != w.shape:
            raise Wrong(f"{what}, output {i}: {g.dtype}{g.shape} instead of {w.dtype}{w.shape}")
        differ = g != w
        if case.near:
            differ = np.abs(g.astype(np.float64) - w) > case.near * max(np.abs(w).max(initial=0), 1e-30)
        if differ.any():
            at = tuple(int(k) for k in np.argwhere(differ)[0])
            raise Wrong(f"{what}, output {i} {w.shape}: {int(differ.sum())} of {w.size} differ, {at}: "
                        f"{g[at]!r} instead of {w[at]!r}")


def compiled(model, net, target, options, threads=1):
    os.environ["CFLAGS"] = EMULATED.get(target, "")
    return lepton.compile(model.SerializeToString(), target=target, options=options,
                          threads=threads).run(list(net.data.values()))


def trial(rule, target, seed, parts, folder):
    case = CASES[rule]
    net = Net(np.random.default_rng([seed, zlib.crc32(f"{rule} {target}".encode())]), LANES.get(target, 16))
    for net.part in range(parts if case.steps else 1):
        case.part(net)
    model = net.model()
    path = os.path.join(folder, "m.onnx")
    with open(path, "wb") as f:
        f.write(model.SerializeToString())
    forced = [f"--rule={case.forced}"] if case.forced else []
    options = [f"--target={target}", f"--threads={case.threads}", *forced]
    if case.steps:
        check_fired(rule, path, options, net.part + 1, case.every)
    else:
        check_changed(rule, path, options, folder)
    compared = rule if case.steps and not case.halo else ""
    check_steps("by_rows" if case.forced == "slide" else compared, case.near, path, options)
    want = expected(case, net, model)
    if parts > 1:
        naive = compiled(model, net, "c", ["-O0"])
        compare(case._replace(near=case.near and 1e-5), naive, want, "naive loops in C")
    if not set(NEEDS.get(target, ())) <= cpu_flags():
        return "skipped"
    compare(case, compiled(model, net, target, forced, case.threads), want, f"C for {target}")
    return "passed"


def work(job):
    rule, target, seed, parts = job
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LEPTON_CACHE"] = os.path.join(folder, "cache")
        try:
            return job, trial(rule, target, seed, parts, folder), ""
        except Exception as e:  # whatever a trial does, it is that trial's failure
            return job, "failed", str(e) if isinstance(e, Wrong) else f"{type(e).__name__}: {str(e)[:600]}"


# ---- all of them -------------------------------------------------------------------------------------

def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("mode", nargs="?", default="normal", choices=list(ROUNDS))
    p.add_argument("--seed", type=int, help=f"of the first round (default {SEED}; full: any)")
    p.add_argument("--rounds", type=int, help="models for each rule and target")
    p.add_argument("-k", metavar="TEXT", default="", help="only rules that match")
    p.add_argument("--target", action="append", help="only this machine")
    p.add_argument("-j", type=int, default=2, metavar="N", help="processes (default 2)")
    p.add_argument("-v", action="store_true", help="every result")
    return p.parse_args()


def jobs(args, first):
    for rule, case in CASES.items():
        targets = [t for t in case.targets if not args.target or t in args.target]
        for seed in range(first, first + (args.rounds or ROUNDS[args.mode])):
            for target in targets[-1:] if args.mode == "quick" else targets:
                if re.search(args.k, rule):
                    yield rule, target, seed, 1 if args.mode == "quick" else 3


def main():
    args = arguments()
    first = args.seed
    if first is None:
        first = random.SystemRandom().randrange(1 << 30) if args.mode == "full" else SEED
    print(f"seed {first}")
    counts = collections.Counter(passed=0, failed=0, skipped=0)
    for rule in rules_named():
        if rule not in CASES:
            counts["failed"] += 1
            print(f"FAIL {rule}: has no case in tests/rules/cases.py")
    with multiprocessing.get_context("fork").Pool(args.j) as pool:
        for (rule, target, seed, _), status, why in pool.imap_unordered(work, list(jobs(args, first))):
            counts[status] += 1
            if status == "failed":
                print(f"FAIL {rule} on {target} (--seed {seed}): {why}", flush=True)
            elif args.v:
                print(f"{status} {rule} on {target}, seed {seed}", flush=True)
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
