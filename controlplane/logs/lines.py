"""Log lines as they come from workers: checked, put in order, gaps named. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

Line = list[Any]  # [seq, time, stream, message]

STREAMS = frozenset({"stdout", "stderr", "status"})
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
OLDEST = "1970-01-01T00:00:00.000000"


def parse_line(raw: bytes, after: int) -> Line | None:
    """The line of a JSON text, or None when it is malformed or its number is not above `after`."""
    number = raw[1:24].partition(b",")[0]
    if number.isdigit() and int(number) <= after:
        return None
    try:
        return valid(json.loads(raw))
    except (ValueError, RecursionError):
        return None


def valid(line: Any) -> Line | None:
    """The line itself, its message printable anywhere; None when it is not [seq, time, stream, message]."""
    if not isinstance(line, list) or len(line) != 4:
        return None
    seq, time, stream, message = line
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 1 or stream not in STREAMS:
        return None
    if not isinstance(time, str) or not isinstance(message, str) or not TIME.fullmatch(time):
        return None
    return [seq, time, stream, message if message.isascii() else message.encode("utf-8", "replace").decode()]


def in_order(lines: Iterable[Line]) -> list[Line]:
    """By number, each once: what a restarted agent said again stands once."""
    found: dict[int, Line] = {}
    for line in lines:
        found.setdefault(line[0], line)
    return [found[seq] for seq in sorted(found)]


def with_gaps(lines: Iterable[Line], after: int, last: int, *, over: bool) -> Iterator[Line]:
    """The lines above `after`; numbers that are missing up to `last` become one status line that says so.

    `over`: the attempt has ended and told everything, so what is missing now will not come.
    """
    expected, time = after + 1, ""
    for line in lines:
        if line[0] < expected:
            continue
        if line[0] > expected:
            yield gap_line(expected, line[0] - 1, time or line[1], over=over)
        expected, time = line[0] + 1, line[1]
        yield line
    if last >= expected:
        yield gap_line(expected, last, time or OLDEST, over=over)


def gap_line(first: int, last: int, time: str, *, over: bool) -> Line:
    """The status line that stands for lines `first` to `last`, which are not here."""
    what = f"line {first} is" if first == last else f"{last - first + 1} lines ({first} to {last}) are"
    return [first, time, "status", f"Gap: {what} {'missing' if over else 'not here yet'}."]
