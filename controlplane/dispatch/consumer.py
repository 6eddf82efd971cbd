"""What workers say: checked, applied once and in order, acknowledged after the commit."""

from __future__ import annotations

import json
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.data.stores.registry import StoreRegistry
from controlplane.dispatch.dispatcher import envelope
from controlplane.dispatch.keys import KeyRing
from controlplane.dispatch.leases import LeaseKeeper, database_now
from controlplane.dispatch.queue import Queue
from controlplane.dispatch.urls import UrlDesk
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt, Execution
from controlplane.executions.transitions import Transitions
from worker_bootstrap.protocol import codec, crypto, names, typed
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import (
    SEQUENCED,
    Accepted,
    Ack,
    Beat,
    End,
    Envelope,
    Event,
    Hello,
    Relay,
    Stop,
    Urls,
)

log = structlog.get_logger()


class Consumer:
    """Reads the outboxes of every worker."""

    def __init__(self, queue: Queue, keys: KeyRing, stores: StoreRegistry, max_attempts: int) -> None:
        self._queue = queue
        self._keys = keys
        self._desk = UrlDesk(stores)
        self._max_attempts = max_attempts

    def run_pass(self, lease: LeaseKeeper, block: float) -> None:
        """Wait up to `block` seconds for messages and apply them. Raises QueueError, LeaseLostError."""
        with lease.begin() as session:
            rows = session.execute(select(Worker.id, Worker.last_stream_id).where(Worker.state != "left")).all()
        positions = {names.outbox(worker): position for worker, position in rows}
        if not positions:
            return
        for stream, entries in self._queue.read(positions, block).items():
            self._worker(lease, stream.removeprefix("out:"), entries)

    def _worker(self, lease: LeaseKeeper, worker_id: str, entries: list[tuple[str, dict[bytes, bytes]]]) -> None:
        """One transaction for what one worker said; answers leave after the commit."""
        with lease.begin() as session:
            now = database_now(session)
            worker = session.get_one(Worker, worker_id)
            public = crypto.unb64(worker.signing_key)
            answers: list[Envelope] = []
            for _, fields in entries:
                try:
                    messages = codec.decode({crypto.key_id(public): public}, fields, direction="up")
                except ProtocolError as error:
                    log.warning("batch_dropped", worker=worker_id, why=str(error))
                    continue
                for message in messages:
                    answers.extend(self._apply(session, worker, message, now))
            answers.append(envelope(worker, "ack", typed.dump(Ack(worker.last_seq)), now))
            worker.last_stream_id = entries[-1][0]
            signing = self._keys.signing(session, worker.installation_id)
        self._queue.send(worker_id, signing, answers)
        self._queue.trim(names.outbox(worker_id), _after(entries[-1][0]))

    def _apply(self, session: Session, worker: Worker, message: Envelope, now: datetime) -> list[Envelope]:
        if message.worker != worker.id or message.installation != worker.installation_id:
            log.warning("message_dropped", worker=worker.id, why="another worker's name")
            return []
        self._heard(worker, now)
        if message.kind in SEQUENCED:
            if message.seq != worker.last_seq + 1:
                return []
            worker.last_seq = message.seq
        try:
            with session.begin_nested():
                return self._handle(session, worker, message, now)
        except ProtocolError as error:
            log.warning("message_skipped", worker=worker.id, kind=message.kind, why=str(error))
            return []

    def _handle(self, session: Session, worker: Worker, message: Envelope, now: datetime) -> list[Envelope]:
        if message.kind == "hello":
            hello = codec.body(Hello, message)
            worker.version, worker.slots, worker.facts = hello.version[:32], max(1, hello.slots), hello.facts
            return self._reconcile(session, worker, hello.attempts, now)
        if message.kind == "beat":
            return self._beat(session, worker, codec.body(Beat, message), now)
        attempt = session.get(Attempt, message.attempt) if message.attempt else None
        if attempt is None or attempt.worker_id != worker.id:
            raise ProtocolError(f"attempt {message.attempt[:40]!r} was not granted to this worker")
        transitions = Transitions(session, now, self._max_attempts)
        if message.kind == "accepted":
            transitions.on_accepted(attempt, codec.body(Accepted, message))
        elif message.kind == "event":
            transitions.on_event(attempt, codec.body(Event, message))
        elif message.kind == "end":
            transitions.on_end(attempt, codec.body(End, message))
        elif message.kind == "urls":
            answer = self._desk.answer(session, worker, attempt, codec.body(Urls, message))
            return [envelope(worker, "urls", typed.dump(answer), now, attempt.id)]
        elif message.kind == "relay":
            return [self._relay(session, worker, attempt, codec.body(Relay, message), now)]
        return []

    def _beat(self, session: Session, worker: Worker, beat: Beat, now: datetime) -> list[Envelope]:
        worker.free, worker.disk_free = beat.free, beat.disk_free
        if beat.draining and worker.state == "active":
            worker.state = "draining"
        if beat.read:
            self._queue.trim(names.inbox(worker.id), _after(beat.read))
        return self._reconcile(session, worker, beat.attempts, now)

    def _reconcile(self, session: Session, worker: Worker, running: list[str], now: datetime) -> list[Envelope]:
        """A worker runs only its current attempts: others are stopped."""
        answers: list[Envelope] = []
        for attempt_id in running[:1024]:
            attempt = session.get(Attempt, attempt_id)
            current = attempt is not None and session.get_one(Execution, attempt.execution_id)
            stale = (
                attempt is None or attempt.state == "ended" or (current and current.attempt_number != attempt.number)
            )
            if stale:
                body = typed.dump(Stop("superseded", kill=True))
                answers.append(envelope(worker, "stop", body, now, attempt_id))
        return answers

    def _relay(self, session: Session, worker: Worker, attempt: Attempt, call: Relay, now: datetime) -> Envelope:
        status, body = 404, '{"detail": "This call is not known."}'
        execution = session.get_one(Execution, attempt.execution_id)
        if call.call == "set_status_detail" and execution.attempt_number == attempt.number:
            try:
                detail = json.loads(call.body or "{}").get("status_detail", "")
            except ValueError as error:
                raise ProtocolError(f"relay body: {error}") from error
            execution.status_detail = str(detail)[:2000]
            status, body = 200, "{}"
        answer = Relay(call.request, call.call, body=body, status=status)
        return envelope(worker, "relay", typed.dump(answer), now, attempt.id)

    @staticmethod
    def _heard(worker: Worker, now: datetime) -> None:
        worker.last_beat_at, worker.silent_since = now, None
        if worker.state in ("silent", "lost"):
            worker.state = "active"


def _after(stream_id: str) -> str:
    """The id right after `stream_id`."""
    milliseconds, _, sequence = stream_id.partition("-")
    return f"{milliseconds}-{int(sequence or 0) + 1}"
