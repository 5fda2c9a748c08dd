#!/usr/bin/env python3
"""The command: options, messages, exit codes, files, run and check.

usage: LCC=build/lcc tests/run_driver.py [quick|full]

Quick leaves out what needs a C compiler more than a few times. Last line: N passed, N failed."""
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LCC = os.path.abspath(os.environ.get("LCC", os.path.join(ROOT, "build", "lcc")))
MODE = sys.argv[1] if len(sys.argv) > 1 else "normal"
OK, MISMATCH, USAGE, MALFORMED, UNSUPPORTED, LIMIT, IO, TOOLCHAIN = range(8)
GCC = shutil.which("gcc")
CLANG = shutil.which("clang")
WARNINGS = ("-std=c99 -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wfloat-conversion "
            "-Wdouble-promotion -Wshadow -Wcast-align -Wstrict-aliasing=2 -Wvla -Wundef -Werror").split()
TESTS = []


def test(quick=True):
    """Registers a test: a function of the Case, run in a folder of its own."""
    def add(f):
        TESTS.append((f, quick))
        return f
    return add


class Case:
    """One test: runs lcc in its folder and counts what holds."""

    def __init__(self, name, cwd):
        self.name, self.cwd, self.passed, self.failed = name, cwd, 0, 0

    def ok(self, what, holds, seen=""):
        self.passed += bool(holds)
        self.failed += not holds
        if not holds:
            print(f"FAIL {self.name}: {what}\n     {str(seen)[:600]}")
        return holds

    def lcc(self, *args, stdin=None, env=None, cwd=None, exe=None, out=None):
        merged = dict(os.environ, **(env or {}))
        for name in [n for n, v in merged.items() if v is None]:
            del merged[name]
        return subprocess.run([exe or LCC, *args], cwd=cwd or self.cwd, input=stdin, env=merged,
                              stdout=out or subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)

    def says(self, args, code, *texts, **more):
        """lcc ends with `code` and stderr holds every text."""
        p = self.lcc(*args, **more)
        err = p.stderr.decode("utf-8", "replace")
        self.ok(f"{args}: exit code {p.returncode}, expected {code}", p.returncode == code, err)
        for text in texts:
            self.ok(f"{args}: says {text!r}", text in err, err)
        if code:
            self.ok(f"{args}: every line is a message", all(
                re.match(r"(.+: error: |note: )", line) for line in err.splitlines()), err)
        return p

    def path(self, name):
        return os.path.join(self.cwd, name)

    def write(self, name, data):
        data = data.SerializeToString() if hasattr(data, "SerializeToString") else data
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def files(self):
        return sorted(os.listdir(self.cwd))


# ---- models --------------------------------------------------------------------------------------

def info(name, shape, elem=T.FLOAT):
    return h.make_tensor_value_info(name, elem, shape)


def model(nodes, inputs, outputs, inits=(), opset=18):
    graph = h.make_graph(nodes, "g", inputs, outputs, list(inits))
    m = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)])
    m.ir_version = 10
    return m


def add_model():
    """y = x + w"""
    w = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w")
    return model([h.make_node("Add", ["x", "w"], ["y"], name="add")], [info("x", [2, 3])],
                 [info("y", [2, 3])], [w])


def dense_model(k=64, n=32):
    """y = relu(x w + b), x [N, k]"""
    rng = np.random.default_rng(1)
    w = numpy_helper.from_array(rng.standard_normal((k, n)).astype(np.float32), "w")
    b = numpy_helper.from_array(rng.standard_normal(n).astype(np.float32), "b")
    nodes = [h.make_node("MatMul", ["x", "w"], ["t"], name="fc"),
             h.make_node("Add", ["t", "b"], ["u"], name="bias"),
             h.make_node("Relu", ["u"], ["y"], name="act")]
    return model(nodes, [info("x", ["N", k])], [info("y", ["N", n])], [w, b])


def external_model(c, name="m.onnx"):
    """The same as add_model with w in w.bin."""
    m = add_model()
    w = m.graph.initializer[0]
    c.write("w.bin", w.raw_data)
    w.ClearField("raw_data")
    w.data_location = T.EXTERNAL
    w.external_data.add(key="location", value="w.bin")
    c.write(name, m)


# ---- usage -----------------------------------------------------------------------------------------

@test()
def usage(c):
    c.write("m.onnx", add_model())
    p = c.lcc()
    c.ok("plain lcc: exit 2", p.returncode == USAGE)
    c.ok("plain lcc: usage and one example on stderr", b"usage: lcc" in p.stderr and
         p.stderr.count(b"example:") == 1 and not p.stdout, p.stderr)
    for args, texts in (
            (["--tagret=c", "m.onnx"], ["unknown option --tagret", "did you mean --target?"]),
            (["--zzzzzzzzzzzz", "m.onnx"], ["unknown option", "lcc --help"]),
            (["-Z", "m.onnx"], ["unknown option -Z"]),
            (["-z", "m.onnx"], ["unknown option -z"]),
            (["m.onnx", "--target"], ["--target needs a value"]),
            (["m.onnx", "-o"], ["-o needs a value"]),
            (["m.onnx", "--strict=1"], ["--strict takes no value"]),
            (["m.onnx", "--target=avx2222"], ["unknown target avx2222", "did you mean avx2?"]),
            (["m.onnx", "--weights=text"], ["--weights=text: expected c|string|"]),
            (["m.onnx", "--emit=coff"], ["--emit=coff: expected"]),
            (["m.onnx", "--emit=ptx"], ["--emit=ptx is not built yet"]),
            (["m.onnx", "--emit="], ["--emit="]),
            (["m.onnx", "--emit=so", "-o", "-"], ["standard output"]),
            (["m.onnx", "--dim", "N"], ["--dim N: expected NAME=N"]),
            (["m.onnx", "--dim", "N=5..2"], ["--dim N=5..2"]),
            (["m.onnx", "--dim", "N=3..5%8"], ["no multiple of 8 is from 3 to 5"]),
            (["m.onnx", "--dim", "N=-1"], ["--dim N=-1"]),
            (["m.onnx", "--dim", "N=99999999999999999999"], ["--dim"]),
            (["m.onnx", "--shape", "x=2y3"], ["--shape x=2y3"]),
            (["m.onnx", "--shape", "x=[2x3,"], ["--shape"]),
            (["m.onnx", "--shape", "x=1x1x1x1x1x1x1x1x1"], ["at most 8"]),
            (["m.onnx", "--shape", "nix=2x3"], ["no such input", "its inputs: x"]),
            (["m.onnx", "--dim", "N=2"], ["--dim N: no input has such a dimension"]),
            (["m.onnx", "--rule=none"], ["--rule=none: the target has no such rule", "nested_lanes nested naive"]),
            (["m.onnx", "--target=sve"], ["--target=sve is not built yet"]),
            (["chek", "m.onnx"], ["chek is neither a verb nor a file", "did you mean lcc check?"]),
            (["-v"], ["no model is given"]),
            (["m.onnx", "--shape", "x=2x4"], ["axis 1 is 3 in the model, not 4"]),
            (["m.onnx", "--max-memory=lots"], ["--max-memory=lots: expected a number"]),
            (["m.onnx", "--weights-growth=0.5"], ["--weights-growth=0.5: expected a number from 1"]),
            (["m.onnx", "--stop-after=graph_fild"], ["did you mean graph_fold?"]),
            (["m.onnx", "--dump=graph_fild,all"], ["did you mean graph_fold?"]),
            (["m.onnx", "--prefix=My Model"], ["--prefix=my_model"]),
            (["m.onnx", "-o", "out/"], ["expected the name of a file"]),
            (["m.onnx", "-o", "x.h"], ["header's name too"]),
            (["m.onnx", "n.onnx"], ["one model at a time"]),
            (["m.onnx", "--color=pink"], ["auto|always|never"]),
            (["m.onnx", "--threads=many"], ["--threads=many: expected 0 to 1024, or auto"]),
            (["m.onnx", "--threads=-1"], ["--threads=-1: expected"]),
            (["m.onnx", "--state=a=b"], ["the model has no input 'a'"]),
            (["m.onnx", "--state=a"], ["expected INPUT=OUTPUT"]),
            (["bench", "m.onnx"], ["lcc bench is not built yet"]),
            (["quantize"], ["lcc quantize is not built yet"]),
            (["targets", "x"], ["targets takes no argument"]),
            (["info"], ["info takes one model"]),
            (["run"], ["run takes a model"]),
            (["check"], ["check takes a model"]),
            (["m.onnx", "@missing"], ["cannot open"])):
        code = IO if args[-1] == "@missing" else USAGE
        c.says(args, code, *texts)
    c.ok("nothing was written", c.files() == ["m.onnx"], c.files())


