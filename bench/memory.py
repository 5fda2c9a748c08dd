#!/usr/bin/env python3
"""Arena of every network of $LEPTON_MODELS (default ../shared/models): its bytes, the proven lower bound for the
order of calls and the kernels chosen, and the gap; where sizes depend on dims, both at large dims.

    python3 bench/memory.py [FOLDER|FILE.onnx…]   --target T (again: more), --option FLAG (a second column with it)

A folder is a model, or holds models. Needs Python alone. Exit code 1 when an arena is over 1.05 x its bound."""
import argparse
import glob
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOAL = 1.05


def models_of(path):
    """The .onnx files a path stands for: itself, those in it, or those one folder below."""
    if path.endswith(".onnx"):
        return [path]
    return sorted(glob.glob(f"{path}/*.onnx")) or sorted(glob.glob(f"{path}/*/model.onnx"))


def name_of(model):
    stem = os.path.basename(model)[:-5]
    return os.path.basename(os.path.dirname(os.path.abspath(model))) if stem == "model" else stem


def arena(lcc, model, target, options):
    """Bytes and bound, or None with the last line of the messages."""
    done = subprocess.run([lcc, "info", model, f"--target={target}", "--json", *options],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["?"])[-1][:100]
    info = json.loads(done.stdout)
    return (info["arena_sample"], info["arena_bound"]), ""


def row_print(name, target, sides, said):
    text = f"{name:24} {target:7}"
    for side in sides:
        text += "{:>14} {:>14} {:>7.2f}".format(*side, gap(side)) if side else f"   {said}"
    if len(sides) == 2 and None not in sides and sides[0][0]:
        text += f" {sides[1][0] / sides[0][0]:7.3f}"
    print(text, flush=True)


def gap(side):
    """Per cent above the bound."""
    return 100 * (side[0] / side[1] - 1) if side[1] else 0.0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("paths", nargs="*")
    p.add_argument("--target", action="append", help="default: c, avx2 and avx512")
    p.add_argument("--option", action="append", default=[])
    args = p.parse_args()
    lcc = os.environ.get("LCC") or os.path.join(ROOT, "build", "lcc")
    base = os.environ.get("LEPTON_MODELS") or os.path.join(ROOT, "..", "shared", "models")
    models = [m for path in args.paths or [base] for m in models_of(path)]
    if not models:
        print(f"no models in {base} (set LEPTON_MODELS)")
    print(f"{'model':24} {'target':7}{'arena':>14} {'bound':>14} {'gap %':>7}")
    rows = []
    for model in models:
        for target in args.target or ["c", "avx2", "avx512"]:
            sides, said = [], ""
            for options in [[]] + ([args.option] if args.option else []):
                side, said = arena(lcc, model, target, options)
                sides.append(side)
            row_print(name_of(model), target, sides, said)
            rows += [{"model": name_of(model), "target": target, "arena": s[0], "bound": s[1]} for s in sides if s]
    tight = sum(r["arena"] == r["bound"] for r in rows)
    over = sum(r["arena"] > GOAL * r["bound"] for r in rows)
    if rows:
        print(f"{tight} of {len(rows)} at the bound ({tight / len(rows):.0%}), {over} over {GOAL} x the bound")
    print(json.dumps({"schema": 1, "rows": rows}))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
