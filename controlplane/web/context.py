"""The request's own things: who asks, the scoped database session, the route's action."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, g, request
from pydantic import BaseModel
from sqlalchemy.orm import Session

from controlplane.errors import NotAuthenticatedError, PermissionDeniedError
from controlplane.permissions import TABLE, Actor, require
from controlplane.web import idempotency
from controlplane.web.query import QueryField

if TYPE_CHECKING:
    from controlplane.web.services import Services

View = TypeVar("View", bound=Callable[..., Any])
PUBLIC = "public"
SESSION_COOKIE = "remora_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

PUBLIC_ENDPOINTS = frozenset(
    {
        "static",
        "accounts_api.get_token",
        "accounts_api.server",
        "accounts_pages.login_form",
        "accounts_pages.login",
        # The ticket, which the form carries, is the credential.
        "accounts_pages.link_form",
        "accounts_pages.use_link",
        "health.live",
        "health.ready",
        "store.object_route",
        # The stream process checks a ticket for it, which is signed and no address holds.
        "stream_api.follow",
    }
)
# The address itself is the credential, so it may come from anywhere.
SIGNED_ENDPOINTS = frozenset({"store.object_route"})


@dataclass(frozen=True)
class Described:
    """What the OpenAPI document says of a route beyond its address.

    Body model, query fields, files of a form, the answer's type where the view's own hint does not say it, and the
    statuses that only this route gives.
    """

    body: type[BaseModel] | None = None
    query: Mapping[str, str | QueryField] = field(default_factory=dict)
    form: bool = False
    files: dict[str, str] = field(default_factory=dict)
    answer: Any = None
    statuses: tuple[int, ...] = ()


def route(
    blueprint: Blueprint,
    rule: str,
    *,
    action: str,
    methods: list[str] | None = None,
    body: type[BaseModel] | None = None,
    query: Mapping[str, str | QueryField] | None = None,
    form: bool = False,
    files: dict[str, str] | None = None,
    answer: Any = None,
    statuses: tuple[int, ...] = (),
) -> Callable[[View], View]:
    """Register a view and name what it does.

    `action` is a key of the permission table, or `public`. `body`, `query` {field: sentence or QueryField}, `form`
    (the body may be a form), `files` {part: media type}, `answer` (a type, where the view's hint does not say it) and
    `statuses` (beyond the usual ones) describe the route in the OpenAPI document. What the view did in
    `request_session` is committed when it answers below 400. A POST under `/api/` with an `Idempotency-Key` is done
    once.
    """

    def register(view: View) -> View:
        @wraps(view)
        def respond(**values: Any) -> Response:
            repeated = idempotency.answer_again() if request.method == "POST" else None
            if repeated is not None:
                return repeated
            response = current_app.make_response(view(**values))
            if response.status_code < 400:
                idempotency.keep(response)
                commit()
            return response

        cast(Any, respond).action = action
        cast(Any, respond).described = Described(body, query or {}, form, files or {}, answer, statuses)
        blueprint.add_url_rule(rule, view_func=respond, methods=methods or ["GET"])
        return view

    return register


def services() -> Services:
    """The services of this application."""
    return current_app.extensions["remora"]


def current_actor() -> Actor:
    """Who asks. Raises NotAuthenticatedError."""
    actor = g.get("actor")
    if actor is None:
        raise NotAuthenticatedError
    return actor


def csrf_token() -> str:
    """Token that forms of this browser session carry; empty without one."""
    return g.get("csrf", "")


def request_session() -> Session:
    """The request's database session, scoped to the actor; committed when the view returns without an error."""
    if "session" not in g:
        g.session = services().db.session(current_actor().scope, read_only=request.method in SAFE_METHODS)
    return g.session


def client_address() -> str:
    """Address of the caller, after the trusted proxies."""
    return request.remote_addr or ""


def check_actions(app: Flask) -> None:
    """Refuse to start with a route that names no action and is not on the public list. Raises RuntimeError."""
    for rule in app.url_map.iter_rules():
        action = getattr(app.view_functions[rule.endpoint], "action", None)
        if rule.endpoint in PUBLIC_ENDPOINTS:
            continue
        if action is None or action not in TABLE:
            raise RuntimeError(f"route {rule.rule} ({rule.endpoint}) names no action of the permission table")


def authenticate() -> None:
    """Before each request: find the actor; every route but the public ones needs one."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    has_token = scheme.lower() in ("token", "bearer") and bool(value.strip())
    if request.endpoint in PUBLIC_ENDPOINTS:
        if request.method not in SAFE_METHODS and request.endpoint not in SIGNED_ENDPOINTS and not has_token:
            check_origin()
        return
    if has_token:
        g.actor = services().accounts.actor_of_token(value.strip())
        if g.actor is None:
            raise NotAuthenticatedError("This token is not known or has ended; make another one.")
    else:
        _authenticate_browser()
    if g.actor is not None:
        g.actor = replace(g.actor, address=client_address())
    if request.endpoint is not None:
        _check_action(current_actor(), current_app.view_functions[request.endpoint])


def _check_action(actor: Actor, view: Callable[..., Any]) -> None:
    """Actions that need no thing to be looked at are decided here; the others by the view, which knows the thing."""
    action: str = cast(Any, view).action
    if TABLE[action] <= {"user", "operator"}:
        require(actor, action)


def _authenticate_browser() -> None:
    cookie = request.cookies.get(cookie_name())
    found = services().accounts.actor_of_cookie(cookie) if cookie else None
    g.actor, g.csrf = found if found else (None, "")
    if request.method in SAFE_METHODS or g.actor is None:
        return
    sent = request.headers.get("X-CSRF-Token") or request.form.get("csrf", "")
    if not hmac.compare_digest(sent.encode(), g.csrf.encode()):
        raise PermissionDeniedError("This form is from another session; reload the page and try again.")
    check_origin()


def check_origin() -> None:
    """Refuse a state change that another site sent. Raises PermissionDeniedError."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.host
    if (site is not None and site not in ("same-origin", "none")) or foreign:
        raise PermissionDeniedError("This request came from another site.")


def cookie_name() -> str:
    """`__Host-` binds the cookie to this host; browsers take it over https only."""
    return f"__Host-{SESSION_COOKIE}" if services().settings.public_url.startswith("https") else SESSION_COOKIE


def commit() -> None:
    """Make what the view did last."""
    session: Session | None = g.get("session")
    if session is not None:
        session.commit()


def discard(_error: BaseException | None) -> None:
    """A request that broke leaves nothing behind."""
    session: Session | None = g.pop("session", None)
    if session is not None:
        session.rollback()
        session.close()
