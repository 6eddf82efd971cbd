"""How much this machine's own speed varies: without it no figure says anything."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.table import Row

REPEATS = 30
TURNS = 400_000
BLOCK = b"x" * 4096


def noise(when: str) -> list[Row]:
    """The same loop and the same write, again and again."""
    return [_row(f"machine {when}: a fixed loop", _loop), _row(f"machine {when}: fsync of 4 KiB", _synced())]


def _row(what: str, work: Callable[[], None]) -> Row:
    took = sorted(_milliseconds(work) for _ in range(REPEATS))
    median, p95 = statistics.median(took), took[int(REPEATS * 0.95)]
    load = os.getloadavg()[0]
    how = f"median of {REPEATS}; p95 is {p95 / median:.1f} times that, best {took[0] / median:.1f}; load {load:.1f}"
    return Row(what, median, "ms", how)


def _milliseconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _loop() -> None:
    total = 0
    for turn in range(TURNS):
        total += turn & 7


def _synced() -> Callable[[], None]:
    """Appends to a file in the folder where the measured parts have theirs."""
    folder = tempfile.TemporaryDirectory(prefix="remora-bench-")
    path = Path(folder.name) / "file"

    def write() -> None:
        assert folder
        with path.open("ab") as file:
            file.write(BLOCK)
            file.flush()
            os.fsync(file.fileno())

    return write
