"""Which environments there are for whom, and how full they are."""

from __future__ import annotations

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from controlplane.environments.models import GroupAccess, Installation, Worker, WorkerGroup
from controlplane.executions.models import INCOMPLETE, Execution


def visible_groups(session: Session, organizations: frozenset[str]) -> list[WorkerGroup]:
    """Groups of these organisations' installations, and those that the operator offers them; by name."""
    offered = select(GroupAccess.group_id).where(
        or_(GroupAccess.organization_id.is_(None), GroupAccess.organization_id.in_(organizations))
    )
    query = (
        select(WorkerGroup)
        .join(Installation, Installation.id == WorkerGroup.installation_id)
        .where(or_(Installation.organization_id.in_(organizations), WorkerGroup.id.in_(offered)))
        .order_by(WorkerGroup.name, WorkerGroup.id)
    )
    return list(session.scalars(query))


def unfinished_counts(session: Session, group_ids: list[str]) -> dict[str, int]:
    """Executions that are not over, by group: a number only, so it may count everybody's."""
    # The table, not the mapped class: the scope of the session would hide what others have waiting in a shared group.
    table = Execution.__table__.c
    rows = session.execute(
        select(table.environment_id, func.count())
        .where(table.environment_id.in_(group_ids), table.state.in_(INCOMPLETE), table.deleted_at.is_(None))
        .group_by(table.environment_id)
    )
    return {row[0]: row[1] for row in rows}


def workers_of(session: Session, group_id: str) -> list[Worker]:
    """Machines of a group that have not left."""
    query = select(Worker).where(Worker.group_id == group_id, Worker.left_at.is_(None), Worker.state != "left")
    return list(session.scalars(query.order_by(Worker.name, Worker.id)))
