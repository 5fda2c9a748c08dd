"""The split of scikit-learn's bundled digits: 1,347 images to train on, 450 held out."""
import numpy as np
from sklearn.datasets import load_digits

HELD_OUT = 450


def split():
    data = load_digits()
    x = (data.images / 16).astype(np.float32)[:, None]  # [N,1,8,8] in 0..1, ink is 1
    order = np.random.RandomState(20260101).permutation(len(x))
    return x[order], data.target[order]


def training():
    x, label = split()
    return x[HELD_OUT:], label[HELD_OUT:]


def held_out():
    x, label = split()
    return x[:HELD_OUT], label[:HELD_OUT]
