"""Silent and lost workers of one installation, and the users and streams that its queue may have lost."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from controlplane.audit.models import AuditEvent
from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.acl import Users
from controlplane.dispatch.joins import locked_attempts
from controlplane.dispatch.leases import LeaseKeeper, database_now
from controlplane.dispatch.lost import Sight, Watch, judge
from controlplane.dispatch.queue import Queue
from controlplane.environments.models import Installation, Worker, WorkerGroup
from controlplane.executions.models import Attempt
from controlplane.executions.transitions import Transitions
from controlplane.settings import Settings

log = structlog.get_logger()
# The consumer notes its reading every half beat: two beats without a note mean that it does not read.
PATIENCE_IN_BEATS = 2


class Keeper:
    """One look at every worker of an installation."""

    def __init__(self, db: Database, queue: Queue, installation: str, settings: Settings) -> None:
        self._db = db
        self._queue = queue
        self._installation = installation
        self._settings = settings
        self._users = Users(queue)
        self._watch = Watch(timedelta(seconds=settings.beat_interval * PATIENCE_IN_BEATS))

    def run_pass(self, lease: LeaseKeeper) -> None:
        """Mend the queue, then note who is silent and requeue what lost workers had. Raises LeaseLostError."""
        self._judge_all(lease)
        self._mend(lease)

    def _mend(self, lease: LeaseKeeper) -> None:
        """Raises QueueError."""
        seen = self._users.look()
        with self._db.read(SYSTEM) as session:
            installation = session.get_one(Installation, self._installation)
            join_hash = str(installation.document.get("queue", {}).get("join_password_hash", ""))
            query = select(Worker.id, Worker.queue_password_hash)
            rows = session.execute(query.where(Worker.installation_id == self._installation, Worker.state != "left"))
            workers = dict(rows.all())
        if self._queue.default_user_is_on():
            log.error("queue_default_user_on", remedy="ACL SETUSER default off")
        missing = self._users.repair(seen, workers, join_hash)
        if self._queue.mark():
            # The server has lost its streams: they are read from their beginning, and what was sent is sent again.
            missing = set(workers)
        if missing:
            self._begin_anew(lease, missing)

    def _begin_anew(self, lease: LeaseKeeper, workers: set[str]) -> None:
        log.warning("queue_lost_state", workers=len(workers))
        with lease.begin() as session:
            session.execute(update(Worker).where(Worker.id.in_(workers)).values(last_stream_id="0-0"))
            unsent = update(Attempt).where(Attempt.worker_id.in_(workers), Attempt.state == "granted")
            session.execute(unsent.values(sent_at=None))
            unstopped = update(Attempt).where(Attempt.worker_id.in_(workers), Attempt.state != "ended")
            session.execute(unstopped.values(stop_sent_at=None))

    def _judge_all(self, lease: LeaseKeeper) -> None:
        with self._db.read(SYSTEM) as session:
            now = database_now(session)
            sight = self._watch.look(now, session.get_one(Installation, self._installation).queue_read_at)
            query = select(Worker).where(
                Worker.installation_id == self._installation, Worker.state.in_(("active", "draining", "silent"))
            )
            periods = self._periods(session)
            suspects = [w.id for w in session.scalars(query) if self._differs(w, now, sight, periods[w.group_id])]
        for worker_id in suspects:
            with lease.begin() as session:
                worker = session.get_one(Worker, worker_id, with_for_update=True)
                self._change(session, worker, database_now(session), sight, periods[worker.group_id])

    def _periods(self, session: Session) -> dict[str, timedelta]:
        """{group: after which silence its machines are lost}."""
        groups = select(WorkerGroup).where(WorkerGroup.installation_id == self._installation)
        default = self._settings.lost_after
        return {
            group.id: timedelta(seconds=float(group.settings.get("lost_after") or default))
            for group in session.scalars(groups)
        }

    def _state(self, worker: Worker, now: datetime, sight: Sight, lost_after: timedelta) -> str:
        silent_after = timedelta(seconds=self._settings.silent_after)
        return judge(now, worker.last_beat_at or worker.joined_at, sight, silent_after, lost_after)

    def _differs(self, worker: Worker, now: datetime, sight: Sight, lost_after: timedelta) -> bool:
        return self._state(worker, now, sight, lost_after) not in ("alive", worker.state)

    def _change(self, session: Session, worker: Worker, now: datetime, sight: Sight, lost_after: timedelta) -> None:
        """Judge once more under the lock: it may have spoken meanwhile."""
        if not self._differs(worker, now, sight, lost_after):
            return
        state = self._state(worker, now, sight, lost_after)
        worker.silent_since = worker.silent_since or worker.last_beat_at or now
        worker.state = state
        log.warning(f"worker_{state}", worker=worker.id, name=worker.name)
        if state == "lost":
            lose_attempts(session, worker, now, self._settings.max_attempts)


def lose_attempts(session: Session, worker: Worker, now: datetime, max_attempts: int) -> int:
    """Give up what this worker had: its attempts end as lost, their executions wait again. Returns how many."""
    transitions = Transitions(session, now, max_attempts)
    attempts = locked_attempts(session, worker.id)
    for attempt in attempts:
        transitions.on_lost(attempt, worker.name)
    payload = {"name": worker.name, "attempts": len(attempts)}
    session.add(AuditEvent(at=now, actor="system", action="worker.lost", subject=worker.id, payload=payload))
    return len(attempts)
