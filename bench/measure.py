"""One case measured: builds all sides, checks lcc's answer, times them interleaved (timing.py), puts shares to it.

`python3 measure.py '{"case": …}'` is what run.py starts for each case, in a process of its own: pools of threads,
memory and crashes of one case must not reach the next. Its last line of output is the row as JSON.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

import cases as case_list
import timing
from probe import Probe, target_of
from sides import PEERS, Lepton, LeptonState, error_of, lepton

LOOPS_FLOP = 1e8   # plain loops run at one GFLOP/s or so: only what is small
IREE_BYTES = 200 << 20  # its compiler takes minutes for more


def shapes_of(model, arrays):
    """lcc's options that bind the free extents of the inputs to those of these arrays."""
    return [f"--shape={port.name}={'x'.join(map(str, np.shape(array)))}" for port, array in zip(model.inputs, arrays)
            if any(isinstance(extent, str) for extent in port.shape or ())]


def summary_of(path, target, options, folder):
    """lcc's own account: flop, weights_bytes, arena_bytes; {} when it refuses."""
    command = [lepton.lcc_path(), path, f"--target={target}", "--json", "-q", "-o", os.path.join(folder, "account.c"),
               "--weights=obj", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for name in os.listdir(folder):
        if name.startswith("account"):
            os.remove(os.path.join(folder, name))
    return json.loads(done.stdout) if done.returncode == 0 else {}


def gathered_bytes(path):
    """Bytes of the tables of which only single rows are read (the embeddings of a language model)."""
    import onnx
    graph = onnx.load(path, load_external_data=False).graph
    readers = {}
    for node in graph.node:
        for i, name in enumerate(node.input):
            readers.setdefault(name, set()).add((node.op_type, i))
    width = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 2}
    return sum(int(np.prod(t.dims)) * width.get(t.data_type, 0) for t in graph.initializer
               if readers.get(t.name) == {("Gather", 0)})


def sides_make(wanted, case, path, target, threads, names, arrays, row):
    """The peers that take the case, bound; why the others do not goes to row["refused"]."""
    made, results = [], {}
    for kind in (PEERS[name] for name in wanted):
        if kind.name == "blas" and case.kind != "gemm":
            continue
        if kind.name == "loops" and (threads > 1 or not case.flop or case.flop > LOOPS_FLOP):
            continue
        if kind.name == "iree" and os.path.getsize(path) > IREE_BYTES:
            continue
        try:
            side = kind(path, target, threads, names)
            results[kind.name] = side.bind(arrays)
            made.append(side)
        except Exception as e:  # whatever a peer says about this model
            text = str(e).strip().splitlines()
            row["refused"][kind.name] = "not installed" if isinstance(e, ImportError) else \
                (text[0] if text else type(e).__name__)[:120]
    return made, results


def shares_put(row, account, probe, path, arrays, outputs):
    """share: of the multiply-add peak. roof: of what the peak or the memory, whichever is slower, would allow."""
    seconds = row["sides"]["lcc"]["ms"] * 1e-3
    weights, arena = account.get("weights_bytes") or 0, account.get("arena_bytes") or 0
    moved = weights - min(weights, gathered_bytes(path)) + sum(np.asarray(a).nbytes for a in [*arrays, *outputs] if isinstance(a, np.ndarray))
    level = probe.level_of(weights + arena)
    least = [moved / (row["reads"][level] * 1e9)]
    row.update(weights_bytes=weights, arena_bytes=arena, level=level, share=None)
    if row["flop"]:
        least.append(row["flop"] / (row["fma"] * 1e9))
        row["share"] = least[1] / seconds
    row["roof"] = max(least) / seconds


def measure(case, target, threads, options, folder):
    path = case.path(folder)
    row = {"case": case.name, "group": case.group.name, "kind": case.kind, "threads": threads, "refused": {}}
    if not os.path.isfile(path):
        return {**row, "note": f"no file {os.path.basename(path)} (bench/run.sh export makes it)"}
    try:
        first = (LeptonState if case.kind == "state" else Lepton)(path, target, threads)
        arrays = case_list.inputs_of(path, first.model)
        outputs = first.bind(arrays)
    except (lepton.CompileError, lepton.RunError, TypeError, ValueError) as e:
        return {**row, "note": str(e).strip().splitlines()[0].replace(path, case.name)[:160]}
    shapes = shapes_of(first.model, arrays)
    account = summary_of(path, target, [*first.options, *shapes], folder)
    row.update(target=target_of(target), shapes=shapes, build_seconds=first.seconds,
               flop=case.flop or account.get("flop"))
    case.flop = row["flop"]
    names = [p.name for p in first.model.inputs]
    peers, results = sides_make(options["peers"], case, path, target, threads, names, arrays, row)
    want = results.get("ort") or case_list.expected_of(path)
    row["error"], row["counts"] = error_of(outputs, want) if want else (None, False)
    if "ort" in results and not row["counts"]:  # its rewrites of QDQ round differently than the model says
        row["error_rewritten"] = row["error"]
        want = PEERS["ort"](path, target, threads, names, rewrites=False).bind(arrays)
        row["error"], row["counts"] = error_of(outputs, want)
    row["constant"] = bool(want) and not any(np.ptp(np.asarray(w, np.float64)) for w in want if np.size(w) > 1)
    row["peer_errors"] = {name: error_of(got, want)[0] for name, got in results.items() if name != "ort" and want}
    probe = Probe(target, folder, threads, wall=threads > 1 or options["wall"])
    row.update(timing.compare([first, *peers], probe, options["rounds"], threads, options["wall"], options["turn"],
                              options["tries"]))
    kept = first.states() if case.kind == "state" else ()  # each is counted once, as the output
    shares_put(row, account, probe, path, [a for i, a in enumerate(arrays) if i not in kept], outputs)
    ratios = {p: row["sides"][p]["ratio"] for p in case.group.peers if p in row["sides"]}
    row["best"] = min(ratios, key=ratios.get) if ratios else None
    row["ratio"] = ratios.get(row["best"])
    return row


def measure_apart(case, target, threads, options):
    """`measure` in a process of its own."""
    told = json.dumps({"case": case.name, "group": case.group.name, "target": target, "threads": threads,
                       "options": options})
    # peers run as they come: no setting of this shell decides their kernels or threads
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "OMP_", "MKL_", "KMP_", "ORT_", "OV_"))}
    done = subprocess.run([sys.executable, os.path.abspath(__file__), told], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, env=env)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = done.stderr.strip().splitlines()
        why = f"signal {-done.returncode}" if done.returncode < 0 else (said[-1] if said else "no answer")
        return {"case": case.name, "group": case.group.name, "kind": case.kind, "threads": threads,
                "note": f"measuring failed: {why}"[:160]}


def main():
    told = json.loads(sys.argv[1])
    case = next(c for c in case_list.cases_read() if c.name == told["case"] and c.group.name == told["group"])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LEPTON_CACHE"] = os.path.join(folder, "cache")  # builds of networks are large
        row = measure(case, told["target"], told["threads"], told["options"], folder)
    print(json.dumps(row), flush=True)
    os._exit(0)  # a peer's pool of threads may not end


if __name__ == "__main__":
    main()
