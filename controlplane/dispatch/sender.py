"""Grants that are not accepted yet, and stops whose attempt has not ended: said again until they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.dispatcher import LIVE
from controlplane.dispatch.keys import KeyRing
from controlplane.dispatch.leases import LeaseKeeper, database_now
from controlplane.dispatch.messages import envelope
from controlplane.dispatch.queue import Queue
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt
from worker_bootstrap.protocol import crypto, typed
from worker_bootstrap.protocol.messages import Stop

log = structlog.get_logger()
MOST = 200


@dataclass(frozen=True)
class Outgoing:
    """A message that is due. `body` is its exact bytes."""

    attempt: str
    worker: str
    kind: str
    body: bytes


class Sender:
    """Sends for one installation. The database is never locked while the queue is talked to."""

    def __init__(self, db: Database, queue: Queue, keys: KeyRing, installation: str, resend_after: float) -> None:
        self._db = db
        self._queue = queue
        self._keys = keys
        self._installation = installation
        self._again = timedelta(seconds=resend_after)

    def run_pass(self, lease: LeaseKeeper) -> int:
        """Send what is due; returns how much. Raises QueueError, LeaseLostError, LookupError without a key."""
        with self._db.read(SYSTEM) as session:
            now = database_now(session)
            due = [*self._grants(session, now), *self._stops(session, now)]
            if not due:
                return 0
            key = self._keys.signing(session, self._installation)
        sent: list[Outgoing] = []
        try:
            for message in due:
                self._send(key, message, now)
                sent.append(message)
        finally:
            # A crash before this only means that a message is said twice.
            if sent:
                self._note(lease, sent)
        return len(sent)

    def _grants(self, session: Session, now: datetime) -> list[Outgoing]:
        due = Attempt.sent_at.is_(None) | (Attempt.sent_at < now - self._again)
        query = self._of_installation().where(Attempt.state == "granted", due).order_by(Attempt.id).limit(MOST)
        return [Outgoing(row.id, row.worker_id, "grant", row.job or b"{}") for row in session.scalars(query)]

    def _stops(self, session: Session, now: datetime) -> list[Outgoing]:
        due = Attempt.stop_sent_at.is_(None) | (Attempt.stop_sent_at < now - self._again)
        query = self._of_installation().where(Attempt.state.in_(LIVE), Attempt.stop_reason != "", due)
        return [
            Outgoing(row.id, row.worker_id, "stop", typed.dumps(Stop(row.stop_reason, kill=row.stop_kill)))
            for row in session.scalars(query.order_by(Attempt.id).limit(MOST))
        ]

    def _of_installation(self) -> Select[Attempt]:
        join = select(Attempt).join(Worker, Worker.id == Attempt.worker_id)
        return join.where(Worker.installation_id == self._installation)

    def _send(self, key: crypto.SigningKey, message: Outgoing, now: datetime) -> None:
        said = envelope(self._installation, message.worker, message.kind, message.body, now, message.attempt)
        self._queue.send(message.worker, key, [said])
        log.info("sent", kind=message.kind, attempt=message.attempt, worker=message.worker)

    @staticmethod
    def _note(lease: LeaseKeeper, sent: list[Outgoing]) -> None:
        with lease.begin() as session:
            now = database_now(session)
            for kind, column in (("grant", "sent_at"), ("stop", "stop_sent_at")):
                ids = [message.attempt for message in sent if message.kind == kind]
                if ids:
                    session.execute(update(Attempt).where(Attempt.id.in_(ids)).values({column: now}))
