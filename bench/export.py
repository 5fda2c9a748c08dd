#!/usr/bin/env python3
"""Exports the networks of torchvision and transformers that bench/networks.py measures, with random weights.

usage: bench/export.py [-k TEXT] [--exporter=torchscript|dynamo] [FOLDER]

Needs torch, torchvision, onnx, onnxscript and transformers (PyPI). FOLDER: $LEPTON_BENCH_MODELS, else
build/bench-models. A file that is there already is kept.
"""
import argparse, os, sys

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.environ.get("LEPTON_BENCH_MODELS", os.path.join(HERE, "..", "build", "bench-models"))
VISION = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0",
          "squeezenet1_1", "shufflenet_v2_x1_0", "densenet121", "convnext_tiny", "vit_b_16", "swin_t")


class FirstOf(torch.nn.Module):
    """A transformer whose answer is the first of its outputs."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, *inputs):
        return self.net(*inputs, return_dict=False)[0]


class CachedStep(torch.nn.Module):
    """One decoding step of a GPT-2: a token and the keys and values of those before, as plain tensors."""

    def __init__(self, net, layers):
        super().__init__()
        self.net, self.layers = net, layers

    def forward(self, token, position, *past):
        h = self.net.wte(token) + self.net.wpe(position)
        new = []
        for i, block in enumerate(self.net.h):
            a, n = block.attn, block.ln_1(h)
            q, k, v = (t.view(1, 1, a.num_heads, -1).transpose(1, 2) for t in a.c_attn(n).split(h.shape[-1], dim=2))
            k, v = torch.cat([past[2 * i], k], 2), torch.cat([past[2 * i + 1], v], 2)
            new += [k, v]
            p = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, -1)
            h = h + a.c_proj((p @ v).transpose(1, 2).reshape(1, 1, -1))
            h = h + block.mlp(block.ln_2(h))
        return self.net.ln_f(h), *new


def vision(name):
    import torchvision
    net = getattr(torchvision.models, name)(weights=None).eval()
    for weight in net.parameters():  # a last layer of zeros would make every answer right
        if weight.dim() > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.02)
    return net, (torch.randn(1, 3, 224, 224),), ["input"]


def bert():
    from transformers import BertConfig, BertModel
    net = BertModel(BertConfig(attn_implementation="eager"), add_pooling_layer=False).eval()
    ids = torch.randint(0, 1000, (1, 128))
    return FirstOf(net), (ids, torch.ones_like(ids)), ["input_ids", "attention_mask"]


def gpt2_step():
    from transformers import GPT2Config, GPT2Model
    config = GPT2Config(attn_implementation="eager")
    past = [torch.randn(1, 12, 511, 64) for _ in range(24)]
    names = ["token", "position"] + [f"past_{i}" for i in range(24)]
    return CachedStep(GPT2Model(config).eval(), 12), (torch.zeros(1, 1, dtype=torch.long),
                                                      torch.full((1, 1), 511), *past), names


def cases():
    for name in VISION:
        yield name, lambda name=name: vision(name)
    yield "bert_base_128", bert
    yield "gpt2_step_512", gpt2_step


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", nargs="?", default=FOLDER)
    p.add_argument("-k", default="", help="only networks whose name holds TEXT")
    p.add_argument("--exporter", default="torchscript", choices=["torchscript", "dynamo"])
    a = p.parse_args()
    torch.backends.mha.set_fastpath_enabled(False)  # it has no ONNX form
    os.makedirs(a.folder, exist_ok=True)
    for name, make in cases():
        path = os.path.join(a.folder, name + ("" if a.exporter == "torchscript" else "-dynamo") + ".onnx")
        if a.k not in name or os.path.exists(path):
            continue
        torch.manual_seed(1)
        net, inputs, names = make()
        with torch.no_grad():
            torch.onnx.export(net, inputs, path + ".part", input_names=names, opset_version=17 if a.exporter == "torchscript" else 18,
                              dynamo=a.exporter == "dynamo", external_data=False)
        os.replace(path + ".part", path)
        print(f"{name}: {os.path.getsize(path) >> 20} MiB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
