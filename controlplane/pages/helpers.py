"""What templates and HTML views share: filters, names in templates, addresses of assets, local redirects."""

from __future__ import annotations

import hashlib
import shlex
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, g, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from controlplane.errors import NotAuthenticatedError
from controlplane.pages import format as formats
from controlplane.web import context, errors

THEME_COOKIE = "remora_theme"
THEMES = ("light", "dark")
FILTERS = ("clock", "span", "size", "number", "ago", "absolute", "time_of_day", "iso", "value", "money")
STATIC = Path(__file__).parent / "static"


def install(app: Flask) -> None:
    """Teach the application's templates the helpers of this module."""
    for name in FILTERS:
        app.jinja_env.filters[name] = getattr(formats, name)
    app.jinja_env.filters["shell"] = shlex.quote
    app.jinja_env.globals["asset"] = asset
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.context_processor(_names)
    app.register_error_handler(NotAuthenticatedError, _ask_to_log_in)


def asset(name: str) -> str:
    """Address of a static file, with its content's hash so that a new release is never mixed with an old one."""
    return url_for("static", filename=name, v=_hash(name))


def local_path(wanted: str | None, default: str) -> str:
    """`wanted` when it is a path of this site, else `default`: no scheme, host, backslash or control character."""
    if not wanted or not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted:
        return default
    if any(ord(letter) < 0x21 or ord(letter) == 0x7F for letter in wanted):
        return default
    parts = urlsplit(wanted)
    return default if parts.scheme or parts.netloc else wanted


def is_live() -> bool:
    """Whether a page's own script asks for its changing parts only."""
    return request.args.get("live") == "1"


def now() -> Any:
    """The moment of this request, by the services' clock."""
    if "page_now" not in g:
        g.page_now = context.services().clock()
    return g.page_now


def theme() -> str:
    """`light`, `dark`, or empty for what the system wishes."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""


def _names() -> dict[str, Any]:
    return {
        "actor": g.get("actor"),
        "csrf_token": context.csrf_token(),
        "theme": theme(),
        "request_id": g.get("request_id", ""),
        "host_url": context.services().settings.public_url,
    }


def _ask_to_log_in(error: NotAuthenticatedError) -> BaseResponse | Response:
    """A page that needs somebody leads to the login; programs get their 401."""
    if errors.wants_json() or request.method not in context.SAFE_METHODS:
        return errors._domain(error)
    wanted = request.full_path.rstrip("?") if not is_live() else request.path
    return redirect(url_for("accounts_pages.login_form", next=wanted), code=303)


@cache
def _hash(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]
