"""Is this process alive, and can it serve? Public, and says nothing else."""

from __future__ import annotations

from flask import Blueprint
from sqlalchemy import text

from controlplane.web.context import PUBLIC, route, services

blueprint = Blueprint("health", __name__)


@route(blueprint, "/healthz", action=PUBLIC)
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@route(blueprint, "/readyz", action=PUBLIC)
def ready() -> dict[str, str]:
    """The database answers too."""
    with services().db.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return {"status": "ok"}
