"""`/api/v1/executions/bulk/`: the same for several executions that a query finds."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from controlplane.errors import ValidationError
from controlplane.executions.filters import FIELDS
from controlplane.executions.models import FINAL, Execution
from controlplane.executions.request import MAX_TAGS
from controlplane.limits import Limits
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services

blueprint = Blueprint("bulk_api", __name__, url_prefix="/api/v1/executions")
ACTIONS = {"stop": "execution.stop", "delete": "execution.delete"}


class Bulk(BaseModel):
    """Body: what to do, and to which executions. `query` takes the fields of the list, each a value or a list."""

    project: str
    action: Literal["stop", "delete", "tag", "untag", "pin", "unpin"]
    query: dict[str, str | bool | int | list[str | int]] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list, max_length=MAX_TAGS)
    dry_run: bool = False


@route(blueprint, "/bulk/", action="execution.create", methods=["POST"], body=Bulk)
def bulk() -> dict[str, Any]:
    """Do it to all that the query finds, oldest first; `left` says how many are for the next call.

    `stop` takes those that are not over, `delete` those that are. With `dry_run` they are only counted.
    """
    body, session = parse(Bulk), request_session()
    project = services().projects.get(session, current_actor(), body.project, ACTIONS.get(body.action, "execution.tag"))
    wanted = _wanted(body)
    most = Limits(services().settings.limits).most("bulk")
    rows, count = services().executions.list(session, project.id, {**wanted, "ordering": "counter", "limit": most})
    if not body.dry_run:
        for row in rows:
            _do(session, body, row)
    counters = [row.counter for row in rows]
    return {"found": count, "done": 0 if body.dry_run else len(rows), "left": count - len(rows), "counters": counters}


def _wanted(body: Bulk) -> dict[str, Any]:
    fields = {name: field for name, field in FIELDS.items() if name != "project"}
    unknown = sorted(set(body.query) - fields.keys())
    if unknown:
        raise ValidationError({f"query.{name[:80]}": ("The list has no such field.", "unknown") for name in unknown})
    given: MultiDict[str, str] = MultiDict()
    for name, value in body.query.items():
        for one in value if isinstance(value, list) else [value]:
            given.add(name, str(one))
    wanted = query.read(fields, given).values
    if not wanted["status"]:
        states = {"stop": ["incomplete"], "delete": list(FINAL)}
        wanted["status"] = states.get(body.action, [])
    if body.action in ("tag", "untag") and not body.tags:
        raise ValidationError({"tags": ("Name the tags.", "required")})
    return wanted


def _do(session: Session, body: Bulk, row: Execution) -> None:
    executions = services().executions
    if body.action == "stop":
        executions.stop(session, current_actor(), row)
    elif body.action == "delete":
        executions.delete(session, row)
    elif body.action in ("pin", "unpin"):
        executions.pin(session, row, pinned=body.action == "pin")
    else:
        tags, named = set(row.tags), set(body.tags)
        executions.set_tags(row, sorted(tags | named if body.action == "tag" else tags - named))
