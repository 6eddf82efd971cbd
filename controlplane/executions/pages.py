"""Executions as pages: the list of a project, one execution, its log, its outputs, stopping it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request, stream_with_context, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response as BaseResponse

from controlplane.accounts.models import Organization
from controlplane.commits.models import Commit
from controlplane.db.ids import is_id
from controlplane.environments.models import WorkerGroup
from controlplane.executions import views
from controlplane.executions.copy_as import command_line
from controlplane.executions.models import FINAL, INCOMPLETE, Execution
from controlplane.executions.timeline import timeline
from controlplane.logs.window import LogWindows, Window, as_text
from controlplane.pages.helpers import is_live, now
from controlplane.permissions import can
from controlplane.projects.models import Project
from controlplane.web.context import current_actor, request_session, route, services
from controlplane.web.paging import integer

blueprint = Blueprint("executions_pages", __name__)

PAGE = 50
LOG_PAGE = 500
TABS = (
    ("All", ()),
    ("Running", ("started", "stopping")),
    ("Waiting", ("created", "queued")),
    ("Complete", ("complete",)),
    ("Failed", ("error", "crashed")),
    ("Stopped", ("stopped",)),
)


@route(blueprint, "/projects/<project_id>/", action="project.read")
def index(project_id: str) -> str:
    """Executions of a project; filters and page stand in the address."""
    session = request_session()
    project = services().projects.get(session, current_actor(), project_id)
    counts = services().projects.summary(session, [project.id])[project.id]
    if counts["count"] == 0 and not is_live():
        return render_template("executions_empty.html", project=project, **_shell(project, counts))
    filters = _filters()
    page = integer("page", 1, low=1)
    found, total = services().executions.list(
        session, project.id, {**filters, "limit": PAGE, "offset": (page - 1) * PAGE}
    )
    steps = session.scalars(select(Execution.step).where(Execution.project_id == project.id).distinct()).all()
    return render_template(
        "_executions_rows.html" if is_live() else "executions.html",
        project=project,
        rows=views.rows(session, found, now()),
        tabs=_tabs(counts, filters),
        steps=sorted(steps),
        filters=filters,
        status=request.args.get("status", ""),
        newest=project.next_counter - 1,
        pages=_pages(page, total, len(found)),
        now=now(),
        **_shell(project, counts),
    )


@route(blueprint, "/projects/<project_id>/executions/<int:counter>/", action="execution.read")
def by_counter(project_id: str, counter: int) -> BaseResponse:
    """The address that people type leads to the lasting one."""
    execution = services().executions.get(request_session(), current_actor(), f"{project_id}:{counter}")
    return redirect(url_for("executions_pages.show", execution_id=execution.id), code=302)


@route(blueprint, "/executions/<execution_id>/", action="execution.read")
def show(execution_id: str) -> str:
    """One execution; with `?live=1` the parts that change."""
    execution = _get(execution_id)
    return render_template("_execution_live.html" if is_live() else "execution.html", **_shown(execution))


@route(blueprint, "/executions/<execution_id>/stop", action="execution.stop")
def confirm_stop(execution_id: str) -> str | BaseResponse:
    """The question before stopping, for a browser without scripts."""
    execution = _get(execution_id, "execution.stop")
    if execution.state in FINAL:
        return redirect(url_for("executions_pages.show", execution_id=execution.id), code=303)
    return render_template("execution_stop.html", **_shown(execution))


@route(blueprint, "/executions/<execution_id>/stop", action="execution.stop", methods=["POST"])
def stop(execution_id: str) -> BaseResponse:
    """Ask it to end; what it made so far is kept."""
    execution = _get(execution_id, "execution.stop")
    services().executions.stop(request_session(), current_actor(), execution)
    return redirect(url_for("executions_pages.show", execution_id=execution.id), code=303)


@route(blueprint, "/executions/<execution_id>/log.json", action="execution.read")
def log_window(execution_id: str) -> dict[str, Any]:
    """A piece of the log for the page's script: newest, or `after` or `before` a number, of one attempt."""
    session = request_session()
    execution = _get(execution_id)
    attempts = services().executions.attempts(session, execution)
    number = integer("attempt", attempts[-1].number if attempts else 0)
    attempt = next((row for row in attempts if row.number == number), None)
    answer: dict[str, Any] = {
        "attempt": number,
        "attempts": [row.number for row in attempts],
        "over": execution.state in FINAL,
        "complete": attempt.log_complete if attempt else execution.state in FINAL,
        "lines": [],
        "more": False,
    }
    if attempt is None:
        return answer
    limit = integer("limit", LOG_PAGE, low=1, high=2000)
    found = _window(LogWindows(services().logs), attempt, limit)
    return {**answer, "lines": found.lines, "more": found.more}


