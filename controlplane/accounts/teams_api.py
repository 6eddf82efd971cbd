"""`/api/v0/teams/`: teams of one's organisations; owners and admins make and change them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel, Field
from sqlalchemy import select

from controlplane.accounts.models import Team
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import page

blueprint = Blueprint("teams_api", __name__, url_prefix="/api/v0/teams")
MOST = 500
TEAMS = {
    "organization": query.text("Of the organisation with this id."),
    "search": query.text("With this text in the name."),
    **query.pages(),
}


class NewTeam(BaseModel):
    """Body of a team: members are ids or names of people of the organisation."""

    name: str = Field(max_length=200)
    organization: str = Field("", max_length=64)
    members: list[str] = Field(default_factory=list, max_length=MOST)


class TeamChanges(BaseModel):
    """Body of a team's change; what is left out stays. `members` takes the place of all that there are."""

    name: str | None = Field(None, max_length=200)
    members: list[str] | None = Field(None, max_length=MOST)


class Member(BaseModel):
    """Body of a new member: id or name of somebody of the organisation."""

    user: str = Field(max_length=64)


@route(blueprint, "/", action="organization.list", query=TEAMS)
def index() -> dict[str, Any]:
    """Teams of one's organisations with their members, by name."""
    session, given = request_session(), query.read(TEAMS)
    ids = set(current_actor().organizations)
    if given["organization"] is not None:
        ids &= {given["organization"]}
    statement = select(Team).where(Team.organization_id.in_(ids))
    if given["search"]:
        statement = statement.where(Team.name.icontains(given["search"], autoescape=True))
    rows = session.scalars(statement.order_by(Team.name, Team.id)).all()
    shown = rows[given["offset"] :][: given["limit"]]
    return page(services().teams.serialize(session, shown), len(rows))


@route(blueprint, "/", action="team.write", methods=["POST"], body=NewTeam)
def create() -> tuple[dict[str, Any], int]:
    """A new team."""
    body, session = parse(NewTeam), request_session()
    row = services().teams.create(session, current_actor(), body.name, body.organization, body.members)
    return _shown(row), 201


@route(blueprint, "/<team_id>/", action="team.read")
def show(team_id: str) -> dict[str, Any]:
    """One team with its members."""
    return _shown(_get(team_id, "team.read"))


@route(blueprint, "/<team_id>/", action="team.write", methods=["PUT", "PATCH"], body=TeamChanges)
def change(team_id: str) -> dict[str, Any]:
    """Give it another name, or other members."""
    row, body, session = _get(team_id), parse(TeamChanges), request_session()
    if body.name is not None:
        services().teams.rename(session, current_actor(), row, body.name)
    if body.members is not None:
        services().teams.replace_members(session, current_actor(), row, body.members)
    return _shown(row)


@route(blueprint, "/<team_id>/", action="team.write", methods=["DELETE"])
def delete(team_id: str) -> Response:
    """Take it away; 409 names projects that it owns."""
    services().teams.delete(request_session(), current_actor(), _get(team_id))
    return Response(status=204)


@route(blueprint, "/<team_id>/members/", action="team.write", methods=["POST"], body=Member)
def add_member(team_id: str) -> dict[str, Any]:
    """Take somebody in; nothing changes for who is in it already."""
    row = _get(team_id)
    services().teams.add(request_session(), current_actor(), row, parse(Member).user)
    return _shown(row)


@route(blueprint, "/<team_id>/members/<user_id>/", action="team.write", methods=["DELETE"])
def remove_member(team_id: str, user_id: str) -> Response:
    """Take somebody out."""
    services().teams.remove(request_session(), current_actor(), _get(team_id), user_id)
    return Response(status=204)


def _get(team_id: str, action: str = "team.write") -> Team:
    return services().teams.get(request_session(), current_actor(), team_id, action)


def _shown(row: Team) -> dict[str, Any]:
    return services().teams.serialize(request_session(), [row])[0]