@test()
def help_text(c):
    p = c.lcc("--help")
    c.ok("--help: exit 0, on stdout", p.returncode == OK and not p.stderr)
    text = p.stdout.decode()
    with open(os.path.join(ROOT, "driver", "options.def"), encoding="utf-8") as f:
        table = f.read()
    built = re.findall(r'^OPT\("([^"]+)"', table, re.M)
    later = re.findall(r'^LATER\("([^"]+)"', table, re.M)
    words = set(re.findall(r"--?[A-Za-z][\w-]*", text))
    for name in built:
        c.ok(f"--help names {name}", ("-" if name[0].isupper() else "--") + name in words)
    manual = {form: c.lcc(f"--manual={form}").stdout.decode() for form in ("man", "bash", "zsh", "fish")}
    for name in built:
        c.ok(f"the manual page names {name}", f"-{name}".replace("-", "\\-") + "\\fR" in manual["man"], name)
        for form in ("bash", "zsh", "fish"):
            c.ok(f"{form} completes {name}", re.search(rf"[- ]{name}[ =\['\"]", manual[form]), name)
    with open(os.path.join(ROOT, "lower", "rule_words.def"), encoding="utf-8") as f:
        rule_words = re.findall(r'^[A-Z]+\([A-Z0-9_]+, "(\w+)"', f.read(), re.M)
    c.ok("there are words of --rule", "online" in rule_words and "naive" in rule_words, rule_words)
    c.write("m.onnx", add_model())
    for word in rule_words:
        c.ok(f"--help explains --rule={word}", re.search(rf"^  {word} +\w", text, re.M))
        c.says(["m.onnx", "-q", "-o", "x.c", f"--rule={word}"], OK)
    c.says(["m.onnx", "--rule=none"], USAGE, " ".join(rule_words))
    with_bash = [shutil.which("bash")] if shutil.which("bash") else []
    for line, word in ((["--targ"], "--target"), (["--target", "=", "av"], "avx2"), (["--jit", "t"], "tcc"), (["--rule", "=", "str"], "strassen"),
                       (["ch"], "check"), (["m.onnx", "-M"], "-MD"), (["--stop-after", "=", "memory"], "memory_plan")):
        for bash in with_bash:
            quoted = " ".join(f"'{w}'" for w in ["lcc", *line])
            p = subprocess.run([bash, "-c", manual["bash"] + f"COMP_WORDS=({quoted}); COMP_CWORD={len(line)}; _lcc; "
                                'echo "${COMPREPLY[@]}"'], stdout=subprocess.PIPE)
            c.ok(f"bash: {line} gives {word}", word in p.stdout.decode().split(), p.stdout)
    for name in later:
        c.ok(f"--help does not name {name}", "--" + name not in words)
        c.says([f"--{name}=1", "m.onnx"], USAGE, f"--{name} is not built yet")
    for verb in ("run", "check", "info", "ops", "targets"):
        c.ok(f"--help names the verb {verb}", f"lcc {verb}" in text)
    for verb in ("bench", "report", "quantize"):
        c.ok(f"--help does not name {verb}", verb not in text)
    for name in ("graph_define", "kernel_partition", "memory_plan"):
        c.ok(f"--help names the pass {name}", name in words | set(text.split()))
    c.ok("lines below 120 columns", max(map(len, text.splitlines())) < 120)
    p = c.lcc("--version")
    c.ok("--version", re.fullmatch(rb"lcc \d+\.\d+\.\d+\n", p.stdout) and not p.returncode, p.stdout)


@test()
def words(c):
    """@files, $LCC_FLAGS, --, options apart from their values."""
    c.write("m.onnx", add_model())
    c.write("flags.txt", "-o 'my out.c'\n--target=c\n  --prefix \"mine\" ")
    c.says(["m.onnx", "@flags.txt"], OK)
    c.ok("@file: quoted words", b"int mine_run(" in c.read("my out.c"))
    c.write("loop.txt", "@loop.txt")
    c.says(["m.onnx", "@loop.txt"], USAGE, "nest too deep")
    c.write("open.txt", "-o 'x.c")
    c.says(["m.onnx", "@open.txt"], USAGE, "a quote is not closed")
    c.says(["m.onnx", "-o", "a.c"], OK, env={"LCC_FLAGS": "--prefix=flagged --target=c"})
    c.ok("$LCC_FLAGS", b"flagged_run(" in c.read("a.c"))
    c.says(["m.onnx", "-o", "a.c", "--prefix=later"], OK, env={"LCC_FLAGS": "--prefix=flagged"})
    c.ok("the command line wins", b"later_run(" in c.read("a.c"))
    c.says(["m.onnx"], USAGE, "$LCC_FLAGS may hold options only", env={"LCC_FLAGS": "other.onnx"})
    c.write("-odd.onnx", add_model())
    c.says(["-o", "b.c", "--", "-odd.onnx"], OK)
    os.rename(c.path("m.onnx"), c.path("run"))
    c.says(["./run", "-q", "-o", "c.c"], OK)
    c.ok("./run is a model", "c.c" in c.files())


# ---- outputs ------------------------------------------------------------------------------------

