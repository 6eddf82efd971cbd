"""Reading logs: segments in the store plus the live tail, never skipping in silence."""

from __future__ import annotations

import gzip
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.clock import event_time
from controlplane.data.stores.base import ObjectStore, StoreError
from controlplane.data.stores.registry import StoreRegistry
from controlplane.dispatch.queue import QueueError, QueueProvider
from controlplane.environments.models import Installation, Worker
from controlplane.executions.arguments import arguments_of
from controlplane.executions.models import Attempt, Execution
from controlplane.logs.lines import Line, in_order, parse_line, valid, with_gaps
from controlplane.logs.models import LogSegment
from controlplane.reasons import sentence

__all__ = ["Line", "Lines", "LogReader"]

MAX_LINE_BYTES = 1 << 20
MAX_TAIL_BYTES = 16 << 20
log = structlog.get_logger()


@dataclass(frozen=True)
class Lines:
    """Lines in order; `total` is how many the log has so far."""

    total: int
    lines: list[Line]


@dataclass(frozen=True)
class _Log:
    """What is known of one attempt's log now: its live lines, and the number of its last line."""

    attempt: Attempt
    live: list[Line]
    last: int


class LogReader:
    """Reads logs of attempts. Memory is that of the lines asked for, the live tail and one line of a segment."""

    def __init__(self, stores: StoreRegistry, queues: QueueProvider) -> None:
        self._stores = stores
        self._queues = queues

    def tail(self, session: Session, attempts: Sequence[Attempt], limit: int | None) -> Lines:
        """The newest `limit` lines of all attempts (None: all), a status line before each attempt but the first.

        What is above MAX_TAIL_BYTES is left out from its beginning, so that a few long lines stay affordable.
        """
        logs = [self._look(session, attempt) for attempt in attempts]
        total = sum(found.last for found in logs) + sum(found.attempt.number > 1 for found in logs)
        kept: deque[Line] = deque()
        size = 0
        for index, found in self._from_end(logs, limit):
            after = 0 if limit is None else max(0, found.last - limit)
            for line in self._all(session, attempts, index, found, after):
                kept.append(line)
                size += len(line[3])
                while size > MAX_TAIL_BYTES or (limit is not None and len(kept) > limit):
                    size -= len(kept.popleft()[3])
        return Lines(total, list(kept))

    def total(self, session: Session, attempts: Sequence[Attempt]) -> int:
        """How many lines the log has so far, with the status lines between attempts."""
        return sum(self._look(session, attempt).last + (attempt.number > 1) for attempt in attempts)

    def everything(self, session: Session, attempts: Sequence[Attempt]) -> Iterator[Line]:
        """Every line of every attempt, in order, read as it is asked for."""
        for index, attempt in enumerate(attempts):
            yield from self._all(session, attempts, index, self._look(session, attempt), 0)

    def lines(self, session: Session, attempt: Attempt, after: int = 0) -> Iterator[Line]:
        """Lines of an attempt after number `after`; a missing range is one status line that says so."""
        return self._read(session, self._look(session, attempt), after)

    def _look(self, session: Session, attempt: Attempt) -> _Log:
        # The tail first: what leaves it from now on is in a segment that the query below finds.
        live = [] if attempt.log_complete else self._live(session, attempt)
        stored = session.scalar(select(func.max(LogSegment.last)).where(LogSegment.attempt_id == attempt.id)) or 0
        return _Log(attempt, live, max(stored, attempt.log_lines, live[-1][0] if live else 0))

    @staticmethod
    def _from_end(logs: list[_Log], limit: int | None) -> list[tuple[int, _Log]]:
        """The newest attempts that together have `limit` lines, oldest first."""
        chosen: list[tuple[int, _Log]] = []
        count = 0
        for index in reversed(range(len(logs))):
            if limit is not None and count >= limit:
                break
            chosen.insert(0, (index, logs[index]))
            count += logs[index].last + 1
        return chosen

    def _all(
        self, session: Session, attempts: Sequence[Attempt], index: int, found: _Log, after: int
    ) -> Iterator[Line]:
        """The status line that begins a later attempt, when it is read from its start, and its lines."""
        if found.attempt.number > 1 and after == 0:
            yield _beginning(session, found.attempt, attempts[index - 1] if index else None)
        yield from self._read(session, found, after)

    def _read(self, session: Session, found: _Log, after: int) -> Iterator[Line]:
        return with_gaps(self._raw(session, found, after), after, found.last, over=found.attempt.log_complete)

    def stored(self, session: Session, attempt: Attempt, after: int) -> Iterator[Line]:
        """Lines above `after` that are in the store now, without a word about missing ones.

        The session is needed for this call only; segments are opened as their lines are asked for.
        """
        query = select(LogSegment).where(LogSegment.attempt_id == attempt.id, LogSegment.last > after)
        segments = session.scalars(query.order_by(LogSegment.first)).all()
        store = self._store(session, attempt) if segments else None
        if store is None:
            return iter(())
        return (line for segment in segments for line in _of_segment(store, segment, after))

    def _raw(self, session: Session, found: _Log, after: int) -> Iterator[Line]:
        yield from self.stored(session, found.attempt, after)
        yield from (line for line in found.live if line[0] > after)

    def _store(self, session: Session, attempt: Attempt) -> ObjectStore | None:
        worker = session.get(Worker, attempt.worker_id)
        try:
            return self._stores.find(session, worker.installation_id, "logs")[1] if worker else None
        except StoreError as error:
            log.warning("log_store_missing", attempt=attempt.id, why=str(error))
            return None

    def _live(self, session: Session, attempt: Attempt) -> list[Line]:
        worker = session.get(Worker, attempt.worker_id)
        if worker is None:
            return []
        installation = session.get(Installation, worker.installation_id)
        try:
            raw = self._queues.get(installation).read_tail(worker.id, worker.signing_key, attempt.id)
        except QueueError:
            return []  # what is stored can be read; the rest shows as not here yet
        return in_order(line for entry in raw if (line := valid(entry)) is not None)


def _of_segment(store: ObjectStore, segment: LogSegment, after: int) -> Iterator[Line]:
    """Lines of a segment; one that is gone or damaged ends early, and the gap shows."""
    try:
        with store.open(segment.key) as reader, gzip.GzipFile(fileobj=reader) as text:
            left = segment.raw_bytes
            while left > 0 and (raw := text.readline(MAX_LINE_BYTES)):
                left -= len(raw)
                line = parse_line(raw, after)
                if line is not None and segment.first <= line[0] <= segment.last:
                    yield line
    except (StoreError, OSError, EOFError, zlib.error) as error:
        log.warning("log_segment_unreadable", key=segment.key, why=str(error))


def _beginning(session: Session, attempt: Attempt, before: Attempt | None) -> Line:
    message = f"Attempt {attempt.number} begins."
    if before is not None and before.reason:
        arguments = arguments_of(session, session.get_one(Execution, attempt.execution_id), before)
        message = f"Attempt {before.number}: {sentence(before.reason, arguments)} {message}"
    return [0, event_time(attempt.granted_at), "status", message]
