"""Reads what workers say: checked, applied once and in order, acknowledged after the commit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.audit.models import AuditEvent
from controlplane.data.stores.deadline import within
from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.caps import Bucket, PointCap
from controlplane.dispatch.inbound import Heard, Inbound
from controlplane.dispatch.keys import KeyRing
from controlplane.dispatch.leases import LeaseKeeper, database_now
from controlplane.dispatch.logins import LoginDesk
from controlplane.dispatch.messages import envelope
from controlplane.dispatch.planned import Planned
from controlplane.dispatch.questions import Questions
from controlplane.dispatch.queue import Entry, Queue, after
from controlplane.dispatch.reconcile import Missed
from controlplane.dispatch.slow import SlowAnswers
from controlplane.environments.models import Installation, Worker
from controlplane.settings import Settings
from worker_bootstrap.protocol import codec, crypto, names, typed
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import Ack, Envelope

log = structlog.get_logger()
ENTRIES_A_READ = 8
OUTBOX_MAX = 20_000
MESSAGES_A_SECOND, MESSAGES_AT_ONCE = 500, 5_000
BYTES_A_SECOND, BYTES_AT_ONCE = 4_000_000, 64_000_000
AUDITED_A_SECOND, AUDITED_AT_ONCE = 1 / 60, 5


@dataclass(frozen=True)
class Outbox:
    """A worker's outbox: where reading goes on, and the key that must have signed it."""

    worker: str
    position: str
    key: bytes


class Flow:
    """How much a worker has said lately; above its rate its outbox is left alone for a while: nothing is dropped."""

    def __init__(self) -> None:
        self.messages = Bucket(MESSAGES_A_SECOND, MESSAGES_AT_ONCE)
        self.bytes = Bucket(BYTES_A_SECOND, BYTES_AT_ONCE)
        self.audited = Bucket(AUDITED_A_SECOND, AUDITED_AT_ONCE)
        self.answered: float | None = None

    def is_quiet(self, now: float, longest: float) -> bool:
        """Whether nothing was said to it for so long, in seconds."""
        return self.answered is None or now - self.answered >= longest

    def wait(self, now: float) -> float:
        """Seconds until it may be read again."""
        return max(self.messages.wait(now), self.bytes.wait(now))


