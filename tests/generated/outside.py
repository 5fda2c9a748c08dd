"""A compiled model in a process of its own: lepton.Model with harness.c where the shared object was.

The program is the generated C, its bridge and harness.c, built with a sanitizer that Python could not
live with. Everything above lepton_run (sequences, optionals, dims, capacities) is lepton.Model's.
"""
import ctypes
import os
import struct
import subprocess

import numpy as np

from lepton.model import Model
from lepton.types import STRING

TEXT = 1  # the kind of a text in the harness's files
DIFFERS = 3  # harness.c: a second run gave other bytes


class HarnessError(RuntimeError):
    """The program died, spoke, or contradicted itself."""


def words(*values):
    return struct.pack(f"={len(values)}q", *values)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def word(self):
        return struct.unpack("=q", self.bytes(8))[0]

    def bytes(self, n):
        self.at += n
        return self.data[self.at - n:self.at]


class Outside(Model):
    """`signature`: the JSON text of the bridge; `program`: built with harness.c."""

    def __init__(self, signature, program, folder, environment, seconds, times=2):
        # Model's own __init__ would load a library
        self.path, self._texts = program, []
        self._folder, self._environment = folder, environment
        self._seconds, self._times = seconds, times
        self._describe(signature)
        self._arena_bytes = lambda dims: 0  # the harness asks the program itself
        self._run = self._call_program

    def _kind(self, flat):
        return TEXT if flat.wire == STRING else 0

    def _in_file(self, dims, ins, outs, extra):
        parts = [words(extra, len(self._dims), *[dims[i] for i in range(len(self._dims))], len(self._in))]
        for flat, record in zip(self._in, ins):
            parts.append(words(self._kind(flat), flat.wire.itemsize, record.count, record.rank,
                               *record.dims[:record.rank]))
            data = ctypes.string_at(record.data, record.count * flat.wire.itemsize)
            if self._kind(flat) == TEXT:
                rows = np.frombuffer(data, STRING).tolist()
                data = b"".join(words(n) + ctypes.string_at(p, n) for p, n in rows)
            parts.append(data)
        parts.append(words(len(self._out)))
        parts += [words(self._kind(flat), flat.wire.itemsize, record.count)
                  for flat, record in zip(self._out, outs)]
        return b"".join(parts)

    def _read_output(self, reader, flat, record, code):
        record.rank = reader.word()
        record.dims[:record.rank] = [reader.word() for _ in range(record.rank)]
        if code:
            return
        count = int(np.prod(record.dims[:record.rank], dtype=np.int64))
        if self._kind(flat) == TEXT:
            rows = [reader.bytes(reader.word()) for _ in range(count)]
            texts = [ctypes.create_string_buffer(row, len(row) + 1) for row in rows]
            self._texts += texts
            data = np.array([(ctypes.addressof(t), len(row)) for t, row in zip(texts, rows)],
                            STRING).tobytes()
        else:
            data = reader.bytes(count * flat.wire.itemsize)
        ctypes.memmove(record.data, data, len(data))

    def _call_program(self, dims, ins, outs, arena, extra):
        """lepton_run; `extra`: bytes of arena beyond what the program says it needs."""
        given, made = (os.path.join(self._folder, name) for name in ("given", "made"))
        with open(given, "wb") as f:
            f.write(self._in_file(dims, ins, outs, extra))
        try:
            done = subprocess.run([self.path, given, made, str(self._times)], capture_output=True,
                                  env={**os.environ, **self._environment}, check=False,
                                  timeout=self._seconds)
        except subprocess.TimeoutExpired as e:
            raise HarnessError(f"more than {self._seconds} s") from e
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode == DIFFERS:
            raise HarnessError("a second run over another arena content gives other bytes")
        if done.returncode or said or done.stdout:
            raise HarnessError(first_report(said) or f"exit code {done.returncode}")
        with open(made, "rb") as f:
            reader = Reader(f.read())
        code = reader.word()
        for flat, record in zip(self._out, outs):
            if reader.at < len(reader.data):
                self._read_output(reader, flat, record, code)
        return code


def first_report(said):
    """The lines of a sanitizer's report that say what and where."""
    lines = said.split("\n")
    hits = [line.strip() for line in lines if "ERROR" in line or "runtime error" in line
            or "WARNING" in line or line.startswith("harness")]
    frames = [line.strip() for line in lines if line.lstrip().startswith("#")]
    return " | ".join([*hits[:1], *frames[:2]]) or said[:300]
