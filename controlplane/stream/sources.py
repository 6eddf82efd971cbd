"""What the stream process asks of database and store. Every method blocks, and is called in a thread."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.db.session import SYSTEM, Database, Scope
from controlplane.dispatch.queue import QueueAddress, address_of
from controlplane.environments.models import Installation, Worker
from controlplane.environments.references import References
from controlplane.executions.models import FINAL, Attempt, Execution
from controlplane.logs.lines import Line
from controlplane.logs.models import LogSegment
from controlplane.logs.service import LogReader
from controlplane.stream.tickets import Ticket
from worker_bootstrap.protocol import names

PIECE_BYTES = 512 * 1024
LINE_OVERHEAD = 64


@dataclass(frozen=True)
class AttemptNow:
    """One attempt as the database has it. `stored`: the last line in the store; `lines`: all, when `complete`."""

    id: str
    number: int
    complete: bool
    lines: int
    stored: int

    @property
    def known(self) -> int:
        """The highest line number that is known to exist."""
        return max(self.stored, self.lines if self.complete else 0)


@dataclass
class ExecutionNow:
    """An execution's state and its attempts by number."""

    state: str
    attempts: dict[int, AttemptNow] = field(default_factory=dict)
    asked: float = field(default=0.0, compare=False)
    """When the database was asked, on the monotonic clock: of two answers the later one counts."""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINAL

    @property
    def newest(self) -> int:
        """Number of the newest attempt; 0 before the first."""
        return max(self.attempts, default=0)


@dataclass(frozen=True)
class Tail:
    """Where an attempt's live lines are, and whose signature they carry."""

    queue: QueueAddress
    key: str
    signer: str


class Sources:
    """Reads of the database (one short query each) and of stored lines."""

    def __init__(self, db: Database, logs: LogReader, queue_url: str, references: References) -> None:
        self._db = db
        self._logs = logs
        self._queue_url = queue_url
        self._references = references

    def close(self) -> None:
        """Close the database's connections."""
        self._db.engine.dispose()

    def find(self, ticket: Ticket) -> ExecutionNow | None:
        """The execution of a ticket, seen as a member of its organisation; None when there is none."""
        with self._db.read(Scope(frozenset({ticket.organization}))) as session:
            return _look(session, [ticket.execution]).get(ticket.execution)

    def look(self, executions: Iterable[str]) -> dict[str, ExecutionNow]:
        """All these executions by one query."""
        with self._db.read(SYSTEM) as session:
            return _look(session, list(executions))

    def tail(self, attempt: str) -> Tail:
        """Where the live lines of an attempt are. Raises QueueError."""
        with self._db.read(SYSTEM) as session:
            row = session.get_one(Attempt, attempt)
            worker = session.get_one(Worker, row.worker_id)
            installation = session.get(Installation, worker.installation_id)
            queue = address_of(installation, self._queue_url, self._references)
            return Tail(queue, names.tail(worker.id, attempt), worker.signing_key)

    def stored(self, attempt: str, after: int) -> StoredLines:
        """Lines of an attempt that are in the store now, from number `after` on."""
        with self._db.read(SYSTEM) as session:
            return StoredLines(self._logs.stored(session, session.get_one(Attempt, attempt), after))


class StoredLines:
    """Stored lines in order, a bounded piece at a time: a log of any length costs one piece and one open segment."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines

    def next(self) -> list[Line]:
        """The next lines; empty at the end."""
        found: list[Line] = []
        size = 0
        for line in self._lines:
            found.append(line)
            size += len(line[3]) + LINE_OVERHEAD
            if size >= PIECE_BYTES:
                break
        return found


def _look(session: Session, executions: list[str]) -> dict[str, ExecutionNow]:
    stored = (
        select(LogSegment.last)
        .where(LogSegment.attempt_id == Attempt.id)
        .order_by(LogSegment.first.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(
            Execution.id, Execution.state, Attempt.id, Attempt.number, Attempt.log_complete, Attempt.log_lines, stored
        )
        .outerjoin(Attempt, Attempt.execution_id == Execution.id)
        .where(Execution.id.in_(executions))
    )
    found: dict[str, ExecutionNow] = {}
    asked = time.monotonic()
    for execution, state, attempt, number, complete, lines, last in session.execute(query):
        now = found.setdefault(execution, ExecutionNow(state, asked=asked))
        if attempt is not None:
            now.attempts[number] = AttemptNow(attempt, number, complete, lines, last or 0)
    return found
