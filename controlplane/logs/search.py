"""Searching a whole log: read segment by segment, a bounded piece of it at a time, continued by a cursor."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import re2
from sqlalchemy.orm import Session

from controlplane.errors import ValidationError
from controlplane.executions.models import Attempt
from controlplane.logs.service import LogReader

MAX_PATTERN = 500
MAX_LINES = 500_000
MAX_BYTES = 64 << 20
MAX_SHOWN = 2_000
MAX_PATTERN_MEMORY = 8 << 20
CURSOR = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")
Match = Callable[[str], tuple[int, int] | None]


@dataclass
class Found:
    """What one piece of the search gave. `cursor` continues it; None: the log was read to its end."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    read_lines: int = 0
    read_bytes: int = 0
    cursor: str | None = None


def matcher(wanted: str, *, regex: bool, any_case: bool) -> Match:
    """A function that gives (start, end) of the first match in a line. Raises ValidationError.

    Expressions are RE2's: its time grows with the line only, whatever the expression is.
    """
    if not wanted or len(wanted) > MAX_PATTERN:
        raise ValidationError({"q": f"1 to {MAX_PATTERN} characters to look for are expected."})
    options = re2.Options()
    options.literal = not regex
    options.case_sensitive = not any_case
    options.max_mem = MAX_PATTERN_MEMORY
    options.log_errors = False
    try:
        compiled = re2.compile(wanted, options)
    except re2.error as error:
        text = error.args[0] if error.args else error
        why = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        raise ValidationError({"q": f"This is no expression that can be searched for: {why[:200]}."}) from error

    def match(line: str) -> tuple[int, int] | None:
        found = compiled.search(line)
        return found.span() if found else None

    return match


def parse_cursor(text: str | None) -> tuple[int, int]:
    """(attempt, line) after which to go on. Raises ValidationError."""
    if not text:
        return 0, 0
    found = CURSOR.fullmatch(text)
    if found is None:
        raise ValidationError({"cursor": "Send `cursor` of the answer before."})
    return int(found[1]), int(found[2])


class LogSearch:
    """Looks through logs; memory is that of the matches and one line."""

    def __init__(self, reader: LogReader, max_lines: int = MAX_LINES, max_bytes: int = MAX_BYTES) -> None:
        self._reader = reader
        self._max_lines = max_lines
        self._max_bytes = max_bytes

    def run(
        self,
        session: Session,
        attempts: Sequence[Attempt],
        match: Match,
        after: tuple[int, int],
        limit: int,
        streams: Sequence[str] = (),
    ) -> Found:
        """Lines that match, from `after` on: at most `limit`, and as far as one piece reaches."""
        found = Found()
        for attempt in attempts:
            if attempt.number < after[0]:
                continue
            start = after[1] if attempt.number == after[0] else 0
            for seq, time, stream, message in self._reader.lines(session, attempt, start):
                found.read_lines += 1
                found.read_bytes += len(message)
                span = match(message) if not streams or stream in streams else None
                if span is not None:
                    found.lines.append(_shown(attempt.number, seq, time, stream, message, span))
                if self._is_enough(found, limit):
                    found.cursor = f"{attempt.number}:{seq}"
                    return found
        return found

    def _is_enough(self, found: Found, limit: int) -> bool:
        full = len(found.lines) >= limit
        return full or found.read_lines >= self._max_lines or found.read_bytes >= self._max_bytes


def _shown(attempt: int, seq: int, time: str, stream: str, message: str, span: tuple[int, int]) -> dict[str, Any]:
    """A line for people: a long one is cut around its match; `start` and `end` are within what is shown."""
    first = max(0, span[0] - MAX_SHOWN // 2) if len(message) > MAX_SHOWN else 0
    piece = message[first : first + MAX_SHOWN]
    return {
        "attempt": attempt,
        "line": seq,
        "time": time,
        "stream": stream,
        "message": piece,
        "start": span[0] - first,
        "end": min(len(piece), span[1] - first),
        "cut": len(piece) < len(message),
    }
