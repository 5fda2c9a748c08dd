"""The cache of builds: a folder of entries `<key>/`, each model.so and its SHA-256, bounded in size.

An entry appears and goes by one rename, so processes may race for it, and a damaged one is made again. When one
was made, those go whose last use is longest ago until all fit into $LEPTON_CACHE_MAX (2G), but none that was used
in the last minute: whoever found it may be about to load it. A loaded one may go, its file stays mapped.
"""
import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import time

MAX_DEFAULT = "2G"
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
TRIES = 20  # to have an entry that others may remove
FRESH = 60  # seconds since its last use in which an entry stays
LEFT = 24 * 3600  # seconds after which a folder that somebody was making or removing is a leftover
KEY = re.compile(r"[0-9a-f]{32}")
PASSING = re.compile(r"(new|old)-.*")
MARK = "sha256"  # of the entry; its time is that of the last use


def cache_folder():
    named = os.environ.get("LEPTON_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = named or os.path.join(base, "lepton")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def cache_max():
    """$LEPTON_CACHE_MAX in bytes: a number, or one with K, M, G or T."""
    text = os.environ.get("LEPTON_CACHE_MAX") or MAX_DEFAULT
    m = re.fullmatch(r"(\d+)([KMGT]?)", text.strip().upper(), re.ASCII)
    if not m:
        raise ValueError(f"LEPTON_CACHE_MAX={text}: expected bytes, as 500M or 2G")
    return int(m[1]) * UNITS[m[2]]


def file_hash(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def entry_valid(entry):
    """Is the cache entry whole? Then it counts as used."""
    mark = os.path.join(entry, MARK)
    try:
        with open(mark, encoding="ascii") as f:
            os.utime(mark)
            return f.read() == file_hash(os.path.join(entry, "model.so"))
    except (OSError, UnicodeDecodeError):
        return False


def entry_sign(entry):
    """Makes a folder with a model.so an entry."""
    with open(os.path.join(entry, MARK), "w", encoding="ascii") as f:
        f.write(file_hash(os.path.join(entry, "model.so")))


def entry_publish(ready, entry):
    """Renames a new folder into its place, unless another process was first with a whole one."""
    for _ in range(TRIES):
        try:
            os.rename(ready, entry)
            return
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if entry_valid(entry):
            return
        entry_remove(entry)


def entry_remove(entry):
    """By one rename first, so that nobody finds half of it."""
    with contextlib.suppress(OSError):  # another process was first
        gone = tempfile.mkdtemp(prefix="old-", dir=os.path.dirname(entry))
        try:
            os.rename(entry, os.path.join(gone, "entry"))
        finally:
            shutil.rmtree(gone, ignore_errors=True)


def entry_size(entry):
    """(time of the last use, bytes); one that is going has none."""
    used = size = 0
    for path in os.scandir(entry):
        status = path.stat(follow_symlinks=False)
        size += status.st_size
        used = max(used, status.st_mtime if path.name == MARK else 0)
    return used or os.stat(entry).st_mtime, size


def cache_trim(folder):
    """Removes what is too much, and what processes that ended midway left."""
    now, most, entries = time.time(), cache_max(), []
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            if KEY.fullmatch(name):
                entries.append((*entry_size(path), path))
            elif PASSING.fullmatch(name) and now - os.stat(path).st_mtime > LEFT:
                shutil.rmtree(path, ignore_errors=True)
    total = sum(size for _, size, _ in entries)
    for used, size, path in sorted(entries):
        if total <= most or now - used < FRESH:
            break
        entry_remove(path)
        total -= size
