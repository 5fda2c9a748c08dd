"""Interleaved timing of several sides of one case, the machine's peak probed around it.

The sides take turns of a few hundredths of a second; a sample is a batch of calls of half a millisecond or more.
A side's figure is the median of its samples and their 99th percentile; a ratio is the median over the rounds of
(peer's median of the round / lcc's). Pools of threads spin on after a call and would take the next side's cores:
with more than one thread each turn begins with 100 ms of rest; each turn with one untimed call. A side must take
as long in turns as alone, else the case is marked invalid.
"""
import statistics
import time

REST = 0.1           # seconds before a turn, when there are pools
TURN = 0.05          # seconds of a side's turn, at least one call
SAMPLE = 5e-4        # seconds of a sample, at least one call
ALONE_TURNS = 3
QUIET = 0.10         # how far the probe may move
APART = 0.05         # how far a side's median in turns may be from its median alone
TRIES = 5


def clock_of(threads, wall=False):
    """Processor time of the process where there is one thread: other work on the machine takes time but not
    measure, and a peer may work in a thread of its own. Wall time where the threads are the point."""
    return time.perf_counter_ns if wall or threads > 1 else time.process_time_ns


def timed(step, times, clock):
    """Seconds a call."""
    start = clock()
    for _ in range(times):
        step()
    return (clock() - start) * 1e-9 / times


class Turns:
    """One side's turns."""

    def __init__(self, side, threads, clock, seconds):
        self.side, self.threads, self.clock, self.seconds = side, threads, clock, seconds
        self.samples, self.rounds = [], []
        once = min(timed(side.step, 1, clock) for _ in range(3))
        self.times = max(1, int(SAMPLE / max(1e-7, once)))
        self.batches = max(1, int(seconds / max(1e-7, once * self.times)))

    def turn(self):
        """The samples of one turn."""
        if self.threads > 1:
            time.sleep(REST)
        self.side.step()
        return [timed(self.side.step, self.times, self.clock) for _ in range(self.batches)]

    def alone(self):
        return statistics.median(t for _ in range(ALONE_TURNS) for t in self.turn())

    def round(self):
        took = self.turn()
        self.samples += took
        self.rounds.append(statistics.median(took))


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def attempt(sides, probe, rounds, threads, clock, seconds):
    """One measurement of all sides, the first being lcc."""
    turns = [Turns(s, threads, clock, seconds) for s in sides]
    reads = [probe.reads()]
    peaks = [probe.fma()]
    alone = [t.alone() for t in turns]
    for _ in range(rounds):
        for t in turns:
            t.round()
        peaks.append(probe.fma())
    reads.append(probe.reads())
    row = {"fma": statistics.median(peaks), "moved": max(peaks) / min(peaks) - 1,
           "reads": {level: statistics.mean(r[level] for r in reads) for level in reads[0]}, "sides": {}, "apart": 0.0}
    for t, a in zip(turns, alone):
        middle = statistics.median(t.samples)
        row["sides"][t.side.name] = {
            "ms": middle * 1e3, "best_ms": min(t.rounds) * 1e3, "p99_ms": percentile(t.samples, 0.99) * 1e3, "alone_ms": a * 1e3,
            "apart": middle / a - 1, "samples": len(t.samples),
            "ratio": statistics.median(o / m for o, m in zip(t.rounds, turns[0].rounds))}
        row["apart"] = max(row["apart"], abs(middle / a - 1))
    row["quiet"] = row["moved"] <= QUIET
    row["valid"] = row["apart"] <= APART
    return row


def compare(sides, probe, rounds, threads=1, wall=False, seconds=TURN, tries=TRIES):
    """The row of a case: at most `tries` attempts until one is quiet and valid, else the calmest of them."""
    clock, best = clock_of(threads, wall), None
    for i in range(max(1, tries)):
        row = attempt(sides, probe, rounds, threads, clock, seconds)
        row["unrest"] = max(row["moved"] / QUIET, row["apart"] / APART)
        if best is None or row["unrest"] < best["unrest"]:
            best = row
        if row["quiet"] and row["valid"]:
            break
    return {**best, "tries": i + 1, "threads": threads, "clock": "wall" if clock is time.perf_counter_ns else "processor"}
