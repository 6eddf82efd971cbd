"""`/api/v0/executions/KEY/comments/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel

from controlplane.executions.models import Execution
from controlplane.web import query
from controlplane.web.body import parse
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import page

blueprint = Blueprint("comments_api", __name__, url_prefix="/api/v0/executions/<key>/comments")
PAGES = query.pages()


class CommentText(BaseModel):
    """Body of a comment."""

    text: str


@route(blueprint, "/", action="execution.read", query=PAGES)
def index(key: str) -> dict[str, Any]:
    """Comments, oldest first, with who wrote them and when."""
    given = query.read(PAGES)
    rows, count = services().comments.list(request_session(), _get(key), given["limit"], given["offset"])
    return page(rows, count)


@route(blueprint, "/", action="execution.comment", methods=["POST"], body=CommentText)
def create(key: str) -> tuple[dict[str, Any], int]:
    """Write one."""
    session, execution = request_session(), _get(key, "execution.comment")
    row = services().comments.add(session, current_actor(), execution, parse(CommentText).text)
    return services().comments.serialize(session, row), 201


@route(blueprint, "/<comment_id>/", action="execution.comment", methods=["PUT", "PATCH"], body=CommentText)
def edit(key: str, comment_id: str) -> dict[str, Any]:
    """Change one's own."""
    session, execution = request_session(), _get(key, "execution.comment")
    row = services().comments.edit(session, current_actor(), execution, comment_id, parse(CommentText).text)
    return services().comments.serialize(session, row)


@route(blueprint, "/<comment_id>/", action="execution.comment", methods=["DELETE"])
def delete(key: str, comment_id: str) -> Response:
    """Take one's own away."""
    execution = _get(key, "execution.comment")
    services().comments.delete(request_session(), current_actor(), execution, comment_id)
    return Response(status=204)


def _get(key: str, action: str = "execution.read") -> Execution:
    return services().executions.get(request_session(), current_actor(), key, action)
