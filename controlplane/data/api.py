"""`/api/v0/data/` and aliases."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from controlplane.clock import api_time
from controlplane.data.models import Datum
from controlplane.errors import ValidationError
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import integer, names, page

blueprint = Blueprint("data_api", __name__, url_prefix="/api/v0")


@route(blueprint, "/data/", action="data.list")
def index() -> dict[str, Any]:
    """Datums of the project or execution that the query names, newest first."""
    session = request_session()
    execution_id, project_id = request.args.get("output_execution"), request.args.get("project")
    if execution_id:
        execution = services().executions.get(session, current_actor(), execution_id, "data.read")
        execution_id, project_id = execution.id, execution.project_id
    elif project_id:
        project_id = services().projects.get(session, current_actor(), project_id, "data.read").id
    else:
        raise ValidationError({"project": ("Name a project or an output_execution.", "required")})
    offset = integer("offset", 0, high=10_000_000)
    rows, count = services().data.list(session, project_id, execution_id, integer("limit", 100), offset)
    return page([services().data.serialize(session, row, names("include")) for row in rows], count)


@route(blueprint, "/data/<datum_id>/", action="data.read")
def show(datum_id: str) -> dict[str, Any]:
    """One datum."""
    session = request_session()
    return services().data.serialize(session, services().data.get(session, current_actor(), datum_id), names("include"))


@route(blueprint, "/data/<datum_id>/download/", action="data.download")
def download(datum_id: str) -> dict[str, str]:
    """A signed address of the bytes."""
    session = request_session()
    datum = services().data.get(session, current_actor(), datum_id, "data.download")
    return {"url": services().data.download_url(session, datum)}


@route(blueprint, "/datum-aliases/", action="data.list")
def aliases() -> dict[str, Any]:
    """Aliases of a project."""
    session = request_session()
    project = services().projects.get(session, current_actor(), request.args.get("project", ""), "data.read")
    shown = []
    for row in services().data.aliases(session, project.id, integer("limit", 100)):
        datum = session.get(Datum, row.datum_id)
        target = None if datum is None else {"id": datum.id, "name": datum.name}
        shown.append({"id": row.id, "name": row.name, "datum": target, "mtime": api_time(row.changed_at)})
    return page(shown, None)
