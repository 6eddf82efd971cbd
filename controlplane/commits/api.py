"""`/api/v0/commits/` and a project's packages."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from controlplane.errors import NotFoundError, ValidationError
from controlplane.permissions import require
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import boolean, integer, names, page

blueprint = Blueprint("commits_api", __name__, url_prefix="/api/v0")


@route(blueprint, "/projects/<project_id>/import-package/", action="commit.create", methods=["POST"])
def import_package(project_id: str) -> tuple[dict[str, Any], int]:
    """A commit from an uploaded archive."""
    session = request_session()
    project = services().projects.get(session, current_actor(), project_id, "commit.create")
    upload = request.files.get("data")
    if upload is None:
        raise ValidationError({"data": ("Send the tar.gz as the part 'data' of a multipart form.", "required")})
    commit = services().commits.import_package(
        session,
        current_actor(),
        project,
        upload.stream,  # type: ignore[arg-type]
        request.form.get("description", ""),
        request.form.get("yaml_path", ""),
    )
    return services().commits.serialize(commit), 201


@route(blueprint, "/projects/<project_id>/commits/", action="commit.read")
def of_project(project_id: str) -> list[dict[str, Any]]:
    """Commits of a project as a bare list."""
    session = request_session()
    project = services().projects.get(session, current_actor(), project_id, "commit.read")
    return [services().commits.serialize(row) for row in services().commits.list(session, project)]


@route(blueprint, "/commits/", action="later.read")
def index() -> dict[str, Any]:
    """Commits of the project that the query names."""
    session = request_session()
    project = services().projects.get(session, current_actor(), request.args.get("project", ""), "commit.read")
    rows = services().commits.list(session, project, boolean("adhoc"), integer("limit", 100))
    return page([services().commits.serialize(row, names("include")) for row in rows], None)


@route(blueprint, "/commits/<identifier>/", action="commit.read")
def show(identifier: str) -> dict[str, Any]:
    """One commit by identifier; `?project=` where several projects have the same archive."""
    session = request_session()
    commit = services().commits.find(session, request.args.get("project") or None, identifier)
    if commit is None:
        raise NotFoundError
    require(current_actor(), "commit.read", commit.organization_id, commit.project_id)
    return services().commits.serialize(commit, names("include"))
