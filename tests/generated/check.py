"""What is checked of one model's generated code for one target. Each check_* yields complaints."""
import functools
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

from . import outside

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WARNINGS = ("-pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wfloat-conversion "
            "-Wdouble-promotion -Wshadow -Wcast-align -Wstrict-aliasing=2 -Wvla -Wundef -Werror").split()
ISO = ["-std=c99", *WARNINGS]
BUILD_SECONDS, LCC_SECONDS = 1800, 600  # only against what never ends
UNDEFINED = "-fsanitize=undefined,float-cast-overflow", "-fno-sanitize-recover=all"
# name: (compiler, flags). MSan does not know what intrinsics do: for portable code only.
SANITIZERS = {
    "gcc ASan": ("gcc", ["-fsanitize=address", *UNDEFINED]),
    "clang ASan": ("clang", ["-fsanitize=address", *UNDEFINED]),
    "clang MSan": ("clang", ["-fsanitize=memory"]),
}
# Of code made with --threads: three of them.
RACES = {cc + " TSan": (cc, ["-fsanitize=thread", "-DHARNESS_THREADS=3", "-pthread"]) for cc in ("gcc", "clang")}
# Use after return is clang's to find: gcc's frames for it are aligned to 32 bytes (GCC bug 110027).
QUIET = {"gcc ASan": {"ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0"},
         "clang ASan": {"ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1"},
         "clang MSan": {}, **dict.fromkeys(RACES, {})}
# What compilers call on their own, and what position-independent code names.
ALWAYS_THERE = {"memcpy", "memmove", "memset", "memcmp", "_GLOBAL_OFFSET_TABLE_"}
KEEP = """#!/bin/sh
# Stands in for the C compiler: keeps its sources, makes an empty result.
cp -p ./* '%s' && : > result
"""


@functools.lru_cache(maxsize=None)
def sanitizer_there(name):
    """Can programs be linked with it here? (clang's run-time libraries are a package of their own.)"""
    compiler, flags = {**SANITIZERS, **RACES}[name]
    if not shutil.which(compiler):
        return False
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "empty.c"), "w", encoding="ascii") as f:
            f.write("int main(void) { return 0; }\n")
        code, _ = run([compiler, *flags, "empty.c", "-o", "empty"], folder)
    if code:
        print(f"{name} is not installed: left out", file=sys.stderr, flush=True)
    return code == 0


class Refused(RuntimeError):
    """lcc does not support the model."""


class Broken(RuntimeError):
    """lcc failed where it must not."""


def run(command, folder, seconds=BUILD_SECONDS, **more):
    """(exit code, messages) of a program."""
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, timeout=seconds, **more)
    except subprocess.TimeoutExpired:
        return -1, f"{command[0]}: more than {seconds} s"
    return done.returncode, done.stdout.decode(errors="replace").strip()


def telling(said):
    """The first lines of a compiler's messages that say something."""
    lines = [line.strip() for line in said.split("\n") if re.search(r"error|warning|runtime", line)]
    return " | ".join(lines[:2]) or said[:200]


def lcc_emit(lcc, model, options, folder, output):
    """Runs lcc; the options that were enough (weights above target c's limit go beside the source)."""
    for more in ([], ["--weights=file"]):
        code, said = run([lcc, model, *options, *more, "-q", "-o", output], folder, LCC_SECONDS)
        if code != 5:
            break
    if code == 4:
        raise Refused(telling(said).partition("error: ")[2] or said)
    if code or said:
        raise Broken(f"{os.path.basename(lcc)} exit code {code}: {telling(said)}")
    return [*options, *more]


def check_compilers(job):
    """Clean under every warning, gcc and clang; the header also as C++; tcc for portable code."""
    folder = job.folder
    for compiler, flags in (("gcc", ["-O2", "-fno-pie", "-fstack-usage", "-c", "-o", "net.o"]),
                            ("clang", ["-fsyntax-only"])):
        code, said = run([compiler, *ISO, *flags, "net.c"], folder)
        if code or said:
            yield f"{compiler}: {telling(said)}"
    with open(os.path.join(folder, "twice.cpp"), "w", encoding="ascii") as f:
        f.write('#include "net.h"\n#include "net.h"\n')
    for compiler in ("g++", "clang++"):
        if shutil.which(compiler):
            code, said = run([compiler, "-std=c++11", *WARNINGS, "-fsyntax-only", "twice.cpp"], folder)
            if code or said:
                yield f"{compiler}: {telling(said)}"
    if job.target == "c" and shutil.which("tcc"):
        code, said = run(["tcc", "-Wall", "-Werror", "-c", "-o", "net_tcc.o", "net.c"], folder)
        if code or said:
            yield f"tcc: {telling(said)}"


