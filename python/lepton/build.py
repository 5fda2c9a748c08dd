"""compile(): runs lcc (and through it the C compiler) into a cache folder and loads the result.

The key of a cache entry (cache.py) covers the model's bytes and its external files, lcc's own bytes, every option,
the environment lcc reads and, because `native` means this processor, the machine.
"""
import hashlib
import mmap
import os
import platform
import re
import shutil
import subprocess
import tempfile

from .cache import TRIES, cache_folder, cache_max, cache_trim, entry_publish, entry_sign, entry_valid, file_hash
from .model import Model

ENVIRONMENT = ("CC", "CFLAGS", "LCC_FLAGS")
NO_TOOL = 7  # exit code of lcc when a tool is missing
# StringStringEntryProto { key: "location", value: <path> }, which only external tensors hold
LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]?[\x00-\x7f])")


class CompileError(RuntimeError):
    """lcc refused the model: `code` is its exit code (docs of lcc), `text` what it printed."""

    def __init__(self, code, text):
        super().__init__(text.strip() or f"lcc failed with code {code}")
        self.code, self.text = code, text


def lcc_path():
    """The lcc to run: $LCC, else build/lcc of the checkout this file lies in, else the path."""
    named = os.environ.get("LCC")
    if named:
        return named
    here = os.path.dirname(os.path.abspath(__file__))
    built = os.path.join(os.path.dirname(os.path.dirname(here)), "build", "lcc")
    found = built if os.access(built, os.X_OK) else shutil.which("lcc")
    if not found:
        raise CompileError(NO_TOOL, f"lcc not found (tried $LCC, {built} and the path)")
    return found


def external_files(data, folder):
    """Paths of the external data files that the model's bytes name."""
    names = set()
    for m in LOCATION.finditer(data):
        size = m.group(1)[0] & 0x7F
        if len(m.group(1)) > 1:
            size |= m.group(1)[1] << 7
        names.add(bytes(data[m.end():m.end() + size]).decode("utf-8", "surrogateescape"))
    paths = [os.path.join(folder, name) for name in sorted(names) if "\0" not in name]
    return [path for path in paths if os.path.isfile(path)]


def model_hash(model):
    """Hash of the model (a path or bytes) and of the external files it names."""
    if not isinstance(model, str):
        return hashlib.sha256(model).hexdigest()
    if os.path.getsize(model) == 0:
        return "empty"
    with open(model, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        parts = [hashlib.sha256(data).hexdigest()]
        parts += [file_hash(path) for path in external_files(data, os.path.dirname(model))]
    return " ".join(parts)


def machine_text():
    """What `native` may depend on."""
    text = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            first = f.read().split("\n\n")[0]
        keep = ("model name", "flags", "Features", "CPU part", "isa")
        return text + "".join(s for s in first.split("\n") if s.startswith(keep))
    except OSError:
        return text + platform.processor()


LCC_HASHES = {}  # path, size and time of change -> hash of lcc's bytes: read once a process


def lcc_hash(lcc):
    path = shutil.which(lcc) or lcc
    try:
        status = os.stat(path)
    except OSError as e:
        raise CompileError(NO_TOOL, f"lcc not found: {e}") from e
    key = (path, status.st_size, status.st_mtime_ns)
    if key not in LCC_HASHES:
        LCC_HASHES[key] = file_hash(path)
    return LCC_HASHES[key]


def run_lcc(command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
    except OSError as e:
        raise CompileError(NO_TOOL, f"cannot run lcc: {e}") from e
    if done.returncode:
        raise CompileError(done.returncode, done.stdout.decode("utf-8", "replace"))


def entry_make(command, model, entry):
    """Builds the cache entry in a folder beside it and renames it into place."""
    scratch = tempfile.mkdtemp(prefix="new-", dir=os.path.dirname(entry))
    try:
        if not isinstance(model, str):
            # a folder of its own without any other file: such a model can have no external data
            path = os.path.join(scratch, "in")
            os.mkdir(path)
            path = os.path.join(path, "model.onnx")
            with open(path, "wb") as f:
                f.write(model)
        else:
            path = model
        ready = os.path.join(scratch, "out")
        os.mkdir(ready)
        run_lcc([command[0], path, *command[1:], "-o", os.path.join(ready, "model.so")])
        entry_sign(ready)
        entry_publish(ready, entry)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def compile(model, target="native", threads=1, dims=None, options=()):
    """Compiles `model` (a path, or the bytes of a model without external data) and loads it.

    `threads` (a number, or "auto": as many as there are processors) share the work of a run.
    `dims` binds symbolic dimensions: {"batch": 1} or {"N": "1..64%8"}; `options` are further
    options of lcc. Raises CompileError.
    """
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    if not isinstance(model, str):
        model = bytes(model)
    elif not os.path.isfile(model):
        raise FileNotFoundError(f"no model file {model!r}")
    lcc = lcc_path()
    flags = [f"--target={target}", "--emit=so", *options]
    flags += [f"--dim={name}={value}" for name, value in sorted((dims or {}).items())]
    if threads != 1:
        flags.append(f"--threads={threads}")
    told = [f"{name}={os.environ.get(name)}" for name in ENVIRONMENT]
    parts = [lcc_hash(lcc), model_hash(model), machine_text(), *told, *flags]
    parts += [file_hash(o.split("=", 1)[1]) for o in flags if o.startswith("--tune-file=")]
    key = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
    folder = cache_folder()
    entry = os.path.join(folder, key[:32])
    cache_max()  # wrong settings are said before the work
    for left in range(TRIES)[::-1]:
        made = not entry_valid(entry)
        if made:
            entry_make([lcc, *flags], model, entry)
        try:
            result = Model(os.path.join(entry, "model.so"))
        except OSError:
            if left and not entry_valid(entry):  # removed meanwhile
                continue
            raise
        if made:
            cache_trim(folder)
        return result
