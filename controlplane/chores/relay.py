"""From rows to RQ: what is due is pushed, what was lost is pushed again, what is scheduled is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta

import structlog
from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from controlplane.chores.kinds import Kind, Kinds
from controlplane.chores.models import Chore
from controlplane.chores.queue import ChoreQueue
from controlplane.chores.service import ChoreService
from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.leases import LeaseKeeper, database_now
from controlplane.settings import Settings

log = structlog.get_logger()
AT_ONCE = 100
LOOK_AT_SCHEDULE = 60.0


class ChoreRelay:
    """The database says what is to be done; RQ may forget it, which costs a pause."""

    def __init__(self, db: Database, queue: ChoreQueue, settings: Settings, kinds: Kinds) -> None:
        self._db = db
        self._queue = queue
        self._lost_after = timedelta(seconds=settings.chores_lost_after)
        self._service = ChoreService(kinds)
        self._schedule = Schedule(self._service, settings, kinds.values())

    def run_pass(self, lease: LeaseKeeper) -> int:
        """How many chores were pushed. Raises ChoreQueueError, LeaseLostError."""
        if self._schedule.is_time:
            with lease.begin() as session:
                self._schedule.ask(session)
        due = self._due()
        if not due:
            return 0
        pushed = self._queue.push(due)
        with lease.begin() as session:
            session.execute(update(Chore).where(Chore.id.in_(due)).values(pushed_at=database_now(session)))
        return pushed

    def _due(self) -> list[str]:
        with self._db.read(SYSTEM) as session:
            now = database_now(session)
            waits = and_(Chore.state == "queued", Chore.next_at <= now)
            lost = and_(Chore.state == "running", Chore.lease_until <= now)
            unheard = or_(Chore.pushed_at.is_(None), Chore.pushed_at <= now - self._lost_after)
            query = select(Chore.id).where(or_(waits, lost), unheard).order_by(Chore.next_at, Chore.id)
            return list(session.scalars(query.limit(AT_ONCE)))


class Schedule:
    """Asks for the kinds that are done again and again."""

    def __init__(self, service: ChoreService, settings: Settings, kinds: Iterable[Kind]) -> None:
        self._service = service
        found = {kind.name: kind.every(settings) for kind in kinds if kind.every is not None}
        self._every = {name: timedelta(seconds=seconds) for name, seconds in found.items() if seconds > 0}
        shortest = min(self._every.values(), default=timedelta.max)
        self._pause = min(LOOK_AT_SCHEDULE, shortest.total_seconds() / 10)
        self._next = 0.0

    @property
    def is_time(self) -> bool:
        """Whether to look again."""
        return bool(self._every) and time.monotonic() >= self._next

    def ask(self, session: Session) -> None:
        """Ask for what was last asked for long enough ago."""
        now = database_now(session)
        for kind, every in self._every.items():
            last = session.scalar(
                select(func.max(Chore.created_at)).where(Chore.kind == kind, Chore.unique_key == kind)
            )
            if last is None or now - last >= every:
                self._service.enqueue(session, kind, unique_key=kind)
                log.info("chore_scheduled", kind=kind)
        self._next = time.monotonic() + self._pause
