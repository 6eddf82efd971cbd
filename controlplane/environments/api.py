"""`/api/v0/environments/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from controlplane.environments.models import WorkerGroup
from controlplane.environments.service import unfinished_counts, visible_groups
from controlplane.errors import NotFoundError
from controlplane.web.context import current_actor, request_session, route
from controlplane.web.paging import integer, names, page

blueprint = Blueprint("environments_api", __name__, url_prefix="/api/v0/environments")


@route(blueprint, "/", action="environment.list")
def index() -> dict[str, Any]:
    """Environments that the user may see."""
    session = request_session()
    rows = visible_groups(session, current_actor().scope.organizations)
    shown = rows[integer("offset", 0) :][: integer("limit", 100)]
    counts = (
        unfinished_counts(session, [row.id for row in shown]) if "unfinished_job_count" in names("include") else None
    )
    return page([serialize(row, counts) for row in shown], len(rows))


@route(blueprint, "/<key>/", action="environment.list")
def show(key: str) -> dict[str, Any]:
    """One environment by id or slug."""
    session = request_session()
    for row in visible_groups(session, current_actor().scope.organizations):
        if key in (row.id, row.slug):
            return serialize(row, unfinished_counts(session, [row.id]))
    raise NotFoundError


def serialize(row: WorkerGroup, counts: dict[str, int] | None = None) -> dict[str, Any]:
    """The API's form of an environment."""
    shown: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "slug": row.slug,
        "description": row.description,
        "type": "vm",
        "enabled": row.enabled,
        "gpu_spec": row.gpu_spec,
        "has_gpu": bool(row.gpu_spec),
        "per_hour_price_usd": None if row.price is None or row.currency != "USD" else row.price / 1_000_000,
        "per_user_queue_quota": 0,
        "per_user_resource_quotas": [],
        "is_scalable": False,
        "scale_min": row.scale_min,
        "scale_max": row.scale_max,
        "scale_down_grace_period": 15,
        "spot": False,
        "spot_max_price": None,
        "allow_personal_usage": True,
        "bill_usage": False,
        "supports_priority": True,
    }
    if counts is not None:
        shown["unfinished_job_count"] = counts.get(row.id, 0)
    return shown
