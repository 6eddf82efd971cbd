"""`/api/v0/commits/` and a project's packages."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from pydantic import BaseModel

from controlplane.errors import ValidationError
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import page

blueprint = Blueprint("commits_api", __name__, url_prefix="/api/v0")


INCLUDE = {"include": query.words("`config` adds the text of valohai.yaml.")}
LISTED: dict[str, query.QueryField] = {
    "project": query.ident("Id of the project.", required=True),
    "adhoc": query.flag("Only ad-hoc ones, or none."),
    "search": query.text("With this text in identifier, ref or description."),
    **query.pages(),
    **INCLUDE,
}
NAMED = {"project": query.ident("Id of the project, where several have the same archive."), **INCLUDE}


class PackageForm(BaseModel):
    """Parts of an import, beside the file `data` (tar.gz)."""

    description: str = ""
    yaml_path: str = ""


@route(
    blueprint,
    "/projects/<project_id>/import-package/",
    action="commit.create",
    methods=["POST"],
    body=PackageForm,
    files={"data": "application/gzip"},
)
def import_package(project_id: str) -> tuple[dict[str, Any], int]:
    """Make a commit of an uploaded archive (201); the same archive again is the same commit (200)."""
    actor = current_actor()
    with services().db.read(actor.scope) as session:
        project = services().projects.get(session, actor, project_id, "commit.create")
    upload = request.files.get("data")
    if upload is None:
        raise ValidationError({"data": ("Send the tar.gz as the part 'data' of a multipart form.", "required")})
    form = parse(PackageForm)
    commit, is_new = services().commits.import_package(actor, project, upload.stream, form.description, form.yaml_path)
    return services().commits.serialize(commit), 201 if is_new else 200


@route(blueprint, "/projects/<project_id>/commits/", action="commit.read")
def of_project(project_id: str) -> list[dict[str, Any]]:
    """Commits of a project as a bare list, newest first."""
    session = request_session()
    project = services().projects.get(session, current_actor(), project_id, "commit.read")
    return [services().commits.serialize(row) for row in services().commits.list(session, project)]


@route(blueprint, "/commits/", action="commit.list", query=LISTED)
def index() -> dict[str, Any]:
    """Commits of the project that the query names, newest first."""
    session, given = request_session(), query.read(LISTED)
    project = services().projects.get(session, current_actor(), given["project"], "commit.read")
    rows, count = services().commits.page(session, project, given.values)
    return page([services().commits.serialize(row, given["include"] or set()) for row in rows], count)


@route(blueprint, "/commits/<identifier>/", action="commit.read", query=NAMED)
def show(identifier: str) -> dict[str, Any]:
    """One commit by its identifier: a Git hash, or `~` and the SHA-256 of an archive."""
    given = query.read(NAMED)
    include = given["include"] or set()
    found = services().commits.find(request_session(), current_actor(), given["project"] or None, identifier)
    if "config" in include and services().preparing.ready(current_actor(), found.project_id, found.identifier):
        request_session().rollback()  # what was read before the commit's files were there
        found = services().commits.find(request_session(), current_actor(), found.project_id, found.identifier)
    return services().commits.serialize(found, include)
