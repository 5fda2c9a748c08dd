"""Calls a function in a forked child: a crash or an endless loop there is one result here.

The child leads a session of its own, so compilers it left behind go with it.
"""
import json
import os
import resource
import select
import shutil
import signal
import tempfile
import time

MEMORY = 12 << 30  # address space of a child


def child(pipe, fn, args):
    """Never returns. The result travels as JSON."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        with os.fdopen(pipe, "w") as f:
            json.dump(fn(*args), f)
    finally:
        os._exit(0)


def read_until(pipe, deadline):
    """All of the pipe, or None when the deadline came first."""
    text = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(pipe, 1 << 16)
        if not part:
            return text
        text += part


def isolated(fn, args, seconds):
    """fn(folder, *args) in a child, `folder` being an empty scratch folder that also holds lepton's
    cache. Returns (result, None), or (None, what went wrong)."""
    folder = tempfile.mkdtemp(prefix="lepton-test-")
    os.environ["LEPTON_CACHE"] = os.path.join(folder, "cache")
    deadline = time.monotonic() + seconds
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        child(writer, fn, (folder, *args))
    os.close(writer)
    try:
        text = read_until(reader, deadline)
    finally:
        os.close(reader)
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        status = os.waitpid(pid, 0)[1]
        shutil.rmtree(folder, ignore_errors=True)
    if text is None:
        return None, f"more than {seconds} s"
    if not text:
        killed = os.WIFSIGNALED(status)
        return None, f"crash: {signal.Signals(os.WTERMSIG(status)).name if killed else 'no result'}"
    return json.loads(text), None
