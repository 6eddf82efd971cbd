"""Metadata points: which lines are some, how many are kept, and what of them may travel. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from worker_bootstrap.agent.logs.spool_files import line_time

# The end of a line's header and the beginning of its message, which looks like a JSON object. Nowhere else in a line
# can this stand: quotes in a message are escaped.
_CANDIDATE = re.compile(rb'"stdout","(?: |\\t)*\{')
MAX_DEPTH = 8
MAX_EVENT_BYTES = 256 * 1024
MAX_EVENT_POINTS = 1000

Point = list[Any]
"""[time, object]"""


@dataclass(frozen=True)
class Candidate:
    """A line that may hold a point: where it begins in its block, and the line."""

    start: int
    line: bytes

    @property
    def time(self) -> str:
        """When it was written."""
        return line_time(self.line)


def candidates(block: bytes) -> Iterator[Candidate]:
    """Lines of stdout whose message begins like a JSON object, of a block of whole lines."""
    for found in _CANDIDATE.finditer(block):
        start = block.rfind(b"\n", 0, found.start()) + 1
        yield Candidate(start, block[start : block.index(b"\n", found.end())])


def parse_point(message: str) -> dict[str, Any] | None:
    """The object that a line's message is, made fit to travel; None if it is none."""
    try:
        value = json.loads(message, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return _object(value) if isinstance(value, dict) else None


def second_of(time: str) -> str:
    """The whole second of a line's time."""
    return time[:19]


def sample(lines: Iterable[tuple[str, str]], per_second: int) -> tuple[list[Point], int]:
    """Points of one second's candidates (time, message) in order, and how many points were left out.

    Above `per_second`, the newest of each equal part of the second stays.
    """
    candidates = list(lines)
    if len(candidates) <= per_second:
        parsed = [(time, parse_point(message)) for time, message in candidates]
        return [[time, point] for time, point in parsed if point is not None], 0
    slots: dict[int, list[tuple[str, str]]] = {}
    for time, message in candidates:
        slots.setdefault(int(time[20:26]) * per_second // 1_000_000, []).append((time, message))
    points: list[Point] = []
    for slot in sorted(slots):
        point = _newest(slots[slot])
        if point is not None:
            points.append(point)
    return points, len(candidates) - len(points)


def batches(points: list[Point], sampled: int) -> list[dict[str, Any]]:
    """Bodies of metadata events, each of a size that a message may have."""
    found: list[dict[str, Any]] = []
    size = MAX_EVENT_BYTES + 1
    for point in points:
        length = len(json.dumps(point))
        if size + length > MAX_EVENT_BYTES or len(found[-1]["points"]) >= MAX_EVENT_POINTS:
            found.append({"points": [], "sampled": 0})
            size = 0
        found[-1]["points"].append(point)
        size += length
    if found:
        found[0]["sampled"] = sampled
    return found


def _newest(candidates: list[tuple[str, str]]) -> Point | None:
    for time, message in reversed(candidates):
        point = parse_point(message)
        if point is not None:
            return [time, point]
    return None


def _object(value: dict[str, Any]) -> dict[str, Any]:
    return {_text(key): _fit(entry, 1) for key, entry in value.items()}


def _fit(value: Any, depth: int) -> Any:
    """Too deep becomes text; numbers that JSON does not have are text already; characters that databases refuse go."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if not isinstance(value, dict | list):
        return value
    if depth >= MAX_DEPTH:
        return _text(json.dumps(value))
    if isinstance(value, dict):
        return {_text(key): _fit(entry, depth + 1) for key, entry in value.items()}
    return [_fit(entry, depth + 1) for entry in value]


def _text(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
