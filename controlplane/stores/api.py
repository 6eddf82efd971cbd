"""`/api/v0/stores/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from controlplane.environments.models import Store
from controlplane.stores.adopting import adopt_file
from controlplane.stores.request import Adoption, NewStore, StoreChanges
from controlplane.stores.trying import try_store
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import page

blueprint = Blueprint("stores_api", __name__, url_prefix="/api/v0/stores")
LISTED = {"project": query.text("Only stores that this project may use."), **query.pages()}


@route(blueprint, "/", action="store.list", query=LISTED)
def index() -> dict[str, Any]:
    """Stores that people added, by name; with `project` also those of its installation."""
    session, given = request_session(), query.read(LISTED)
    if given["project"]:
        project = services().projects.get(session, current_actor(), given["project"], "project.read")
        rows = services().added_stores.of_project(session, project)
    else:
        rows = services().added_stores.list(session, current_actor())
    shown = rows[given["offset"] :][: given["limit"]]
    return page(services().added_stores.serialize_all(session, current_actor(), shown), len(rows))


@route(blueprint, "/", action="store.manage", methods=["POST"], body=NewStore)
def create() -> tuple[dict[str, Any], int]:
    """Add a store. Its secrets are kept encrypted and never shown again; `…/test/` tries it."""
    session = request_session()
    row = services().added_stores.create(session, current_actor(), parse(NewStore))
    return services().added_stores.serialize(session, current_actor(), row), 201


@route(blueprint, "/<store_id>/", action="store.read")
def show(store_id: str) -> dict[str, Any]:
    """One store; of its secrets only which are set."""
    return services().added_stores.serialize(request_session(), current_actor(), _get(store_id))


@route(blueprint, "/<store_id>/", action="store.manage", methods=["PUT", "PATCH"], body=StoreChanges)
def update(store_id: str) -> dict[str, Any]:
    """Change what is named; a secret that is not named stays."""
    session, row = request_session(), _get(store_id, "store.manage")
    changed = services().added_stores.update(session, current_actor(), row, parse(StoreChanges))
    return services().added_stores.serialize(session, current_actor(), changed)


@route(blueprint, "/<store_id>/", action="store.manage", methods=["DELETE"])
def delete(store_id: str) -> Response:
    """Forget it with its secrets; what is in it stays there. 409 while Remora knows files in it."""
    services().added_stores.delete(request_session(), current_actor(), _get(store_id, "store.manage"))
    return Response(status=204)


@route(blueprint, "/<store_id>/test/", action="store.manage", methods=["POST"])
def test(store_id: str) -> dict[str, Any]:
    """Write, read, list and delete a small object, and say of each step what is wrong and what to do."""
    return try_store(store_id)


@route(blueprint, "/<store_id>/adopt/", action="store.adopt", methods=["POST"], body=Adoption)
def adopt(store_id: str) -> dict[str, Any]:
    """Take a file that is there already in as a datum of a project; it is not copied."""
    body = parse(Adoption)
    return {"ok": True, "created": {body.url: adopt_file(body.project, store_id, body.url).id}}


def _get(store_id: str, action: str = "store.read") -> Store:
    return services().added_stores.get(request_session(), current_actor(), store_id, action)
