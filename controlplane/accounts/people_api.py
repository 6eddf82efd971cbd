"""`/api/v0/users/` and `/organizations/`: who there is in the organisations of whoever asks."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from sqlalchemy import func, select

from controlplane.accounts.models import Organization, OrganizationMembership, User
from controlplane.db.ids import is_id
from controlplane.errors import NotFoundError
from controlplane.web import query
from controlplane.web.context import current_actor, request_session, route
from controlplane.web.paging import page

blueprint = Blueprint("people_api", __name__, url_prefix="/api/v0")
LISTED = {"search": query.text("With this text in the name."), **query.pages()}


@route(blueprint, "/users/", action="organization.list", query=LISTED)
def users() -> dict[str, Any]:
    """People of one's organisations, by name."""
    session, given = request_session(), query.read(LISTED)
    statement = select(User).where(User.id.in_(_colleagues()), User.disabled_at.is_(None))
    if given["search"]:
        statement = statement.where(User.username.icontains(given["search"], autoescape=True))
    count = session.scalar(select(func.count()).select_from(statement.subquery())) or 0
    rows = session.scalars(statement.order_by(User.username).limit(given["limit"]).offset(given["offset"]))
    return page([_user(row) for row in rows], count)


@route(blueprint, "/users/<user_id>/", action="organization.list")
def user(user_id: str) -> dict[str, Any]:
    """One of them."""
    if not is_id(user_id):
        raise NotFoundError
    row = request_session().scalar(select(User).where(User.id == user_id, User.id.in_(_colleagues())))
    if row is None:
        raise NotFoundError
    return _user(row)


@route(blueprint, "/organizations/", action="organization.list", query=LISTED)
def organizations() -> dict[str, Any]:
    """One's organisations with one's role, by name."""
    session, given = request_session(), query.read(LISTED)
    statement = select(Organization).where(Organization.id.in_(current_actor().organizations))
    if given["search"]:
        statement = statement.where(Organization.name.icontains(given["search"], autoescape=True))
    rows = session.scalars(statement.order_by(Organization.name)).all()
    shown = rows[given["offset"] :][: given["limit"]]
    return page([_organization(row) for row in shown], len(rows))


@route(blueprint, "/organizations/<organization_id>/", action="organization.read")
def organization(organization_id: str) -> dict[str, Any]:
    """One of them."""
    row = (
        request_session().get(Organization, organization_id)
        if organization_id in current_actor().organizations
        else None
    )
    if row is None:
        raise NotFoundError
    return _organization(row)


def _colleagues() -> Any:
    """Ids of everybody in one's organisations, oneself too."""
    return select(OrganizationMembership.user_id).where(
        OrganizationMembership.organization_id.in_(current_actor().organizations)
    )


def _user(row: User) -> dict[str, Any]:
    return {"id": row.id, "username": row.username}


def _organization(row: Organization) -> dict[str, Any]:
    actor = current_actor()
    return {
        "id": row.id,
        "name": row.name,
        "username": row.name,
        "is_personal": row.personal_user_id == actor.user_id,
        "role": actor.organizations[row.id],
    }
