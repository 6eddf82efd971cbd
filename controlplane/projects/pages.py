"""Projects as pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from controlplane.accounts.models import Organization
from controlplane.errors import ValidationError
from controlplane.pages.format import number
from controlplane.pages.helpers import now
from controlplane.projects.models import Project
from controlplane.web.context import current_actor, request_session, route, services

blueprint = Blueprint("projects_pages", __name__)


@dataclass(frozen=True)
class ProjectRow:
    """A line of the list."""

    id: str
    name: str
    description: str
    owner: str
    count: int
    running: int
    waiting: int
    failed: int
    created_at: datetime


@route(blueprint, "/", action="project.list")
def home() -> Response:
    """The first page is the list of projects."""
    return redirect(url_for("projects_pages.index"), code=302)


@route(blueprint, "/projects/", action="project.list")
def index() -> str:
    """Every project that the person may see."""
    session = request_session()
    rows = _rows(session, services().projects.list(session, current_actor()))
    owners = services().projects.ownership_options(session, current_actor())
    return render_template(
        "projects.html", rows=rows, lede=_lede(rows), may_create=bool(owners), section="projects", now=now()
    )


@route(blueprint, "/projects/new", action="project.create")
def new() -> str:
    """The form."""
    return _form({"name": "", "description": "", "owner": ""}, None)


@route(blueprint, "/projects/new", action="project.create", methods=["POST"])
def create() -> Response | tuple[str, int]:
    """A project from the form; a refusal shows the form again."""
    form = {name: request.form.get(name, "") for name in ("name", "description", "owner")}
    try:
        project = services().projects.create(
            request_session(), current_actor(), form["name"], form["description"], form["owner"]
        )
    except ValidationError as error:
        return _form(form, {name: " ".join(text for text, _ in found) for name, found in error.fields.items()}), 400
    return redirect(url_for("executions_pages.index", project_id=project.id), code=303)


def _form(form: dict[str, str], errors: dict[str, str] | None) -> str:
    owners = services().projects.ownership_options(request_session(), current_actor())
    return render_template("project_new.html", form=form, errors=errors, owners=owners, section="projects")


def _rows(session: Session, projects: list[Project]) -> list[ProjectRow]:
    counts = services().projects.summary(session, [project.id for project in projects])
    wanted = {project.organization_id for project in projects}
    owners: dict[Any, str] = {
        row.id: row.name for row in session.scalars(select(Organization).where(Organization.id.in_(wanted)))
    }
    return [_row(project, owners.get(project.organization_id, ""), counts[project.id]) for project in projects]


def _row(project: Project, owner: str, count: dict[str, int]) -> ProjectRow:
    return ProjectRow(
        id=project.id,
        name=project.name,
        description=project.description,
        owner=owner,
        count=count["count"],
        running=count["started_count"] + count["stopping_count"],
        waiting=count["created_count"] + count["queued_count"],
        failed=count["error_count"] + count["crashed_count"],
        created_at=project.created_at,
    )


def _lede(rows: list[ProjectRow]) -> str:
    projects = "1 project" if len(rows) == 1 else f"{number(len(rows))} projects"
    running, waiting = sum(row.running for row in rows), sum(row.waiting for row in rows)
    if not running and not waiting:
        return f"{projects}; nothing runs or waits."
    parts = [f"{number(running)} running" if running else "", f"{number(waiting)} waiting" if waiting else ""]
    return f"{projects}; {' and '.join(part for part in parts if part)}."
