"""`/api/v1/uploads/`: files from people, in parts, resumable."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from controlplane.data.models import Upload
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services

blueprint = Blueprint("uploads_api", __name__, url_prefix="/api/v1/uploads")
WINDOW = {
    "first": query.whole("From this part on; the first one is 1.", 1, 10_000, 1),
    "count": query.whole("So many parts.", 1, 100, 100),
}


class NewUpload(BaseModel):
    """Body of an upload: the file's name, size in bytes and SHA-256, and what the datum is to have."""

    project: str
    name: str = Field(max_length=1_000)
    size: int = Field(ge=0, lt=1 << 62)
    sha256: str = Field(max_length=64)
    tags: list[str] = Field(default_factory=list, max_length=100)
    metadata: dict[str, Any] = Field(default_factory=dict)


class Part(BaseModel):
    """Body of a part that has come."""

    mark: str = Field("", max_length=255)


@route(blueprint, "/", action="data.upload", methods=["POST"], body=NewUpload)
def create() -> tuple[dict[str, Any], int]:
    """Open an upload; its parts are sent to the addresses that `parts/` gives."""
    body, session = parse(NewUpload), request_session()
    project = services().projects.get(session, current_actor(), body.project, "data.upload")
    services().data.check_metadata(body.metadata)
    row = services().uploads.create(
        session, current_actor(), project, body.name, body.size, body.sha256, body.tags, body.metadata
    )
    return services().uploads.serialize(session, row), 201


@route(blueprint, "/<upload_id>/", action="data.upload")
def show(upload_id: str) -> dict[str, Any]:
    """What has come and what is missing: with this a broken upload goes on."""
    return services().uploads.serialize(request_session(), _get(upload_id))


@route(blueprint, "/<upload_id>/parts/", action="data.upload", query=WINDOW, statuses=(409,))
def parts(upload_id: str) -> list[dict[str, Any]]:
    """Parts with an address each, to which its bytes are PUT with these headers."""
    given = query.read(WINDOW)
    return services().uploads.parts(request_session(), _get(upload_id), given["first"], given["count"])


@route(blueprint, "/<upload_id>/parts/<int:number>/", action="data.upload", methods=["POST"], body=Part)
def note_part(upload_id: str, number: int) -> Response:
    """Tell that a part has come, where parts are the store's own: with what the store answered as its ETag."""
    services().uploads.note_part(request_session(), _get(upload_id), number, parse(Part).mark)
    return Response(status=204)


@route(blueprint, "/<upload_id>/complete/", action="data.upload", methods=["POST"])
def complete(upload_id: str) -> dict[str, Any] | tuple[dict[str, Any], int]:
    """Make the datum; 409 names missing parts, or says that the checksum is another one.

    202 with the upload while a large one is put together: ask for the upload until its state is another one.
    """
    session, row = request_session(), _get(upload_id)
    datum = services().uploads.complete(session, current_actor(), row)
    if datum is None:
        return services().uploads.serialize(session, _get(upload_id)), 202
    row = _get(upload_id)
    if row.user_metadata and not datum.user_metadata:
        services().data.describe(session, current_actor(), datum, row.user_metadata)
    return services().data.serialize(session, datum)


@route(blueprint, "/<upload_id>/", action="data.upload", methods=["DELETE"])
def abort(upload_id: str) -> Response:
    """Give it up; what was sent is removed."""
    services().uploads.abort(request_session(), _get(upload_id))
    return Response(status=204)


def _get(upload_id: str) -> Upload:
    return services().uploads.get(request_session(), current_actor(), upload_id)
