"""ONNX to linked executable, for compile_cost.py --link: seconds and memory of lcc and of the C compiler, apart.

The program is model.c with its weights as an object and a main() that calls the model once on zeros; it is run, so
that what was measured is known to work. One C compiler at a time: whoever has two cores can compile two models. All
files are new in each run: lcc would leave those that are right already as they are. `cc once`: with the option that
model.c names for large weights, so that the linker does not read them all again for a hash; the goal is without it.
"""
import json
import math
import os
import re
import shlex
import shutil
import statistics
import subprocess
import tempfile
import time

ONCE = "-Wl,--build-id=none"
TOOLS = ("lcc", "cc", "cc once")
GOAL = 6.0  # seconds, lcc and the C compiler together
PARAMETER = re.compile(r"(?:const )?(\w+) \*(\w+) /\* \[([\d,]*)\] \*/")


def run_timed(command, folder, out=None):
    """{seconds (wall), cpu (user + system), peak} of a command and its children; it must succeed."""
    start = time.time()
    with open(out or os.devnull, "wb") as o:
        process = subprocess.Popen(command, cwd=folder, stdout=o, stderr=subprocess.PIPE)
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{os.path.basename(command[0])}: {said.decode(errors='replace').strip()[-200:]}")
    return {"seconds": time.time() - start, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}


