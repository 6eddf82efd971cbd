"""`/api/v0/`: tokens, the user, the server."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, url_for
from pydantic import BaseModel, Field

from controlplane.errors import ValidationError
from controlplane.pages.helpers import local_path
from controlplane.web.body import parse
from controlplane.web.context import PUBLIC, client_address, current_actor, route, services

blueprint = Blueprint("accounts_api", __name__, url_prefix="/api/v0")
VERSION = "0.1.0"


class Credentials(BaseModel):
    """Body of `get-token`."""

    username: str = Field(max_length=200)
    password: str = Field(max_length=1024)


class Target(BaseModel):
    """Body of a link: the page that it leads to, a path or a whole address of this server."""

    url: str = Field("/", max_length=2048)


@route(blueprint, "/get-token/", action=PUBLIC, methods=["POST"], body=Credentials, form=True)
def get_token() -> dict[str, str]:
    """A token for name and password."""
    body = parse(Credentials)
    user_id = services().accounts.authenticate(body.username, body.password, client_address())
    return {"token": services().accounts.create_token(user_id, "vh login")}


@route(blueprint, "/users/login_link/", action="self.write", methods=["POST"], body=Target)
def login_link() -> dict[str, str]:
    """An address that signs a browser in as oneself, once and within a minute, and leads to `url`."""
    target = local_path(_path_here(parse(Target).url), "")
    if not target:
        raise ValidationError({"url": f"A page of this server: an address below {services().settings.public_url}/."})
    ticket = services().login_links.make(current_actor().user_id, target, client_address())
    page = url_for("accounts_pages.link_form", _anchor=ticket)
    return {"url": f"{services().settings.public_url.rstrip('/')}{page}"}


@route(blueprint, "/users/me/", action="self.read")
def me() -> dict[str, Any]:
    """The signed-in user."""
    user = services().accounts.user(current_actor().user_id)
    return {"id": user.id, "username": user.username, "email": user.email, "is_operator": user.is_operator}


@route(blueprint, "/server/", action=PUBLIC)
def server() -> dict[str, str]:
    """What this server is."""
    return {"flavor": "remora", "version": VERSION}


def _path_here(url: str) -> str:
    """The path of an address of this server; others as they are."""
    rest = url.removeprefix(services().settings.public_url.rstrip("/"))
    return rest if rest != url and rest.startswith("/") else url
