"""Silent and lost workers, and Redis users that a restart forgot."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.dispatch.leases import LeaseKeeper, database_now
from controlplane.dispatch.queue import Queue, QueueError
from controlplane.environments.models import Worker, WorkerGroup
from controlplane.executions.models import Attempt
from controlplane.executions.transitions import Transitions
from controlplane.settings import Settings
from worker_bootstrap.protocol import names

log = structlog.get_logger()


class Freeze:
    """While the master can't read the queue, silence proves nothing; nor for one full period after."""

    def __init__(self, period: timedelta) -> None:
        self._period = period
        self._until: datetime | None = None

    def note(self, now: datetime, reachable: bool) -> None:
        """What the last look at the queue gave."""
        if not reachable:
            self._until = now + self._period

    def frozen(self, now: datetime) -> bool:
        """Whether leases stand still."""
        return self._until is not None and now < self._until


class Keeper:
    """One look at every worker."""

    def __init__(self, queue: Queue, settings: Settings) -> None:
        self._queue = queue
        self._settings = settings
        self._freeze = Freeze(timedelta(seconds=settings.silent_after))
        self._started: datetime | None = None

    def run_pass(self, lease: LeaseKeeper) -> None:
        """Make users again, note who is silent, requeue what lost workers had. Raises LeaseLostError, QueueError."""
        reachable = True
        try:
            known = self._queue.users()
        except QueueError:
            reachable, known = False, set()
        with lease.begin() as session:
            now = database_now(session)
            if self._started is None:
                # Messages that waited while no master ran must be read before silence counts.
                self._started = now
                self._freeze.note(now, reachable=False)
            self._freeze.note(now, reachable)
            workers = list(session.scalars(select(Worker).where(Worker.state != "left")))
            if reachable:
                self._restore_users(workers, known)
            if not self._freeze.frozen(now):
                for worker in workers:
                    self._judge(session, worker, now)

    def _restore_users(self, workers: list[Worker], known: set[str]) -> None:
        for worker in workers:
            name = names.worker_user(worker.id)
            if name not in known:
                self._queue.set_user(name, names.worker_acl(worker.id, worker.queue_password_hash))
                worker.last_stream_id = "0-0"
                log.info("queue_user_restored", worker=worker.id)

    def _judge(self, session: Session, worker: Worker, now: datetime) -> None:
        silence = now - (worker.last_beat_at or worker.joined_at)
        if silence < timedelta(seconds=self._settings.silent_after):
            return
        if worker.state in ("active", "draining"):
            worker.state, worker.silent_since = "silent", now
            log.warning("worker_silent", worker=worker.id, name=worker.name)
        group = session.get_one(WorkerGroup, worker.group_id)
        lost_after = timedelta(seconds=float(group.settings.get("lost_after", self._settings.lost_after)))
        if silence < lost_after or worker.state == "lost":
            return
        worker.state = "lost"
        transitions = Transitions(session, now, self._settings.max_attempts)
        for attempt in session.scalars(select(Attempt).where(Attempt.worker_id == worker.id, Attempt.state != "ended")):
            transitions.on_lost(attempt, worker.name)
        log.warning("worker_lost", worker=worker.id, name=worker.name)
