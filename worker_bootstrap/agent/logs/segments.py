"""Segments: a gzip member of whole lines with an index beside it. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from worker_bootstrap.agent.logs.spool_files import first_seq, last_seq, line_time
from worker_bootstrap.agent.logs.types import LogPolicy

GZIP_BITS = 31
# Twice as fast as zlib's own choice, for text like logs about a tenth larger.
LEVEL = 1
FORMER_LEVEL = 6
HEADER = 80


@dataclass(frozen=True)
class Segment:
    """`data` is the gzip member, `index` its index object, `event` the body of the event."""

    name: str
    data: bytes
    index: bytes
    event: dict[str, Any]


@dataclass
class SegmentBuilder:
    """Takes blocks of whole lines in order. The same lines give the same bytes."""

    every: int = 1000
    first: int = 0
    last: int = 0
    lines: int = 0
    raw_bytes: int = 0
    times: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0, "status": 0})
    offsets: list[list[int]] = field(default_factory=list)

    level: int = LEVEL

    def __post_init__(self) -> None:
        self._zip = zlib.compressobj(self.level, zlib.DEFLATED, GZIP_BITS)
        self._step = re.compile(rb"(?:[^\n]*\n){%d}" % self.every)
        self._parts: list[bytes] = []

    def add(self, block: bytes) -> None:
        """Whole lines, at least one."""
        lines = block.count(b"\n")
        for start in self._marks(block):
            self.offsets.append([first_seq(block[start : start + HEADER]), self.raw_bytes + start])
        # Quotes in a message are escaped, so this stands in headers only.
        others = {stream: block.count(b'","%b","' % stream.encode()) for stream in ("stderr", "status")}
        for stream, count in {"stdout": lines - sum(others.values()), **others}.items():
            self.counts[stream] += count
        if not self.lines:
            self.first = first_seq(block)
            self.times = [line_time(block[:HEADER])]
        self.last = last_seq(block)
        self.times[1:] = [line_time(block[block.rfind(b"\n", 0, -1) + 1 :])]
        self.lines += lines
        self.raw_bytes += len(block)
        self._parts.append(self._zip.compress(block))

    def _marks(self, block: bytes) -> Iterator[int]:
        """Where in the block every `every`th line of the segment begins."""
        start = 0
        for _ in range(-self.lines % self.every):
            start = block.find(b"\n", start) + 1
            if not start:
                return
        while start < len(block):
            yield start
            found = self._step.match(block, start)
            if found is None:
                return
            start = found.end()

    def finish(self) -> Segment:
        """The segment of all that was added."""
        data = b"".join([*self._parts, self._zip.flush()])
        facts: dict[str, Any] = {
            "first": self.first,
            "last": self.last,
            "lines": self.lines,
            "raw_bytes": self.raw_bytes,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "counts": self.counts,
            "first_time": self.times[0],
            "last_time": self.times[-1],
        }
        index = json.dumps({**facts, "offsets": self.offsets}, separators=(",", ":")).encode()
        return Segment(f"{self.first:020d}", data, index, facts)


def due(policy: LogPolicy, pending: int, age: float, since_last: float, *, ending: bool) -> bool:
    """Whether a segment is to be made of `pending` bytes, the oldest of which is `age` seconds old."""
    if pending <= 0:
        return False
    if ending or pending >= policy.segment_bytes:
        return True
    if pending > policy.segment_early_bytes:
        return since_last >= policy.segment_early_interval
    return pending > policy.segment_small_bytes and age >= policy.segment_small_age
