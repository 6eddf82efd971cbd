"""`/api/v0/`: tokens, the user, the server."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from pydantic import BaseModel, Field

from controlplane.web.body import parse
from controlplane.web.context import PUBLIC, client_address, current_actor, route, services

blueprint = Blueprint("accounts_api", __name__, url_prefix="/api/v0")
VERSION = "0.1.0"


class Credentials(BaseModel):
    """Body of `get-token`."""

    username: str = Field(max_length=200)
    password: str = Field(max_length=1024)


@route(blueprint, "/get-token/", action=PUBLIC, methods=["POST"], body=Credentials, form=True)
def get_token() -> dict[str, str]:
    """A token for name and password."""
    body = parse(Credentials)
    user_id = services().accounts.authenticate(body.username, body.password, client_address())
    return {"token": services().accounts.create_token(user_id, "vh login")}


@route(blueprint, "/users/me/", action="self.read")
def me() -> dict[str, Any]:
    """The signed-in user."""
    user = services().accounts.user(current_actor().user_id)
    return {"id": user.id, "username": user.username, "email": user.email, "is_operator": user.is_operator}


@route(blueprint, "/server/", action=PUBLIC)
def server() -> dict[str, str]:
    """What this server is."""
    return {"flavor": "remora", "version": VERSION}
