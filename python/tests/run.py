"""Tests of the loader against a bridge written by hand; needs a C compiler, not lcc.

    python3 python/tests/run.py
"""
import os
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

import ml_dtypes
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import lepton  # noqa: E402
from lepton.extent import extent_parse  # noqa: E402

# An lcc that copies a ready shared object, or fails as the model's text says.
FAKE_LCC = """#!/bin/sh
echo run >> "$LEPTON_FAKE/calls"
read -r first < "$1"
case "$first" in refuse*) echo "model.onnx: error: refused"; exit 4;; esac
while [ "$1" != -o ]; do shift; done
cp "$LEPTON_FAKE/hand.so" "$2"
"""


def setUpModule():
    global ROOT, FOLDER
    FOLDER = tempfile.TemporaryDirectory()
    ROOT = FOLDER.name
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", f"{ROOT}/hand.so",
                    os.path.join(HERE, "bridge.c")], check=True)
    with open(f"{ROOT}/lcc", "w", encoding="ascii") as f:
        f.write(FAKE_LCC)
    os.chmod(f"{ROOT}/lcc", 0o755)
    os.environ.update(LCC=f"{ROOT}/lcc", LEPTON_FAKE=ROOT, LEPTON_CACHE=f"{ROOT}/cache")


def tearDownModule():
    FOLDER.cleanup()


def arguments(n=5):
    return {"x": np.linspace(-1, 1, n).astype(np.float32), "y": np.ones(n, np.float32),
            "s": np.array(["a\0b", "é"], dtype=object),
            "q": np.array([-8, 3, -1], ml_dtypes.int4),
            "p": [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((1, 1), np.float32)],
            "o": np.array(7, np.int32)}


class Running(unittest.TestCase):
    def setUp(self):
        self.m = lepton.load(f"{ROOT}/hand.so")

    def test_all_kinds(self):
        a = arguments()
        total, twice, half, pos, parts, o, nothing, both, maps = self.m.run(a)
        np.testing.assert_array_equal(total, a["x"] + a["y"])
        self.assertEqual(twice.tolist(), ["a\0ba\0b", "éé"])
        self.assertEqual((half.dtype, half.astype(int).tolist()), (a["q"].dtype, [-4, 1, 0]))
        self.assertEqual(pos.tolist(), [[3, 4]])
        self.assertEqual([p.tolist() for p in parts], [[[1]], [[0, 1, 2], [3, 4, 5]]])
        self.assertEqual((int(o), o.shape, nothing), (-7, (), None))
        self.assertIs(both[0], total)
        self.assertEqual(maps, [{"a": 3, "b": 4}])

    def test_empty_kinds(self):
        a = dict(arguments(), o=None, p=[], s=np.array(["", ""], dtype=object))
        _, twice, _, _, parts, o, *_ = self.m.run(list(a.values()))
        self.assertEqual((twice.tolist(), parts, o), (["", ""], [], None))

    def test_capacity_grows(self):
        n = 9000
        a = dict(arguments(n), x=np.ones(n, np.float32), p=[np.ones((n, 2), np.float32)])
        pos, parts = self.m.run(a)[3:5]
        self.assertEqual((pos.shape, parts[0].shape), ((1, n), (n, 2)))

    def test_out(self):
        a, total, half = arguments(), np.empty(5, np.float32), np.empty(3, ml_dtypes.int4)
        results = self.m.run(a, out=[total, None, half])
        self.assertIs(results[0], total)
        self.assertEqual(total.tolist(), (a["x"] + a["y"]).tolist())
        self.assertEqual(half.astype(int).tolist(), [-4, 1, 0])
        with self.assertRaises(ValueError):
            self.m.run(a, out=[np.empty(5, np.float64)])

    def test_strided_input(self):
        a = arguments(4)
        a["x"] = np.arange(8, dtype=np.float32)[::2]
        np.testing.assert_array_equal(self.m.run(a)[0], a["x"] + 1)

    def test_errors(self):
        a = arguments()
        with self.assertRaises(lepton.RunError) as e:
            self.m.run(dict(a, x=np.full(5, 1000, np.float32)))
        self.assertEqual(e.exception.code, 1)
        for wrong in (dict(a, y=np.ones(4, np.float32)), dict(a, x=np.ones((5, 1), np.float32)),
                      dict(a, z=1), {"x": a["x"]}, dict(a, x=np.ones(0, np.float32)),
                      dict(a, p=[np.ones(3, np.float32)])):
            self.assertRaises(ValueError, self.m.run, wrong)
        self.assertRaises(TypeError, self.m.run, dict(a, x=np.ones(5)))
        self.assertRaises(TypeError, self.m.run, dict(a, s=np.ones(2)))

    def test_ports(self):
        self.assertEqual(self.m.inputs[0], ("x", "tensor", np.dtype("f4"), ("N",)))
        self.assertEqual([p.kind for p in self.m.inputs[4:]], ["sequence", "optional"])
        self.assertEqual(self.m.outputs[3].shape, (1, None))


