"""Why an execution waits. The judgement is pure; the writer keeps the rows up to date, sparingly."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.dispatcher import busy_slots, has_live_attempt
from controlplane.dispatch.grants import Waiting, in_turn
from controlplane.dispatch.leases import LeaseKeeper, database_now
from controlplane.environments.models import Installation, Worker, WorkerGroup
from controlplane.executions.models import Execution
from controlplane.projects.models import Project
from controlplane.settings import Settings

MOST_NUMBERED = 100
MOST_READ = 20_000
# Said of a moment that passes by itself, or of an attempt that failed: the dispatcher and the transitions write them.
LEFT_ALONE = frozenset({"retrying"})


@dataclass(frozen=True)
class GroupView:
    """A group as the waiting see it.

    `states`: workers by state; `slots` and `free`: of those that take work; `silence`: seconds since the last of the
    silent ones was heard; `readable`: whether the master can read the queue.
    """

    name: str
    enabled: bool
    readable: bool
    states: Mapping[str, int]
    slots: int
    free: int
    silence: int


def why(group: GroupView | None, position: int) -> tuple[str, dict[str, Any]]:
    """(reason code, arguments) of the execution at `position` (from 1) of this group's queue."""
    if group is None:
        return "group_gone", {}
    name = {"environment": group.name}
    if not group.enabled:
        return "group_disabled", name
    if not group.readable:
        return "queue_unreachable", {}
    place = position if position <= MOST_NUMBERED else f"over {MOST_NUMBERED}"
    if group.free > 0:
        return "behind_others", {**name, "position": place}
    if group.states.get("active", 0):
        return "all_busy", {**name, "slots": group.slots, "position": place}
    if group.states.get("draining", 0):
        return "worker_draining", name
    if group.states.get("silent", 0) or group.states.get("lost", 0):
        return "worker_silent", {**name, "seconds": group.silence}
    return "no_worker_in_group", name


@dataclass(frozen=True)
class Queued:
    """A waiting execution with the reason that its row holds now."""

    item: Waiting
    reason: str
    arguments: dict[str, Any]
    since: datetime | None


def changes(
    queued: Iterable[Queued], groups: Mapping[str, GroupView], running: Mapping[str, int], weights: Mapping[str, int]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """{execution: (reason, arguments)} of the rows that say something else than what is true now."""
    rows = {entry.item.execution: entry for entry in queued}
    by_group: dict[str, list[Waiting]] = defaultdict(list)
    for entry in rows.values():
        by_group[entry.item.group].append(entry.item)
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for group, items in by_group.items():
        for position, item in enumerate(in_turn(items, dict(running), weights), start=1):
            row, reason = rows[item.execution], why(groups.get(group), position)
            if row.reason not in LEFT_ALONE and (row.reason, row.arguments) != reason:
                found[item.execution] = reason
    return found


class WaitingReasons:
    """Writes the reasons of what waits. Who has just come is left alone for `grace`: it is about to start."""

    def __init__(self, db: Database, settings: Settings, grace: float = 1.0) -> None:
        self._db = db
        self._patience = timedelta(seconds=settings.beat_interval * 2)
        self._grace = timedelta(seconds=grace)

    def run_pass(self, lease: LeaseKeeper, running: Mapping[str, int]) -> int:
        """Bring the reasons up to date; returns how many changed. Raises LeaseLostError."""
        with self._db.read(SYSTEM) as session:
            now = database_now(session)
            queued = self._queued(session, now)
            if not queued:
                return 0
            groups = self._groups(session, now)
            weights = dict(session.execute(select(Project.id, Project.weight).where(Project.weight != 1)).all())
        found = changes(queued, groups, running, weights)
        if not found:
            return 0
        with lease.begin() as session:
            for execution, (reason, arguments) in sorted(found.items()):
                session.execute(
                    update(Execution)
                    .where(Execution.id == execution, Execution.state == "queued", ~has_live_attempt())
                    .values(reason=reason, reason_args=arguments)
                    .execution_options(synchronize_session=False)
                )
        return len(found)

    def _queued(self, session: Session, now: datetime) -> list[Queued]:
        query = (
            select(Execution)
            .where(Execution.state == "queued", Execution.queued_at < now - self._grace, ~has_live_attempt())
            .order_by(Execution.id)
            .limit(MOST_READ)
            .with_only_columns(
                Execution.id,
                Execution.project_id,
                Execution.environment_id,
                Execution.priority,
                Execution.queued_at,
                Execution.reason,
                Execution.reason_args,
            )
        )
        return [
            Queued(Waiting(r[0], r[1], r[2], r[3], f"{r[4]} {r[0]}"), r[5], r[6], r[4]) for r in session.execute(query)
        ]

    def _groups(self, session: Session, now: datetime) -> dict[str, GroupView]:
        workers: dict[str, list[Worker]] = defaultdict(list)
        for worker in session.scalars(select(Worker).where(Worker.state != "left")):
            workers[worker.group_id].append(worker)
        busy = busy_slots(session)
        read_at = dict(session.execute(select(Installation.id, Installation.queue_read_at)).all())
        views: dict[str, GroupView] = {}
        for group in session.scalars(select(WorkerGroup)):
            read = read_at.get(group.installation_id)
            readable = read is not None and now - read <= self._patience
            views[group.id] = view(group, readable, workers[group.id], busy, now)
        return views


def view(
    group: WorkerGroup, readable: bool, workers: list[Worker], busy: Mapping[str, int], now: datetime
) -> GroupView:
    """The group from its rows; silence is rounded to minutes, so that the sentence does not change all the time."""
    active = [worker for worker in workers if worker.state == "active"]
    heard = [worker.last_beat_at for worker in workers if worker.last_beat_at is not None]
    silence = int((now - max(heard)).total_seconds()) if heard else 0
    return GroupView(
        name=group.name,
        enabled=group.enabled,
        readable=readable,
        states=Counter(worker.state for worker in workers),
        slots=sum(worker.slots for worker in active),
        free=sum(max(0, worker.slots - busy.get(worker.id, 0)) for worker in active),
        silence=silence - silence % 60 if silence >= 60 else silence,
    )