@test()
def outputs(c):
    c.write("dir/some model.onnx", add_model())
    p = c.says(["dir/some model.onnx"], OK, "some model.c: target c, 1 kernel, ", "FLOP, arena 0 bytes, "
               "weights 12 bytes (c), ", " s\n", "note: portable C; --target=")
    c.ok("default name in the current folder", c.files() == ["dir", "some model.c", "some model.h"], c.files())
    c.ok("one line and a note", len(p.stderr.splitlines()) == 2 and not p.stdout, p.stderr)
    c.ok("-q says nothing", not c.lcc("dir/some model.onnx", "-q").stderr)
    p = c.lcc("dir/some model.onnx", "--target=c")
    c.ok("with --target, one line", len(p.stderr.splitlines()) == 1, p.stderr)
    p = c.lcc("dir/some model.onnx", "-o", "-", "-q")
    c.write("one.c", p.stdout)
    c.ok("-o - is one text that compiles", not GCC or subprocess.run(
        [GCC, *WARNINGS, "-c", "one.c"], cwd=c.cwd).returncode == 0)
    q = c.lcc("-", "-o", "-", "-q", stdin=c.read("dir/some model.onnx"))
    strip = lambda text: re.sub(rb"made by lcc .*,\n", b"", text.replace(b"some_model", b"model").replace(
        b"SOME_MODEL", b"MODEL").replace(b"some model", b"model"))
    c.ok("a model from stdin gives the same", strip(q.stdout) == strip(p.stdout), q.stderr)
    c.says(["-", "-q"], OK, stdin=c.read("dir/some model.onnx"))
    c.ok("its default name is model.c", "model.c" in c.files())
    p = c.lcc("dir/some model.onnx", "--print-outputs", "--target=avx2", "-o", "z/q.c")
    c.ok("--print-outputs", p.stdout == b"z/q.h\nz/q.c\n" and not os.path.exists(c.path("z")), p.stdout)
    c.says(["dir/some model.onnx", "-o", "h.h", "--emit=h"], OK)
    c.ok("--emit=h", "h.h" in c.files() and "h.c" not in c.files())
    p = c.lcc("dir/some model.onnx", "-q", "-o", "j.c", "--json")
    j = json.loads(p.stdout)
    c.ok("--json", j["schema"] == 1 and j["outputs"] == ["j.h", "j.c"] and j["weights_bytes"] == 12, j)
    c.says(["dir/some model.onnx", "-q", "-o", "k.c", "--json=k.json"], OK)
    c.ok("--json=FILE", json.loads(c.read("k.json"))["kernels"] == 1)
    before = os.stat(c.path("k.c")).st_mtime_ns
    c.lcc("dir/some model.onnx", "-q", "-o", "k.c")
    c.ok("an equal file is not touched", os.stat(c.path("k.c")).st_mtime_ns == before)
    c.says(["dir/some model.onnx", "-q", "-o", "we\"ird\\.c"], OK)
    c.ok("odd names of outputs", 'we"ird\\.c' in c.files() and "we_ird_.h" in c.files(), c.files())


@test()
def weights(c):
    c.write("m.onnx", dense_model(512, 256))
    for target, asked, files in (("c", None, "hc"), ("avx2", None, "hco"), ("c", "string", "hc"),
                                 ("c", "incbin", "hcb"), ("avx2", "file", "hcb"), ("c", "obj", "hco")):
        out = f"w_{target}_{asked}"
        options = [f"--weights={asked}"] if asked else []
        c.says(["m.onnx", f"--target={target}", "-q", "-o", out + ".c", *options], OK)
        suffix = {"h": ".h", "c": ".c", "o": "_weights.o", "b": "_weights.bin"}
        want = sorted(out + suffix[f] for f in files)
        c.ok(f"files of {out}", sorted(f for f in c.files() if f.startswith(out)) == want, c.files())
    c.says(["m.onnx", "--weights=obj", "-o", "-"], USAGE, "needs a file beside the source")
    c.write("big.onnx", dense_model(1024, 512))
    c.says(["big.onnx"], LIMIT, "weights are too many for text in C", "--weights=string")
    c.says(["big.onnx", "-o", "-", "--target=avx2", "-q"], OK)
    p = c.lcc("info", "big.onnx")
    c.ok("info of it", p.returncode == OK and b"(obj)" in p.stdout, (p.returncode, p.stdout, p.stderr))
    c.says(["m.onnx", "--weights=file", "--emit=so", "-o", "m.so"], USAGE, "--weights=file")


