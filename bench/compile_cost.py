#!/usr/bin/env python3
"""Time and memory of lcc itself: every network of $LEPTON_MODELS (default ../shared/models), the raw
export against its simplified twin, and the size thread (5,000 nodes, 400 MB of weights).

    python3 bench/compile_cost.py [FOLDER…]   -n RUNS (3), --target T (again: more), --option FLAG, --no-size
    python3 bench/compile_cost.py --link [MODEL.onnx…]   --functions: those that take the C compiler longest

--link: ONNX to linked executable (link_cost.py; goal 6 s), by default of resnet50 and bert_base_128 in
$LEPTON_BENCH_MODELS (build/bench-models).

Seconds are user + system, memory is the peak (Python's own 14 MB are the least that it reads), both of
lcc with its default flags, the output in memory (/dev/shm where there is one); medians of the runs. Where
target c has too many weights for one C file (exit code 5) --weights=file is added, marked `file`. First a
table, then all of it as one line of JSON. Exit code 1 when a goal is missed. Only the size thread needs
packages: onnx and numpy; without them it is left out.
"""
import argparse
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import link_cost

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECONDS = 2.0           # the goal, each
MEMORY = 3.0            # the goal of the size thread: peak as a multiple of the file
TWINS = ("gtcrn", "gtcrn-simplified")
TWIN_SHARE = 0.10       # their kernel counts may differ by this
NODES, WEIGHT_BYTES = 5000, 400 << 20
LINKED = ("resnet50", "bert_base_128")
LIMIT = 5               # exit code: too many weights for one C file
VECTORS = (("avx512", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}), ("avx2", {"avx2", "fma"}))


def cpu_targets():
    """c, and the widest vector target this processor has."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            m = re.search(r"^flags\s*:(.*)$", f.read(), re.M)
    except OSError:
        m = None
    flags = set(m.group(1).split()) if m else set()
    return ["c"] + [name for name, needs in VECTORS if needs <= flags][:1]


def lcc_run(lcc, model, options, folder):
    """One run: exit code, seconds, peak bytes, the JSON summary, the last line of the messages."""
    out, said = os.path.join(folder, "summary"), os.path.join(folder, "said")
    with open(out, "wb") as o, open(said, "wb") as e:
        process = subprocess.Popen([lcc, model, *options, "--json", "-o",
                                    os.path.join(folder, "model.c")], stdout=o, stderr=e)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    with open(out, encoding="utf-8", errors="replace") as f:
        text = f.read()
    with open(said, encoding="utf-8", errors="replace") as f:
        lines = f.read().splitlines()
    summary = json.loads(text) if process.returncode == 0 else {}
    return {"code": process.returncode, "seconds": usage.ru_utime + usage.ru_stime,
            "peak": usage.ru_maxrss * 1024, "kernels": summary.get("kernels"),
            "said": lines[-1][:120] if lines else ""}


def slowest_passes(lcc, model, options, folder):
    """The three passes that take longest, as text, for what misses its goal."""
    done = subprocess.run([lcc, model, *options, "--time", "-o", os.path.join(folder, "model.c")],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    rows = re.findall(r"^\s*([0-9.]+) ms(?:\s+\d+ KiB)?\s+(\w+)", done.stderr.decode(errors="replace"), re.M)
    rows = sorted(((float(ms), name) for ms, name in rows), reverse=True)[:3]
    return ", ".join(f"{name} {ms:.0f} ms" for ms, name in rows)


def model_bytes(folder):
    """The model and its external data."""
    return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)
               if os.path.isfile(os.path.join(folder, f)) and not f.endswith((".md", ".txt")))


def measure(lcc, folder, name, target, args):
    """The row of one model and target."""
    model = os.path.join(folder, "model.onnx")
    tmp = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    options, weights = [f"--target={target}", *args.option], "default"
    try:
        first = lcc_run(lcc, model, options, tmp)
        if first["code"] == LIMIT and target == "c":
            options, weights = [*options, "--weights=file"], "file"
            first = lcc_run(lcc, model, options, tmp)
        runs = [first] + [lcc_run(lcc, model, options, tmp)
                          for _ in range(args.n - 1) if first["code"] == 0]
        row = {"model": name, "target": target, "weights": weights, "code": first["code"],
               "file_bytes": model_bytes(folder), "kernels": first["kernels"]}
        if first["code"]:
            return {**row, "said": first["said"]}
        row["seconds"], row["peak_bytes"] = (statistics.median(r[i] for r in runs)
                                             for i in ("seconds", "peak"))
        if row["seconds"] > SECONDS:
            row["slowest"] = slowest_passes(lcc, model, options, tmp)
        return row
    finally:
        shutil.rmtree(tmp)


def size_thread(path, external):
    """Writes the generated model: blocks of MatMul, Add, Relu and a residual Add in many widths."""
    import numpy as np  # only this part needs them
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    blocks = NODES // 4
    mean = (WEIGHT_BYTES / 4 / blocks) ** 0.5
    rng = np.random.default_rng(1)
    nodes, weights, at = [], [], "x"
    first = int(mean)
    width = first
    for i in range(blocks):
        # x [N, a] W [a, b] V [b]: widths walk around the mean so that kernels differ; the sum with the
        # block before stands where the width stayed
        to = width if i % 3 else int(mean * (0.94 + 0.01 * (i * 7 % 13)))
        weights += [numpy_helper.from_array(rng.standard_normal((width, to), np.float32), f"w{i}"),
                    numpy_helper.from_array(rng.standard_normal(to).astype(np.float32), f"b{i}")]
        nodes += [helper.make_node("MatMul", [at, f"w{i}"], [f"m{i}"], f"matmul_{i}"),
                  helper.make_node("Add", [f"m{i}", f"b{i}"], [f"a{i}"], f"bias_{i}"),
                  helper.make_node("Relu", [f"a{i}"], [f"r{i}"], f"relu_{i}"),
                  helper.make_node("Add", [f"r{i}", at if to == width else f"b{i}"], [f"y{i}"],
                                   f"sum_{i}")]
        at, width = f"y{i}", to
    f32 = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "size", [helper.make_tensor_value_info("x", f32, [1, first])],
        [helper.make_tensor_value_info(at, f32, [1, width])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=external, location="weights.bin")


def size_rows(lcc, targets, args):
    """The size thread's rows, with the model made in a process of its own: a child starts with its
    parent's peak, so this process must stay small."""
    rows = []
    for kind in ("inline", "external"):
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as d:
            made = subprocess.run([sys.executable, os.path.abspath(__file__), "--make-size",
                                   os.path.join(d, "model.onnx"), kind], check=False)
            if made.returncode:
                print("size thread left out: it needs onnx and numpy")
                return rows
            for target in targets:
                row = measure(lcc, d, f"size thread, {kind}", target, args)
                rows.append({**row, "memory_goal": MEMORY})
                row_print(rows[-1])
    return rows


