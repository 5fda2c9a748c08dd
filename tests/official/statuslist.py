"""tests/official/status.txt: what is known not to pass, one row a case and mode.

    <mode> <name> <fail|unsupported> <reason> [-- <cause>]

Cases without a row are expected to pass. The reason is the runner's; the cause is written by hand, and a
`fail` row must have one: what in the case, not in lcc, makes it so. A crash or an internal error is never
known. `run_official.py --bless` writes the rows it ran anew and keeps the causes of unchanged reasons.
"""
import collections
import os
import re

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "status.txt")
STATUSES = ("fail", "unsupported")


CAUSE = " -- "
INTERNAL = re.compile(r"lcc exit (70|-\d+)\b")


class ListError(ValueError):
    """A row is malformed."""


def rows_load(path=PATH):
    """{(mode, name): (status, reason)}"""
    rows = {}
    if not os.path.exists(path):
        return rows
    with open(path, encoding="ascii") as f:
        for number, line in enumerate(f, 1):
            parts = line.split(None, 3)
            if not parts:
                continue
            if len(parts) < 4 or parts[2] not in STATUSES or tuple(parts[:2]) in rows:
                raise ListError(f"{path}:{number}: expected: mode name fail|unsupported reason, "
                                "each mode and name once")
            rows[parts[0], parts[1]] = parts[2], parts[3].strip()
    return rows


def rows_save(rows, path=PATH):
    with open(path + ".new", "w", encoding="ascii") as f:
        for (mode, name), (status, reason) in sorted(rows.items()):
            f.write(f"{mode} {name} {status} {reason}\n")
    os.replace(path + ".new", path)


def internal(status, reason):
    """lcc broke: nothing a row may excuse."""
    return status == "fail" and bool(INTERNAL.match(reason))


def excused(status, reason, row):
    """None when the row accounts for the result, else what is wrong with it."""
    if internal(status, reason):
        return f"{status}: {reason}"
    known = row[1].split(CAUSE)
    if row[0] != status or (status == "fail" and known[0] != reason):
        return f"{status}: {reason}, but status.txt says: {row[0]} {known[0]}"
    if status == "fail" and len(known) < 2:
        return f"{status}: {reason}; its row in status.txt gives no cause"
    return None


def row_new(status, reason, old):
    """The row of a result; the old row's cause is kept while the reason is the same."""
    if old and old[0] == status and old[1].split(CAUSE)[0] == reason:
        return old
    return status, reason


def families(reasons):
    """Reasons that differ only in names, shapes and numbers: [(count, text)], largest first."""
    counts = collections.Counter()
    for reason in reasons:
        text = re.sub(r"node \d+ '[^']*' ?", "", reason)
        text = re.sub(r"'[^']*'", "'…'", text)
        text = re.sub(r"\[[-\d, A-Za-z_]*\]", "[…]", text)
        counts[re.sub(r"(?<![-\w])-?\d+", "N", text)] += 1
    return sorted(((n, text) for text, n in counts.items()), key=lambda item: (-item[0], item[1]))
