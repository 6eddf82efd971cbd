"""A piece of an attempt's log: the newest lines, or those before or after a number."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.executions.models import Attempt
from controlplane.logs.models import LogSegment
from controlplane.logs.service import Line, LogReader


@dataclass(frozen=True)
class Window:
    """`lines` in order; `more` says whether lines follow (for the newest ones: never)."""

    lines: list[Line]
    more: bool


class LogWindows:
    """Reads windows; memory is that of the window and one segment, whatever the log's size."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def newest(self, session: Session, attempt: Attempt, limit: int) -> Window:
        """The last `limit` lines."""
        stored = session.scalar(select(func.max(LogSegment.last)).where(LogSegment.attempt_id == attempt.id)) or 0
        lines = self._reader.lines(session, attempt, max(0, stored - limit))
        return Window(list(deque(lines, maxlen=limit)), more=False)

    def after(self, session: Session, attempt: Attempt, after: int, limit: int) -> Window:
        """Up to `limit` lines whose number is above `after`."""
        found = list(islice(self._reader.lines(session, attempt, after), limit + 1))
        return Window(found[:limit], more=len(found) > limit)

    def before(self, session: Session, attempt: Attempt, before: int, limit: int) -> Window:
        """The `limit` lines just below number `before`."""
        lines = self._reader.lines(session, attempt, max(0, before - 1 - limit))
        return Window(list(takewhile(lambda line: line[0] < before, lines)), more=True)


def as_text(lines: Iterator[Line]) -> Iterator[str]:
    """The download: time, stream and message of each line."""
    for _, time, stream, message in lines:
        yield f"{time} {stream:6} {message}\n"
