"""What this machine can do at this moment: multiply-adds and reads from each level, on as many threads as the
case beside it uses. Every figure of bench/ stands beside such a probe, because clocks and neighbours move.
"""
import ctypes
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
CC = os.environ.get("CC", "gcc")
# target -> what the machine must have, flags for the C compiler
TARGETS = {
    "avx512-vnni": ({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"},
                    "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -DLANES=16"),
    "avx512": ({"avx512f", "avx512bw", "avx512dq", "avx512vl"},
               "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -DLANES=16"),
    "avx2": ({"avx2", "fma"}, "-mavx2 -mfma -DLANES=8"),
    "sse2": ({"sse2"}, "-msse2 -DLANES=4"),
    "c": (set(), "-DLANES=4"),
}


def cpu_flags():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            for line in f:
                if line.startswith("flags"):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


def target_of(name):
    """`native` is the first row that this processor fits."""
    if name != "native":
        return name
    has = cpu_flags()
    return next(t for t, (needs, _) in TARGETS.items() if needs <= has)


def cache_bytes():
    """{level: bytes} of the first processor; the usual sizes where the system does not say."""
    found = {1: 32 << 10, 2: 1 << 20, 3: 32 << 20}
    base = "/sys/devices/system/cpu/cpu0/cache"
    for index in sorted(os.listdir(base)) if os.path.isdir(base) else []:
        try:
            with open(os.path.join(base, index, "type"), encoding="ascii") as f:
                if f.read().strip() == "Instruction":
                    continue
            with open(os.path.join(base, index, "level"), encoding="ascii") as f:
                level = int(f.read())
            with open(os.path.join(base, index, "size"), encoding="ascii") as f:
                found[level] = int(f.read().strip().rstrip("K")) << 10
        except (OSError, ValueError):
            continue
    return found


class Probe:
    """The probes of one target; `wall` as in peak.c. FOLDER takes the shared object."""

    def __init__(self, target, folder, threads=1, wall=False):
        self.target = target_of(target)
        self.threads, self.clock = threads, ctypes.c_int(wall)
        so = os.path.join(folder, f"peak-{self.target}.so")
        if not os.path.exists(so):
            subprocess.run([CC, "-O2", "-shared", "-fPIC", *TARGETS[self.target][1].split(),
                            os.path.join(HERE, "peak.c"), "-o", so], check=True)
        self.lib = ctypes.CDLL(so)
        self.lib.probe_peak.restype = self.lib.probe_read.restype = ctypes.c_double
        self.pool = ThreadPoolExecutor(threads)
        size = cache_bytes()
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self.levels = {"L2": size[2] // 2, "L3": min(size[3] // 2, 4 * size[2]),
                       "DRAM": min(max(256 << 20, 2 * size[3]), pages // 16)}
        self.sizes = {"L2": size[2], "L3": size[3]}
        self.room = [None] * threads

    def each(self, call):
        """The sum over the threads, all at once."""
        if self.threads == 1:
            return call(0)
        return sum(self.pool.map(call, range(self.threads)))

    def fma(self, rounds=200000):
        """GFLOP/s of all threads, the best of three."""
        return max(self.each(lambda _: self.lib.probe_peak(ctypes.c_int64(rounds), self.clock)) for _ in range(3))

    def reads(self):
        """{level: GB/s of all threads}, each the best of three."""
        for i in range(self.threads):
            if self.room[i] is None:
                self.room[i] = np.ones(self.levels["DRAM"] // 4, np.float32)
        found = {}
        for level, size in self.levels.items():
            size //= self.threads if level == "L3" else 1
            times = 1 if level == "DRAM" else max(2, (16 << 20) // size)

            def call(i, level=level, size=size, times=times):
                def read(n):
                    return self.lib.probe_read(ctypes.c_void_p(self.room[i].ctypes.data), ctypes.c_int64(size),
                                               ctypes.c_int64(n), self.clock)
                if level != "DRAM":
                    read(1)
                return read(times)

            found[level] = max(self.each(call) for _ in range(3))
        return found

    def level_of(self, size):
        """The level that `size` bytes, read again and again, come from."""
        return next((level for level in ("L2", "L3") if size <= self.sizes[level]), "DRAM")
