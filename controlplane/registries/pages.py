"""Credentials of registries as a page: list, add by type, test, remove. Every form works without scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response

from controlplane.accounts.models import Organization
from controlplane.errors import DomainError, ValidationError
from controlplane.permissions import can
from controlplane.registries.kinds import KINDS, Kind
from controlplane.registries.login import Verdict
from controlplane.registries.models import RegistryCredential
from controlplane.registries.service import OWN_IDENTITY
from controlplane.web.context import commit, current_actor, request_session, route, services

blueprint = Blueprint("registries_pages", __name__, url_prefix="/registries")
Answer = Response | str | tuple[str, int]


@dataclass(frozen=True)
class Line:
    """A credential of the list. `may_write`: whoever looks may test and remove it."""

    id: str
    pattern: str
    kind: str
    login: str
    used_by: str
    may_write: bool


@dataclass(frozen=True)
class Choice:
    """Who may use a new credential: `o:ID` an organisation, `p:ID` one of its projects."""

    value: str
    label: str


@dataclass(frozen=True)
class Tried:
    """What a test found, of which credential."""

    id: str
    pattern: str
    verdict: Verdict


@route(blueprint, "/", action="registry.list")
def index() -> str:
    """Credentials of one's organisations and projects, and the form of one type."""
    return _page(_kind(request.args.get("type", "")))


@route(blueprint, "/", action="registry.create", methods=["POST"])
def add() -> Answer:
    """A new credential from the form; a refusal shows the form again, without its secrets."""
    kind = _kind(request.form.get("type", ""))
    form = {name: request.form.get(name, "").strip() for name in ("image_pattern", "for", *_names(kind))}
    sort, _, key = form["for"].partition(":")
    owner, project = (key, "") if sort == "o" else ("", key)
    configuration = {name: form[name] for name in _names(kind) if form[name]}
    try:
        services().registries.create(
            request_session(), current_actor(), kind.type, form["image_pattern"], configuration, owner, project
        )
    except ValidationError as error:
        return _page(kind, form, _errors(error)), 400
    except DomainError as error:
        return _page(kind, form, {"non_field_errors": error.message}), error.status
    return redirect(url_for("registries_pages.index"), code=303)


@route(blueprint, "/test", action="registry.list", methods=["POST"])
def test() -> str:
    """Try the chosen one at its registry; the page says what is wrong."""
    credential_id = request.form.get("credential", "")[:64]
    opened = services().registries.open(request_session(), current_actor(), credential_id)
    # The registry may be slow: nobody waits for the database meanwhile.
    commit()
    image = request.form.get("image", "").strip()[:512]
    verdict = services().trials.check(opened, image)
    tried = Tried(credential_id, str(opened.pattern), verdict)
    return _page(_kind(""), {"credential": credential_id, "image": image}, tried=tried)


@route(blueprint, "/<credential_id>/remove", action="registry.write", methods=["GET"])
def ask_remove(credential_id: str) -> str:
    """Whether it is meant."""
    row = services().registries.get(request_session(), current_actor(), credential_id, "registry.write")
    return render_template("registry_remove.html", row=row, section="registries")


@route(blueprint, "/<credential_id>/remove", action="registry.write", methods=["POST"])
def remove(credential_id: str) -> Response:
    """Remove it: from then on no execution gets it."""
    services().registries.delete(request_session(), current_actor(), credential_id)
    return redirect(url_for("registries_pages.index"), code=303)


def _page(
    kind: Kind,
    form: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    tried: Tried | None = None,
) -> str:
    session, actor = request_session(), current_actor()
    return render_template(
        "registries.html",
        section="registries",
        rows=_lines(services().registries.list(session, actor)),
        kinds=KINDS,
        kind=kind,
        keys=_keys(kind),
        needed=frozenset.intersection(*kind.ways),
        choices=_choices(),
        form=form or {},
        errors=errors,
        tried=tried,
    )


def _lines(rows: list[RegistryCredential]) -> list[Line]:
    actor = current_actor()
    shown = services().registries.serialize(request_session(), rows)
    return [
        Line(
            id=row.id,
            pattern=row.image_pattern,
            kind=KINDS[row.type].title,
            login=_login(row),
            used_by=entry["project"]["name"] if entry["project"] else f"everything of {entry['owner']['username']}",
            may_write=can(actor, "registry.write", row.organization_id, row.project_id),
        )
        for row, entry in zip(rows, shown, strict=True)
    ]


def _login(row: RegistryCredential) -> str:
    """Which user, key or role it is, where that is no secret."""
    names = ("username", "access_key_id", "role_name", "client_id", OWN_IDENTITY)
    found: dict[str, Any] = row.configuration
    return next((str(found[name]) for name in names if found.get(name)), "")


def _choices() -> list[Choice]:
    """Organisations and projects for which the person may keep credentials; one's own organisation first."""
    session, actor = request_session(), current_actor()
    rows = session.scalars(select(Organization).where(Organization.id.in_(actor.organizations)))
    owners = sorted(rows, key=lambda row: (row.personal_user_id != actor.user_id, row.name))
    found = [
        Choice(f"o:{row.id}", f"Everything of {row.name}") for row in owners if can(actor, "registry.write", row.id)
    ]
    projects = services().projects.list(session, actor)
    found.extend(
        Choice(f"p:{row.id}", f"Only the project {row.name}")
        for row in projects
        if can(actor, "registry.write", row.organization_id, row.id)
    )
    return found


def _kind(name: str) -> Kind:
    return KINDS.get(name, KINDS["docker"])


def _keys(kind: Kind) -> list[Any]:
    """The keys that this person may set."""
    may_lend = can(current_actor(), "registry.lend_identity")
    return [key for key in kind.keys if key.name != OWN_IDENTITY or may_lend]


def _names(kind: Kind) -> list[str]:
    return [key.name for key in kind.keys]


def _errors(error: ValidationError) -> dict[str, str]:
    shown = {name.removeprefix("configuration."): entries for name, entries in error.fields.items()}
    shown = {"for" if name in ("owner", "project") else name: entries for name, entries in shown.items()}
    return {name: " ".join(text for text, _ in entries) for name, entries in shown.items()}
