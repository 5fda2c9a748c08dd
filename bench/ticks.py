"""Timers around every kernel call of a compiled model, for slowest.py.

`compile_ticked` has lcc call this file as its C compiler: it puts timers into the generated C and hands it to the
real one. A line of an entry function

    k03_conv(a, b, c); /* /layer1/conv */        →        { bench_tick(); k03_conv(a, b, c); bench_tock(7); }

The model then exports bench_took (nanoseconds a call site), bench_sites (what they are) and bench_cost().
"""
import ctypes
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile

CALL = re.compile(r"^(\s+)(k\d+_\w+)(\(.*\);)(?:\s*/\* (.*) \*/)?$")
KERNEL = re.compile(r"^/\* (k\d+_\w+)\b")
RULE = re.compile(r"^ \* rule (\w+)(?:, ([\d.e+-]+) FLOP)?(?:, reads ([\d.e+-]+) bytes)?(?:, writes ([\d.e+-]+))?")
HEAD = """#define _POSIX_C_SOURCE 199309L
#include <time.h>
double bench_took[%d];
static struct timespec bench_from;
static void bench_tick(void) {
    clock_gettime(CLOCK_MONOTONIC, &bench_from);
}
static void bench_tock(int site) {
    struct timespec to;
    clock_gettime(CLOCK_MONOTONIC, &to);
    bench_took[site] += 1e9 * (double)(to.tv_sec - bench_from.tv_sec) + (double)(to.tv_nsec - bench_from.tv_nsec);
}
double bench_cost(void) {
    bench_took[0] = 0;
    for (int i = 0; i < 1000; i++) {
        bench_tick();
        bench_tock(0);
    }
    return bench_took[0] / 1000;
}
const char bench_sites[] = %s;
"""


def ticked(text):
    """The generated C with timers; as it is when it calls no kernels."""
    facts, sites, lines, name = {}, [], [], None
    for line in text.split("\n"):
        found = KERNEL.match(line)
        name = found.group(1) if found else name
        found = RULE.match(line)
        if found and name:
            facts[name] = found.groups()
        found = CALL.match(line)
        if found and found.group(2) in facts:
            indent, kernel, rest, node = found.groups()
            line = f"{indent}{{ bench_tick(); {kernel}{rest} bench_tock({len(sites)}); }}"
            sites.append({"kernel": kernel, "node": node or "", **dict(zip(("rule", "flop", "reads", "writes"),
                                                                          facts[kernel]))})
        lines.append(line)
    if not sites:
        return text
    said = "\n".join('"' + json.dumps(s).replace("\\", "\\\\").replace('"', '\\"') + '\\n"' for s in sites)
    return HEAD % (len(sites), said) + "\n".join(lines)


def as_compiler(args):
    """The real C compiler on timed copies of its C files."""
    with tempfile.TemporaryDirectory() as folder:
        for i, arg in enumerate(args):
            if arg.endswith(".c") and os.path.isfile(arg):
                with open(arg, encoding="utf-8") as f:
                    text = ticked(f.read())
                args[i] = os.path.join(folder, f"{i}-{os.path.basename(arg)}")
                with open(args[i], "w", encoding="utf-8") as f:
                    f.write(text)
                args += ["-I", os.path.dirname(os.path.abspath(arg))]
        return subprocess.run([*shlex.split(os.environ.get("CC", "gcc")), *args], check=False).returncode


def compile_ticked(path, target, dims, folder):
    """lepton.compile with timers."""
    from sides import lepton
    script = os.path.join(folder, "cc")
    with open(script, "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(os.path.abspath(__file__))} \"$@\"\n")
    os.chmod(script, 0o755)
    return lepton.compile(path, target=target, dims=dims, options=(f"--cc={script}",))


def kernel_times(model, step, runs):
    """The sites with "ns" (median over the runs, without the timer's own cost), and nanoseconds of all of them."""
    lib = model._library
    text = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(lib, "bench_sites"))).decode()
    sites = [json.loads(line) for line in text.splitlines()]
    took = (ctypes.c_double * len(sites)).in_dll(lib, "bench_took")
    lib.bench_cost.restype = ctypes.c_double
    cost = min(lib.bench_cost() for _ in range(20))
    step()
    rows = []
    for _ in range(runs):
        ctypes.memset(took, 0, ctypes.sizeof(took))
        step()
        rows.append(list(took))
    for site, times in zip(sites, zip(*rows)):
        site["ns"] = max(0.0, statistics.median(times) - cost)
        for key in ("flop", "reads", "writes"):
            site[key] = float(site[key] or 0)
    return sites


if __name__ == "__main__":
    sys.exit(as_compiler(sys.argv[1:]))
