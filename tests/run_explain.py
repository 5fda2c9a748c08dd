#!/usr/bin/env python3
"""lcc explain against --dump, tune files, --tune, --profile. No time decides.

    python3 tests/run_explain.py quick tune_file      one test
Last line: N passed, N failed.
"""
import json
import os
import re
import subprocess
import sys

import numpy as np
from onnx import helper as h
from onnx import numpy_helper

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run_driver  # noqa: E402
from run_driver import CLANG, GCC, IO, MALFORMED, OK, TOOLCHAIN, USAGE, dense_model, info, test  # noqa: E402

NATIVE = open("/proc/cpuinfo").read() if os.path.exists("/proc/cpuinfo") else ""
run_driver.TESTS.clear()


@test()
def explain(c):
    c.write("m.onnx", dense_model(64, 32))
    p = c.says(["explain", "m.onnx", "--target=avx2"], OK)
    rows = p.stdout.decode().splitlines()
    c.ok("a line a kernel", len(rows) == 1 and re.match(r"k00_\S+ +contraction +tile_padded +\d+x\d+ .*fc \(MatMul\)", rows[0]), rows)
    p = c.says(["explain", "m.onnx", "--target=avx2", "--kernel=k00"], OK)
    text = p.stdout.decode()
    fields = {line[:11].strip(): line[11:] for line in text.splitlines()}
    c.says(["m.onnx", "--target=avx2", "--dump=sched_choose", "-q", "-o", "m.c"], OK)
    dump = " ".join(c.read([f for f in c.files() if f.endswith(".sched_choose.lcc")][0]).decode().split())
    c.ok("the schedule is that of --dump", " ".join(fields["schedule"].split()) in dump and "split" in fields["schedule"], (fields, dump[:2000]))
    c.ok("the equations are those of --dump", "add(k" in fields["equations"] and fields["equations"].split(" where")[0].split("] {")[0].split("f32")[0].strip() in dump, fields)
    c.ok("rules before it say why not", "no         tile_dot4: not dot4" in text and "fires      tile_padded" in text, text)
    c.ok("tiles with cycles", re.search(r"tile +MR=\d+ NR=\d+: by shape", text) and "runner-up" in text, text)
    c.ok("the rule is named in the code", b"rule " + fields["rule"].encode() in c.read("m.c"), fields)
    got = json.loads(c.says(["explain", "m.onnx", "--target=avx2", "--json"], OK).stdout)
    k = got["kernels"][0]
    c.ok("as JSON", got["schema"] == 1 and k["rule"] == "tile_padded" and any(t["why_not"] is None for t in k["tries"]), got)
    fixed = json.loads(c.says(["explain", "m.onnx", "--target=avx2", "--dim", "N=4", "--json"], OK).stdout)["kernels"][0]
    p = c.says(["explain", "m.onnx", "--target=avx2", "--dim", "N=4", "--kernel=k00"], OK)
    c.ok("predicted cycles of tiles", re.search(rb"tile +MR=\d+ NR=\d+: [\d.e+]+ cycles predicted", p.stdout), p.stdout)
    c.ok("work and prediction of fixed shapes", fixed["flop"] >= 2 * 4 * 64 * 32 and fixed["predicted_cycles"] >= fixed["roof_cycles"] > 0, fixed)
    c.write("t.json", json.dumps({"ghz": 2.0, "kernels": [{"kernel": k["kernel"], "calls": 2, "us": 3.0}]}))
    c.ok("measured", b"measured   1.5 us a call, 3e+03 cycles at 2.00 GHz" in
         c.says(["explain", "m.onnx", "--target=avx2", "--kernel=k00", "--measured=t.json"], OK).stdout)
    c.write("b.json", json.dumps({"rows": [{"kernel": k["kernel"], "calls": 2, "us": 3.0, "part": 0.5, "share": 0.25}]}))
    c.ok("measured by bench", b"measured   3 us a call, 25 % of the roof that was probed" in
         c.says(["explain", "m.onnx", "--target=avx2", "--kernel=k00", "--measured=b.json"], OK).stdout)
    c.write("bad.json", b"{}")
    c.says(["explain", "m.onnx", "--measured=bad.json"], MALFORMED, "bad.json holds no times of kernels")
    c.says(["explain", "m.onnx", "--kernel=k99"], USAGE, "there is no such kernel")
    c.says(["explain"], USAGE, "explain takes one model")
    c.says(["explain", "m.onnx", "--rule=row_padded", "--target=avx2", "--kernel=k00"], OK)


