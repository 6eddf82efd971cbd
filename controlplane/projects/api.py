"""`/api/v0/projects/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from controlplane.projects.service import Changes
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import page

blueprint = Blueprint("projects_api", __name__, url_prefix="/api/v0/projects")


LISTED = {"search": query.text("With this text in the name."), **query.pages(50)}


class NewProject(BaseModel):
    """Body of a project's creation."""

    name: str = Field(max_length=200)
    description: str = Field("", max_length=10_000)
    owner: str = Field("", max_length=200)


class ProjectChanges(BaseModel):
    """Body of a project's change; what is left out stays."""

    name: str | None = Field(None, max_length=200)
    description: str | None = Field(None, max_length=10_000)
    yaml_path: str | None = Field(None, max_length=255)
    default_environment: str | None = Field(None, max_length=64)
    default_store: str | None = Field(None, max_length=64)


class Variable(BaseModel):
    """Body of an environment variable."""

    name: str = Field(max_length=255)
    value: str = ""
    secret: bool = False


class VariableName(BaseModel):
    """Body of a variable's removal."""

    name: str


@route(blueprint, "/", action="project.list", query=LISTED)
def index() -> dict[str, Any]:
    """Projects, by name."""
    session, given = request_session(), query.read(LISTED)
    rows = services().projects.list(session, current_actor())
    if given["search"]:
        sought = given["search"].casefold()
        rows = [row for row in rows if sought in row.name.casefold()]
    shown = rows[given["offset"] :][: given["limit"]]
    return page(services().projects.serialize_all(session, shown), len(rows))


@route(blueprint, "/", action="project.create", methods=["POST"], body=NewProject, form=True)
def create() -> tuple[dict[str, Any], int]:
    """A new project."""
    body = parse(NewProject)
    session = request_session()
    project = services().projects.create(session, current_actor(), body.name, body.description, body.owner)
    return services().projects.serialize(session, project), 201


@route(blueprint, "/ownership_options/", action="project.list")
def ownership_options() -> list[str]:
    """Names that may own a project."""
    return services().projects.ownership_options(request_session(), current_actor())


@route(blueprint, "/<project_id>/", action="project.read")
def show(project_id: str) -> dict[str, Any]:
    """One project."""
    session = request_session()
    return services().projects.serialize(session, services().projects.get(session, current_actor(), project_id))


@route(blueprint, "/<project_id>/", action="project.update", methods=["PUT", "PATCH"], body=ProjectChanges)
def update(project_id: str) -> dict[str, Any]:
    """Change its name, description, path of valohai.yaml, default environment (id or slug) or store (id or name)."""
    session = request_session()
    changes = Changes(**parse(ProjectChanges).model_dump())
    return services().projects.serialize(
        session, services().projects.update(session, current_actor(), project_id, changes)
    )


@route(blueprint, "/<project_id>/", action="project.delete", methods=["DELETE"])
def delete(project_id: str) -> Response:
    """Hide the project with all that it holds, once nothing of it runs or waits."""
    services().projects.delete(request_session(), current_actor(), project_id)
    return Response(status=204)


@route(blueprint, "/<project_id>/environment_variable/", action="variable.write", methods=["POST"], body=Variable)
def set_variable(project_id: str) -> tuple[dict[str, Any], int]:
    """Make or replace an environment variable."""
    body = parse(Variable)
    services().projects.set_variable(request_session(), current_actor(), project_id, body.name, body.value, body.secret)
    return {"name": body.name, "secret": body.secret}, 200


@route(blueprint, "/<project_id>/environment_variable/", action="variable.write", methods=["DELETE"], body=VariableName)
def delete_variable(project_id: str) -> Response:
    """Remove an environment variable."""
    services().projects.delete_variable(request_session(), current_actor(), project_id, parse(VariableName).name)
    return Response(status=204)
