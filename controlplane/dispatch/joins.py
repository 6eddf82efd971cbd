"""Machines that ask to join."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.audit.models import AuditEvent
from controlplane.db.ids import is_id, uuid7
from controlplane.dispatch.caps import Bucket
from controlplane.dispatch.keys import KeyRing
from controlplane.dispatch.leases import LeaseKeeper, database_now
from controlplane.dispatch.queue import Entry, Queue, after
from controlplane.environments.models import Worker, WorkerGroup
from controlplane.executions.models import Attempt, Execution
from controlplane.executions.transitions import Transitions
from controlplane.security.signing import sign
from controlplane.security.vault import Vault, VaultError
from worker_bootstrap.protocol import MAX_DEPTH, OLDEST_PROTOCOL, PROTOCOL, codec, crypto, names, typed
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import JoinReply, JoinRequest

log = structlog.get_logger()
MAX_REQUEST = 64 * 1024
MAX_SLOTS = 1024
KEY_BYTES = 32
MOST_WAITING = 1000
AUDITED_A_SECOND, AUDITED_AT_ONCE = 0.2, 20


class JoinRefusedError(RuntimeError):
    """The request is well-formed and signed, and still refused: the machine is told why."""


@dataclass(frozen=True)
class Answer:
    """What is done after the commit: a Redis user, a sealed reply, and what an earlier worker left is removed."""

    request: JoinRequest
    reply: JoinReply
    rules: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()


class Joins:
    """Answers requests to join one installation, each in a transaction of its own."""

    def __init__(
        self,
        queue: Queue,
        vault: Vault,
        keys: KeyRing,
        installation: str,
        password_key: bytes,
        worker_settings: dict[str, float],
        max_attempts: int,
    ) -> None:
        self._queue = queue
        self._vault = vault
        self._keys = keys
        self._installation = installation
        self._password_key = password_key
        self._settings = worker_settings
        self._max_attempts = max_attempts
        self._audited = Bucket(AUDITED_A_SECOND, AUDITED_AT_ONCE)

    def run_pass(self, lease: LeaseKeeper, block: float) -> None:
        """Wait up to `block` seconds for requests and answer them. Raises QueueError, LeaseLostError."""
        entries = self._queue.read({names.JOIN_STREAM: "0-0"}, block, count=20).get(names.JOIN_STREAM, [])
        if not entries:
            return
        if self._queue.default_user_is_on():
            # Whoever reaches this Redis could read every answer: nobody is let in.
            log.error("queue_default_user_on", remedy="ACL SETUSER default off")
            return
        for entry in entries:
            self._handle(lease, entry)
            self._queue.trim(names.JOIN_STREAM, after(entry[0]))
        self._queue.cap(names.JOIN_STREAM, MOST_WAITING)

    def _handle(self, lease: LeaseKeeper, entry: Entry) -> None:
        """A request that isn't signed by its own key gets no answer."""
        try:
            request = self._open(entry[1])
        except ProtocolError as error:
            log.warning("join_dropped", why=str(error))
            return
        with lease.begin() as session:
            answer = self._decide(session, request, database_now(session))
        self._answer(answer)

    def _decide(self, session: Session, request: JoinRequest, now: datetime) -> Answer:
        try:
            group = self._group(session, request)
            return self._admit(session, group, request, now)
        except JoinRefusedError as error:
            log.warning("join_refused", machine=request.machine, group=request.group[:64], why=str(error))
            moment = now.timestamp()
            if self._audited.wait(moment) == 0:
                self._audited.take(1, moment)
                payload = {"name": request.name[:100], "group": request.group[:64], "why": str(error)}
                self._audit(session, now, "worker.join_refused", request.machine, payload)
            return Answer(request, JoinReply(error=str(error)))

    @staticmethod
    def _open(entry: dict[bytes, bytes]) -> JoinRequest:
        raw, signature = entry.get(b"request", b""), entry.get(b"signature", b"")
        request = typed.load(JoinRequest, typed.parse(raw, MAX_REQUEST, MAX_DEPTH))
        crypto.verify(crypto.unb64(request.signing_key), signature, raw)
        if not is_id(request.machine):
            raise ProtocolError("machine: a UUID is expected")
        if len(crypto.unb64(request.seal_key)) != KEY_BYTES or len(crypto.unb64(request.signing_key)) != KEY_BYTES:
            raise ProtocolError("signing_key, seal_key: 32 bytes each are expected")
        if not 16 <= len(request.nonce) <= 128:
            raise ProtocolError("nonce: 16 to 128 characters")
        return request

    def _group(self, session: Session, request: JoinRequest) -> WorkerGroup:
        """The group whose join secret made the proof. Raises JoinRefusedError."""
        if not OLDEST_PROTOCOL <= request.protocol <= PROTOCOL:
            raise JoinRefusedError(
                f"This master speaks protocol {OLDEST_PROTOCOL} to {PROTOCOL}, the agent {request.protocol}: "
                "install the agent's release that belongs to this master."
            )
        if not 1 <= request.slots <= MAX_SLOTS:
            raise JoinRefusedError(f"slots: 1 to {MAX_SLOTS} are allowed, {request.slots} are asked for.")
        group = session.scalar(
            select(WorkerGroup).where(
                WorkerGroup.installation_id == self._installation, WorkerGroup.slug == request.group
            )
        )
        if group is None or not self._proved(group, request):
            # One sentence for both: who has no secret learns no group's name.
            raise JoinRefusedError("The group or its join secret is wrong: check both on this machine.")
        return group

    def _proved(self, group: WorkerGroup, request: JoinRequest) -> bool:
        try:
            secret = self._vault.decrypt(group.join_secret, f"join-secret:{group.id}")
        except VaultError:
            log.exception("join_secret_unreadable", group=group.id)
            return False
        return hmac.compare_digest(codec.join_proof(secret, request).encode(), request.proof.encode())

    def _admit(self, session: Session, group: WorkerGroup, request: JoinRequest, now: datetime) -> Answer:
        worker, retired = self._register(session, group, request, now)
        # The same request always gets the same password: handled twice after a crash, both answers are true.
        password = sign(self._password_key, f"{worker.id}:{request.nonce}")
        worker.queue_password_hash = crypto.password_hash(password)
        session.flush()
        self._audit(session, now, "worker.joined", worker.id, {"name": worker.name, "group": group.slug})
        log.info("joined", worker=worker.id, name=worker.name, group=group.slug)
        reply = JoinReply(
            worker=worker.id,
            installation=worker.installation_id,
            queue_user=names.worker_user(worker.id),
            queue_password=password,
            master_keys=self._keys.public(session, worker.installation_id),
            settings=dict(self._settings),
        )
        return Answer(request, reply, tuple(names.worker_acl(worker.id, worker.queue_password_hash)), retired)

    def _register(
        self, session: Session, group: WorkerGroup, request: JoinRequest, now: datetime
    ) -> tuple[Worker, tuple[str, ...]]:
        """(worker, retired ones). A machine that comes with another key has lost its disk: its attempts are lost."""
        known = session.scalar(
            select(Worker)
            .where(Worker.installation_id == self._installation, Worker.machine == request.machine)
            .with_for_update()
        )
        if known is not None and known.signing_key == request.signing_key and known.state != "left":
            known.group_id, known.seal_key, known.slots = group.id, request.seal_key, request.slots
            known.state, known.silent_since, known.last_beat_at = "active", None, now
            return known, ()
        retired: tuple[str, ...] = ()
        if known is not None:
            self._retire(session, known, now)
            retired = (known.id,)
        worker = Worker(
            id=uuid7(),
            installation_id=self._installation,
            group_id=group.id,
            machine=request.machine,
            name=request.name[:128] or request.machine[:8],
            slots=request.slots,
            signing_key=request.signing_key,
            seal_key=request.seal_key,
            queue_password_hash="",
            version=request.version[:32],
            facts=request.facts,
            last_beat_at=now,
            joined_at=now,
        )
        session.add(worker)
        return worker, retired

    def _retire(self, session: Session, worker: Worker, now: datetime) -> None:
        worker.state, worker.left_at = "left", now
        worker.machine = f"{worker.machine[:36]}:{worker.id[-12:]}"
        transitions = Transitions(session, now, self._max_attempts)
        for attempt in locked_attempts(session, worker.id):
            transitions.on_lost(attempt, worker.name)
        session.flush()

    def _answer(self, answer: Answer) -> None:
        for worker in answer.retired:
            self._queue.forget_worker(worker)
        if answer.rules:
            self._queue.set_user(answer.reply.queue_user, list(answer.rules))
        request = answer.request
        sealed = crypto.seal(crypto.unb64(request.seal_key), typed.dumps(answer.reply), request.nonce.encode())
        self._queue.reply_to_join(request.machine, sealed)

    @staticmethod
    def _audit(session: Session, now: datetime, action: str, subject: str, payload: dict[str, str]) -> None:
        session.add(AuditEvent(at=now, actor="system", action=action, subject=subject, payload=payload))


def locked_attempts(session: Session, worker_id: str) -> list[Attempt]:
    """The worker's living attempts, their executions locked in order of id (the worker is locked already)."""
    query = select(Attempt).where(Attempt.worker_id == worker_id, Attempt.state != "ended").order_by(Attempt.id)
    ids = sorted({attempt.execution_id for attempt in session.scalars(query)})
    locking = select(Execution).where(Execution.id.in_(ids)).order_by(Execution.id).with_for_update()
    session.scalars(locking.execution_options(populate_existing=True)).all()
    return list(session.scalars(query.execution_options(populate_existing=True)))
