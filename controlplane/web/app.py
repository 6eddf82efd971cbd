"""The Flask application: blueprints, authentication, errors, headers."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from urllib.parse import quote

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from controlplane.db.ids import uuid7
from controlplane.web import context, errors, headers, hosts
from controlplane.web.services import Services

FEATURES = (
    "accounts",
    "projects",
    "commits",
    "executions",
    "data",
    "environments",
    "git",
    "logs",
    "registries",
    "stores",
    "stream",
    "variables",
)
EXTRA = (
    "controlplane.accounts.people_api",
    "controlplane.accounts.teams_api",
    "controlplane.data.aliases_api",
    "controlplane.data.uploads_api",
    "controlplane.executions.bulk_api",
    "controlplane.executions.comments_api",
    "controlplane.logs.search_api",
    "controlplane.web.health",
    "controlplane.web.openapi",
    "controlplane.web.later",
    "controlplane.data.stores.urls",
)


def create_app(services: Services, *, fronts: int = 0) -> Flask:
    """The application over these services. Raises RuntimeError for a route without an action.

    `fronts`: own proxies before it, which append the caller's address to X-Forwarded-For, beside the trusted ones.
    """
    app = Flask(
        "controlplane", template_folder="pages/templates", static_folder="pages/static", static_url_path="/static"
    )
    app.extensions["remora"] = services
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = services.settings.max_package_bytes + 1_000_000
    app.config["MAX_FORM_MEMORY_SIZE"] = services.settings.max_request_bytes
    proxies = services.settings.trusted_proxies + fronts
    # Nobody's word is taken for a caller's address unless a proxy that we know put it there.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=0)  # type: ignore[method-assign]
    app.before_request(_name_request)
    app.before_request(_limit_body)
    app.before_request(hosts.checker(services.settings))
    app.before_request(context.authenticate)
    app.after_request(headers.secure)
    app.after_request(_name_ignored)
    app.teardown_request(context.discard)
    errors.install(app)
    _register(app)
    context.check_actions(app)
    return app


def _register(app: Flask) -> None:
    names = [f"controlplane.{feature}.{part}" for feature in FEATURES for part in ("api", "pages")]
    for name in (*names, *EXTRA):
        if find_spec(name) is not None:
            app.register_blueprint(importlib.import_module(name).blueprint)
    if find_spec("controlplane.pages.helpers") is not None:
        importlib.import_module("controlplane.pages.helpers").install(app)


def _name_request() -> None:
    g.request_id = uuid7()


def _limit_body() -> None:
    uploads = request.path.endswith("/import-package/") or request.path.startswith("/store/")
    if not uploads:
        request.max_content_length = context.services().settings.max_request_bytes


def _name_ignored(response: Response) -> Response:
    if g.get("ignored_fields"):
        # Names come from the request: a line break or a letter beyond ASCII may not stand in a header.
        names = [quote(name[:60], safe=" ") for name in g.ignored_fields[:50]]
        response.headers["X-Remora-Ignored-Fields"] = ", ".join(names)[:500]
    return response