@route(blueprint, "/executions/<execution_id>/log.txt", action="execution.read")
def log_text(execution_id: str) -> Response:
    """The whole log as a file, streamed."""
    execution = _get(execution_id)
    scope, reader = current_actor().scope, services().logs

    def generate() -> Iterator[str]:
        with services().db.read(scope) as session:
            for attempt in services().executions.attempts(session, execution):
                if attempt.number > 1:
                    yield f"\n--- attempt {attempt.number} ---\n"
                yield from as_text(reader.lines(session, attempt))

    response = Response(stream_with_context(generate()), mimetype="text/plain")
    response.headers["Content-Disposition"] = f'attachment; filename="execution-{execution.counter}.log"'
    return response


@route(blueprint, "/data/<datum_id>/file", action="data.download")
def download(datum_id: str) -> BaseResponse:
    """On to the store, by a signed address."""
    session = request_session()
    datum = services().data.get(session, current_actor(), datum_id, "data.download")
    return redirect(services().data.download_url(session, datum), code=302)


def _get(execution_id: str, action: str = "execution.read") -> Execution:
    return services().executions.get(request_session(), current_actor(), execution_id, action)


def _filters() -> dict[str, Any]:
    status = request.args.get("status", "")
    known = set(INCOMPLETE) | set(FINAL)
    statuses = [word for word in status.split(",") if word in known]
    return {
        "status": statuses,
        "step": [step[:255] for step in request.args.getlist("step") if step],
        "search": request.args.get("q", "").strip()[:255],
    }


def _tabs(counts: dict[str, int], filters: dict[str, Any]) -> list[dict[str, Any]]:
    step = filters["step"][0] if filters["step"] else ""
    kept = {name: value for name, value in (("q", filters["search"]), ("step", step)) if value}
    tabs: list[dict[str, Any]] = []
    for name, states in TABS:
        query = urlencode({**kept, **({"status": ",".join(states)} if states else {})})
        count = sum(counts[f"{state}_count"] for state in states) if states else counts["count"]
        tabs.append({"name": name, "count": count, "query": query, "current": list(states) == filters["status"]})
    return tabs


def _pages(page: int, total: int, shown: int) -> dict[str, Any]:
    first = (page - 1) * PAGE
    kept = {name: value for name, value in request.args.items() if name not in ("page", "live")}
    return {
        "first": first + 1 if shown else 0,
        "last": first + shown,
        "total": total,
        "number": page,
        "newer": urlencode({**kept, "page": page - 1}) if page > 1 else "",
        "older": urlencode({**kept, "page": page + 1}) if first + shown < total else "",
    }


def _shell(project: Project, counts: dict[str, int]) -> dict[str, Any]:
    running = counts["started_count"] + counts["stopping_count"]
    owner = request_session().get(Organization, project.organization_id)
    return {"section": "executions", "running": running, "owner": owner.name if owner else ""}


def _shown(execution: Execution) -> dict[str, Any]:
    """Everything that the page of one execution shows."""
    session = request_session()
    project = services().projects.get(session, current_actor(), execution.project_id)
    counts = services().projects.summary(session, [project.id])[project.id]
    attempts = services().executions.attempts(session, execution)
    events = services().executions.events(session, execution)
    actors = [event.actor for event in events if is_id(event.actor)]
    people = views.names_of(session, [execution.creator_id, *actors])
    creator = people.get(execution.creator_id or "", "")
    group = session.get(WorkerGroup, execution.environment_id)
    commit = session.get(Commit, execution.commit_id)
    return {
        "project": project,
        "execution": execution,
        "attempts": attempts,
        "events": views.event_lines(events[-40:], people),
        "event_count": len(events),
        "creator": creator,
        "environment": group,
        "commit": commit,
        "why": views.why(execution),
        "phases": timeline(execution, attempts, events, creator, now()),
        "duration": views.duration(execution, now()),
        "machine": views.machine(session, attempts[-1] if attempts else None),
        "outputs": services().data.of(session, execution),
        "limits": views.limits(execution),
        "variables": views.variables(execution),
        "command_line": command_line(execution, commit, group.slug if group else ""),
        "may_stop": can(current_actor(), "execution.stop", execution.organization_id, execution.project_id)
        and execution.state not in FINAL,
        "is_final": execution.state in FINAL,
        "now": now(),
        **_shell(project, counts),
    }


def _window(windows: LogWindows, attempt: Any, limit: int) -> Window:
    session = request_session()
    if "before" in request.args:
        return windows.before(session, attempt, integer("before", 1, low=1, high=2**53), limit)
    if "after" in request.args:
        return windows.after(session, attempt, integer("after", 0, high=2**53), limit)
    return windows.newest(session, attempt, limit)
