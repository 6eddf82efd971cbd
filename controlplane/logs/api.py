"""Logs and status events of executions: `/api/v0/executions/KEY/events/` and `…/status-events/`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Blueprint, Response, stream_with_context
from sqlalchemy import func, select

from controlplane.clock import event_time
from controlplane.executions.models import Execution, ExecutionEvent
from controlplane.logs.lines import Line
from controlplane.reasons import REASONS, sentence
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import integer

blueprint = Blueprint("logs_api", __name__, url_prefix="/api/v0/executions")

DEFAULT_TAIL = 200
MAX_TAIL = 100_000
DEFAULT_STATUS = 100
MAX_STATUS = 10_000


@route(blueprint, "/<key>/events/", action="execution.read")
def events(key: str) -> dict[str, Any] | Response:
    """Log lines: the newest 200, the newest `limit`, or all of them with `limit=0`.

    `total` counts all lines so far; `truncated` says whether older ones are left out. A missing range is one line of
    the stream `status` that says so. Times have no zone (they are UTC) and six digits.
    """
    execution = _get(key)
    limit = integer("limit", DEFAULT_TAIL, high=MAX_TAIL)
    session = request_session()
    attempts = services().executions.attempts(session, execution)
    if limit == 0:
        return _everything(execution)
    found = services().logs.tail(session, attempts, limit)
    shown = [_event(line) for line in found.lines]
    return {"total": found.total, "truncated": found.total > len(shown), "events": shown}


@route(blueprint, "/<key>/status-events/", action="execution.read")
def status_events(key: str) -> dict[str, Any]:
    """What happened to the execution itself; the newest `limit` (100), or all of them with `limit=0`."""
    execution = _get(key)
    limit = integer("limit", DEFAULT_STATUS, high=MAX_STATUS)
    session = request_session()
    of_execution = ExecutionEvent.execution_id == execution.id
    total = session.scalar(select(func.count()).select_from(ExecutionEvent).where(of_execution)) or 0
    query = select(ExecutionEvent).where(of_execution).order_by(ExecutionEvent.at.desc(), ExecutionEvent.id.desc())
    rows = session.scalars(query.limit(limit or MAX_STATUS)).all()
    shown = [{"time": event_time(r.at), "stream": "status", "message": status_text(r)} for r in reversed(rows)]
    return {"total": total, "truncated": total > len(shown), "status_events": shown}


def status_text(event: ExecutionEvent) -> str:
    """An event as one line: the state it led to, and the sentence of its reason."""
    told = sentence(event.reason, event.payload) if event.reason in REASONS else ""
    if event.kind == "state":
        return f"{event.message}: {told}" if told else event.message
    if event.kind == "phase":
        detail = event.payload.get("detail")
        return f"{told or event.message}{f' {detail}' if detail else ''}"
    return event.message or told


def _everything(execution: Execution) -> Response:
    """The whole log as one JSON object, written while it is read: its size in memory stays flat."""
    scope, reader, execution_id = current_actor().scope, services().logs, execution.id

    def generate() -> Iterator[str]:
        with services().db.read(scope) as session:
            row = session.get_one(Execution, execution_id)
            attempts = services().executions.attempts(session, row)
            total = reader.total(session, attempts)
            yield f'{{"total": {total}, "truncated": false, "events": ['
            yield from _joined(reader.everything(session, attempts))
            yield "]}"

    return Response(stream_with_context(generate()), mimetype="application/json")


def _joined(lines: Iterable[Line]) -> Iterator[str]:
    """JSON objects with commas between, in pieces of a size that is worth sending."""
    piece, size, first = [], 0, True
    for line in lines:
        text = json.dumps(_event(line))
        piece.append(text if first else f",{text}")
        first, size = False, size + len(text)
        if size > 64_000:
            yield "".join(piece)
            piece, size = [], 0
    yield "".join(piece)


def _event(line: Line) -> dict[str, str]:
    return {"time": line[1], "stream": line[2], "message": line[3]}


def _get(key: str) -> Execution:
    return services().executions.get(request_session(), current_actor(), key)
