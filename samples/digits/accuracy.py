"""Held-out accuracy of the generated code, beside ONNX Runtime's; fails unless equal and >= 97 %.

    python3 accuracy.py [target...]     default: c; needs the lepton package (../../python is found),
                                        numpy, ml_dtypes, onnxruntime and scikit-learn
"""
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "python")]
from data import held_out  # noqa: E402

LOWEST = 0.97


def answers(run, images):
    return np.concatenate([np.asarray(run(image[None])) for image in images])


def main(targets):
    import lepton
    import onnxruntime

    model = os.path.join(HERE, "digits.onnx")
    images, label = held_out()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    want = answers(lambda x: session.run(None, {"input": x})[0], images)
    share = np.mean(want.argmax(1) == label)
    print(f"onnxruntime     {share:.4f} of {len(label)} held-out images")
    good = share >= LOWEST
    for target in targets:
        compiled = lepton.compile(model, target=target)
        got = answers(lambda x: compiled.run([x])[0], images)
        equal = np.array_equal(got.argmax(1), want.argmax(1))
        mine = np.mean(got.argmax(1) == label)
        print(f"lcc {target:<11} {mine:.4f}, {'the same' if equal else 'OTHER'} answers, "
              f"largest difference {np.abs(got - want).max():.1e}")
        good = good and equal and mine == share and mine >= LOWEST
    print("ok" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["c"]))