@test()
def large_weights(c):
    """Made while they are written; as an object in sections of 4 MB and more."""
    rng, k, n = np.random.default_rng(2), 1088, 1024
    inits = [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) / 32, name)
             for name, shape in (("v", (k, n)), ("w", (n, k)))]
    nodes = [h.make_node("MatMul", ["x", "v"], ["t"]), h.make_node("MatMul", ["t", "w"], ["y"])]
    c.write("m.onnx", model(nodes, [info("x", [4, k])], [info("y", [4, k])], inits))
    options = ["m.onnx", "--target=sse2", "--rule=strassen", "-q"]
    c.says([*options, "--weights=file", "-o", "f.c"], OK)
    c.says([*options, "--weights=obj", "-o", "o.c"], OK)
    data, whole = c.read("f_weights.bin"), c.read("o_weights.o")
    c.ok("quarters' sums", len(data) >= 7 * k * n * 4 / 2, len(data))
    c.ok("the object holds the file's bytes", whole[1024:1024 + len(data)] == data)
    c.ok("in two sections", all(name in c.read("o.c") for name in (b"o_weights[]", b"o_weights_1[]")))
    before = os.stat(c.path("o_weights.o")).st_mtime_ns
    c.says([*options, "--weights=obj", "-o", "o.c"], OK)
    c.ok("an equal file is not touched", os.stat(c.path("o_weights.o")).st_mtime_ns == before)
    with open(c.path("o_weights.o"), "r+b") as f:
        f.seek(len(whole) // 2)
        f.write(b"damaged")
    c.says([*options, "--weights=obj", "-o", "o.c"], OK)
    c.ok("one that differs is written again", c.read("o_weights.o") == whole)
    c.ok("nothing is left behind", not [f for f in c.files() if ".tmp" in f], c.files())
    if not GCC or platform.machine() != "x86_64":
        return
    c.write("use.c", f'#include "o.h"\n#include <stdio.h>\nstatic float x[4 * {k}], y[4 * {k}];\n'
            "static _Alignas(64) char arena[O_ARENA_BYTES + 1];\n"
            f"int main(void) {{ for (int i = 0; i < 4 * {k}; i++) x[i] = i % 7;\n"
            f"  if (o_run(x, y, arena)) return 1; fwrite(y, 4, 4 * {k}, stdout); return 0; }}\n")
    flags = "-O1 -std=c11 -Wl,--gc-sections use.c o.c o_weights.o -o use -lm".split()
    p = subprocess.run([GCC, *flags], cwd=c.cwd, capture_output=True)
    if c.ok("it links", p.returncode == 0, p.stderr):
        y = np.frombuffer(subprocess.run(["./use"], cwd=c.cwd, capture_output=True).stdout, np.float32)
        x = (np.arange(4 * k) % 7).reshape(4, k)
        want = x @ numpy_helper.to_array(inits[0]).astype(np.float64) @ numpy_helper.to_array(inits[1])
        c.ok("and runs", y.size == want.size and np.abs(y.reshape(4, k) - want).max() < 1e-4 * np.abs(want).max())


@test()
def files(c):
    """Inputs are not overwritten; failed writes leave nothing; whole files or none."""
    external_model(c)
    good = c.read("m.onnx")
    for out in ("m.onnx", "./m.onnx", "w.bin"):
        c.says(["m.onnx", "-o", out], USAGE, "would overwrite the model's file")
    os.symlink("m.onnx", c.path("link.c"))
    c.says(["m.onnx", "-o", "link.c"], USAGE, "would overwrite")
    os.link(c.path("m.onnx"), c.path("hard.h"))
    c.says(["m.onnx", "-o", "hard.c"], USAGE, "would overwrite")
    c.says(["m.onnx", "-o", "y.c", "-MD", "-MF", "w.bin"], USAGE, "would overwrite")
    c.ok("the model is as it was", c.read("m.onnx") == good and len(c.read("w.bin")) == 12)
    os.remove(c.path("hard.h"))
    c.says(["m.onnx", "-o", "none/y.c"], IO, "there is no folder none/", "mkdir -p none/")
    c.says(["m.onnx", "-o", "/dev/full", "--emit=h"], IO, "No space left on device")
    with open("/dev/full", "wb") as full:
        for args in (["m.onnx", "-o", "-"], ["info", "m.onnx"], ["ops"], ["targets"], ["--help"],
                     ["run", "m.onnx", "x=ones", "--jit=tcc"], ["m.onnx", "--stop-after=graph_define"]):
            p = c.lcc(*args, out=full)
            c.ok(f"{args} to a full disk: exit 6", p.returncode == IO, (p.returncode, p.stderr))
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        p = subprocess.run(["sh", "-c", f'"$0" m.onnx -q -o closed.c {closed}', LCC], cwd=c.cwd)
        c.ok(f"{closed}: the output is whole", p.returncode == OK and c.read("closed.c").endswith(b"}\n"), p)
        os.remove(c.path("closed.c"))
    for words in ("ops", "m.onnx -o -", "run m.onnx x=ones --jit=tcc"):
        p = subprocess.run(["sh", "-c", f'"$0" {words} >&-', LCC], cwd=c.cwd, stderr=subprocess.PIPE)
        c.ok(f"{words} >&-: exit 6", p.returncode == IO, p)
    p = c.lcc("m.onnx", "-o", "/dev/null", "--emit=h")
    c.ok("devices are written to", p.returncode == OK, p.stderr)
    os.mkdir(c.path("isdir.c"))
    c.says(["m.onnx", "-o", "isdir.c"], IO, "-o isdir.c is a folder")
    os.mkdir(c.path("half.h"))
    c.says(["m.onnx", "-o", "half.c"], IO, "half.h: error: cannot write")
    c.ok("all files or none", not os.path.exists(c.path("half.c")))
    c.says(["m.onnx", "-o", "/dev/full"], IO, "/dev/full: error: cannot write")
    c.ok("nothing beside a device", not os.path.exists("/dev/full.h"))
    p = c.lcc("m.onnx", "-o", "/dev/stdout")
    c.ok("a stream gets one text", p.returncode == OK and b"#ifndef STDOUT_H" not in p.stdout and
         p.stdout == c.lcc("m.onnx", "-o", "-").stdout, p.stdout)
    os.mkdir(c.path("shut"))
    os.chmod(c.path("shut"), 0o555)
    if os.geteuid():
        c.says(["m.onnx", "-o", "shut/y.c"], IO, "cannot write")
    c.write("old.c", "old")
    c.write("bad.onnx", c.read("m.onnx")[:40])
    c.says(["bad.onnx", "-o", "old.c"], MALFORMED)
    c.ok("the old output stays", c.read("old.c") == b"old")
    left = [f for f in c.files() if "tmp" in f or f.startswith(".lcc")]
    c.ok("nothing is left behind", not left, left)


@test()
def killed(c):
    """Points 23 and 24: whatever the moment, an output is the old one or the new one; memory and stack run out
    in one line."""
    c.write("m.onnx", dense_model(1024, 512))
    args = [LCC, "m.onnx", "-q", "--target=avx2", "--weights=string", "-o", "k.c"]
    c.ok("a whole one", c.lcc(*args[1:]).returncode == OK)
    new = c.read("k.c")
    for delay in [0.002 * i for i in range(8 if MODE == "quick" else 40)]:
        c.write("k.c", b"old")
        p = subprocess.Popen(args, cwd=c.cwd)
        time.sleep(delay)
        p.kill()
        p.wait()
        c.ok(f"killed after {delay} s", c.read("k.c") in (b"old", new))
        for left in c.files():
            if left.startswith("k.c.tmp"):
                os.remove(c.path(left))
    seen = set()
    for kib in range(16, 8000, 997 if MODE == "quick" else 97):
        p = c.lcc("m.onnx", "-q", "-o", "k.c", "--target=avx2", f"--max-memory={kib}K")
        seen.add(p.returncode)
        c.ok(f"--max-memory={kib}K", p.returncode in (OK, LIMIT) and (p.returncode == OK or b"error: " in p.stderr),
             (p.returncode, p.stderr))
    c.ok("some limits are enough and some are not", seen == {OK, LIMIT}, seen)
    names = [f"t{i}" for i in range(3000)]
    chain = [h.make_node("Neg" if i % 2 else "Exp", [a], [b]) for i, (a, b) in enumerate(zip(["x"] + names, names))]
    c.write("chain.onnx", model(chain, [info("x", [4])], [info(names[-1], [4])]))
    body = h.make_graph([h.make_node("Neg", ["x"], ["o0"])], "b0", [], [info("o0", [4])])
    for i in range(1, 25):
        other = h.make_graph([h.make_node("Abs", ["x"], ["a"])], "o", [], [info("a", [4])])
        node = h.make_node("If", ["c"], [f"o{i}"], then_branch=body, else_branch=other)
        body = h.make_graph([node], f"b{i}", [], [info(f"o{i}", [4])])
    c.write("nest.onnx", model(body.node, [info("x", [4]), info("c", [], T.BOOL)], [info("o24", [4])]))
    for name in ("chain", "nest"):
        p = subprocess.run(["sh", "-c", f'ulimit -s 512; exec "$0" {name}.onnx -q -o k.c', LCC], cwd=c.cwd,
                           stderr=subprocess.PIPE)
        c.ok(f"{name} on a stack of 512 KiB", p.returncode in (OK, UNSUPPORTED, LIMIT), (p.returncode, p.stderr))


@test()
def depfiles(c):
    external_model(c, "a model.onnx")
    c.says(["a model.onnx", "-q", "-o", "out.c", "-MD"], OK)
    c.ok("-MD", c.read("out.d") == b"out.h out.c: a\\ model.onnx w.bin\n", c.read("out.d"))
    c.says(["a model.onnx", "-q", "-o", "o$t.c", "-MD", "-MF", "deps", "-MT", "all here"], OK)
    c.ok("-MF -MT", c.read("deps") == b"all here: a\\ model.onnx w.bin\n", c.read("deps"))
    c.says(["a model.onnx", "-q", "-o", "o$t.c", "-MD", "-MFdeps"], USAGE, "unknown option -MFdeps")
    if shutil.which("make"):
        c.write("Makefile", "out.c: ; cp counter counter2; false\n-include out.d\n")
        os.utime(c.path("out.c"))
        p = subprocess.run(["make", "-s", "out.c"], cwd=c.cwd, capture_output=True)
        c.ok("make reads it: nothing to do", p.returncode == 0, p.stderr)


@test()
def prefixes(c):
    c.write("m.onnx", add_model())
    for out, prefix in (("int.c", "v_int"), ("3d.c", "v_3d"), ("My-Net.v2.c", "my_net_v2"), ("main.c", "v_main"),
                        ("_.c", "v"), ("é.c", "v")):
        p = c.lcc("m.onnx", "-q", "-o", out)
        c.ok(f"{out}: {prefix}_run", f"int {prefix}_run(".encode() in c.read(out), (p.stderr, c.read(out)[-300:]))
    c.says(["m.onnx", "-q", "-o", "a.c", "--prefix=good_1"], OK)
    c.ok("--prefix", b"int good_1_run(" in c.read("a.c"))
    if GCC:
        for p in ("one", "two"):
            c.lcc("m.onnx", "-q", "-o", p + ".c")
        c.write("both.c", '#include "one.h"\n#include "two.h"\nint main(void) { float x[6] = {0}, y[6]; '
                "return one_run(x, y, 0) || two_run(x, y, 0); }\n")
        p = subprocess.run([GCC, "both.c", "one.c", "two.c", "-o", "both"], cwd=c.cwd, capture_output=True)
        c.ok("two models in one program", p.returncode == 0, p.stderr)


@test()
def determinism(c):
    c.write("m.onnx", dense_model(512, 256))
    c.write("deep/er/m.onnx", c.read("m.onnx"))
    for target in ("c", "avx2"):
        for flags in ([], ["-O0"]):
            args = ["m.onnx", f"--target={target}", "-q", "-o", "out.c", *flags]
            c.lcc(*args)
            first = [c.read(f) for f in c.files() if f.startswith("out")]
            c.lcc(*args, cwd=c.path("deep/er"), env={"TZ": "Asia/Tokyo", "LANG": "C", "HOSTNAME": "other"})
            second = [c.read("deep/er/" + f) for f in sorted(os.listdir(c.path("deep/er"))) if f.startswith("out")]
            c.ok(f"{target} {flags}: the same bytes", first and first == second)
            c.ok("no path in the output", all(c.cwd.encode() not in b for b in first))


@test()
def stages(c):
    c.write("m.onnx", dense_model())
    p = c.lcc("m.onnx", "--time", "-q")
    seen = re.findall(r"^ *[\d.]+ ms +\d+ KiB  (\w+)", p.stderr.decode(), re.M)
    c.ok("--time", seen[:4] == ["onnx_load", "graph_import", "graph_upgrade", "graph_define"] and
         seen[-1] == "emit" and len(seen) > 10, seen)
    p = c.lcc("m.onnx", "--stop-after=graph_upgrade")
    c.ok("--stop-after prints", p.returncode == OK and b"MatMul" in p.stdout, p.stdout + p.stderr)
    c.says(["m.onnx", "-q", "--dump=all"], OK)
    numbers = sorted(f for f in c.files() if f.endswith(".lcc"))
    c.ok("--dump=all", numbers[:3] == ["01.graph_import.lcc", "02.graph_upgrade.lcc", "03.graph_define.lcc"] and
         numbers[3].startswith("04."), numbers)
    for f in numbers:
        os.remove(c.path(f))
    c.says(["m.onnx", "-q", "--dump=graph_define,memory_plan"], OK)
    c.ok("--dump of two", len([f for f in c.files() if f.endswith(".lcc")]) == 2, c.files())


@test()
def resuming(c):
    """A text of --dump goes on from any pass to the same program."""
    w = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(3, 4) / 8, "w")
    nodes = [h.make_node("MatMul", ["x", "w"], ["t"], "fc"), h.make_node("Relu", ["t"], ["u"], "act"),
             h.make_node("Softmax", ["u"], ["y"], "soft")]
    c.write("m.onnx", model(nodes, [info("x", ["N", 3])], [info("y", ["N", 4])], [w]))
    c.says(["m.onnx", "-q", "--target=avx2", "-o", "d/m.c"], IO)
    os.mkdir(c.path("d"))
    c.says(["m.onnx", "-q", "--target=avx2", "-o", "d/m.c", "--dump=all"], OK)

    def code():  # without the header comment, which names the input, and the numbers of equal names
        return re.sub(rb"([a-z]\d*)(_\d+)+\b", rb"\1", c.read("d/m.c").split(b"*/", 1)[1])

    direct = code()
    texts = [f for f in c.files() if f.endswith(".lcc")]
    for text, after in zip(texts, texts[1:]):
        os.remove(c.path("d/m.c"))
        name = after[3:-4]
        c.says([text, "-q", "--target=avx2", "-o", "d/m.c", f"--start-from={name}"], OK)
        c.ok(f"{text} from {name}", code() == direct, code()[:300])
    named = {f[3:-4]: f for f in texts}
    recurrent = [numpy_helper.from_array(np.arange(12 * k, dtype=np.float32).reshape(1, 12, k), n)
                 for n, k in (("w", 3), ("r", 4))]
    c.write("scan.onnx", model([h.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=4)], [info("x", [3, 1, 3])],
                               [info("y", [3, 1, 1, 4])], recurrent))
    c.says(["scan.onnx", "-q", "--target=avx2", "-o", "d/m.c", "--dump=kernel_partition"], OK)
    direct = code()
    scan = [f for f in c.files() if f.endswith("kernel_partition.lcc")][0]
    c.says([scan, "-q", "--target=avx2", "-o", "d/m.c", "--start-from=layout_choose"], OK)
    c.ok("a step's sums after layout_choose", code() == direct, code()[:300])
    c.says(["m.onnx", "-q", "--target=avx2", "-o", "d/m.c", "--dump=kernel_partition"], OK)
    p = c.lcc(named["graph_prune"], "--start-from=kernel_inline", "--stop-after=kernel_partition")
    c.ok("from here to there", p.returncode == OK and p.stdout.startswith(b"module "), p.stdout + p.stderr)
    p = c.lcc(named["graph_prune"], "--start-from=kernel_inline", "-o", "d/m.c")
    took = re.search(rb", (\d+\.\d+) s$", p.stderr, re.M)
    c.ok("how long it took", took and float(took[1]) < 60, p.stderr)
    c.says([named["graph_define"], "--start-from=sched_choose"], USAGE, "--start-from=sched_choose needs a module with its plan")
    c.says([named["layout_choose"], "--start-from=kernel_loops"], USAGE, "needs scheduled loops for every kernel")
    c.says([named["layout_choose"], "--start-from=graph_define"], USAGE, "--start-from=graph_define needs a graph")
    c.says(["m.onnx", "--start-from=graph_fold"], USAGE, "reads a text that --dump wrote")
    c.says(["m.onnx", "--start-from=graph_fild"], USAGE, "did you mean graph_fold?")
    c.write("bad.lcc", "program \"m\" {\n  x f32[2]\n  y f32[2] { i<2 } = z[i]\n}\n")
    c.says(["bad.lcc", "--start-from=graph_fold"], MALFORMED, "bad.lcc:3: error: ")
    c.write("bad.lcc", "program \"m\" {\n  x f32[2]\n  y f32[2] { i<2 } = x[i + 5]\n  in \"x\" x\n  out \"y\" y\n}\n")
    c.says(["bad.lcc", "--start-from=graph_fold"], MALFORMED, "'x' is used outside")


