"""Machines that ask to join."""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.db.ids import is_id, uuid7
from controlplane.dispatch.keys import KeyRing
from controlplane.dispatch.queue import Queue
from controlplane.environments.models import Worker, WorkerGroup
from controlplane.executions.models import Attempt
from controlplane.executions.transitions import Transitions
from controlplane.security.vault import Vault, VaultError
from worker_bootstrap.protocol import MAX_DEPTH, codec, crypto, names, typed
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import JoinReply, JoinRequest

log = structlog.get_logger()
MAX_REQUEST = 64 * 1024


class Joins:
    """Answers requests to join. One transaction a request, the caller's."""

    def __init__(
        self, queue: Queue, vault: Vault, keys: KeyRing, worker_settings: dict[str, float], max_attempts: int
    ) -> None:
        self._queue = queue
        self._vault = vault
        self._keys = keys
        self._settings = worker_settings
        self._max_attempts = max_attempts

    def handle(self, session: Session, entry: dict[bytes, bytes], now: datetime) -> None:
        """Register the machine and answer it; a request that proves nothing gets no answer."""
        try:
            request = self._open(entry)
        except ProtocolError as error:
            log.warning("join_dropped", why=str(error))
            return
        group = session.scalar(select(WorkerGroup).where(WorkerGroup.slug == request.group))
        if group is None or not self._proved(group, request):
            log.warning("join_refused", machine=request.machine, group=request.group[:64])
            return
        password = secrets.token_urlsafe(32)
        worker = self._register(session, group, request, crypto.password_hash(password), now)
        session.flush()
        self._queue.set_user(names.worker_user(worker.id), names.worker_acl(worker.id, worker.queue_password_hash))
        reply = JoinReply(
            worker=worker.id,
            installation=worker.installation_id,
            queue_user=names.worker_user(worker.id),
            queue_password=password,
            master_keys=self._keys.public(session, worker.installation_id),
            settings=dict(self._settings),
        )
        sealed = crypto.seal(crypto.unb64(request.seal_key), typed.dumps(reply), request.nonce.encode())
        self._queue.reply_to_join(request.machine, sealed)
        log.info("joined", worker=worker.id, name=worker.name, group=group.slug)

    @staticmethod
    def _open(entry: dict[bytes, bytes]) -> JoinRequest:
        raw, signature = entry.get(b"request", b""), entry.get(b"signature", b"")
        request = typed.load(JoinRequest, typed.parse(raw, MAX_REQUEST, MAX_DEPTH))
        crypto.verify(crypto.unb64(request.signing_key), signature, raw)
        if not is_id(request.machine):
            raise ProtocolError("machine: a UUID is expected")
        if not 1 <= request.slots <= 1024 or len(crypto.unb64(request.seal_key)) != 32:
            raise ProtocolError("slots or seal_key")
        return request

    def _proved(self, group: WorkerGroup, request: JoinRequest) -> bool:
        try:
            secret = self._vault.decrypt(group.join_secret, f"join-secret:{group.id}")
        except VaultError:
            return False
        return hmac.compare_digest(codec.join_proof(secret, request), request.proof)

    def _register(
        self, session: Session, group: WorkerGroup, request: JoinRequest, password_hash: str, now: datetime
    ) -> Worker:
        """A machine that joins again has lost its disk: its old worker is gone, its attempts are lost."""
        known = session.scalar(
            select(Worker).where(
                Worker.installation_id == group.installation_id,
                Worker.machine == request.machine,
                Worker.left_at.is_(None),
            )
        )
        if known is not None and known.signing_key == request.signing_key:
            known.queue_password_hash, known.seal_key = password_hash, request.seal_key
            known.slots, known.state = request.slots, "active"
            return known
        if known is not None:
            self._retire(session, known, now)
        worker = Worker(
            id=uuid7(),
            installation_id=group.installation_id,
            group_id=group.id,
            machine=request.machine,
            name=request.name[:128],
            slots=request.slots,
            signing_key=request.signing_key,
            seal_key=request.seal_key,
            queue_password_hash=password_hash,
            version=request.version[:32],
            facts=request.facts,
            last_beat_at=now,
            joined_at=now,
        )
        session.add(worker)
        return worker

    def _retire(self, session: Session, worker: Worker, now: datetime) -> None:
        worker.state, worker.left_at = "left", now
        worker.machine = f"{worker.machine}:{worker.id[:8]}"
        transitions = Transitions(session, now, self._max_attempts)
        for attempt in session.scalars(select(Attempt).where(Attempt.worker_id == worker.id, Attempt.state != "ended")):
            transitions.on_lost(attempt, worker.name)
        session.flush()