class Compiling(unittest.TestCase):
    def calls(self):
        try:
            with open(f"{ROOT}/calls", encoding="ascii") as f:
                return len(f.readlines())
        except FileNotFoundError:
            return 0

    def test_cache(self):
        before = self.calls()
        first = lepton.compile(b"model one\n")
        self.assertEqual(lepton.compile(b"model one\n").path, first.path)
        self.assertEqual(self.calls() - before, 1)
        lepton.compile(b"model one\n", dims={"N": 3})
        lepton.compile(b"model one\n", options=["-O0"])
        self.assertEqual(self.calls() - before, 3)

    def test_damaged_entry(self):
        path = lepton.compile(b"model two\n").path
        with open(f"{ROOT}/short", "wb") as f:
            f.write(b"damaged")
        os.replace(f"{ROOT}/short", path)  # a new file: the old one is still mapped
        lepton.compile(b"model two\n").run(arguments())

    def test_race(self):
        code = "import sys; sys.path.insert(0, sys.argv[1]); import lepton; " \
               "print(lepton.compile(b'model three\\n').path)"
        racing = [subprocess.Popen([sys.executable, "-c", code, os.path.dirname(HERE)],
                                   stdout=subprocess.PIPE, text=True) for _ in range(4)]
        paths = {p.communicate()[0] for p in racing}
        self.assertEqual(([p.returncode for p in racing], len(paths)), ([0] * 4, 1))

    def entries(self):
        return {n for n in os.listdir(f"{ROOT}/cache") if not n.startswith((".", "new-", "old-"))}

    def age(self, entry, seconds):
        at = time.time() - seconds
        os.utime(f"{ROOT}/cache/{entry}/sha256", (at, at))

    def test_bound(self):
        names = []
        for i in range(4):
            m = lepton.compile(b"bound %d\n" % i)
            names.append(os.path.basename(os.path.dirname(m.path)))
        size = os.path.getsize(m.path) + 64
        for e in self.entries():
            self.age(e, 10000)
        for i, e in enumerate(names):
            self.age(e, 5000 - i)
        lepton.compile(b"bound 0\n")  # used again: now the last to go
        os.mkdir(f"{ROOT}/cache/new-left")
        os.utime(f"{ROOT}/cache/new-left", (0, 0))
        os.mkdir(f"{ROOT}/cache/new-now")
        with unittest.mock.patch.dict(os.environ, LEPTON_CACHE_MAX=str(3 * size)):
            last = lepton.compile(b"bound 4\n")
        self.assertEqual(self.entries(), {names[0], names[3], os.path.basename(os.path.dirname(last.path))})
        self.assertEqual(sorted(n for n in os.listdir(f"{ROOT}/cache") if "-" in n), ["new-now"])
        os.rmdir(f"{ROOT}/cache/new-now")
        m.run(arguments())  # loaded before its file went
        with unittest.mock.patch.dict(os.environ, LEPTON_CACHE_MAX="0"):
            lepton.compile(b"bound 5\n")  # those just used stay
        self.assertIn(names[0], self.entries())

    def test_bound_named_wrongly(self):
        for text in ("2 GB", "-1", "two"):
            with unittest.mock.patch.dict(os.environ, LEPTON_CACHE_MAX=text):
                self.assertRaises(ValueError, lepton.compile, b"bound 6\n")

    def test_race_for_room(self):
        """Processes that remove each other's entries at once all get theirs."""
        code = "import sys; sys.path.insert(0, sys.argv[1]); import lepton, lepton.cache; lepton.cache.FRESH = 0\n" \
               "for i in range(12): assert lepton.compile(b'room %d\\n' % (i % 5)).inputs"
        racing = [subprocess.Popen([sys.executable, "-c", code, os.path.dirname(HERE)],
                                   env={**os.environ, "LEPTON_CACHE_MAX": "0", "LEPTON_CACHE": f"{ROOT}/room"},
                                   stderr=subprocess.PIPE, text=True) for _ in range(4)]
        said = [p.communicate()[1] for p in racing]
        self.assertEqual([p.returncode for p in racing], [0] * 4, said)
        self.assertLessEqual(len(os.listdir(f"{ROOT}/room")), 1)

    def test_external_file(self):
        path, before = f"{ROOT}/e.onnx", self.calls()
        with open(path, "wb") as f:
            f.write(b"x\n\x0a\x08location\x12\x05w.bin")
        for text in ("1", "2", "2"):
            with open(f"{ROOT}/w.bin", "w", encoding="ascii") as f:
                f.write(text)
            lepton.compile(path)
        self.assertEqual(self.calls() - before, 2)

    def test_refused(self):
        with self.assertRaises(lepton.CompileError) as e:
            lepton.compile(b"refuse\n")
        self.assertEqual((e.exception.code, e.exception.text), (4, "model.onnx: error: refused\n"))
        self.assertEqual([n for n in os.listdir(f"{ROOT}/cache") if n.startswith("new-")], [])


class Extents(unittest.TestCase):
    def test_values(self):
        for text, n, want in [("N", 5, 5), ("(N + 3) / 4", 5, 2), ("(N - 9) // 4", 4, -2),
                              ("(N - 9) / 4", 4, -1), ("N % 3 * 2", 5, 4),
                              ("min(N, 4) - 1 - 1", 9, 2),
                              ("select((N < 4), 1, 2)", 4, 2), ("N == 4 ? 7 : N > 4 ? 8 : 9", 5, 8),
                              ("!(N < 2) && N != 3", 3, 0), ("rem(-N, 3)", 5, -2), ("N / 0", 5, 0)]:
            self.assertEqual(extent_parse(text)({"N": n}), want, text)

    def test_refused(self):
        for text in ("", "N +", "(N", "N N", "f(N)", "N @ 2", "__import__('os')"):
            self.assertRaises(ValueError, extent_parse, text)


if __name__ == "__main__":
    unittest.main()
