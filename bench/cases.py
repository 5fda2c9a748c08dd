"""Reads cases.txt (its first lines are its format) and makes a model file and inputs of a case."""
import glob
import os

import numpy as np

import layers
from sides import lepton

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.environ.get("LEPTON_MODELS") or os.path.join(HERE, "..", "..", "shared", "models")
EXPORTS = os.environ.get("LEPTON_BENCH_MODELS") or os.path.join(HERE, "..", "build", "bench-models")
PEERS = "ort,ov"
RANDOM_DIM = 1  # of an extent that the model leaves free
rng = np.random.default_rng(1)


class Group:
    def __init__(self, name, facts):
        self.name, self.peers = name, facts.get("peers", PEERS).split(",")
        self.mean, self.least, self.aim, self.roof = (
            float(facts[k]) if k in facts else None for k in ("mean", "least", "aim", "roof"))


class Case:
    """`path(folder)` gives its model file, `flop` how much it computes (None: lcc's own count is taken)."""

    def __init__(self, group, kind, words, quick):
        self.group, self.kind, self.quick, self.words, self.flop = group, kind, quick, words, None
        self.name = {"net": words[0], "model": words[0], "state": f"{words[0]}+state"}.get(
            kind, f"{kind}-{'x'.join(words)}")

    def path(self, folder):
        if self.kind in ("net", "state"):
            return os.path.join(EXPORTS, self.words[0] + ".onnx")
        if self.kind == "model":
            return os.path.join(MODELS, self.name, "model.onnx")
        made = getattr(layers, self.kind)(*map(int, self.words))
        self.flop = made[1]
        return layers.layer_save(made, folder)


def model_names():
    return [os.path.basename(os.path.dirname(p)) for p in sorted(glob.glob(os.path.join(MODELS, "*", "model.onnx")))]


def cases_read(path=os.path.join(HERE, "cases.txt")):
    """All cases, in the order of the file."""
    cases, group = [], None
    with open(path, encoding="utf-8") as f:
        lines = [line.split("#", 1)[0].split() for line in f]
    named = {words[-1] for words in lines if words[-2:-1] == ["model"]}
    for words in filter(None, lines):
        if words[0] == "group":
            group = Group(words[1], dict(w.split("=", 1) for w in words[2:]))
            continue
        quick = words[0] == "*"
        kind, *rest = words[quick:]
        if (kind, rest) == ("model", ["*"]):
            cases += [Case(group, kind, [n], quick) for n in model_names() if n not in named]
        else:
            cases.append(Case(group, kind, rest, quick))
    return cases


def random_input(dtype, shape, name):
    shape = [s if isinstance(s, int) else RANDOM_DIM for s in shape]
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    top = 2 if "mask" in name or dtype.kind == "b" else 100
    return rng.integers(0, top, shape).astype(dtype)


def inputs_of(path, model):
    """The arrays of test_data_set_0 beside the model, else random ones, as C wants them."""
    data = os.path.join(os.path.dirname(path), "test_data_set_0")
    if os.path.isdir(data) and os.path.basename(path) == "model.onnx":
        load = lepton.tensor_load
        found = [load(os.path.join(data, f"input_{i}.pb"))[1] for i in range(len(model.inputs))]
    else:
        found = [random_input(p.dtype, p.shape, p.name) for p in model.inputs]
    return [np.ascontiguousarray(a) if isinstance(a, np.ndarray) and a.ndim else a for a in found]


def expected_of(path):
    """The outputs stored beside the model, or None."""
    data = os.path.join(os.path.dirname(path), "test_data_set_0")
    count = len(glob.glob(os.path.join(data, "output_*.pb")))
    return [lepton.tensor_load(os.path.join(data, f"output_{i}.pb"))[1] for i in range(count)] or None