def main_write(folder):
    """main.c: one call on zeros where all extents are numbers, else only a reference."""
    with open(os.path.join(folder, "model.h"), encoding="utf-8") as f:
        text = f.read()
    call = re.search(r"^int model_run\((.*?)\);", text, re.M | re.S).group(1)
    ports = PARAMETER.findall(call)
    plain = len(ports) + 1 == call.count("*") - 2 * call.count("/*") and "void *arena" in call
    lines = ['#include "model.h"']
    if plain:
        lines += [f"static {kind} {name}_[{math.prod(int(d) for d in dims.split(',') if d)}];" for kind, name, dims in ports]
        lines += ["static __attribute__((aligned(64))) unsigned char arena_[MODEL_ARENA_BYTES + 1];",
                  f"int main(void) {{ return model_run({', '.join(p[1] + '_' for p in ports)}, arena_); }}"]
    else:
        lines += ["int (*volatile model_)() = (int (*)())model_run;", "int main(void) { return !model_; }"]
    with open(os.path.join(folder, "main.c"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    return plain


def compiler(summary):
    """The C compiler with the flags lcc names."""
    flags = shlex.split(summary["build"])[1:]
    return [*shlex.split(os.environ.get("CC", "cc")), *flags[:flags.index("-c")]]


def link_once(lcc, path, target, folder):
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    out = os.path.join(folder, "summary")
    made = run_timed([lcc, os.path.abspath(path), f"--target={target}", "--weights=obj", "--json", "-q", "-o", "model.c"],
                     folder, out)
    with open(out, encoding="utf-8") as f:
        summary = json.load(f)
    called = main_write(folder)
    sources = ["main.c", "model.c"] + (["model_weights.o"] if os.path.exists(os.path.join(folder, "model_weights.o")) else [])
    built = run_timed([*compiler(summary), *sources, "-o", "model", "-lm"], folder)
    os.remove(os.path.join(folder, "model"))
    once = run_timed([*compiler(summary), *sources, ONCE, "-o", "model", "-lm"], folder)
    if subprocess.run([os.path.join(folder, "model")], check=False).returncode:
        raise RuntimeError("the program fails")
    return {"lcc": made, "cc": built, "cc once": once, "called": called, "kernels": summary["kernels"],
            "bytes": os.path.getsize(os.path.join(folder, "model"))}, summary


def functions_of(text):
    """([(name, first line, line after the last)] of the kernels, all lines)."""
    lines, found, start = text.split("\n"), [], None
    for i, line in enumerate(lines):
        m = re.match(r"static .*?\b(k\d+_\w+)\(", line)
        if m and line.endswith("{"):
            start = i, m.group(1)
        elif line == "}" and start:
            found.append((start[1], start[0], i + 1))
            start = None
    return found, lines


def slowest_functions(folder, summary, top=10):
    """[(seconds of the C compiler, lines, name)] of the kernels that take it longest: each compiled by itself."""
    with open(os.path.join(folder, "model.c"), encoding="utf-8") as f:
        functions, lines = functions_of(f.read())
    if not functions:
        return []
    first, last = functions[0][1], functions[-1][2]
    gone = {i for _, a, b in functions for i in range(a, b)}
    # what follows the kernels is the entry: it calls them all and stays out, but for the pragmas that close
    tail = [line for line in lines[last:] if line.startswith("#")]
    depth = 0
    for i, line in enumerate(tail):
        depth += line.startswith("#if")
        tail[i] = line if depth > 0 else ""
        depth -= line.startswith("#endif")

    def seconds(keep):
        head = [line for i, line in enumerate(lines[:last]) if i < first or i not in gone or i in keep]
        with open(os.path.join(folder, "one.c"), "w", encoding="utf-8") as f:
            f.write("\n".join(head + tail) + "\n")
        try:
            return run_timed([*compiler(summary), "-w", "-c", "one.c", "-o", "one.o"], folder)["cpu"]
        except RuntimeError:
            return None

    nothing, rows = seconds(set()) or 0.0, []
    for name, a, b in functions:
        was = lines[a]
        lines[a] = "__attribute__((used)) " + was
        took = seconds(set(range(a, b)))
        lines[a] = was
        if took is not None:
            rows.append((max(0.0, took - nothing), b - a, name))
    rows.append((nothing, first, "(all that is before the kernels: headers, helpers)"))
    return sorted(rows, reverse=True)[:top]


def link_row(lcc, path, target, runs, functions):
    """The row of one model, medians of the runs."""
    name = os.path.basename(path)
    name = os.path.basename(os.path.dirname(os.path.abspath(path))) if name == "model.onnx" else os.path.splitext(name)[0]
    row = {"model": name, "target": target}
    tmp = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        done = [link_once(lcc, path, target, tmp) for _ in range(runs)]
        for tool in TOOLS:
            row[tool] = {k: statistics.median(d[0][tool][k] for d in done) for k in ("seconds", "cpu", "peak")}
        row.update({k: done[0][0][k] for k in ("called", "kernels", "bytes")})
        row["seconds"] = statistics.median(d[0]["lcc"]["seconds"] + d[0]["cc"]["seconds"] for d in done)
        row["missed"] = row["seconds"] > GOAL
        if functions:
            row["functions"] = slowest_functions(tmp, done[0][1])
    except (RuntimeError, OSError) as e:
        row["said"] = str(e).splitlines()[-1][:150] if str(e) else type(e).__name__
    finally:
        shutil.rmtree(tmp)
    return row


def link_print(row):
    label = f"{row['model']:24} {row['target']:8}"
    if "said" in row:
        print(f"{label} {row['said']}", flush=True)
        return
    cells = "".join(f"{row[t]['seconds']:8.2f}{row[t]['cpu']:8.2f}{row[t]['peak'] / 1e6:8.0f}" for t in TOOLS)
    print(f"{label}{row['kernels']:8}{cells}{row['seconds']:8.2f}{row['bytes'] / 1e6:8.1f}"
          f"{'' if row['called'] else '  (linked, not called)'}{f'  over {GOAL} s' if row['missed'] else ''}", flush=True)
    for seconds, lines, name in row.get("functions", []):
        print(f"{'':26}{seconds:7.2f} s {lines:6} lines  {name}")


def link_all(lcc, models, targets, runs, functions):
    """Prints the table; the rows."""
    cells = "".join(f"{tool + ': s':>8}{'cpu s':>8}{'MB':>8}" for tool in ("lcc", "cc", "once"))
    print(f"{'':24} {'':8}{'kernels':>8}{cells}{'both s':>8}{'exe MB':>8}")
    rows = []
    for path in models:
        for target in targets:
            rows.append(link_row(lcc, path, target, runs, functions))
            link_print(rows[-1])
    return rows
