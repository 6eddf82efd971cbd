"""Environments and their machines as pages."""

from __future__ import annotations

from flask import Blueprint, render_template
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from controlplane.environments.models import Installation, Worker, WorkerGroup
from controlplane.environments.service import visible_groups, workers_of
from controlplane.environments.views import GroupRow, Load, group_row, machine_row
from controlplane.errors import NotFoundError
from controlplane.executions import views as execution_views
from controlplane.executions.models import INCOMPLETE, Execution
from controlplane.pages.format import number
from controlplane.pages.helpers import is_live, now
from controlplane.web.context import current_actor, request_session, route, services

blueprint = Blueprint("environments_pages", __name__, url_prefix="/environments")
MOST_EXECUTIONS = 50


@route(blueprint, "/", action="environment.list")
def index() -> str:
    """Every environment that the person may use, and how full it is."""
    session = request_session()
    groups = visible_groups(session, current_actor().scope.organizations)
    loads = _loads(session, [group.id for group in groups])
    rows = [_row(session, group, workers_of(session, group.id), loads.get(group.id, Load())) for group in groups]
    template = "_environments_rows.html" if is_live() else "environments.html"
    return render_template(template, rows=rows, lede=_lede(rows), section="environments", now=now())


@route(blueprint, "/<key>/", action="environment.list")
def show(key: str) -> str:
    """One environment with its machines and what waits for it."""
    session = request_session()
    groups = visible_groups(session, current_actor().scope.organizations)
    group = next((row for row in groups if key in (row.id, row.slug)), None)
    if group is None:
        raise NotFoundError
    workers = workers_of(session, group.id)
    load = _loads(session, [group.id]).get(group.id, Load())
    return render_template(
        "_environment_live.html" if is_live() else "environment.html",
        row=_row(session, group, workers, load),
        machines=[machine_row(worker, now()) for worker in workers],
        executions=_executions(session, group),
        section="environments",
        now=now(),
    )


def _row(session: Session, group: WorkerGroup, workers: list[Worker], load: Load) -> GroupRow:
    return group_row(group, session.get(Installation, group.installation_id), workers, load, now())


def _loads(session: Session, group_ids: list[str]) -> dict[str, Load]:
    """By group, in one query, of the executions that the session's scope sees."""
    waits = Execution.state.in_(("created", "queued"))
    rows = session.execute(
        select(
            Execution.environment_id,
            func.sum(case((waits, 1), else_=0)),
            func.sum(case((waits, 0), else_=1)),
            func.min(case((waits, Execution.queued_at))),
        )
        .where(Execution.environment_id.in_(group_ids), Execution.state.in_(INCOMPLETE), Execution.deleted_at.is_(None))
        .group_by(Execution.environment_id)
    )
    return {row[0]: Load(int(row[1] or 0), int(row[2] or 0), row[3]) for row in rows}


def _executions(session: Session, group: WorkerGroup) -> list[tuple[str, execution_views.Row]]:
    """(project's name, row) of what waits or runs here and may be read, the oldest first."""
    projects = {project.id: project.name for project in services().projects.list(session, current_actor())}
    found = session.scalars(
        select(Execution)
        .where(
            Execution.environment_id == group.id,
            Execution.state.in_(INCOMPLETE),
            Execution.project_id.in_(projects),
            Execution.deleted_at.is_(None),
        )
        .order_by(Execution.queued_at)
        .limit(MOST_EXECUTIONS)
    ).all()
    return [
        (projects[execution.project_id], row)
        for execution, row in zip(found, execution_views.rows(session, found, now()), strict=True)
    ]


def _lede(rows: list[GroupRow]) -> str:
    if not rows:
        return ""
    groups = "1 environment" if len(rows) == 1 else f"{number(len(rows))} environments"
    marked = [row for row in rows if row.mark == "warn"]
    if not marked:
        return f"{groups}; all have machines that answer."
    named = ", ".join(f"{row.name}: {row.mark_word}" for row in marked[:3])
    verb = "needs" if len(marked) == 1 else "need"
    return f"{groups}; {number(len(marked))} {verb} attention ({named})."
