"""Segments: a gzip member of whole lines with an index beside it. Pure."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from worker_bootstrap.agent.logs.spool_files import line_stream, line_time
from worker_bootstrap.agent.logs.types import LogPolicy

GZIP_BITS = 31
LEVEL = 6


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

    def __post_init__(self) -> None:
        self._zip = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP_BITS)
        self._parts: list[bytes] = []

    def add(self, block: bytes) -> None:
        """Whole lines, at least one."""
        lines = block.splitlines(keepends=True)
        offset = self.raw_bytes
        for number, line in enumerate(lines, self.lines):
            if number % self.every == 0:
                self.offsets.append([_seq(line), offset])
            offset += len(line)
            stream = line_stream(line)
            self.counts[stream] = self.counts.get(stream, 0) + 1
        if not self.lines:
            self.first = _seq(lines[0])
            self.times = [line_time(lines[0])]
        self.last = _seq(lines[-1])
        self.times[1:] = [line_time(lines[-1])]
        self.lines += len(lines)
        self.raw_bytes = offset
        self._parts.append(self._zip.compress(block))

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


def _seq(line: bytes) -> int:
    return int(line[1 : line.index(b",")])
