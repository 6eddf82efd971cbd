"""Log in, log out."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from controlplane.accounts.api import VERSION
from controlplane.accounts.links import OVER, PAGE
from controlplane.errors import ConflictError, TooManyError, ValidationError
from controlplane.pages.helpers import local_path
from controlplane.web.context import PUBLIC, check_origin, client_address, cookie_name, route, services

blueprint = Blueprint("accounts_pages", __name__)
WRONG = "Name or password is wrong."


@route(blueprint, "/login", action=PUBLIC)
def login_form() -> BaseResponse | str:
    """The login page; who is logged in already is sent on."""
    if request.cookies.get(cookie_name()) and services().accounts.actor_of_cookie(request.cookies[cookie_name()]):
        return redirect(_next(request.args.get("next")), code=303)
    return _form(request.args.get("next"), "")


@route(blueprint, "/login", action=PUBLIC, methods=["POST"])
def login() -> BaseResponse | tuple[str, int, dict[str, str]]:
    """Name and password for a session cookie."""
    check_origin()
    wanted, username = request.form.get("next"), request.form.get("username", "").strip()[:64]
    try:
        user_id = services().accounts.authenticate(username, request.form.get("password", ""), client_address())
    except TooManyError as error:
        failure = {"waits": True, "sentence": error.message}
        return _form(wanted, username, failure), 429, {"Retry-After": str(error.retry_after)}
    except ValidationError:
        return _form(wanted, username, {"waits": False, "sentence": WRONG}), 400, {}
    started = services().accounts.start_session(user_id, client_address())
    response = redirect(_next(wanted), code=303)
    _set_cookie(response, started.cookie, services().settings.session_ttl)
    return response


@route(blueprint, PAGE, action=PUBLIC)
def link_form() -> str:
    """Where a link of a client leads: its script takes the ticket out of the address, and a click sends it."""
    return _link_page("")


@route(blueprint, PAGE, action=PUBLIC, methods=["POST"])
def use_link() -> BaseResponse | tuple[str, int]:
    """A ticket for a session cookie, and on to the link's page."""
    check_origin()
    cookie = request.cookies.get(cookie_name())
    found = services().accounts.actor_of_cookie(cookie) if cookie else None
    signed_in, ticket = found[0].user_id if found else None, request.form.get("ticket", "")[:200]
    try:
        user_id, target = services().login_links.use(ticket, signed_in, client_address())
    except ConflictError as error:
        return _link_page(error.message), 409
    except ValidationError:
        return _link_page(OVER), 400
    response = redirect(target, code=303)
    if found is None:
        started = services().accounts.start_session(user_id, client_address())
        _set_cookie(response, started.cookie, services().settings.session_ttl)
    return response


@route(blueprint, "/logout", action="self.write", methods=["POST"])
def logout() -> BaseResponse:
    """The session ends on the server, and the cookie goes."""
    cookie = request.cookies.get(cookie_name())
    if cookie:
        services().accounts.end_session(cookie)
    response = redirect(url_for("accounts_pages.login_form"), code=303)
    _set_cookie(response, "", 0)
    return response


def _form(wanted: str | None, username: str, failure: dict[str, Any] | None = None) -> str:
    return render_template(
        "login.html",
        next=local_path(wanted, ""),
        username=username,
        failure=failure,
        version=VERSION,
        host=urlsplit(services().settings.public_url).netloc,
    )


def _link_page(failure: str) -> str:
    host = urlsplit(services().settings.public_url).netloc
    return render_template("login_link.html", failure=failure, version=VERSION, host=host)


def _next(wanted: str | None) -> str:
    return local_path(wanted, url_for("projects_pages.index"))


def _set_cookie(response: BaseResponse | Response, value: str, max_age: int) -> None:
    response.set_cookie(
        cookie_name(),
        value,
        max_age=max_age,
        secure=cookie_name().startswith("__Host-"),
        httponly=True,
        samesite="Lax",
        path="/",
    )
