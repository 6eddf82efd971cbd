"""Retention: what is kept for a time, and then removed. Executions, logs, outputs and metadata are kept for ever."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_

from controlplane.audit.models import AuditEvent
from controlplane.audit.service import AuditService
from controlplane.chores.kinds import Kind, Removal
from controlplane.chores.models import FINISHED, Chore
from controlplane.chores.removing import Rule, remove
from controlplane.chores.run import Run
from controlplane.clock import utc_now


def rules(machine_events: timedelta, chores: timedelta) -> list[Rule]:
    """What is removed, by how long it is kept."""

    def old_events(now: datetime) -> ColumnElement[bool]:
        # What people did stays: the audit log is for ever but for what machines fill it with.
        return and_(
            AuditEvent.at < now - machine_events, AuditEvent.actor == "system", AuditEvent.action.like("worker.%")
        )

    def old_chores(now: datetime) -> ColumnElement[bool]:
        return and_(Chore.state.in_(FINISHED), Chore.finished_at < now - chores)

    return [Rule("machine events", AuditEvent, old_events), Rule("chores", Chore, old_chores)]


def run(run: Run, arguments: Removal) -> dict[str, int]:
    """Remove them, or count them. Removing from the audit log is itself written there."""
    settings = run.settings
    kept = timedelta(seconds=settings.retention_machine_events), timedelta(seconds=settings.retention_chores)
    counts = remove(run, rules(*kept), dry_run=arguments.dry_run)
    if any(counts.values()) and not arguments.dry_run:
        with run.begin() as session:
            AuditService(utc_now).record(
                session, "retention.applied", actor="system", subject=run.chore, removed=dict(counts)
            )
    return counts


RETENTION = Kind(
    name="retention",
    summary="Remove events of machines and ended chores that are older than their retention.",
    arguments=Removal,
    handler=run,
    every=lambda settings: settings.retention_interval,
)
