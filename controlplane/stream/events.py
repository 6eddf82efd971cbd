"""Events of the live log as Server-Sent Events, and lines put together into pieces. Pure.

`docs/reference/live-log.md` describes them for those who write another client.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from controlplane.logs.lines import Line

PIECE_BYTES = 128 * 1024
LINE_OVERHEAD = 64
HELLO = b": hello\n\n"
HEARTBEAT = b": still here\n\n"
AGAIN = b"event: again\ndata: {}\n\n"
POSITION = re.compile(r"(\d{1,9}):(\d{1,18})")


@dataclass(frozen=True)
class Position:
    """Line `seq` of attempt `attempt` was the last one that a viewer has; 0: none of that attempt."""

    attempt: int
    seq: int


@dataclass(frozen=True)
class Piece:
    """Lines `first` to `last` in order, or (`reason`) the gap that stands in their place, as one event."""

    attempt: int
    first: int
    last: int
    data: bytes
    reason: str | None = None

    @classmethod
    def of(cls, attempt: int, lines: list[Line]) -> Piece:
        """Lines without a number missing between them."""
        data = json.dumps(lines, separators=(",", ":")).encode()
        return cls(attempt, lines[0][0], lines[-1][0], data)

    @classmethod
    def gap(cls, attempt: int, first: int, last: int, reason: str) -> Piece:
        """Lines that are not there."""
        data = json.dumps({"first": first, "last": last, "reason": reason}).encode()
        return cls(attempt, first, last, data, reason)

    def after(self, seq: int) -> Piece:
        """The part whose numbers are above `seq`."""
        if seq < self.first:
            return self
        if self.reason is not None:
            return self.gap(self.attempt, seq + 1, self.last, self.reason)
        return self.of(self.attempt, [line for line in json.loads(self.data) if line[0] > seq])

    def encoded(self) -> bytes:
        """As it is sent."""
        name = b"line" if self.reason is None else b"gap"
        return b"event: %s\nid: %d:%d\ndata: %s\n\n" % (name, self.attempt, self.last, self.data)


def read_position(text: str) -> Position | None:
    """The position in a `Last-Event-ID`; None for anything else, as if the header were not there."""
    found = POSITION.fullmatch(text.strip()) if text.isascii() else None
    return Position(int(found[1]), int(found[2])) if found else None


def attempt_event(attempt: int) -> bytes:
    """Another attempt begins."""
    return b'event: attempt\nid: %d:0\ndata: {"attempt":%d}\n\n' % (attempt, attempt)


def state_event(state: str) -> bytes:
    """The execution's state; it has no id, because it is no place in the log."""
    return b"event: state\ndata: %s\n\n" % json.dumps({"state": state}).encode()


def end_event(attempt: int, seq: int, state: str) -> bytes:
    """Everything was sent, and nothing more will come."""
    return b"event: end\nid: %d:%d\ndata: %s\n\n" % (attempt, seq, json.dumps({"state": state}).encode())


def unbroken(lines: Iterable[Line], last: int) -> tuple[list[Line], int]:
    """(lines that follow number `last` without one missing, the first number after a hole or 0).

    Numbers up to `last` are left out; `lines` are in order.
    """
    found: list[Line] = []
    for line in lines:
        if line[0] <= last:
            continue
        if line[0] > last + 1:
            return found, line[0]
        found.append(line)
        last = line[0]
    return found, 0


def pieces(attempt: int, lines: Iterable[Line]) -> Iterator[Piece]:
    """Lines without a hole as pieces of a size that is worth sending."""
    held: list[Line] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line[3]) + LINE_OVERHEAD
        if size >= PIECE_BYTES:
            yield Piece.of(attempt, held)
            held, size = [], 0
    if held:
        yield Piece.of(attempt, held)
