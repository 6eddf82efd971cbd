"""`/api/v0/registry-credentials/`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from controlplane.registries.service import Changes
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import commit, current_actor, request_session, route, services
from controlplane.web.paging import page

blueprint = Blueprint("registries_api", __name__, url_prefix="/api/v0/registry-credentials")
LISTED = {"project": query.text("Those that this project's executions may use."), **query.pages()}
Value = Annotated[str, Field(max_length=20_000)]
Configuration = dict[Annotated[str, Field(max_length=100)], Value]


class NewCredential(BaseModel):
    """Body of a credential's creation. `owner`: an organisation; `project`: for this one only."""

    type: str = Field(max_length=40)
    image_pattern: str = Field(max_length=255)
    configuration: Configuration = Field(default_factory=dict)
    owner: str = Field("", max_length=200)
    project: str = Field("", max_length=64)


class CredentialChanges(BaseModel):
    """Body of a credential's change; what is left out stays."""

    type: str | None = Field(None, max_length=40)
    image_pattern: str | None = Field(None, max_length=255)
    configuration: Configuration | None = None
    project: str | None = Field(None, max_length=64)


class TestedImage(BaseModel):
    """Body of a test: an image that fits the pattern, or none."""

    image: str = Field("", max_length=512)


@route(blueprint, "/", action="registry.list", query=LISTED)
def index() -> dict[str, Any]:
    """Credentials of one's organisations and projects, by pattern; never with their secrets."""
    session, given = request_session(), query.read(LISTED)
    rows = services().registries.list(session, current_actor())
    if given["project"] is not None:
        project = services().projects.get(session, current_actor(), given["project"])
        mine = (None, project.id)
        rows = [row for row in rows if row.organization_id == project.organization_id and row.project_id in mine]
    shown = rows[given["offset"] :][: given["limit"]]
    return page(services().registries.serialize(session, shown), len(rows))


@route(blueprint, "/", action="registry.create", methods=["POST"], body=NewCredential)
def create() -> tuple[dict[str, Any], int]:
    """A new credential for the images that fit its pattern."""
    session, body = request_session(), parse(NewCredential)
    row = services().registries.create(
        session, current_actor(), body.type, body.image_pattern, body.configuration, body.owner, body.project
    )
    return services().registries.serialize(session, [row])[0], 201


@route(blueprint, "/<credential_id>/", action="registry.read")
def show(credential_id: str) -> dict[str, Any]:
    """One credential; never with its secrets."""
    session = request_session()
    row = services().registries.get(session, current_actor(), credential_id)
    return services().registries.serialize(session, [row])[0]


@route(blueprint, "/<credential_id>/", action="registry.write", methods=["PUT", "PATCH"], body=CredentialChanges)
def update(credential_id: str) -> dict[str, Any]:
    """Change it; another type or host needs the whole configuration with its secrets again."""
    session, body = request_session(), parse(CredentialChanges)
    changes = Changes(body.type, body.image_pattern, body.configuration, body.project)
    row = services().registries.update(session, current_actor(), credential_id, changes)
    return services().registries.serialize(session, [row])[0]


@route(blueprint, "/<credential_id>/", action="registry.write", methods=["DELETE"])
def delete(credential_id: str) -> Response:
    """Remove it: from then on no execution gets it."""
    services().registries.delete(request_session(), current_actor(), credential_id)
    return Response(status=204)


@route(blueprint, "/<credential_id>/test/", action="registry.write", methods=["POST"], body=TestedImage)
def test(credential_id: str) -> dict[str, Any]:
    """Try it at its registry: what is wrong, and what to do."""
    body = parse(TestedImage)
    opened = services().registries.open(request_session(), current_actor(), credential_id)
    # The registry may be slow: nobody waits for the database meanwhile.
    commit()
    return asdict(services().trials.check(opened, body.image))
