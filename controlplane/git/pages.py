"""A project's repository as a page: every form works without scripts."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from controlplane.accounts.models import Organization
from controlplane.errors import DomainError, ValidationError
from controlplane.git.models import Repository
from controlplane.git.resolving import of_project
from controlplane.git.service import Wanted
from controlplane.pages.helpers import now
from controlplane.permissions import can
from controlplane.projects.models import Project
from controlplane.web.context import current_actor, request_session, route, services

blueprint = Blueprint("git_pages", __name__)
PAGE = "/projects/<project_id>/repository"
REFS_SHOWN = 50
FIELDS: tuple[str, ...] = ("url", "ref", "username", "token", "private_key", "host_key")
Answer = Response | str | tuple[str, int]


@route(blueprint, PAGE, action="project.read")
def show(project_id: str) -> str:
    """Address, state of the last fetch, keys, branches and tags."""
    session, project = _project(project_id, "project.read")
    return _page(session, project)


@route(blueprint, PAGE, action="repository.write", methods=["POST"])
def save(project_id: str) -> Answer:
    """Set or change the repository; empty secrets leave what is there."""
    session, project = _project(project_id, "repository.write")
    form = {name: request.form.get(name, "").strip() for name in FIELDS}
    kept = {name: form[name] or None for name in ("token", "private_key", "host_key")}
    wanted = Wanted(url=form["url"], ref=form["ref"], username=form["username"], **kept)
    service = services().repositories
    save_it = service.create if of_project(session, project.id) is None else service.change
    try:
        save_it(session, current_actor(), project, wanted)
    except ValidationError as error:
        session.rollback()
        return _page(*_project(project_id, "repository.write"), form, _errors(error)), 400
    return _back(project)


@route(blueprint, f"{PAGE}/fetch", action="commit.fetch", methods=["POST"])
def fetch(project_id: str) -> Response:
    """Ask for a fetch; the page shows how far it is."""
    actor = current_actor()
    with services().db.read(actor.scope) as session:
        project = services().projects.get(session, actor, project_id, "commit.fetch")
    services().preparing.ask_fetch(actor, project)
    return _back(project)


@route(blueprint, f"{PAGE}/key", action="repository.write", methods=["POST"])
def new_key(project_id: str) -> Response:
    """Another deploy key."""
    session, project = _project(project_id, "repository.write")
    services().repositories.new_key(session, current_actor(), project)
    return _back(project)


@route(blueprint, f"{PAGE}/host-key", action="repository.write", methods=["POST"])
def accept_host_key(project_id: str) -> Answer:
    """Pin the key whose fingerprint the form shows; another one may stand there by now."""
    session, project = _project(project_id, "repository.write")
    try:
        services().repositories.accept_host_key(session, current_actor(), project, request.form.get("fingerprint", ""))
    except DomainError as error:
        return _page(session, project, None, {"non_field_errors": error.message}), 400
    return _back(project)


@route(blueprint, f"{PAGE}/remove", action="repository.write", methods=["POST"])
def remove(project_id: str) -> Response:
    """Take the repository away."""
    session, project = _project(project_id, "repository.write")
    services().repositories.delete(session, current_actor(), project)
    return _back(project)


def _page(
    session: Session, project: Project, form: dict[str, str] | None = None, errors: dict[str, str] | None = None
) -> str:
    row = of_project(session, project.id)
    actor, owner = current_actor(), session.get(Organization, project.organization_id)
    counts = services().projects.summary(session, [project.id])[project.id]
    return render_template(
        "repository.html",
        project=project,
        owner=owner.name if owner else "",
        section="repository",
        running=counts["started_count"] + counts["stopping_count"],
        repository=_shown(session, project, row),
        row=row,
        form=form or _form(row),
        errors=errors,
        may_write=can(actor, "repository.write", project.organization_id, project.id),
        may_fetch=can(actor, "commit.fetch", project.organization_id, project.id),
        now=now(),
    )


def _shown(session: Session, project: Project, row: Repository | None) -> dict[str, Any] | None:
    if row is None:
        return None
    service = services().repositories
    shown = service.shown(session, project, row)
    return {**shown, "refs": shown["refs"][:REFS_SHOWN], "counts": service.count_refs(session, row)}


def _form(row: Repository | None) -> dict[str, str]:
    """Secrets never stand in it."""
    blank: dict[str, str] = dict.fromkeys(FIELDS, "")
    return blank if row is None else {**blank, "url": row.url, "ref": row.ref, "username": row.username}


def _errors(error: ValidationError) -> dict[str, str]:
    return {name: " ".join(text for text, _ in found) for name, found in error.fields.items()}


def _project(project_id: str, action: str) -> tuple[Session, Project]:
    session = request_session()
    return session, services().projects.get(session, current_actor(), project_id, action)


def _back(project: Project) -> Response:
    return redirect(url_for("git_pages.show", project_id=project.id), code=303)
