"""Grants: one transaction picks execution and worker and mints the attempt; then the job is sent until it is accepted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.accounts.models import User
from controlplane.commits.models import Commit
from controlplane.data.models import Datum
from controlplane.db.ids import uuid7
from controlplane.dispatch.grants import Free, Waiting, choose
from controlplane.dispatch.keys import KeyRing
from controlplane.dispatch.leases import LeaseKeeper, database_now
from controlplane.dispatch.queue import Queue
from controlplane.environments.models import Worker, WorkerGroup
from controlplane.executions.jobs import Facts, build_job
from controlplane.executions.models import Attempt, Execution
from controlplane.projects.models import Project, ProjectVariable
from controlplane.projects.service import variable_context
from controlplane.security.signing import new_token
from controlplane.security.vault import Vault
from controlplane.settings import Settings
from worker_bootstrap.protocol import typed
from worker_bootstrap.protocol.messages import Envelope, Stop

log = structlog.get_logger()
BATCH = 200


class Dispatcher:
    """One pass grants what fits and sends what must be sent."""

    def __init__(self, queue: Queue, vault: Vault, keys: KeyRing, settings: Settings) -> None:
        self._queue = queue
        self._vault = vault
        self._keys = keys
        self._settings = settings

    def run_pass(self, lease: LeaseKeeper) -> int:
        """Grant and send; returns how many were granted. Raises QueueError, LeaseLostError."""
        with lease.begin() as session:
            granted = self._grant(session, database_now(session), lease.epoch)
        self._send(lease)
        return granted

    def _grant(self, session: Session, now: datetime, epoch: int) -> int:
        waiting = session.execute(
            select(
                Execution.id, Execution.project_id, Execution.environment_id, Execution.priority, Execution.queued_at
            )
            .where(Execution.state == "queued")
            .where(~self._has_live_attempt())
            .order_by(Execution.priority.desc(), Execution.id)
            .limit(BATCH * 5)
        ).all()
        if not waiting:
            return 0
        workers = {w.id: w for w in session.scalars(select(Worker).where(Worker.state == "active"))}
        groups = {g.id: g for g in session.scalars(select(WorkerGroup).where(WorkerGroup.enabled.is_(True)))}
        busy = {
            worker: count
            for worker, count in session.execute(
                select(Attempt.worker_id, func.count()).where(Attempt.state != "ended").group_by(Attempt.worker_id)
            )
        }
        running = {
            project: count
            for project, count in session.execute(
                select(Execution.project_id, func.count())
                .where(Execution.state.in_(("started", "stopping")))
                .group_by(Execution.project_id)
            )
        }
        weights = {p: w for p, w in session.execute(select(Project.id, Project.weight))}
        pairs = choose(
            [Waiting(r[0], r[1], r[2], r[3], r[0]) for r in waiting if r[2] in groups],
            [Free(w.id, w.group_id, w.slots - busy.get(w.id, 0)) for w in workers.values()],
            running,
            weights,
        )
        for execution_id, worker_id in pairs[:BATCH]:
            self._mint(session, session.get_one(Execution, execution_id), workers[worker_id], groups, now, epoch)
        return len(pairs)

    def _mint(
        self,
        session: Session,
        execution: Execution,
        worker: Worker,
        groups: dict[str, WorkerGroup],
        now: datetime,
        epoch: int,
    ) -> None:
        execution.attempt_number += 1
        execution.reason, execution.reason_args = "granted", {"worker": worker.name}
        attempt_id = uuid7()
        facts = self._facts(session, execution, worker, groups[execution.environment_id], now)
        job = build_job(execution, attempt_id, execution.attempt_number, facts)
        session.add(
            Attempt(
                id=attempt_id,
                organization_id=execution.organization_id,
                execution_id=execution.id,
                worker_id=worker.id,
                number=execution.attempt_number,
                job=typed.dumps(job),
                epoch=epoch,
                granted_at=now,
            )
        )

    def _facts(
        self, session: Session, execution: Execution, worker: Worker, group: WorkerGroup, now: datetime
    ) -> Facts:
        plain: dict[str, str] = {}
        secret: dict[str, str] = {}
        for row in session.scalars(select(ProjectVariable).where(ProjectVariable.project_id == execution.project_id)):
            if row.secret:
                secret[row.name] = self._vault.decrypt(row.value, variable_context(row.project_id, row.name))
            else:
                plain[row.name] = row.value
        for name, entry in execution.environment_variables.items():
            plain[name] = str(entry.get("value", ""))
            secret.pop(name, None)
        user = session.get(User, execution.creator_id) if execution.creator_id else None
        ids = [
            u.removeprefix("datum://") for uris in execution.inputs.values() for u in uris if u.startswith("datum://")
        ]
        return Facts(
            commit=session.get_one(Commit, execution.commit_id),
            project=session.get_one(Project, execution.project_id),
            group=group,
            worker=worker,
            creator={"name": user.username, "email": user.email} if user else {},
            datums={d.id: d for d in session.scalars(select(Datum).where(Datum.id.in_(ids)))} if ids else {},
            plain_env=plain,
            secret_env=secret,
            relay_token=new_token(),
            stop_grace=self._settings.stop_grace,
            metadata_per_second=self._settings.metadata_points_per_second,
            now=now,
        )

    def _send(self, lease: LeaseKeeper) -> None:
        """Grants that are not accepted yet and stops that have not ended: said again until they are."""
        with lease.begin() as session:
            now = database_now(session)
            again = now - timedelta(seconds=self._settings.grant_resend_after)
            due = (Attempt.sent_at.is_(None)) | (Attempt.sent_at < again)
            for attempt in session.scalars(select(Attempt).where(Attempt.state == "granted", due).limit(BATCH)):
                self._to_worker(session, attempt, "grant", attempt.job or b"{}", now)
                attempt.sent_at = now
            due_stop = (Attempt.stop_sent_at.is_(None)) | (Attempt.stop_sent_at < again)
            stops = select(Attempt).where(Attempt.stop_reason != "", Attempt.state != "ended", due_stop).limit(BATCH)
            for attempt in session.scalars(stops):
                body = typed.dumps(Stop(attempt.stop_reason, kill=attempt.stop_kill))
                self._to_worker(session, attempt, "stop", body, now)
                attempt.stop_sent_at = now

    def _to_worker(self, session: Session, attempt: Attempt, kind: str, body: bytes, now: datetime) -> None:
        worker = session.get_one(Worker, attempt.worker_id)
        self._queue.send(
            worker.id,
            self._keys.signing(session, worker.installation_id),
            [envelope(worker, kind, body, now, attempt.id)],
        )

    @staticmethod
    def _has_live_attempt() -> Any:
        return (
            select(Attempt.id)
            .where(
                Attempt.execution_id == Execution.id,
                Attempt.number == Execution.attempt_number,
                Attempt.state != "ended",
            )
            .exists()
        )


def envelope(worker: Worker, kind: str, body: bytes | dict[str, Any], now: datetime, attempt: str = "") -> Envelope:
    """A message to this worker."""
    decoded = body if isinstance(body, dict) else typed.parse(body, 16 * 1024 * 1024, 64)
    return Envelope(
        id=uuid7(),
        kind=kind,
        installation=worker.installation_id,
        worker=worker.id,
        attempt=attempt,
        sent=now.timestamp(),
        body=decoded,
    )
