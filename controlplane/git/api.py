"""`/api/v0/repositories/`, a project's fetch, and `/api/v1/projects/ID/repository/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from controlplane.git.service import Wanted
from controlplane.projects.models import Project
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import page

blueprint = Blueprint("git_api", __name__)
OF_PROJECT = "/api/v1/projects/<project_id>/repository/"
PAGES = query.pages()


class RepositoryChanges(BaseModel):
    """Body of a change; what is left out stays. Secrets are never answered again; an empty `token` takes them away."""

    url: str | None = Field(None, max_length=2048)
    ref: str | None = Field(None, max_length=255)
    username: str | None = Field(None, max_length=128)
    token: str | None = Field(None, max_length=4096)
    private_key: str | None = Field(None, max_length=20_000)
    host_key: str | None = Field(None, max_length=20_000)


class NewRepository(RepositoryChanges):
    """Body of a repository: https://HOST/PATH with a token, or ssh with a deploy key that is made or given."""

    url: str = Field(max_length=2048)  # pyright: ignore[reportIncompatibleVariableOverride]


class Fingerprint(BaseModel):
    """Body that accepts a host key."""

    fingerprint: str = Field(max_length=100)


@route(blueprint, "/api/v0/repositories/", action="repository.list", query=PAGES)
def index() -> dict[str, Any]:
    """Repositories of the projects that the user may see, by project name."""
    given = query.read(PAGES)
    rows, count = services().repositories.list(request_session(), current_actor(), given["limit"], given["offset"])
    return page(rows, count)


@route(blueprint, "/api/v0/projects/<project_id>/fetch/", action="commit.fetch", methods=["POST"])
def fetch(project_id: str) -> tuple[dict[str, Any], int]:
    """Fetch the project's repository; waits a while, then says that it goes on."""
    actor = current_actor()
    with services().db.read(actor.scope) as session:
        project = services().projects.get(session, actor, project_id, "commit.fetch")
    return services().preparing.fetch(actor, project), 201


@route(blueprint, OF_PROJECT, action="project.read")
def show(project_id: str) -> dict[str, Any]:
    """The project's repository with its keys, the state of the last fetch, branches and tags."""
    session, project = _project(project_id, "project.read")
    return services().repositories.shown(session, project, services().repositories.get(session, project))


@route(blueprint, OF_PROJECT, action="repository.write", methods=["POST"], body=NewRepository)
def create(project_id: str) -> tuple[dict[str, Any], int]:
    """Give the project a repository; by ssh it gets a deploy key, whose public half the answer has."""
    session, project = _project(project_id, "repository.write")
    row = services().repositories.create(session, current_actor(), project, Wanted(**parse(NewRepository).model_dump()))
    return services().repositories.shown(session, project, row), 201


@route(blueprint, OF_PROJECT, action="repository.write", methods=["PUT"], body=RepositoryChanges)
def change(project_id: str) -> dict[str, Any]:
    """Change it. With another server credentials and host keys are dropped: give them again."""
    session, project = _project(project_id, "repository.write")
    wanted = Wanted(**parse(RepositoryChanges).model_dump())
    row = services().repositories.change(session, current_actor(), project, wanted)
    return services().repositories.shown(session, project, row)


@route(blueprint, OF_PROJECT, action="repository.write", methods=["DELETE"])
def delete(project_id: str) -> Response:
    """Take the repository away; executions keep their code."""
    session, project = _project(project_id, "repository.write")
    services().repositories.delete(session, current_actor(), project)
    return Response(status=204)


@route(blueprint, f"{OF_PROJECT}key/", action="repository.write", methods=["POST"])
def new_key(project_id: str) -> tuple[dict[str, Any], int]:
    """Another deploy key (Ed25519); the former one opens nothing any more once it is removed from the server."""
    session, project = _project(project_id, "repository.write")
    row = services().repositories.new_key(session, current_actor(), project)
    return services().repositories.shown(session, project, row), 201


@route(blueprint, f"{OF_PROJECT}host-key/", action="repository.write", methods=["POST"], body=Fingerprint)
def accept_host_key(project_id: str) -> dict[str, Any]:
    """Pin the host key that the server showed at the last fetch, by its fingerprint."""
    session, project = _project(project_id, "repository.write")
    fingerprint = parse(Fingerprint).fingerprint
    row = services().repositories.accept_host_key(session, current_actor(), project, fingerprint)
    return services().repositories.shown(session, project, row)


def _project(project_id: str, action: str) -> tuple[Session, Project]:
    session = request_session()
    return session, services().projects.get(session, current_actor(), project_id, action)
