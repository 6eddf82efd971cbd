"""`/api/v0/datum-aliases/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from controlplane.data.aliases import ORDERINGS
from controlplane.data.models import Datum
from controlplane.errors import NotFoundError, PermissionDeniedError, ValidationError
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import page

blueprint = Blueprint("aliases_api", __name__, url_prefix="/api/v0/datum-aliases")
SIGNED = ORDERINGS.keys() | {f"-{name}" for name in ORDERINGS}
LISTED: dict[str, query.QueryField] = {
    "project": query.ident("Id of the project.", required=True),
    "search": query.text("With this text in the name."),
    "ordering": query.choice("By which field; with '-' before it descending.", tuple(sorted(SIGNED))),
    "deleted": query.flag("Accepted for the client tools: removed aliases are never shown."),
    "no_count": query.flag("Accepted for the client tools."),
    **query.pages(),
}
NAMED = {
    "project": query.ident("Id of the project.", required=True),
    "name": query.text("Name of the alias.", required=True),
}
PAGES = query.pages()


class NewAlias(BaseModel):
    """Body of an alias's creation; `datum` is an id, or `datum://ID`."""

    project: str
    name: str = Field(max_length=200)
    datum: str = Field(max_length=100)


class AliasTarget(BaseModel):
    """Body that moves an alias to another datum."""

    datum: str = Field(max_length=100)


@route(blueprint, "/", action="data.list", query=LISTED)
def index() -> dict[str, Any]:
    """Aliases of a project, the newest change first."""
    session, wanted = request_session(), query.read(LISTED)
    project = services().projects.get(session, current_actor(), wanted["project"], "data.read")
    ordering = wanted["ordering"] or "-mtime"
    limit, offset = (0, 0) if wanted["deleted"] else (wanted["limit"], wanted["offset"])
    rows, count = services().aliases.list(session, project.id, ordering, limit, offset, search=wanted["search"])
    return page([services().aliases.serialize(session, row) for row in rows], 0 if wanted["deleted"] else count)


@route(blueprint, "/", action="data.write", methods=["POST"], body=NewAlias)
def create() -> tuple[dict[str, Any], int]:
    """Make an alias; 409 when there is one of that name: move it by PUT."""
    session, body = request_session(), parse(NewAlias)
    project = services().projects.get(session, current_actor(), body.project, "data.write")
    row = services().aliases.create(session, current_actor(), project, body.name, _datum(body.datum))
    return services().aliases.serialize(session, row), 201


@route(blueprint, "/resolve/", action="data.list", query=NAMED)
def resolve() -> dict[str, Any]:
    """The alias of that name with its whole datum, checksums too."""
    session, wanted = request_session(), query.read(NAMED)
    project = services().projects.get(session, current_actor(), wanted["project"], "data.read")
    row = services().aliases.resolve(session, project.id, wanted["name"])
    datum = session.get_one(Datum, row.datum_id)
    return {**services().aliases.serialize(session, row), "datum": services().data.serialize(session, datum)}


@route(blueprint, "/<alias_id>/", action="data.read")
def show(alias_id: str) -> dict[str, Any]:
    """One alias."""
    session = request_session()
    return services().aliases.serialize(session, services().aliases.get(session, current_actor(), alias_id))


@route(blueprint, "/<alias_id>/", action="data.write", methods=["PUT", "PATCH"], body=AliasTarget)
def move(alias_id: str) -> dict[str, Any]:
    """Let it point at another datum of its project."""
    session = request_session()
    row = services().aliases.get(session, current_actor(), alias_id, "data.write")
    moved = services().aliases.move(session, current_actor(), row, _datum(parse(AliasTarget).datum))
    return services().aliases.serialize(session, moved)


@route(blueprint, "/<alias_id>/", action="data.write", methods=["DELETE"])
def delete(alias_id: str) -> Response:
    """Take it away; the datum and the alias's history stay."""
    session = request_session()
    row = services().aliases.get(session, current_actor(), alias_id, "data.write")
    services().aliases.delete(session, current_actor(), row)
    return Response(status=204)


@route(blueprint, "/<alias_id>/history/", action="data.read", query=PAGES)
def history(alias_id: str) -> dict[str, Any]:
    """Where it has pointed, by whom, the newest first."""
    session, given = request_session(), query.read(PAGES)
    row = services().aliases.get(session, current_actor(), alias_id)
    rows, count = services().aliases.history(session, row, given["limit"], given["offset"])
    return page(rows, count)


def _datum(given: str) -> Datum:
    try:
        return services().data.get(request_session(), current_actor(), given.removeprefix("datum://"), "data.read")
    except (NotFoundError, PermissionDeniedError) as error:
        raise ValidationError({"datum": ("The project has no such datum.", "does_not_exist")}) from error
