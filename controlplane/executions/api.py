"""`/api/v0/executions/`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, stream_with_context
from pydantic import BaseModel, Field
from sqlalchemy import select

from controlplane.clock import event_time
from controlplane.db.ids import is_id
from controlplane.errors import ValidationError
from controlplane.executions.filters import FIELDS, ORDERINGS
from controlplane.executions.models import Execution, MetadataPoint
from controlplane.executions.request import MAX_TAGS, ExecutionChanges, NewExecution
from controlplane.executions.serialize import BRIEF, INCLUDABLE, brief, full, with_parts
from controlplane.stores.inputs import Lists
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import page

blueprint = Blueprint("executions_api", __name__, url_prefix="/api/v0/executions")
SIGNED = ORDERINGS.keys() | {f"-{name}" for name in ORDERINGS}
LISTED: dict[str, query.QueryField] = {
    **FIELDS,
    "ordering": query.choice("By which field; with '-' before it descending.", tuple(sorted(SIGNED))),
    "no_count": query.flag("Leave counting out: `count` is then that of what was read."),
    "include": query.words(f"Further parts, separated by commas: {', '.join(INCLUDABLE)}."),
    "exclude": query.words("Parts to leave out, separated by commas."),
    **query.pages(),
}
EXCLUDE = {"exclude": query.words("Parts to leave out, separated by commas.")}
OUTPUT_PARTS = {"include": query.words("`download_url` adds signed addresses.")}


class Tags(BaseModel):
    """Body that replaces an execution's tags."""

    tags: list[str] = Field(max_length=MAX_TAGS)


@route(blueprint, "/", action="execution.create", methods=["POST"], body=NewExecution)
def create() -> tuple[dict[str, Any], int]:
    """Accept an execution."""
    wanted = parse(NewExecution)
    services().preparing.ready(current_actor(), wanted.project, wanted.commit)
    session = request_session()
    if not is_id(wanted.project):
        raise ValidationError({"project": ("A project's id is expected.", "invalid")})

    def make(lists: Lists) -> Execution:
        project = services().projects.get(session, current_actor(), wanted.project, "execution.create")
        commit = services().executions.commit(session, project, wanted.commit)
        return services().executions.create(session, current_actor(), project, commit, wanted, lists)

    execution = services().listings.with_lists(session, make)
    return full(session, execution, services().settings.public_url, services().clock(), set()), 201


@route(blueprint, "/", action="execution.list", query=LISTED)
def index() -> dict[str, Any]:
    """Executions of the project that the query names, newest first."""
    session = request_session()
    wanted = query.read(LISTED)
    project = services().projects.get(session, current_actor(), wanted["project"], "execution.read")
    include = wanted["include"] or set()
    columns = () if include else BRIEF
    rows, count = services().executions.list(session, project.id, wanted.values, columns)
    now, base = services().clock(), services().settings.public_url
    shown = [with_parts(session, row, base, now, include) if include else brief(row, base, now) for row in rows]
    for entry in shown if wanted["exclude"] else ():
        for name in wanted["exclude"] & set(entry):
            del entry[name]
    return page(shown, count)


@route(blueprint, "/<key>/", action="execution.read", query=EXCLUDE)
def show(key: str) -> dict[str, Any]:
    """One execution by id, `PROJECT:COUNTER` or `PROJECT:latest`."""
    exclude = query.read(EXCLUDE)["exclude"] or set()
    return full(request_session(), _get(key), services().settings.public_url, services().clock(), exclude)


@route(blueprint, "/<key>/", action="execution.delete", methods=["DELETE"])
def delete(key: str) -> Response:
    """Hide an ended execution."""
    services().executions.delete(request_session(), _get(key, "execution.delete"))
    return Response(status=204)


@route(blueprint, "/<key>/copy/", action="execution.create", methods=["POST"], body=ExecutionChanges)
def copy(key: str) -> tuple[dict[str, Any], int]:
    """The same execution once more, but for what the body says."""
    changes = parse(ExecutionChanges)
    if changes.commit is not None:
        with services().db.read(current_actor().scope) as reading:
            project = services().executions.get(reading, current_actor(), key, "execution.create").project_id
        services().preparing.ready(current_actor(), project, changes.commit)
    session = request_session()

    def make(lists: Lists) -> Execution:
        return services().executions.copy(session, current_actor(), _get(key, "execution.create"), changes, lists)

    made = services().listings.with_lists(session, make)
    return full(session, made, services().settings.public_url, services().clock(), set()), 201


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
    return {"tags": services().executions.set_tags(execution, parse(Tags).tags)}


@route(blueprint, "/<key>/pin/", action="execution.tag", methods=["POST"])
def pin(key: str) -> dict[str, Any]:
    """Pin it for everybody of the project."""
    execution = _get(key, "execution.tag")
    services().executions.pin(request_session(), execution, pinned=True)
    return {"is_pinned": True}


@route(blueprint, "/<key>/pin/", action="execution.tag", methods=["DELETE"])
def unpin(key: str) -> Response:
    """Take the pin away."""
    services().executions.pin(request_session(), _get(key, "execution.tag"), pinned=False)
    return Response(status=204)


@route(blueprint, "/<key>/metadata/", action="execution.read", answer=list[dict[str, Any]])
def metadata(key: str) -> Response:
    """Every metadata point, in order, as a bare list."""
    scope, execution_id = current_actor().scope, _get(key).id
    points = select(MetadataPoint.at, MetadataPoint.data).where(MetadataPoint.execution_id == execution_id)
    points = points.order_by(MetadataPoint.at, MetadataPoint.id).execution_options(yield_per=1000)

    def generate() -> Iterator[str]:
        yield "["
        with services().db.read(scope) as session:
            for number, (at, data) in enumerate(session.execute(points)):
                yield f"{',' if number else ''}{json.dumps({**data, '_time': event_time(at)})}"
        yield "]"

    return Response(stream_with_context(generate()), mimetype="application/json")


@route(blueprint, "/<key>/outputs/", action="data.read", query=OUTPUT_PARTS)
def outputs(key: str) -> list[dict[str, Any]]:
    """Outputs as a bare list; `include=download_url` adds addresses."""
    session = request_session()
    include = query.read(OUTPUT_PARTS)["include"] or set()
    return services().data.serialize_all(session, services().data.of(session, _get(key)), include)


@route(blueprint, "/<key>/purge-outputs/", action="data.purge", methods=["POST"])
def purge_outputs(key: str) -> dict[str, int]:
    """Remove the bytes of all its outputs; the rows stay, marked. `left`: call again for these."""
    session = request_session()
    execution = _get(key, "data.purge")
    return services().data.purge_outputs(session, current_actor(), execution)


def _get(key: str, action: str = "execution.read") -> Execution:
    return services().executions.get(request_session(), current_actor(), key, action)
