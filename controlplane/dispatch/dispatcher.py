"""Grants: one database transaction picks execution and worker and mints the attempt, the fencing token."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import DataError, NoResultFound
from sqlalchemy.orm import Session

from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.facts import gather
from controlplane.dispatch.grants import Free, Waiting, choose
from controlplane.dispatch.leases import LeaseKeeper, database_now
from controlplane.environments.models import Worker, WorkerGroup
from controlplane.executions.jobs import build_job
from controlplane.executions.models import Attempt, Execution
from controlplane.executions.transitions import Transitions
from controlplane.projects.models import Project
from controlplane.security.vault import Vault, VaultError
from controlplane.settings import Settings
from worker_bootstrap.protocol import MAX_BATCH_BYTES, typed
from worker_bootstrap.protocol.errors import ProtocolError

log = structlog.get_logger()
MOST_GRANTS = 200
ENVELOPE_BYTES = 4096
LIVE = ("granted", "accepted", "running")
# What a document that can't be put together raises: the execution is at fault, and the others go on.
UNBUILDABLE = (VaultError, ProtocolError, NoResultFound, DataError, LookupError, ValueError, TypeError, AttributeError)


@dataclass(frozen=True)
class Candidate:
    """A queued execution without a living attempt, at attempt number `number`."""

    item: Waiting
    number: int


class Grant:
    """An execution for a worker, with the id and the number of the attempt that it is to be."""

    def __init__(self, execution: Execution, worker: Worker) -> None:
        self.execution = execution
        self.worker = worker
        self.attempt = uuid7()
        self.number = execution.attempt_number + 1


def has_live_attempt() -> ColumnElement[bool]:
    """Whether an execution's newest attempt is not over."""
    return (
        select(Attempt.id)
        .where(
            Attempt.execution_id == Execution.id,
            Attempt.number == Execution.attempt_number,
            Attempt.state != "ended",
        )
        .exists()
    )


def busy_slots(session: Session) -> dict[str, int]:
    """Living attempts by worker."""
    query = select(Attempt.worker_id, func.count()).where(Attempt.state.in_(LIVE)).group_by(Attempt.worker_id)
    return dict(session.execute(query).all())


def running_by_project(session: Session) -> dict[str, int]:
    """Living attempts by project: what has been granted counts as running."""
    query = (
        select(Execution.project_id, func.count())
        .join(Attempt, Attempt.execution_id == Execution.id)
        .where(Attempt.state.in_(LIVE))
        .group_by(Execution.project_id)
    )
    return dict(session.execute(query).all())


