"""`/api/v1/organizations/ID/variables/` and `…/variable-groups/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from controlplane.projects.service import MAX_VALUE
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services

blueprint = Blueprint("variables_api", __name__, url_prefix="/api/v1/organizations/<organization_id>")


class VariableValue(BaseModel):
    """Body of a variable; a secret value is never answered again."""

    value: str = Field(max_length=MAX_VALUE)
    secret: bool = False


class NewGroup(BaseModel):
    """Body of a group of variables."""

    name: str = Field(max_length=100)


@route(blueprint, "/variables/", action="organization.read")
def variables(organization_id: str) -> list[dict[str, Any]]:
    """Variables of every execution of the organisation."""
    return services().variables.of_organization(request_session(), current_actor(), organization_id)


@route(blueprint, "/variables/<name>/", action="organization.variable", methods=["PUT"], body=VariableValue)
def set_variable(organization_id: str, name: str) -> dict[str, Any]:
    """Make or replace one."""
    actor, body = current_actor(), parse(VariableValue)
    return services().variables.set(request_session(), actor, organization_id, name, body.value, secret=body.secret)


@route(blueprint, "/variables/<name>/", action="organization.variable", methods=["DELETE"])
def delete_variable(organization_id: str, name: str) -> Response:
    """Remove one."""
    services().variables.delete(request_session(), current_actor(), organization_id, name)
    return Response(status=204)


@route(blueprint, "/variable-groups/", action="organization.read")
def groups(organization_id: str) -> list[dict[str, Any]]:
    """Groups with their variables."""
    return services().variables.groups(request_session(), current_actor(), organization_id)


@route(blueprint, "/variable-groups/", action="organization.variable", methods=["POST"], body=NewGroup)
def create_group(organization_id: str) -> tuple[dict[str, Any], int]:
    """An empty group."""
    session, body = request_session(), parse(NewGroup)
    row = services().variables.create_group(session, current_actor(), organization_id, body.name)
    return services().variables.shown_group(session, row), 201


@route(blueprint, "/variable-groups/<group_id>/", action="organization.variable", methods=["DELETE"])
def delete_group(organization_id: str, group_id: str) -> Response:
    """Remove a group with its variables."""
    services().variables.delete_group(request_session(), current_actor(), organization_id, group_id)
    return Response(status=204)


@route(
    blueprint,
    "/variable-groups/<group_id>/variables/<name>/",
    action="organization.variable",
    methods=["PUT"],
    body=VariableValue,
)
def set_in_group(organization_id: str, group_id: str, name: str) -> dict[str, Any]:
    """Make or replace a variable of a group."""
    actor, body = current_actor(), parse(VariableValue)
    return services().variables.set_in_group(
        request_session(), actor, organization_id, group_id, name, body.value, secret=body.secret
    )


@route(
    blueprint,
    "/variable-groups/<group_id>/variables/<name>/",
    action="organization.variable",
    methods=["DELETE"],
)
def delete_in_group(organization_id: str, group_id: str, name: str) -> Response:
    """Remove a variable of a group."""
    services().variables.delete_in_group(request_session(), current_actor(), organization_id, group_id, name)
    return Response(status=204)