@test()
def colours(c):
    c.write("bad.onnx", b"no model")
    for args, env, coloured in (([], {}, False), (["--color=always"], {}, True), (["--color=always"], {"NO_COLOR": "1"}, True),
                                ([], {"CLICOLOR_FORCE": "1"}, True), ([], {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
                                (["--color=never"], {"CLICOLOR_FORCE": "1"}, False)):
        clean = {"NO_COLOR": None, "CLICOLOR_FORCE": None, **env}
        p = c.lcc("bad.onnx", *args, env=clean)
        c.ok(f"{args} {env}", (b"\033[" in p.stderr) == coloured and b"error:" in p.stderr, p.stderr)


# ---- errors of models -----------------------------------------------------------------------------

@test()
def model_errors(c):
    c.says(["missing.onnx"], IO, "missing.onnx: error: cannot open")
    c.write("empty.onnx", b"")
    c.says(["empty.onnx"], MALFORMED, "the file is empty")
    nodes = [h.make_node("NoOp", ["x"], ["a"], name="first"), h.make_node("NoOp", ["a"], ["b"], name="second"),
             h.make_node("AlsoNone", ["b"], ["y"], name="third")]
    c.write("ops.onnx", model(nodes, [info("x", [2])], [info("y", [2])]))
    p = c.says(["ops.onnx"], UNSUPPORTED, "NoOp", "AlsoNone", "'first'", "'second'", "'third'")
    c.ok("once an op", p.stderr.count(b"error:") == 2, p.stderr)
    w = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")
    conv = h.make_node("Conv", ["x", "w"], ["y"], name="conv1", kernel_shape=[7, 7])
    c.write("conv.onnx", model([conv], [info("x", [1, 3, 8, 8])], [info("y", None)], [w]))
    c.says(["conv.onnx"], MALFORMED, "conv.onnx: error: node 0 'conv1' (Conv-11): ")
    for name, attrs, text in (("same_upper", {"auto_pad": "same_upper"}, "one of: NOTSET SAME_LOWER SAME_UPPER VALID"),
                              ("empty", {"auto_pad": ""}, "attribute 'auto_pad' is ''")):
        conv = h.make_node("Conv", ["x", "w"], ["y"], name="conv1", **attrs)
        c.write(f"{name}.onnx", model([conv], [info("x", [1, 3, 8, 8])], [info("y", None)], [w]))
        c.says([f"{name}.onnx"], MALFORMED, f"{name}.onnx: error: node 0 'conv1' (Conv-11): attribute", text)
    c.write("pad.onnx", model([h.make_node("Pad", ["x", "p"], ["y"], mode="mirror", name="pad1")], [info("x", [2, 5])],
                              [info("y", None)], [numpy_helper.from_array(np.zeros(4, np.int64), "p")]))
    c.says(["pad.onnx"], MALFORMED, "node 0 'pad1' (Pad-18): attribute 'mode' is 'mirror'", "constant edge reflect wrap")
    c.write("one.onnx", model([h.make_node("Add", ["x"], ["y"], name="add1")], [info("x", [2])], [info("y", [2])]))
    c.says(["one.onnx"], MALFORMED, "node 0 'add1' (Add-14): the op takes 2 inputs, 1 given", "note: inputs: x f32[2]")
    c.write("mixed.onnx", model([h.make_node("Add", ["x", "z"], ["y"], name="add1")],
                                [info("x", [2]), info("z", [2], T.INT64)], [info("y", [2])]))
    c.says(["mixed.onnx"], UNSUPPORTED, "Add is not defined for inputs of these types", "x f32[2], z i64[2]")
    whole = add_model().SerializeToString()
    c.write("half.onnx", whole[:len(whole) // 2])
    c.says(["half.onnx"], MALFORMED, "not an ONNX model: a length runs past the end", f"note: the file has {len(whole) // 2} bytes")
    c.write("near.onnx", model([h.make_node("Relv", ["x"], ["y"])], [info("x", [2])], [info("y", [2])]))
    c.says(["near.onnx"], UNSUPPORTED, "op Relv", "did you mean Relu?")
    c.write("huge.onnx", model([h.make_node("Relu", ["x"], ["y"])], [info("x", [1 << 31, 1 << 31, 4])],
                               [info("y", None)]))
    p = c.lcc("huge.onnx")
    c.ok("shapes that overflow are refused", p.returncode in (MALFORMED, LIMIT), p.stderr)
    c.write("m.onnx", dense_model(512, 256))
    c.says(["m.onnx", "--max-memory=200K"], LIMIT, "m.onnx: error: ", "note: --max-memory=")
    c.says(["m.onnx", "--max-memory=700K"], LIMIT, "m.onnx: error: needs more", "note: --max-memory=")
    c.says(["m.onnx", "--max-memory=1G", "-q"], OK)
    c.write("open.onnx", model([h.make_node("Relu", ["x"], ["y"])], [h.make_tensor_value_info("x", T.FLOAT, None)],
                               [info("y", None)]))
    c.says(["open.onnx"], USAGE, "no shape in the model", "--shape x=")
    c.says(["open.onnx", "--shape", "x=2x3", "-q"], OK)


HOSTILE = ["int", "main", "*/", "/*", "//", "a\\\nb", "??/", '"', "%n%s", "$(rm -rf x)", "`id`", "\u202eevil",
           "a b", "", "x" * 5000, "../../etc/passwd", "x */ int f(void){} /*", "\\", "#define x", "é", "e", "E", "NULL",
           "restrict", "\x7f", "\t", "lcc_max_f32", "_run", "float", "memcpy"]


@test()
def hostile_names(c):
    """Point 20 of what lcc promises: the code of every name is clean under all warnings."""
    for number, name in enumerate(HOSTILE):
        other = name + "'"
        nodes = [h.make_node("Add", [name or "x", "w" + name], [other], name=name),
                 h.make_node("Exp", [other], ["out" + name], name=name + "\n" + name)]
        w = numpy_helper.from_array(np.ones((1, 3), np.float32), "w" + name)
        m = model(nodes, [info(name or "x", [name or "n", 3])], [info("out" + name, None)], [w])
        c.write(f"h{number}.onnx", m)
        for target in ("c",) if MODE == "quick" else ("c", "avx2"):
            p = c.lcc(f"h{number}.onnx", "-q", f"--target={target}")
            if not c.ok(f"{name!r}: lcc", p.returncode == OK, p.stderr):
                continue
            for cc in (GCC, CLANG if MODE != "quick" else None):
                if not cc:
                    continue
                flags = ["-mavx2", "-mfma"] if target != "c" else []
                p = subprocess.run([cc, *WARNINGS, *flags, "-c", f"h{number}.c", "-o", "h.o"], cwd=c.cwd, capture_output=True)
                c.ok(f"{name!r}: {os.path.basename(cc)} {target}", p.returncode == 0, p.stderr)
            p = c.lcc("info", f"h{number}.onnx")
            c.ok(f"{name!r}: info is printable", p.returncode == OK and p.stdout.decode("utf-8").replace("\n", "").isprintable(),
                 p.stdout)
            j = json.loads(c.lcc("info", f"h{number}.onnx", "--json").stdout)
            c.ok(f"{name!r}: JSON holds the name", j["inputs"][0]["name"] == (name or "x"), j["inputs"])
    for cc in (GCC,):
        c.write("all.cpp", "".join(f'#include "h{i}.h"\n' for i in range(len(HOSTILE))))
        p = cc and subprocess.run(["g++", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "all.cpp"],
                                  cwd=c.cwd, capture_output=True) if shutil.which("g++") else None
        c.ok("headers are C++ too", not p or p.returncode == 0, p and p.stderr)


# ---- verbs -------------------------------------------------------------------------------------------

@test()
def verbs(c):
    c.write("m.onnx", dense_model())
    p = c.lcc("info", "m.onnx", "--target=avx2")
    for text in ("input   x  f32[N,64]", "output  y  f32[N,32]", "dim     N", "target  avx2", "kernels ", "arena   ",
                 "weights 8320 bytes", "build   cc -O2"):
        c.ok(f"info: {text}", text in p.stdout.decode(), p.stdout)
    j = json.loads(c.lcc("info", "m.onnx", "--json", "--dim", "N=4").stdout)
    c.ok("info --json", j["schema"] == 1 and j["inputs"][0] == {"name": "x", "type": "f32", "shape": [4, 64]} and
         j["flop"] > 4 * 64 * 32 and j["dims"] == [] and len(j["sha256"]) == 64, j)
    p = c.lcc("targets")
    c.ok("targets", b"avx2" in p.stdout and p.stdout.startswith(b"c "), p.stdout)
    j = json.loads(c.lcc("targets", "--json").stdout)
    c.ok("targets --json", j["schema"] == 1 and "c" in [t["name"] for t in j["targets"]], j)
    p = c.lcc("ops", "m.onnx")
    c.ok("ops of a model", p.stdout.decode().split()[:3] == ["Add-14", "1", "node"] and b"Relu-14" in p.stdout, p.stdout)
    nodes = [h.make_node("Relu", ["x"], ["t"]), h.make_node("NoSuchOp", ["t"], ["y"], domain="my.own")]
    m = model(nodes, [info("x", [2])], [info("y", [2])])
    m.opset_import.append(h.make_opsetid("my.own", 3))
    c.write("odd.onnx", m)
    p = c.lcc("ops", "odd.onnx")
    c.ok("ops names what is missing", p.returncode == OK and b"my.own.NoSuchOp-3" in p.stdout and
         b"not supported" in p.stdout, p.stdout)
    ops = json.loads(c.lcc("ops", "--json").stdout)["ops"]
    c.ok("ops --json", len(ops) > 100 and {"domain": "", "op": "Relu", "version": 14, "kind": "map"} in ops)


def numpy_dense(x, m):
    w, b = (numpy_helper.to_array(t) for t in m.graph.initializer)
    return np.maximum(x @ w + b, 0)


def jits():
    return ["tcc"] + (["cc"] if GCC and MODE != "quick" else [])


@test()
def run_verb(c):
    m = dense_model()
    c.write("m.onnx", m)
    x = np.random.default_rng(2).standard_normal((5, 64)).astype(np.float32)
    want = numpy_dense(x, m)
    np.save(c.path("x.npy"), x)
    np.save(c.path("f.npy"), np.asfortranarray(x))
    np.save(c.path("d.npy"), x.astype(np.float64))
    c.write("x.bin", x.tobytes())
    c.write("x.pb", numpy_helper.from_array(x, "x"))
    c.write("data/input_0.pb", numpy_helper.from_array(x, "x"))
    for jit in jits():
        for given in (["x=@x.npy"], ["x=@f.npy"], ["x=@x.pb"], ["--data=data"], ["x=@x.bin", "--dim=N=5"]):
            p = c.says(["run", "m.onnx", *given, f"--jit={jit}", "--save=out", "--save-as=npy"], OK, f"--jit={jit}")
            got = np.load(c.path("out/output_0.npy"))
            c.ok(f"run {given} {jit}", got.shape == want.shape and np.allclose(got, want, 1e-5, 1e-5), got)
            c.ok("stdout has the answer", p.stdout.startswith(b"y  f32[5,32]  ") and p.stdout.endswith(b" ...\n"), p.stdout)
    c.says(["run", "m.onnx", "x=@x.npy", "--save=out", "-q", "--jit=tcc"], OK)
    with open(c.path("out/output_0.pb"), "rb") as f:
        t = T.FromString(f.read())
    c.ok("--save writes TensorProtos", t.name == "y" and np.allclose(numpy_helper.to_array(t), want, 1e-5, 1e-5))
    a = c.lcc("run", "m.onnx", "x=random:7", "--dim=N=2", "-q", "--jit=tcc").stdout
    c.ok("random is the same twice", a and a == c.lcc("run", "m.onnx", "x=random:7", "--dim=N=2", "-q", "--jit=tcc").stdout)
    c.ok("another seed, another answer", a != c.lcc("run", "m.onnx", "x=random:8", "--dim=N=2", "-q", "--jit=tcc").stdout)
    j = json.loads(c.lcc("run", "m.onnx", "x=ones", "--dim=N=1", "--json", "--jit=tcc").stdout)
    one = numpy_dense(np.ones((1, 64), np.float32), m)[0]
    c.ok("--json and ones", np.allclose(j["outputs"][0]["first"], one[:8], 1e-5, 1e-5), j)
    c.write("cut.npy", c.read("x.npy")[:-4])
    c.write("no.npy", b"\x93NUMPX" + bytes(100))
    c.write("neg.npy", c.read("x.npy").replace(b"(5, 64)", b"(-5, 64)".replace(b"-5, 64", b"-5,64")))
    for words, code, text in (([], USAGE, "no value for the input x"), (["x"], USAGE, "expected INPUT=@FILE"),
                              (["z=ones"], USAGE, "no input z"), (["x=ones"], USAGE, "--dim N="),
                              (["x=some"], USAGE, "--dim"), (["x=some", "--dim=N=1"], USAGE, "random:SEED"),
                              (["x=@x.txt"], USAGE, "suffix"), (["x=@missing.npy"], IO, "cannot open"),
                              (["x=@cut.npy"], MALFORMED, "cut short"), (["x=@no.npy"], MALFORMED, "NUMPY"),
                              (["x=@neg.npy"], MALFORMED, "extents"),
                              (["x=@d.npy"], USAGE, "input x is f64[5,64], the model takes f32[N,64]"),
                              (["x=@x.npy", "--dim=N=4"], USAGE, "input x is f32[5,64], the model takes f32[4,64]"),
                              (["x=@x.bin", "--dim=N=4"], USAGE, "bytes"), (["--data=nowhere"], IO, "no such folder"),
                              (["x=ones", "--dim=N=1", "--jit=tcc", "--target=avx2"], USAGE, "--target=c only")):
        c.says(["run", "m.onnx", "--jit=tcc", *words], code, text)
    c.ok("nothing is left behind", not [f for f in c.files() if f.startswith(".lcc")], c.files())


@test()
def run_types(c):
    """Every numeric type through a file, the model and back, bit by bit."""
    types = {T.FLOAT: "f4", T.DOUBLE: "f8", T.FLOAT16: "f2", T.INT8: "i1", T.INT16: "i2", T.INT32: "i4",
             T.INT64: "i8", T.UINT8: "u1", T.UINT16: "u2", T.UINT32: "u4", T.UINT64: "u8", T.BOOL: "?"}
    rng = np.random.default_rng(3)
    for elem, dtype in types.items():
        bits = rng.integers(0, 2, 6) if dtype == "?" else np.frombuffer(rng.bytes(6 * np.dtype(dtype).itemsize), dtype)
        x = np.nan_to_num(bits.astype(dtype).reshape(2, 3))
        c.write("t.onnx", model([h.make_node("Transpose", ["x"], ["y"])], [info("x", [2, 3], elem)],
                                [info("y", [3, 2], elem)]))
        np.save(c.path("x.npy"), x)
        p = c.lcc("run", "t.onnx", "x=@x.npy", "--jit=tcc", "--save=o", "--save-as=npy", "-q")
        got = p.returncode == OK and np.load(c.path("o/output_0.npy"))
        c.ok(f"{dtype}", p.returncode == OK and got.dtype == x.dtype and (got == x.T).all(), (p.stderr, x, got))


@test()
def check_verb(c):
    m = dense_model()
    x = np.random.default_rng(4).standard_normal((3, 64)).astype(np.float32)
    y = numpy_dense(x, m)
    c.write("m.onnx", m)
    for i, (dx, dy) in enumerate(((x, y), (x[:1], y[:1]))):
        c.write(f"test_data_set_{i}/input_0.pb", numpy_helper.from_array(dx, "x"))
        c.write(f"test_data_set_{i}/output_0.pb", numpy_helper.from_array(dy, "y"))
    p = c.says(["check", "m.onnx", "--jit=tcc"], OK)
    c.ok("every set beside the model", b"2 of 2 values match (lepton: |d| <= 1e-06 + 0.0001 x the largest" in p.stdout, p.stdout)
    p = c.says(["check", "m.onnx", "--jit=tcc", "--per-node", "-v"], OK)
    c.ok("--per-node", b"node 0 'fc' (MatMul" in p.stdout, p.stdout)
    bad = y.copy()
    bad[1, 2] += 0.5
    c.write("bad/input_0.pb", numpy_helper.from_array(x, "x"))
    c.write("bad/output_0.pb", numpy_helper.from_array(bad, "y"))
    p = c.lcc("check", "m.onnx", "--data=bad", "--jit=tcc")
    c.ok("a mismatch: exit 1", p.returncode == MISMATCH, p.stdout)
    c.ok("it says where", b"MISMATCH y f32[3,32]: largest |d| 0.5" in p.stdout and b"worst at [1,2]" in p.stdout and
         b"1 of 96 beyond" in p.stdout, p.stdout)
    p = c.lcc("check", "m.onnx", "--data=bad", "--jit=tcc", "--json")
    c.ok("--json", p.returncode == MISMATCH and json.loads(p.stdout)["values"][0]["beyond"] == 1, p.stdout)
    c.says(["check", "m.onnx", "--data=bad", "--jit=tcc", "--tol=0.6"], OK)
    c.says(["check", "m.onnx", "--data=bad", "--jit=tcc", "--tol=0,0.5"], OK)
    c.ok("--tol can fail", c.lcc("check", "m.onnx", "--data=bad", "--jit=tcc", "--tol=0.4").returncode == MISMATCH)
    p = c.says(["check", "m.onnx", "--jit=tcc", "--tolerance=onnx"], OK)
    c.ok("--tolerance=onnx", b"(onnx: |d| <= 1e-07 + 0.001 x |reference|)" in p.stdout, p.stdout)
    c.says(["check", "m.onnx", "--jit=tcc", "--tol=x"], USAGE, "--tol=x: expected ABS or ABS,REL")
    for wrong in (y.astype(np.float64), y[:, :1], y[None]):
        c.write("bad/output_0.pb", numpy_helper.from_array(wrong, "y"))
        p = c.lcc("check", "m.onnx", "--data=bad", "--jit=tcc")
        c.ok("another shape or type is a mismatch", p.returncode == MISMATCH and b": got f32[3,32]" in p.stdout, p.stdout)
    nan = y.copy()
    nan[0, 0] = np.nan
    c.write("bad/output_0.pb", numpy_helper.from_array(nan, "y"))
    c.ok("a NaN is a mismatch", c.lcc("check", "m.onnx", "--data=bad", "--jit=tcc").returncode == MISMATCH)
    os.remove(c.path("bad/output_0.pb"))
    c.says(["check", "m.onnx", "--data=bad", "--jit=tcc"], IO, "holds no output_0.pb")
    c.says(["check", "m.onnx", "--data=bad", "--jit=tcc", "--per-node"], OK)
    c.write("alone/m.onnx", m)
    c.says(["check", "alone/m.onnx", "--jit=tcc"], USAGE, "nothing to compare with")
    c.says(["check", "alone/m.onnx", "--jit=tcc", "x=random:1", "--dim=N=2"], USAGE, "nothing to compare with")
    c.says(["check", "alone/m.onnx", "--jit=tcc", "x=random:1", "--dim=N=2", "--per-node"], OK)
    c.write("nope.sh", "#!/bin/sh\nexit 47\n")
    os.chmod(c.path("nope.sh"), 0o755)
    c.says(["check", "m.onnx", "--jit=tcc", "--against=ort"], TOOLCHAIN, "has no onnxruntime", "pip install onnxruntime",
           env={"PYTHON": "./nope.sh"})
    c.says(["check", "m.onnx", "--jit=tcc", "--against=ort"], TOOLCHAIN, "which is not there", env={"PYTHON": "./none"})
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        print("SKIP --against=ort: no onnxruntime")
        return
    p = c.says(["check", "alone/m.onnx", "--jit=tcc", "--against=ort", "--dim=N=2"], OK, env={"PYTHON": sys.executable})
    c.ok("--against=ort", b"1 of 1 values match" in p.stdout, p.stdout)


# ---- compilers -----------------------------------------------------------------------------------------

@test()
def no_compiler(c):
    """Without a C compiler: exit 7 and what to do; lcc run falls back to tcc."""
    c.write("m.onnx", add_model())
    bare = {"PATH": c.cwd, "CC": None}
    for args in (["m.onnx", "--emit=so", "-o", "m.so"], ["m.onnx", "--emit=obj", "-o", "m.o"]):
        c.says(args, TOOLCHAIN, "no C compiler found (tried $CC, cc, gcc, clang)",
               "apt install gcc, or lcc run --jit=tcc", env=bare)
    c.says(["m.onnx", "--emit=so", "--cc=nosuchcc", "-o", "m.so"], TOOLCHAIN, "tried nosuchcc")
    p = c.says(["run", "m.onnx", "x=ones"], OK, "--jit=tcc", env=bare)
    c.ok("run without a compiler", p.stdout == b"y  f32[2,3]  2.0 3.0 4.0 2.0 3.0 4.0\n", p.stdout)
    c.write("fails", "#!/bin/sh\necho oops >&2\nexit 3\n")
    os.chmod(c.path("fails"), 0o755)
    p = c.lcc("m.onnx", "--emit=so", "--cc=./fails", "-o", "m.so")
    c.ok("a compiler that fails: exit 7", p.returncode == TOOLCHAIN and b"oops" in p.stderr and b"exit code 3" in p.stderr, p.stderr)
    c.ok("nothing is left behind", c.files() == ["fails", "m.onnx"], c.files())


@test(quick=False)
def built(c):
    if not GCC:
        print("SKIP --emit=so: no gcc")
        return
    m = dense_model(512, 256)
    c.write("m.onnx", m)
    for cc in [cc for cc in (GCC, CLANG, shutil.which("tcc")) if cc]:
        c.says(["m.onnx", "--emit=so", f"--cc={cc}", "-q", "-o", "m.so"], OK)
        c.ok(f"{cc}: m.so", c.read("m.so").startswith(b"\x7fELF"))
    for weights in ("c", "string", "incbin", "obj"):
        c.says(["m.onnx", "--emit=so", f"--weights={weights}", "-q", "-o", "w.so"], OK)
    c.says(["m.onnx", "--emit=c,so,obj", "-q", "-o", "all.c", "--target=avx2"], OK)
    c.ok("several kinds", {"all.c", "all.h", "all.so", "all.o", "all_weights.o"} <= set(c.files()), c.files())
    c.write("use.c", '#include "all.h"\n#include <stdio.h>\n#include <stdlib.h>\nstatic float x[512], y[256];\n'
            "int main(void) { all_dims d = {1}; int i; void *a = aligned_alloc(64, 1 << 20);\n"
            "  for (i = 0; i < 512; i++) x[i] = 1;\n"
            '  i = all_run(&d, x, y, a); printf("%d %.4f\\n", i, y[0]); return 0; }\n')
    p = subprocess.run([GCC, "use.c", "all.o", "-lm", "-o", "use"], cwd=c.cwd, capture_output=True)
    if c.ok("the object links alone", p.returncode == 0, p.stderr):
        p = subprocess.run(["./use"], cwd=c.cwd, capture_output=True, text=True)
        want = numpy_dense(np.ones((1, 512), np.float32), m)[0, 0]
        c.ok("and runs", p.stdout.split() and p.stdout.split()[0] == "0" and
             abs(float(p.stdout.split()[1]) - want) < 1e-2, (p.stdout, want))


def main():
    if not os.access(LCC, os.X_OK):
        print(f"{LCC} is not there (set $LCC)\n0 passed, 1 failed")
        return 1
    only = sys.argv[2:] and sys.argv[2]
    passed = failed = 0
    for f, quick in TESTS:
        if (MODE == "quick" and not quick) or (only and only != f.__name__):
            continue
        with tempfile.TemporaryDirectory() as cwd:
            c = Case(f.__name__, os.path.realpath(cwd))
            try:
                f(c)
            except Exception as e:  # a broken test is a failure, and the others still run
                c.ok(f"{type(e).__name__}: {e}", False)
            passed, failed = passed + c.passed, failed + c.failed
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
