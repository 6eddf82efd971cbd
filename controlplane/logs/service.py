"""Reading logs: segments in the store plus the live tail, never skipping in silence."""

from __future__ import annotations

import gzip
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.clock import event_time
from controlplane.data.stores.registry import StoreRegistry
from controlplane.dispatch.queue import QueueError, QueueProvider
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt
from controlplane.logs.models import LogSegment

Line = list[Any]  # [seq, time, stream, message]


@dataclass(frozen=True)
class Lines:
    """Lines in order; `total` is how many the log has so far."""

    total: int
    lines: list[Line]


class LogReader:
    """Reads logs of attempts. Memory is that of the lines asked for plus one segment."""

    def __init__(self, stores: StoreRegistry, queues: QueueProvider) -> None:
        self._stores = stores
        self._queues = queues

    def tail(self, session: Session, attempts: list[Attempt], limit: int | None) -> Lines:
        """The newest `limit` lines of all attempts (None: all), a status line between attempts."""
        kept: deque[Line] = deque(maxlen=limit)
        total = 0
        for attempt in attempts:
            if attempt.number > 1:
                total += 1
                message = f"Attempt {attempt.number} begins."
                kept.append([0, event_time(attempt.granted_at), "status", message])
            for line in self.lines(session, attempt):
                total += 1
                kept.append(line)
        return Lines(total, list(kept))

    def lines(self, session: Session, attempt: Attempt, after: int = 0) -> Iterator[Line]:
        """Lines of an attempt after `after`; a missing range is one status line that says so."""
        expected = after + 1
        for line in self._raw(session, attempt, after):
            if line[0] < expected:
                continue
            if line[0] > expected:
                yield gap_line(expected, line)
            expected = line[0] + 1
            yield line

    def _raw(self, session: Session, attempt: Attempt, after: int) -> Iterator[Line]:
        query = select(LogSegment).where(LogSegment.attempt_id == attempt.id, LogSegment.last > after)
        segments = list(session.scalars(query.order_by(LogSegment.first)))
        if segments:
            store = self._stores.embedded(session, "logs")
            for segment in segments:
                with store.open(segment.key) as reader, gzip.open(reader) as text:
                    for raw in text:
                        yield json.loads(raw)
        if not attempt.log_complete:
            yield from self._tail(session, attempt)

    def _tail(self, session: Session, attempt: Attempt) -> list[Line]:
        worker = session.get(Worker, attempt.worker_id)
        if worker is None:
            return []
        try:
            return self._queues.get().read_tail(worker.id, worker.signing_key, attempt.id)
        except QueueError:
            return []


def gap_line(expected: int, found: Line) -> Line:
    """The status line that stands for lines that are not here."""
    missing = found[0] - expected
    return [expected, found[1], "status", f"{missing} lines are not here yet ({expected} to {found[0] - 1})."]