@test()
def rewrites(c):
    rng = np.random.default_rng(5)
    w = numpy_helper.from_array((rng.standard_normal((64, 64, 3, 3)) / 24).astype(np.float32), "w")
    node = h.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])
    c.write("m.onnx", run_driver.model([node], [info("x", [1, 64, 28, 28])], [info("y", [1, 64, 28, 28])], [w]))
    for option, say in ((["--target=avx512"], r"winograd4 would cost \S+, directly \S+ .*winograd\d chosen"),
                        (["--target=avx512", "--rule=winograd2"], r"winograd2 chosen")):
        p = c.says(["explain", "m.onnx", *option, "--kernel="], OK)
        c.ok(f"{option}: what was weighed", re.search(rf"rewrites   .*{say}".encode(), p.stdout), p.stdout)
    p = c.says(["explain", "m.onnx", "--target=avx512", "--strict", "--kernel="], OK)
    c.ok("nothing was weighed", b"rewrites" not in p.stdout, p.stdout)
    kernels = json.loads(c.says(["explain", "m.onnx", "--target=avx512", "--json"], OK).stdout)["kernels"]
    c.ok("as JSON", any("chosen" in k["rewrites"] for k in kernels), kernels)
    c.write("m.onnx", dense_model(64, 32))
    kernel = only_kernel(c, "--rule=winograd2")
    c.ok("what is no window is not chosen", kernel["rewrites"] == "", kernel)


def only_kernel(c, *options):
    return json.loads(c.says(["explain", "m.onnx", "--target=avx2", "--json", *options], OK).stdout)["kernels"][0]


@test()
def tune_file(c):
    c.write("m.onnx", dense_model(64, 32))
    fixed = ["--dim", "N=5"]
    plain = only_kernel(c, *fixed)
    c.ok("the rules' tile is another", plain["tile"] != [2, 8], plain)
    c.ok("names do not make the key", only_kernel(c, *fixed)["key"] == plain["key"] != only_kernel(c)["key"], plain)
    c.write("t", f"# a comment\n\ntune {plain['key']} avx512 rule=tile_padded MR=3 NR=16\n"
            f"tune {plain['key']} avx2 rule=tile_padded MR=1 NR=8\n"
            f"tune {plain['key']} avx2 rule=tile_padded MR=2 NR=8 # 1.00 us\n")
    tuned = only_kernel(c, *fixed, "--tune-file=t")
    c.ok("the last line for this target decides", tuned["tile"] == [2, 8] and "-> n0 n1 by 8" in tuned["schedule"] and
         "-> m0 m1 by 2" in tuned["schedule"], tuned)
    c.ok("explain says so", b"tuned      by t, line 5" in
         c.says(["explain", "m.onnx", "--target=avx2", "--tune-file=t", "--kernel=k00", *fixed], OK).stdout)
    for out in ("a/m.c", "b/m.c"):
        os.mkdir(c.path(os.path.dirname(out)))
        c.says(["m.onnx", "--target=avx2", "--tune-file=t", "-q", "-o", out, *fixed], OK)
    c.ok("the same bytes twice", c.read("a/m.c") == c.read("b/m.c"))
    if GCC and "avx2" in NATIVE:
        run = ["run", "m.onnx", "x=random:3", "--target=avx2", *fixed]
        c.ok("the same outputs", c.lcc(*run, "--tune-file=t").stdout == c.lcc(*run).stdout)
    c.says(["m.onnx", "--target=avx2", "--tune-file=t", "-q", "-MD", "-o", "m.c", *fixed], OK)
    c.ok("the depfile names it", c.read("m.d").split()[-2:] == [b"m.onnx", b"t"], c.read("m.d"))
    c.says(["m.onnx", "--target=avx2", "--tune-file=t", "-o", "t", *fixed], USAGE, "would overwrite")
    c.write("other", "tune 0123456789abcdef avx2 rule=tile MR=1 NR=8\n")
    c.says(["m.onnx", "--target=avx2", "--tune-file=other", "-o", "m.c"], OK,
           "note: other: of 1 lines for avx2 1 fit no kernel of this model, the first in line 1")
    c.says(["m.onnx", "--target=sse2", "--tune-file=other", "-o", "m.c"], OK, "note: other has no line for sse2")
    for rule, why in (("row_padded MR=1 NR=8", "not !(has_m)"), ("nonsense", "the target has no such rule"),
                      ("tile_padded MR=99 NR=8", "no tile fits"), ("tile_padded MR=1 NR=9", "no tile fits"),
                      ("tile_padded", "the rule chooses other numbers"), ("tile_padded A=1 B=8", "the rule chooses other numbers")):
        c.write("unfit", f"tune {plain['key']} avx2 rule={rule}\n")
        c.says(["m.onnx", "--target=avx2", "--tune-file=unfit", "-o", "m.c", *fixed], OK, f"note: unfit, line 1: rule {rule.split()[0]} is not used", why)
    key = plain["key"]
    for text, why in (("tuna", "tune KEY TARGET rule=NAME"), ("tune", "a key of 16"), ("tune abc avx2 rule=tile", "a key of 16"),
                      (f"tune {key} rule=tile", "a target and rule=NAME"), (f"tune {key} avx2 tile", "a target and rule=NAME"),
                      (f"tune {key} avx2 rule=", "a target and rule=NAME"), (f"tune {key} avx2 rule=tile MR=6", "one number of the tile is missing"),
                      (f"tune {key} avx2 rule=tile MR=0 NR=8", "NAME=NUMBER, from 1 on"), (f"tune {key} avx2 rule=tile MR=x NR=8", "NAME=NUMBER"),
                      (f"tune {key} avx2 rule=tile MR=99999999999999999999 NR=8", "NAME=NUMBER"),
                      (f"tune {key} avx2 rule=tile MR=1 NR=8 KC=9", "at most two"), (f"tune {key} sse2 rule=tile MR", "NAME=NUMBER")):
        c.write("bad", f"# first\n{text}\n")
        c.says(["m.onnx", "--target=avx2", "--tune-file=bad", "-o", "m.c"], MALFORMED, "bad, line 2: ", why)
    c.write("bytes", b"# \x00\n")
    c.says(["m.onnx", "--tune-file=bytes", "-o", "m.c"], MALFORMED, "is no text")
    c.says(["m.onnx", "--tune-file=nosuch", "-o", "m.c"], IO)