def row_print(row):
    label = f"{row['model']:24} {row['target'] + (' file' if row['weights'] == 'file' else ''):12}"
    if row["code"]:
        print(f"{label} exit code {row['code']}: {row['said']}", flush=True)
        return
    share = row["peak_bytes"] / row["file_bytes"]
    missed = []
    if row["seconds"] > SECONDS:
        missed.append(f"over {SECONDS} s: {row['slowest']}")
    if share > row.get("memory_goal", share):
        missed.append(f"over {MEMORY} x the file")
    row["missed"] = missed
    print(f"{label} {row['kernels']:7} {row['seconds']:8.3f} {row['peak_bytes'] / 1e6:8.1f} "
          f"{row['file_bytes'] / 1e6:8.2f} {share:9.1f}  {'; '.join(missed)}".rstrip(), flush=True)


def twins_print(rows):
    """The raw export and its simplified twin: the same number of kernels within the goal."""
    bad = 0
    for target in sorted({row["target"] for row in rows}):
        count = [row["kernels"] for twin in TWINS for row in rows
                 if row["target"] == target and row["model"] == twin]
        if len(count) == 2 and None not in count:
            fits = abs(count[0] - count[1]) <= TWIN_SHARE * max(count)
            bad += not fits
            print(f"{TWINS[0]} {count[0]} kernels, {TWINS[1]} {count[1]} ({target}): "
                  f"{'within' if fits else 'NOT within'} {TWIN_SHARE:.0%}")
    return bad


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="*")
    p.add_argument("-n", type=int, default=3, metavar="RUNS")
    p.add_argument("--target", action="append", help="default: c and this machine's widest")
    p.add_argument("--option", action="append", default=[], help="a further option for lcc")
    p.add_argument("--no-size", action="store_true", help="leave the size thread out")
    p.add_argument("--link", action="store_true", help="ONNX to linked executable: lcc and the C compiler")
    p.add_argument("--functions", action="store_true", help="with --link: C compiler's seconds a function")
    p.add_argument("--make-size", nargs=2, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.make_size:
        size_thread(args.make_size[0], args.make_size[1] == "external")
        return 0
    lcc = os.environ.get("LCC") or os.path.join(ROOT, "build", "lcc")
    if args.link:
        exports = os.environ.get("LEPTON_BENCH_MODELS") or os.path.join(ROOT, "build", "bench-models")
        models = args.folders or [os.path.join(exports, f"{name}.onnx") for name in LINKED]
        rows = link_cost.link_all(lcc, models, args.target or cpu_targets()[-1:], args.n, args.functions)
        print(json.dumps({"schema": 1, "rows": rows}))
        return int(any(row.get("missed", True) for row in rows))
    base = os.environ.get("LEPTON_MODELS") or os.path.join(ROOT, "..", "shared", "models")
    folders = args.folders or sorted(map(os.path.dirname, glob.glob(f"{base}/*/model.onnx")))
    if not folders:
        print(f"no models in {base} (set LEPTON_MODELS)")
    targets = args.target or cpu_targets()
    print(f"{'model':24} {'target':12} {'kernels':>7} {'seconds':>8} {'peak MB':>8} {'file MB':>8} "
          f"{'peak/file':>9}")
    rows = []
    for folder in folders:
        for target in targets:
            rows.append(measure(lcc, folder, os.path.basename(os.path.normpath(folder)), target, args))
            row_print(rows[-1])
    if not args.no_size and not args.folders:
        rows += size_rows(lcc, targets, args)
    bad = twins_print(rows)
    done = [row for row in rows if not row["code"]]
    missed = sum(bool(row["missed"]) for row in done)
    print(f"{len(done) - missed} of {len(rows)} reach their goals, {missed} miss one, "
          f"{len(rows) - len(done)} refused")
    print(json.dumps({"schema": 1, "rows": rows}))
    return 1 if missed or bad else 0


if __name__ == "__main__":
    sys.exit(main())