def libc_allowed():
    with open(os.path.join(ROOT, "codegen", "libc.def"), encoding="utf-8") as f:
        return ALWAYS_THERE | set(re.findall(r"^LIBC\((\w+)", f.read(), re.M))


def check_symbols(job):
    """No heap, no stdio, no variables: only libm and the few functions of libc.def are called."""
    _, said = run(["nm", "net.o"], job.folder)
    allowed = libc_allowed()
    for kind, name in re.findall(r"^[0-9a-f ]*([A-Za-z]) (\S+)$", said, re.M):
        if kind == "U" and name not in allowed and not re.search(r"_weights(_\d+)?$", name):
            yield f"calls {name}"
        if kind in "BbCDdGgSs":
            yield f"variable {name}"
        if kind in "TRr" and kind == "T" and not name.startswith("net_"):
            yield f"public symbol {name} without the prefix"


def frames(job):
    """[(bytes, function, whether that is a bound)] of all stack frames."""
    rows = []
    for path in glob.glob(os.path.join(glob.escape(job.folder), "*.su")):
        with open(path, encoding="utf-8") as f:
            for where, size, kind in (line.rstrip("\n").split("\t") for line in f):
                rows.append((int(size), where.rpartition(":")[2], kind != "dynamic"))
    return rows


def check_frames(job):
    """Every stack frame has a size known when compiling (no VLA, no alloca)."""
    for _, function, bounded in frames(job):
        if not bounded:
            yield f"stack frame of run-time size: {function}"


def check_bytes(job):
    """The same bytes from another working folder, another run and another build of lcc."""
    for lcc in filter(None, (job.lcc, job.lcc_other)):
        other = os.path.join(job.folder, "again")
        os.mkdir(other)
        lcc_emit(lcc, os.path.relpath(job.model, other), job.options, other, "net.c")
        for name in sorted(os.listdir(other)):
            with open(os.path.join(other, name), "rb") as a, open(os.path.join(job.folder, name), "rb") as b:
                if a.read() != b.read():
                    yield f"{name} differs: {'another folder' if lcc == job.lcc else 'another build'}"
        shutil.rmtree(other)


def bridge_sources(job):
    """Lets lcc believe that it builds a shared object: the sources with the bridge, in a folder."""
    folder = os.path.join(job.folder, "bridge")
    os.mkdir(folder)
    keep = os.path.join(job.folder, "keep.sh")
    with open(keep, "w", encoding="utf-8") as f:
        f.write(KEEP % folder)
    options = [o for o in job.options if not o.startswith("--weights")]
    lcc_emit(job.lcc, job.model, [*options, "--emit=so", f"--cc=sh {keep}"], job.folder, "net.so")
    return folder


def program_build(job, folder, name):
    compiler, flags = {**SANITIZERS, **RACES}[name]
    program = os.path.join(job.folder, name.replace(" ", "_"))
    sources = sorted(f for f in os.listdir(folder) if f.endswith((".c", ".o")))
    code, said = run([compiler, "-std=gnu11", "-O1", "-g1", "-w", *flags, os.path.join(HERE, "harness.c"),
                      *sources, "-o", program, "-lm"], folder)
    if code or said:
        raise Broken(f"{name}: does not build: {telling(said)}")
    return program


def same_bits(a, b):
    """Outputs of two compilers: equal but for the bits of NaN."""
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same_bits, a, b))
    if isinstance(a, dict) or a is None:
        return a == b
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    differs = a != b
    return not (differs & ((a == a) | (b == b))).any() if a.size else True


def check_runs(job):
    """Silent under sanitizers on the test data, and the same bits from all compilers."""
    folder = bridge_sources(job)
    first = None
    for name in job.sanitizers:
        try:
            program = program_build(job, folder, name)
            signature = subprocess.run([program], capture_output=True, check=True).stdout.decode()
            model = outside.Outside(signature, program, job.folder, QUIET[name], job.seconds, job.times)
            outputs = [model.run(inputs) for inputs in job.inputs]
        except (Broken, outside.HarnessError) as e:
            yield f"{name}: {e}"
            continue
        except Exception as e:  # a refusal that the model's own tests judge
            yield f"{name}: {type(e).__name__}: {e}"
            continue
        if first is None:
            first = name, outputs
        elif not same_bits(first[1], outputs):
            yield f"{name} and {first[0]} give different bits"
