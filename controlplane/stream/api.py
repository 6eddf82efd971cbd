"""Tickets for the live stream, and the way to it where no reverse proxy routes `/stream/`."""

from __future__ import annotations

from flask import Blueprint, Response, request

from controlplane.db.ids import is_id
from controlplane.errors import NotFoundError
from controlplane.stream.passing import PASSED_ON
from controlplane.web.context import PUBLIC, current_actor, route, services

blueprint = Blueprint("stream_api", __name__)


@route(blueprint, "/api/v1/executions/<execution_id>/stream-ticket/", action="execution.read", methods=["POST"])
def ticket(execution_id: str) -> dict[str, str]:
    """A ticket for the live log: for this execution, for a minute.

    It goes into the header `Authorization: Ticket …` of `GET /stream/executions/{execution_id}/log`; each reconnect
    takes a new one. `docs/reference/live-log.md` describes the events.
    """
    actor = current_actor()
    # Nothing is written: on SQLite a reader does not wait for writers.
    with services().db.read(actor.scope) as session:
        execution = services().executions.get(session, actor, execution_id)
        return {"ticket": services().tickets.make(execution.id, execution.organization_id)}


@route(blueprint, "/stream/executions/<execution_id>/log", action=PUBLIC)
def follow(execution_id: str) -> Response:
    """The live log, passed on from the stream process, which checks the ticket."""
    if not is_id(execution_id):
        raise NotFoundError
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    answer = services().streams.open(f"/stream/executions/{execution_id}/log", headers)
    response = Response(answer.body, answer.status, answer.headers, direct_passthrough=True)
    response.call_on_close(answer.close)
    return response
