"""What one worker said, applied in one transaction: once, in order, fenced. What is no use is skipped, never blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError, StatementError
from sqlalchemy.orm import Session

from controlplane.db.ids import is_id
from controlplane.dispatch.caps import PointCap
from controlplane.dispatch.messages import envelope
from controlplane.dispatch.reconcile import Missed, Standing, judge
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt, Execution
from controlplane.executions.transitions import IllegalTransitionError, Transitions
from worker_bootstrap.protocol import codec, typed
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import (
    SEQUENCED,
    Accepted,
    Beat,
    Drain,
    End,
    Envelope,
    Event,
    Hello,
    Stop,
)

log = structlog.get_logger()
MOST_LISTED = 1024
MOST_POINTS = 10_000
UNUSABLE = (
    ProtocolError,
    IllegalTransitionError,
    StatementError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


@dataclass
class Heard:
    """What remains to be done after the commit."""

    answers: list[Envelope] = field(default_factory=list)
    questions: list[Envelope] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    read: str = ""
    sequenced: bool = False
    skipped: int = 0


class Inbound:
    """Applies messages of one worker within the caller's transaction; the worker's row is locked."""

    def __init__(
        self, session: Session, worker: Worker, now: datetime, max_attempts: int, missed: Missed, points: PointCap
    ) -> None:
        self._session = session
        self._worker = worker
        self._now = now
        self._transitions = Transitions(session, now, max_attempts)
        self._missed = missed
        self._points = points
        self.heard = Heard()

    def take_all(self, messages: Iterable[Envelope]) -> None:
        """Apply messages whose signatures were right."""
        for together, run in groupby(messages, _goes_together):
            taken = list(run)
            if not (together and len(taken) > 1 and self._take_together(taken)):
                for message in taken:
                    self._take(message)

    def _take_together(self, messages: list[Envelope]) -> bool:
        """All of them at once: many times quicker than each by itself. False, and nothing done, when one is no use."""
        heard = self.heard
        self.heard = replace(heard, answers=[*heard.answers], ended=[*heard.ended])
        try:
            with self._session.begin_nested():
                for message in messages:
                    if self._is_due(message):
                        self._handle(message)
        except (OperationalError, InterfaceError):
            raise
        except UNUSABLE:
            self.heard = heard
            self._transitions.forget_locks()
            return False
        return True

    def _take(self, message: Envelope) -> None:
        if not self._is_due(message):
            return
        try:
            with self._session.begin_nested():
                self._handle(message)
        except (OperationalError, InterfaceError):
            raise
        except UNUSABLE as error:
            self._transitions.forget_locks()
            self._skip(message, f"{type(error).__name__}: {error}")
            self._close_unusable(message)

    def _is_due(self, message: Envelope) -> bool:
        """Whether it is this worker's, and not one that was applied before or comes too early."""
        worker = self._worker
        if message.worker != worker.id or message.installation != worker.installation_id:
            self._skip(message, "it speaks in another worker's name")
            return False
        if message.kind in SEQUENCED and not self._is_next(message):
            return False
        self._alive()
        return True

    def _is_next(self, message: Envelope) -> bool:
        """Whether this is the next number; after a hole nothing is applied until the worker sends again."""
        worker, heard = self._worker, self.heard
        if message.seq > worker.last_seq + 1:
            self._missed.forget(worker.id)
            return False
        heard.sequenced = True
        if message.seq <= worker.last_seq:
            return False
        worker.last_seq = message.seq
        return True

    def _handle(self, message: Envelope) -> None:
        if message.kind == "hello":
            self._hello(codec.body(Hello, message))
        elif message.kind == "beat":
            self._beat(codec.body(Beat, message), message.sent)
        elif message.kind in ("urls", "relay"):
            self.heard.questions.append(message)
        else:
            self._about_attempt(message)

    def _hello(self, hello: Hello) -> None:
        worker = self._worker
        worker.version, worker.facts = hello.version[:32], hello.facts
        worker.slots = min(MOST_LISTED, max(1, hello.slots))
        self._missed.forget(worker.id)
        self._reconcile(hello.attempts)

    def _beat(self, beat: Beat, sent: float) -> None:
        worker = self._worker
        worker.free, worker.disk_free = max(0, min(beat.free, worker.slots)), max(0, min(beat.disk_free, 1 << 62))
        worker.clock_skew = max(-1e9, min(1e9, sent - self._now.timestamp()))
        if beat.draining and worker.state == "active":
            worker.state = "draining"
        elif worker.state == "draining" and not beat.draining:
            self._say("drain", typed.dump(Drain()))
        self.heard.read = beat.read
        self._reconcile(beat.attempts)
        if beat.seq <= worker.last_seq:
            self._find_forgotten(beat.attempts)
        else:
            self._missed.forget(worker.id)

    def _reconcile(self, listed: list[str]) -> None:
        """A worker runs only its current attempts: others are stopped."""
        for attempt_id in listed[:MOST_LISTED]:
            attempt = self._attempt(attempt_id)
            verdict = judge(self._standing(attempt) if attempt else None)
            if verdict == "stop":
                self._say("stop", typed.dump(Stop("superseded", kill=True)), attempt_id[:64])
            elif verdict == "revive" and attempt is not None and self._transitions.revive(attempt):
                log.info("attempt_revived", attempt=attempt.id, worker=self._worker.id)

    def _find_forgotten(self, listed: list[str]) -> None:
        query = select(Attempt).where(Attempt.worker_id == self._worker.id, Attempt.state.in_(("accepted", "running")))
        accepted = {attempt.id: attempt for attempt in self._session.scalars(query)}
        for attempt_id in self._missed.note(self._worker.id, accepted, listed):
            log.warning("worker_forgot", worker=self._worker.id, attempt=attempt_id)
            self._transitions.on_end(accepted[attempt_id], End("failed", "worker_forgot", ""))

    def _about_attempt(self, message: Envelope) -> None:
        attempt = self._attempt(message.attempt)
        if attempt is None:
            raise ProtocolError("its attempt was not granted to this worker")
        # An attempt that was given up too early goes on first; then the message finds it as it was.
        self._transitions.revive(attempt)
        if message.kind == "accepted":
            self._transitions.on_accepted(attempt, codec.body(Accepted, message))
        elif message.kind == "end":
            self._transitions.on_end(attempt, codec.body(End, message))
            self._points.forget(attempt.id)
            self.heard.ended.append(attempt.id)
        else:
            self._transitions.on_event(attempt, self._capped(attempt, codec.body(Event, message)))

    def _capped(self, attempt: Attempt, body: Event) -> Event:
        """Metadata within its rate; what was left out is counted in `sampled`."""
        points = body.data.get("points")
        if body.kind != "metadata" or not isinstance(points, list):
            return body
        kept, dropped = self._points.thin(attempt.id, points[:MOST_POINTS])
        dropped += max(0, len(points) - MOST_POINTS)
        if not dropped:
            return body
        sampled = body.data.get("sampled")
        before = sampled if isinstance(sampled, int) else 0
        return Event(body.kind, body.time, {**body.data, "points": kept, "sampled": before + dropped})

    def _close_unusable(self, message: Envelope) -> None:
        """What a worker can't say in a usable way must not leave an attempt open for ever."""
        if message.kind not in ("accepted", "end"):
            return
        attempt = self._attempt(message.attempt)
        if attempt is not None and attempt.state != "ended":
            end = End("failed", "agent_error", "", detail=f"its message `{message.kind}` can't be read")
            self._transitions.on_end(attempt, end)

    def _attempt(self, attempt_id: str) -> Attempt | None:
        """An attempt that was granted to this worker."""
        if not is_id(attempt_id):
            return None
        attempt = self._session.get(Attempt, attempt_id)
        return attempt if attempt is not None and attempt.worker_id == self._worker.id else None

    def _standing(self, attempt: Attempt) -> Standing:
        execution = self._session.get_one(Execution, attempt.execution_id)
        return Standing(attempt.number, execution.attempt_number, attempt.state, attempt.outcome, execution.state)

    def _alive(self) -> None:
        worker = self._worker
        worker.last_beat_at, worker.silent_since = self._now, None
        if worker.state in ("silent", "lost"):
            log.info("worker_back", worker=worker.id, name=worker.name, was=worker.state)
            worker.state = "active"

    def _say(self, kind: str, body: dict[str, Any], attempt: str = "") -> None:
        worker = self._worker
        self.heard.answers.append(envelope(worker.installation_id, worker.id, kind, body, self._now, attempt))

    def _skip(self, message: Envelope, why: str) -> None:
        self.heard.skipped += 1
        log.warning("message_skipped", worker=self._worker.id, kind=message.kind, seq=message.seq, why=why[:300])


def _goes_together(message: Envelope) -> bool:
    """Whether it may be applied, undone and applied again: of beats and points more is kept than the database has."""
    return message.kind in ("accepted", "end") or (message.kind == "event" and message.body.get("kind") != "metadata")