class Dispatcher:
    """Grants what fits. Sending is another's work: a grant stands in the database first."""

    def __init__(self, db: Database, vault: Vault, settings: Settings) -> None:
        self._db = db
        self._vault = vault
        self._settings = settings

    def run_pass(self, lease: LeaseKeeper) -> int:
        """Grant once; returns how many. Takes no write lock when nothing can be granted. Raises LeaseLostError."""
        with self._db.read(SYSTEM) as session:
            groups = self._groups_with_room(session)
            waits = bool(groups) and session.scalar(self._queued(groups).limit(1)) is not None
        if not waits:
            return 0
        with lease.begin() as session:
            return self._grant(session, groups, database_now(session), lease.epoch)

    def _groups_with_room(self, session: Session) -> list[str]:
        busy = busy_slots(session)
        query = (
            select(Worker.id, Worker.group_id, Worker.slots)
            .join(WorkerGroup, WorkerGroup.id == Worker.group_id)
            .where(Worker.state == "active", WorkerGroup.enabled.is_(True))
        )
        return sorted({group for worker, group, slots in session.execute(query) if slots > busy.get(worker, 0)})

    @staticmethod
    def _queued(groups: list[str]) -> Any:
        return select(Execution.id).where(
            Execution.state == "queued", Execution.environment_id.in_(groups), ~has_live_attempt()
        )

    def _grant(self, session: Session, groups: list[str], now: datetime, epoch: int) -> int:
        # Workers first, then executions: everybody who locks both does it in this order.
        locked = session.scalars(
            select(Worker)
            .where(Worker.state == "active", Worker.group_id.in_(groups))
            .order_by(Worker.id)
            .with_for_update()
        )
        workers = {worker.id: worker for worker in locked}
        busy = busy_slots(session)
        free = [Free(w.id, w.group_id, w.slots - busy.get(w.id, 0)) for w in workers.values()]
        room = sum(max(0, entry.slots) for entry in free)
        if not room:
            return 0
        candidates = self._candidates(session, groups, min(room, MOST_GRANTS), now)
        weights = dict(session.execute(select(Project.id, Project.weight).where(Project.weight != 1)).all())
        pairs = choose([c.item for c in candidates.values()], free, running_by_project(session), weights)[:MOST_GRANTS]
        executions = self._lock(session, [execution for execution, _ in pairs])
        grants = [
            Grant(executions[execution_id], workers[worker_id])
            for execution_id, worker_id in pairs
            if execution_id in executions and executions[execution_id].attempt_number == candidates[execution_id].number
        ]
        jobs = self._jobs(session, grants, now)
        for grant in grants:
            if grant.attempt in jobs:
                self._mint(session, grant, jobs[grant.attempt], now, epoch)
        return len(jobs)

    def _candidates(self, session: Session, groups: list[str], most: int, now: datetime) -> dict[str, Candidate]:
        """The first `most` of each project and group: enough for any fair choice, however long a queue is."""
        place = (
            func.row_number()
            .over(
                partition_by=(Execution.environment_id, Execution.project_id),
                order_by=(Execution.priority.desc(), Execution.queued_at, Execution.id),
            )
            .label("place")
        )
        inner = (
            select(
                Execution.id,
                Execution.project_id,
                Execution.environment_id,
                Execution.priority,
                Execution.queued_at,
                Execution.attempt_number,
                place,
            )
            .where(Execution.state == "queued", Execution.environment_id.in_(groups), ~has_live_attempt())
            .subquery()
        )
        rows = session.execute(select(inner).where(inner.c.place <= most)).all()
        failed = self._failed_before(session, [row.id for row in rows if row.attempt_number > 0])
        found: dict[str, Candidate] = {}
        pause = timedelta(seconds=self._settings.retry_pause)
        for row in rows:
            worker, ended_at = failed.get(row.id, ("", None))
            if ended_at is not None and ended_at + pause > now:
                continue
            order = f"{row.queued_at.isoformat() if row.queued_at else ''} {row.id}"
            avoid = frozenset({worker} if worker else ())
            item = Waiting(row.id, row.project_id, row.environment_id, row.priority, order, avoid)
            found[row.id] = Candidate(item, row.attempt_number)
        return found

    @staticmethod
    def _failed_before(session: Session, executions: list[str]) -> dict[str, tuple[str, datetime | None]]:
        """{execution: (worker of its newest attempt, when that ended)}."""
        found: dict[str, tuple[str, datetime | None]] = {}
        for start in range(0, len(executions), 500):
            query = (
                select(Execution.id, Attempt.worker_id, Attempt.ended_at)
                .join(Attempt, (Attempt.execution_id == Execution.id) & (Attempt.number == Execution.attempt_number))
                .where(Execution.id.in_(executions[start : start + 500]))
            )
            found.update({row[0]: (row[1], row[2]) for row in session.execute(query)})
        return found

    @staticmethod
    def _lock(session: Session, ids: list[str]) -> dict[str, Execution]:
        """Those that still wait, locked; somebody who just stops one has the precedence."""
        query = (
            select(Execution)
            .where(Execution.id.in_(ids), Execution.state == "queued")
            .order_by(Execution.id)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
        return {execution.id: execution for execution in session.scalars(query)}

    def _jobs(self, session: Session, grants: list[Grant], now: datetime) -> dict[str, bytes]:
        """{attempt: its job document}; an execution of which none can be made ends, and says so."""
        if len(grants) > 1:
            with suppress(*UNBUILDABLE), session.begin_nested():
                return {grant.attempt: self._job(session, grant, now) for grant in grants}
        # One of them is at fault, or there is only one: each by itself, and the others go on.
        found: dict[str, bytes] = {}
        for grant in grants:
            try:
                with session.begin_nested():
                    found[grant.attempt] = self._job(session, grant, now)
            except UNBUILDABLE as error:
                log.exception("job_not_built", execution=grant.execution.id)
                self._give_up(session, grant.execution, error, now)
        return found

    def _job(self, session: Session, grant: Grant, now: datetime) -> bytes:
        execution = grant.execution
        group = session.get_one(WorkerGroup, execution.environment_id)
        facts = gather(session, self._vault, self._settings, execution, grant.worker, group, now)
        job = typed.dumps(build_job(execution, grant.attempt, grant.number, facts))
        if len(job) > MAX_BATCH_BYTES - ENVELOPE_BYTES:
            raise ValueError(f"it has {len(job)} bytes, {MAX_BATCH_BYTES - ENVELOPE_BYTES} are allowed")
        return job

    def _mint(self, session: Session, grant: Grant, job: bytes, now: datetime, epoch: int) -> None:
        """The attempt of this grant."""
        execution, worker = grant.execution, grant.worker
        session.add(
            Attempt(
                id=grant.attempt,
                organization_id=execution.organization_id,
                execution_id=execution.id,
                worker_id=worker.id,
                number=grant.number,
                job=job,
                epoch=epoch,
                granted_at=now,
            )
        )
        execution.attempt_number = grant.number
        execution.reason, execution.reason_args = "granted", {"worker": worker.name}
        log.info("granted", execution=execution.id, attempt=grant.attempt, number=grant.number, worker=worker.id)

    def _give_up(self, session: Session, execution: Execution, error: Exception, now: datetime) -> None:
        Transitions(session, now, self._settings.max_attempts).give_up(execution, f"{type(error).__name__}: {error}")
