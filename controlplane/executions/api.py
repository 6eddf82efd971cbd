"""`/api/v0/executions/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from pydantic import BaseModel, Field
from sqlalchemy import select

from controlplane.clock import event_time
from controlplane.commits.models import Commit
from controlplane.db.ids import is_id
from controlplane.errors import ValidationError
from controlplane.executions.models import FINAL, INCOMPLETE, Execution, MetadataPoint
from controlplane.executions.request import MAX_TAGS, NewExecution
from controlplane.executions.serialize import BRIEF, brief, full
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import boolean, integer, names, page

blueprint = Blueprint("executions_api", __name__, url_prefix="/api/v0/executions")
STATES = (*INCOMPLETE, *FINAL, "incomplete")


class Tags(BaseModel):
    """Body that replaces an execution's tags."""

    tags: list[str] = Field(max_length=MAX_TAGS)


@route(blueprint, "/", action="execution.create", methods=["POST"], body=NewExecution)
def create() -> tuple[dict[str, Any], int]:
    """Accept an execution."""
    wanted = parse(NewExecution)
    session = request_session()
    if not is_id(wanted.project):
        raise ValidationError({"project": ("A project's id is expected.", "invalid")})
    project = services().projects.get(session, current_actor(), wanted.project, "execution.create")
    commit = session.scalars(
        select(Commit)
        .where(Commit.project_id == project.id, (Commit.identifier == wanted.commit) | (Commit.ref == wanted.commit))
        .order_by(Commit.created_at.desc())
        .limit(1)
    ).first()
    if commit is None:
        raise ValidationError(
            {"commit": (f"The project has no commit {wanted.commit[:80]!r}; send the code first.", "does_not_exist")}
        )
    execution = services().executions.create(session, current_actor(), project, commit, wanted)
    return full(session, execution, services().settings.public_url, services().clock(), set()), 201


@route(blueprint, "/", action="execution.list")
def index() -> dict[str, Any]:
    """Executions of the project that the query names."""
    session = request_session()
    project = services().projects.get(session, current_actor(), request.args.get("project", ""), "execution.read")
    statuses = request.args.getlist("status")
    for status in statuses:
        if status not in STATES:
            raise ValidationError({"status": f"{status[:40]!r} is no state; one of {', '.join(STATES)}."})
    counters = request.args.getlist("counter")
    if any(not counter.isdigit() or len(counter) > 9 for counter in counters):
        raise ValidationError({"counter": "A whole number is expected."})
    rows, count = services().executions.list(
        session,
        project.id,
        {
            "statuses": statuses,
            "counters": [int(counter) for counter in counters],
            "creator": request.args.get("creator"),
            "step": request.args.get("step"),
            "text": request.args.get("search"),
            "deleted": boolean("deleted"),
            "ordering": request.args.get("ordering"),
            "limit": integer("limit", 100),
            "offset": integer("offset", 0, high=10_000_000),
        },
        BRIEF,
    )
    now, base = services().clock(), services().settings.public_url
    return page([brief(row, base, now) for row in rows], count)


@route(blueprint, "/<key>/", action="execution.read")
def show(key: str) -> dict[str, Any]:
    """One execution by id, `PROJECT:COUNTER` or `PROJECT:latest`."""
    session = request_session()
    return full(session, _get(key), services().settings.public_url, services().clock(), names("exclude"))


@route(blueprint, "/<key>/", action="execution.delete", methods=["DELETE"])
def delete(key: str) -> Response:
    """Hide an ended execution."""
    services().executions.delete(request_session(), _get(key, "execution.delete"))
    return Response(status=204)


@route(blueprint, "/<key>/stop/", action="execution.stop", methods=["POST"])
def stop(key: str) -> dict[str, Any]:
    """Ask an execution to end. The answer is short: `vh` prints it as it is."""
    execution = _get(key, "execution.stop")
    services().executions.stop(request_session(), current_actor(), execution)
    return {"id": execution.id, "status": execution.state}


@route(blueprint, "/<key>/tags/", action="execution.tag", methods=["POST"], body=Tags)
def tags(key: str) -> dict[str, Any]:
    """Replace the tags."""
    execution = _get(key, "execution.tag")
    execution.tags = sorted(set(parse(Tags).tags))
    return {"tags": execution.tags}


@route(blueprint, "/<key>/metadata/", action="execution.read")
def metadata(key: str) -> list[dict[str, Any]]:
    """Every metadata point, in order."""
    query = select(MetadataPoint).where(MetadataPoint.execution_id == _get(key).id).order_by(MetadataPoint.at)
    return [{**row.data, "_time": event_time(row.at)} for row in request_session().scalars(query)]


@route(blueprint, "/<key>/outputs/", action="data.read")
def outputs(key: str) -> list[dict[str, Any]]:
    """Outputs as a bare list; `include=download_url` adds addresses."""
    session = request_session()
    return [services().data.serialize(session, row, names("include")) for row in services().data.of(session, _get(key))]


def _get(key: str, action: str = "execution.read") -> Execution:
    return services().executions.get(request_session(), current_actor(), key, action)