class Consumer:
    """Reads the outboxes of one installation's workers."""

    def __init__(
        self,
        db: Database,
        queue: Queue,
        keys: KeyRing,
        stores: StoreRegistry,
        logins: LoginDesk,
        installation: str,
        settings: Settings,
        slow: SlowAnswers,
    ) -> None:
        self._db = db
        self._queue = queue
        self._keys = keys
        self._installation = installation
        self._max_attempts = settings.max_attempts
        self._questions = Questions(stores, logins)
        self._slow = slow
        self._store_timeout = settings.store_timeout
        self._missed = Missed()
        self._points = PointCap(settings.metadata_points_per_second)
        self._flows: dict[str, Flow] = {}
        self._note_every = settings.beat_interval / 2
        self._note_at = 0.0
        # A worker that never hears of its master takes itself for cut off, and powers its machine off.
        self._longest_silence = settings.silent_after

    def run_pass(self, lease: LeaseKeeper, block: float) -> int:
        """Wait up to `block` seconds for entries and apply them; returns how many. See QueueError, LeaseLostError."""
        with self._db.read(SYSTEM) as session:
            outboxes = self._outboxes(session)
        now = time.monotonic()
        positions = {
            names.outbox(box.worker): box.position for box in outboxes.values() if self._flow(box.worker).wait(now) == 0
        }
        if positions:
            found = self._queue.read(positions, block, ENTRIES_A_READ)
        else:
            self._queue.ping()
            time.sleep(min(block, 0.2))
            found = {}
        self._note_reading(lease)
        for stream, entries in found.items():
            self._worker(lease, outboxes[stream.removeprefix("out:")], entries)
        return sum(len(entries) for entries in found.values())

    def _outboxes(self, session: Session) -> dict[str, Outbox]:
        query = select(Worker.id, Worker.last_stream_id, Worker.signing_key).where(
            Worker.installation_id == self._installation, Worker.state != "left"
        )
        found = {row[0]: Outbox(row[0], row[1], crypto.unb64(row[2])) for row in session.execute(query)}
        for gone in self._flows.keys() - found.keys():
            del self._flows[gone]
        return found

    def _note_reading(self, lease: LeaseKeeper) -> None:
        """Say in the database that the queue can be read: silence of workers counts only while it can."""
        moment = time.monotonic()
        if moment < self._note_at:
            return
        with lease.begin() as session:
            session.get_one(Installation, self._installation).queue_read_at = database_now(session)
        self._note_at = moment + self._note_every

    def _worker(self, lease: LeaseKeeper, box: Outbox, entries: list[Entry]) -> None:
        """One transaction for what one worker said; answers leave after the commit."""
        messages, refused = self._open(box, entries)
        with lease.begin() as session:
            now = database_now(session)
            worker = session.get(Worker, box.worker, with_for_update=True)
            if worker is None or worker.state == "left":
                return
            inbound = Inbound(session, worker, now, self._max_attempts, self._missed, self._points)
            inbound.take_all(messages)
            worker.last_stream_id = entries[-1][0]
            heard = inbound.heard
            self._audit(session, worker, refused, heard.skipped, now)
            key = self._keys.signing(session, self._installation)
            acked = worker.last_seq
        answers = list(heard.answers)
        flow, moment = self._flow(box.worker), time.monotonic()
        if heard.sequenced or flow.is_quiet(moment, self._longest_silence):
            body = typed.dump(Ack(acked))
            answers.append(envelope(self._installation, box.worker, "ack", body, now))
        answers.extend(self._answer(lease, box.worker, heard, now))
        if answers:
            self._queue.send(box.worker, key, answers)
            flow.answered = moment
        self._trim(box.worker, entries[-1][0], heard)

    def _open(self, box: Outbox, entries: list[Entry]) -> tuple[list[Envelope], int]:
        """(messages, number of batches that were not this worker's or broke the protocol)."""
        flow, now = self._flow(box.worker), time.monotonic()
        keys = {crypto.key_id(box.key): box.key}
        messages: list[Envelope] = []
        refused = 0
        for entry_id, fields in entries:
            flow.bytes.take(sum(map(len, fields.values())), now)
            try:
                messages.extend(codec.decode(keys, fields, direction="up"))
            except ProtocolError as error:
                refused += 1
                log.warning("batch_refused", worker=box.worker, entry=entry_id, why=str(error)[:300])
        flow.messages.take(len(messages) + refused, now)
        return messages, refused

    def _audit(self, session: Session, worker: Worker, refused: int, skipped: int, now: datetime) -> None:
        bucket, moment = self._flow(worker.id).audited, time.monotonic()
        if not (refused or skipped) or bucket.wait(moment) > 0:
            return
        bucket.take(1, moment)
        payload = {"batches_refused": refused, "messages_skipped": skipped, "name": worker.name}
        session.add(
            AuditEvent(at=now, actor="system", action="worker.unusable_messages", subject=worker.id, payload=payload)
        )

    def _answer(self, lease: LeaseKeeper, worker: str, heard: Heard, now: datetime) -> list[Envelope]:
        """What can be answered at once; what a store's network has to say is answered later, from another thread."""
        answers: list[Envelope] = []
        for question in heard.questions:
            writes = self._questions.writes(question)
            try:
                with lease.begin() if writes else self._db.read(SYSTEM) as session:
                    planned = self._questions.plan(session, worker, question)
            except ProtocolError as error:
                _log_refused(worker, question, error)
                continue
            if planned.payer:
                self._answer_later(planned.payer, worker, question)
            else:
                answers.append(self._reply(worker, question, planned, now))
        return answers

    def _answer_later(self, payer: str, worker: str, question: Envelope) -> None:
        # Workers ask again under the same name; only one of these questions is answered at a time.
        name = f"{worker}:{question.body.get('request')}"
        if not self._slow.put(payer, name, lambda: self._answer_slowly(worker, question)):
            log.warning("question_dropped", worker=worker, kind=question.kind, payer=payer)

    def _answer_slowly(self, worker: str, question: Envelope) -> None:
        """Planned anew, for it may have waited; no transaction is open while stores are asked."""
        try:
            with self._db.read(SYSTEM) as session:
                planned = self._questions.plan(session, worker, question)
                key, now = self._keys.signing(session, self._installation), database_now(session)
        except ProtocolError as error:
            _log_refused(worker, question, error)
            return
        with within(self._store_timeout):
            answer = self._reply(worker, question, planned, now)
        self._queue.send(worker, key, [answer])

    def _reply(self, worker: str, question: Envelope, planned: Planned, now: datetime) -> Envelope:
        body = typed.dump(planned.finish())
        return envelope(self._installation, worker, question.kind, body, now, question.attempt)

    def _trim(self, worker: str, handled: str, heard: Heard) -> None:
        outbox = names.outbox(worker)
        self._queue.trim(outbox, after(handled))
        self._queue.cap(outbox, OUTBOX_MAX)
        for attempt in heard.ended:
            self._queue.expire_tail(worker, attempt)
        if not heard.read:
            return
        try:
            self._queue.trim(names.inbox(worker), after(heard.read))
        except ProtocolError as error:
            log.warning("inbox_not_trimmed", worker=worker, why=str(error))

    def _flow(self, worker: str) -> Flow:
        return self._flows.setdefault(worker, Flow())


def _log_refused(worker: str, question: Envelope, error: ProtocolError) -> None:
    log.warning("question_refused", worker=worker, kind=question.kind, why=str(error)[:300])
