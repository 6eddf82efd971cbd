"""Segments and the tail's window."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest

from worker_bootstrap.agent.logs.segments import SegmentBuilder, due
from worker_bootstrap.agent.logs.spool_files import json_line
from worker_bootstrap.agent.logs.tail import ENTRY_OVERHEAD, TailWindow
from worker_bootstrap.agent.logs.types import LogPolicy

POLICY = LogPolicy()
MIB = 1024 * 1024


def lines(first: int, count: int) -> list[bytes]:
    streams = ["stdout", "stdout", "stderr", "status"]
    return [
        json_line([n, f"2026-01-01T00:00:00.{n:06d}", streams[n % 4], f"line {n}"]) for n in range(first, first + count)
    ]


def test_a_segment_holds_its_lines_and_its_index_finds_them() -> None:
    raw = lines(41, 2500)
    builder = SegmentBuilder(every=1000)
    for start in range(0, 2500, 7):
        builder.add(b"".join(raw[start : start + 7]))

    segment = builder.finish()

    text = b"".join(raw)
    index = json.loads(segment.index)
    assert gzip.decompress(segment.data) == text
    assert segment.name == "00000000000000000041"
    assert index["offsets"] == [[41, 0], [1041, text.index(b"[1041,")], [2041, text.index(b"[2041,")]]
    assert segment.event == {
        "first": 41,
        "last": 2540,
        "lines": 2500,
        "raw_bytes": len(text),
        "size": len(segment.data),
        "sha256": hashlib.sha256(segment.data).hexdigest(),
        "counts": {"stdout": 1250, "stderr": 625, "status": 625},
        "first_time": "2026-01-01T00:00:00.000041",
        "last_time": "2026-01-01T00:00:00.002540",
    }


def test_the_same_lines_give_the_same_bytes_however_they_come() -> None:
    raw = lines(1, 20_000)
    one, many = SegmentBuilder(), SegmentBuilder()
    one.add(b"".join(raw))
    for start in range(0, len(raw), 333):
        many.add(b"".join(raw[start : start + 333]))

    assert one.finish() == many.finish()


@pytest.mark.parametrize(
    ("pending", "age", "since_last", "ending", "expected"),
    [
        (0, 100, 100, True, False),
        (1, 0, 0, True, True),
        (8 * MIB, 0, 0, False, True),
        (2 * MIB, 0.5, 1.9, False, False),
        (2 * MIB, 0.5, 2.0, False, True),
        (300 * 1024, 29, 1000, False, False),
        (300 * 1024, 30, 1000, False, True),
        (100 * 1024, 3600, 3600, False, False),
    ],
)
def test_when_a_segment_is_due(pending: int, age: float, since_last: float, ending: bool, expected: bool) -> None:
    assert due(POLICY, pending, age, since_last, ending=ending) is expected


def test_the_window_lets_the_oldest_go() -> None:
    window = TailWindow(3 * (1000 + ENTRY_OVERHEAD))

    kept = [window.add(first, 1000) for first in (1, 11, 21, 31, 41)]

    assert kept == [1, 1, 1, 11, 21]
    assert window.add(51, 1_000_000) == 51
