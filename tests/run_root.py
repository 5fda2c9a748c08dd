#!/usr/bin/env python3
"""lcc alone in a root: no compiler, no libc6-dev, no Python, no /proc; only lcc and the libraries it loads.

usage: LCC=build/lcc tests/run_root.py [quick|normal|full]

There `lcc run --jit=tcc` has to answer, with the numbers it gives outside, and what needs a compiler has
to say so. The root is a folder entered by chroot: as root, or in a user namespace of its own; where
neither is allowed all is skipped with the reason. Last line: N passed, N failed, N skipped."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.parser import parse_model

HERE = os.path.dirname(os.path.abspath(__file__))
LCC = os.path.abspath(os.environ.get("LCC", "build/lcc"))
DIGITS = os.path.join(os.path.dirname(HERE), "samples", "digits", "digits.onnx")
MODELS = os.environ.get("LEPTON_MODELS", "")
MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
NETWORKS = ("gtcrn", "silero-vad", "tinybert", "centerface-postprocess", "micro-kws-qoperator")
OK, TOOLCHAIN = 0, 7
FORBIDDEN = re.compile(r"(^|/)(gcc|cc|tcc|clang|as|ld|include|crt\w*\.o|libtcc1\.a|libc\.a|libc\.so)$")

# What the stub has: sorting, data-dependent extents, conversions, the functions of libm, control flow.
WIDE = """<ir_version: 8, opset_import: ["" : 18]>
g (float[N,8] x, int64[1] k) => (float[A,B] top, int64[C,D] at, float[N,8] y, float[E,8] z) {
  top, at0 = TopK (x, k)
  sign = Sign (x)
  at = NonZero (sign)
  e = Erf (x)
  t = Tanh (e)
  s = Softmax <axis = 1> (t)
  h = Cast <to = 10> (s)
  w = Cast <to = 1> (h)
  y = Add (w, x)
  n = Constant <value = int64 {3}> ()
  c = Constant <value = bool {1}> ()
  z = Loop <body = b (int64 i, bool go, float[F,8] a) => (bool on, float[G,8] o) {
      on = Identity (go)
      o = Concat <axis = 0> (a, x) }> (n, c, x)
}"""


def libraries():
    """Files lcc loads, the loader included."""
    text = subprocess.run(["ldd", LCC], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(/\S+) \(0x", text)


def root_make(root):
    for path in libraries():
        target = root + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(path, target)
    for folder in ("bin", "work", "tmp"):
        os.mkdir(os.path.join(root, folder))
    shutil.copy(LCC, os.path.join(root, "bin", "lcc"))


def enter(root):
    """The command that runs another in the root, or (None, why not)."""
    trial = ["chroot", root, "/bin/lcc", "--version"]
    why = "no chroot"
    for prefix in ([], ["unshare", "-r"]):
        try:
            p = subprocess.run(prefix + trial, capture_output=True, text=True)
        except FileNotFoundError as e:
            why = str(e)
            continue
        if p.returncode == 0:
            return prefix + ["chroot", root, "/bin/lcc"], ""
        why = p.stderr.strip() or f"exit {p.returncode}"
    return None, why


class Tally:
    def __init__(self):
        self.passed = self.failed = 0

    def note(self, name, ok, seen=b""):
        self.passed += bool(ok)
        self.failed += not ok
        if not ok:
            print(f"FAIL {name}: {bytes(seen)[-500:]!r}")


def run(command, cwd=None):
    """Inside paths are below /work, which the command's argument names."""
    env = {"PATH": "/bin"} if command[0] != LCC else {**os.environ}
    if command[0] != LCC:
        env["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"  # for chroot itself
    return subprocess.run(command, capture_output=True, cwd=cwd, env=env)


def answers(tally, inside, root, name, args, folder):
    """`run` gives the same bytes inside and outside, --data and --save included."""
    os.makedirs(f"{root}/work/{name}", exist_ok=True)
    for f in os.listdir(folder):
        if os.path.isfile(os.path.join(folder, f)):
            shutil.copy(os.path.join(folder, f), f"{root}/work/{name}/{f}")
    data = os.path.join(folder, "test_data_set_0")
    if os.path.isdir(data):
        shutil.copytree(data, f"{root}/work/{name}/data")
        args = [*args, "--data=DATA"]
    outputs = []
    for command, at in (([LCC], f"{root}/work/{name}"), (inside, f"/work/{name}")):
        given = [a.replace("DATA", f"{at}/data") for a in args]
        p = run([*command, "run", f"{at}/model.onnx", *given, "--jit=tcc", "-q", f"--save={at}/out"])
        tally.note(f"{name}: runs {'inside' if command is inside else 'outside'}",
                   p.returncode == OK and p.stdout, p.stderr)
        saved = f"{root}/work/{name}/out"
        outputs.append({f: open(f"{saved}/{f}", "rb").read() for f in sorted(os.listdir(saved))}
                       if os.path.isdir(saved) else None)
        shutil.rmtree(saved, ignore_errors=True)
    tally.note(f"{name}: the same bytes", outputs[0] and outputs[0] == outputs[1])


def write_case(folder, model, **inputs):
    os.makedirs(os.path.join(folder, "test_data_set_0"))
    onnx.save(model, os.path.join(folder, "model.onnx"))
    for i, v in enumerate(inputs.values()):
        with open(os.path.join(folder, "test_data_set_0", f"input_{i}.pb"), "wb") as f:
            f.write(numpy_helper.from_array(v).SerializeToString())


def messages(tally, inside, root):
    """What is asked for without a compiler ends in its error, or in the road that needs none."""
    shutil.copy(DIGITS, f"{root}/work/d.onnx")
    p = run([*inside, "run", "/work/d.onnx", "input=ones"])
    tally.note("run chooses tcc by itself", p.returncode == OK and b"--jit=tcc" in p.stderr, p.stderr)
    p = run([*inside, "/work/d.onnx", "-o", "/work/d.c", "-q"])
    tally.note("C is written", p.returncode == OK and os.path.getsize(f"{root}/work/d.c") > 0, p.stderr)
    for kind in ("so",):
        p = run([*inside, "/work/d.onnx", f"--emit={kind}", "-o", f"/work/d.{kind}"])
        tally.note(f"--emit={kind} names what is missing", p.returncode == TOOLCHAIN and
                   b"no C compiler found" in p.stderr and b"lcc run --jit=tcc" in p.stderr, p.stderr)
    p = run([*inside, "run", "/work/d.onnx", "input=ones", "--jit=cc"])
    tally.note("--jit=cc names what is missing", p.returncode == TOOLCHAIN, p.stderr)


def main():
    if b"__asan_init" in open(LCC, "rb").read():
        print("SKIP a sanitizer build needs /proc\n0 passed, 0 failed, 1 skipped")
        return 0
    tally = Tally()
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as made:
        root_make(root)
        inside, why = enter(root)
        if not inside:
            print(f"SKIP no root may be entered: {why}\n0 passed, 0 failed, 1 skipped")
            return 0
        files = [os.path.join(d, f)[len(root):] for d, _, fs in os.walk(root) for f in fs]
        tally.note("nothing of a compiler in the root", not [f for f in files if FORBIDDEN.search(f)],
                   repr(files).encode())
        x = np.random.default_rng(3).standard_normal((5, 8)).astype(np.float32)
        write_case(f"{made}/wide", parse_model(WIDE), x=x, k=np.array([3], np.int64))
        answers(tally, inside, root, "wide", [], f"{made}/wide")
        image = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8) / 4
        digits = onnx.load(DIGITS)
        shape = [d.dim_value or 1 for d in digits.graph.input[0].type.tensor_type.shape.dim]
        write_case(f"{made}/digits", digits, x=np.resize(image, shape))
        answers(tally, inside, root, "digits", [], f"{made}/digits")
        for name in NETWORKS if MODE != "quick" else ():
            if os.path.isdir(os.path.join(MODELS, name)):
                answers(tally, inside, root, name, [], os.path.join(MODELS, name))
        messages(tally, inside, root)
    print(f"{tally.passed} passed, {tally.failed} failed, 0 skipped")
    return tally.failed > 0


if __name__ == "__main__":
    sys.exit(main())
