"""`/api/v0/data/` and `/api/v1/data/ID/lineage/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from pydantic import BaseModel, Field

from controlplane.data.filters import FIELDS, ORDERINGS
from controlplane.data.lineage import MAX_DEPTH, lineage, serialize
from controlplane.data.models import Datum
from controlplane.errors import ValidationError
from controlplane.web import query
from controlplane.web.body import parse, read_object
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import page

blueprint = Blueprint("data_api", __name__, url_prefix="/api")
SIGNED = ORDERINGS.keys() | {f"-{name}" for name in ORDERINGS}
PARTS = {"include": query.words("`download_url` adds signed addresses.")}
LISTED: dict[str, query.QueryField] = {
    **FIELDS,
    "ordering": query.choice("By which field; with '-' before it descending.", tuple(sorted(SIGNED))),
    "no_count": query.flag("Leave counting out: `count` is then that of what was read."),
    **PARTS,
    **query.pages(),
}
DEPTH = {"depth": query.whole("How many executions in each direction.", 1, MAX_DEPTH, 3)}


class DatumTags(BaseModel):
    """Body that replaces a datum's tags."""

    tags: list[str] = Field(max_length=1_000)


class Metadata(BaseModel):
    """Any JSON object."""

    model_config = {"extra": "allow"}


@route(blueprint, "/v0/data/", action="data.list", query=LISTED)
def index() -> dict[str, Any]:
    """Datums of the project or execution that the query names, newest first."""
    session = request_session()
    wanted = query.read(LISTED)
    execution_id, project_id = wanted["output_execution"], wanted["project"]
    if project_id:
        project_id = services().projects.get(session, current_actor(), project_id, "data.read").id
    if execution_id:
        execution = services().executions.get(session, current_actor(), execution_id, "data.read")
        execution_id, project_id = execution.id, project_id or execution.project_id
    if not project_id:
        raise ValidationError({"project": ("Name a project or an output_execution.", "required")})
    rows, count = services().data.list(
        session, project_id, execution_id, wanted["limit"], wanted["offset"], wanted.values
    )
    return page(services().data.serialize_all(session, rows, wanted["include"]), count)


@route(blueprint, "/v0/data/<datum_id>/", action="data.read", query=PARTS)
def show(datum_id: str) -> dict[str, Any]:
    """One datum with checksums, tags, metadata and aliases."""
    return services().data.serialize(request_session(), _get(datum_id), query.read(PARTS)["include"])


@route(blueprint, "/v0/data/<datum_id>/download/", action="data.download")
def download(datum_id: str) -> dict[str, str]:
    """A signed address of the bytes."""
    return {"url": services().data.download_url(request_session(), _get(datum_id, "data.download"))}


@route(blueprint, "/v0/data/<datum_id>/tags/", action="data.write", methods=["POST"], body=DatumTags)
def tags(datum_id: str) -> dict[str, Any]:
    """Replace the tags."""
    return {"tags": services().data.set_tags(_get(datum_id, "data.write"), parse(DatumTags).tags)}


@route(blueprint, "/v0/data/<datum_id>/metadata/", action="data.read")
def metadata(datum_id: str) -> dict[str, Any]:
    """The metadata that the file came with, or was given."""
    return _get(datum_id).user_metadata


@route(blueprint, "/v0/data/<datum_id>/metadata/", action="data.write", methods=["PUT"], body=Metadata)
def replace_metadata(datum_id: str) -> dict[str, Any]:
    """Replace the metadata; `valohai.tags` and `valohai.alias` work as in an output's own."""
    datum = _get(datum_id, "data.write")
    return services().data.describe(request_session(), current_actor(), datum, read_object())


@route(blueprint, "/v0/data/<datum_id>/metadata/", action="data.write", methods=["POST"], body=Metadata)
def add_metadata(datum_id: str) -> dict[str, Any]:
    """Lay these names over the metadata; null takes a name away."""
    datum = _get(datum_id, "data.write")
    merged = {name: value for name, value in {**datum.user_metadata, **read_object()}.items() if value is not None}
    return services().data.describe(request_session(), current_actor(), datum, merged)


@route(blueprint, "/v0/data/<datum_id>/purge/", action="data.purge", methods=["POST"])
def purge(datum_id: str) -> dict[str, Any]:
    """Remove the bytes; what is known of the file stays, marked as purged."""
    datum = _get(datum_id, "data.purge")
    services().data.purge(request_session(), current_actor(), datum)
    return services().data.serialize(request_session(), datum)


@route(blueprint, "/v1/data/<datum_id>/lineage/", action="data.read", query=DEPTH)
def show_lineage(datum_id: str) -> dict[str, Any]:
    """Which executions it was made by, from which datums, and which used it, as nodes and edges.

    `truncated` and `why` say when there is more than what is shown.
    """
    depth = query.read(DEPTH)["depth"]
    return serialize(lineage(request_session(), _get(datum_id), depth), depth)


def _get(datum_id: str, action: str = "data.read") -> Datum:
    return services().data.get(request_session(), current_actor(), datum_id, action)