@test()
def tune(c):
    if not GCC or "avx2" not in NATIVE:
        print("SKIP --tune: no gcc, or no avx2 here")
        return
    c.write("m.onnx", dense_model(64, 32))
    fixed = ["--dim", "N=5", "--target=avx2"]
    c.says(["m.onnx", *fixed, "--tune=t", "-o", "m.c"], OK, "t: 1 kernels timed")
    first = c.read("m.c")
    lines = c.read("t").decode().splitlines()
    c.ok("a line a kernel", len(lines) == 2 and re.match(r"tune [0-9a-f]{16} avx2 rule=\w+ MR=\d+ NR=\d+ # [\d.]+ us", lines[1]), lines)
    c.says(["m.onnx", *fixed, "--tune-file=t", "-q", "-o", "m.c"], OK)
    c.ok("the file gives the same code", c.read("m.c") == first)
    run = ["run", "m.onnx", "x=random:3", *fixed]
    c.ok("and the same outputs", c.lcc(*run, "--tune-file=t").stdout == c.lcc(*run).stdout)
    c.write("t", "tune 0123456789abcdef avx512 rule=tile MR=1 NR=16\n" + lines[1] + "\n")
    c.says(["m.onnx", *fixed, "--tune=t", "-q", "-o", "m.c"], OK)
    kept = c.read("t").decode().splitlines()
    c.ok("other lines stay, this one is replaced", len(kept) == 2 and kept[0].startswith("tune 0123456789abcdef"), kept)
    c.write("mine", "my notes\n")
    c.says(["m.onnx", *fixed, "--tune=mine", "-o", "m.c"], USAGE, "mine is no tune file")
    c.ok("a file that is no tune file is left alone", c.read("mine") == b"my notes\n")
    c.says(["m.onnx", "--target=avx2", "--tune=u", "-o", "m.c"], USAGE, "give --dim N=1")
    c.says(["m.onnx", *fixed, "--tune=u", "--cc=nosuchcc", "-o", "m.c"], TOOLCHAIN, "--tune found no C compiler")
    c.ok("nothing is left behind", set(c.files()) == {"m.onnx", "m.c", "m.h", "t", "mine"} | ({"m_weights.o"} & set(c.files())), c.files())


@test()
def profile(c):
    if not GCC:
        print("SKIP --profile: no gcc")
        return
    c.write("m.onnx", dense_model(64, 32))
    c.says(["m.onnx", "--profile", "-q", "-o", "p.c"], OK)
    c.ok("the table is in the header", b"extern p_call p_profile[" in c.read("p.h"), c.read("p.h"))
    for cc in (cc for cc in (GCC, CLANG) if cc):
        p = subprocess.run([cc, "-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-c", "p.c"], cwd=c.cwd, capture_output=True)
        c.ok(f"{cc} takes it", p.returncode == 0, p.stderr)
    plain = c.lcc("run", "m.onnx", "x=random:3", "--dim", "N=2")
    c.says(["run", "m.onnx", "x=random:3", "--dim", "N=2", "--profile=p.json"], OK)
    got = json.loads(c.read("p.json"))
    c.ok("a row a call", got["schema"] == 1 and got["kernels"] and all(k["calls"] == 1 for k in got["kernels"]), got)
    p = c.says(["run", "m.onnx", "x=random:3", "--dim", "N=2", "--profile"], OK, "us in all, medians of")
    c.ok("same outputs", p.stdout == plain.stdout, (p.stdout, plain.stdout))
    c.says(["run", "m.onnx", "x=random:3", "--jit=tcc", "--target=c", "--profile"], USAGE, "--profile needs the C compiler")


if __name__ == "__main__":
    sys.exit(run_driver.main())
