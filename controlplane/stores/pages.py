"""A project's stores as a page: list, add, try, choose, take files in. Every form works without scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from controlplane.accounts.models import Organization
from controlplane.data.stores.config import KINDS, StoreConfig
from controlplane.environments.models import Store
from controlplane.errors import ConflictError, ValidationError
from controlplane.permissions import can
from controlplane.projects.models import Project
from controlplane.projects.service import Changes
from controlplane.stores import uris
from controlplane.stores.access import ruling_project
from controlplane.stores.adopting import adopt_file
from controlplane.stores.request import NewStore
from controlplane.stores.trying import try_store
from controlplane.web.context import current_actor, request_session, route, services

blueprint = Blueprint("stores_pages", __name__)
PAGE = "/projects/<project_id>/stores"
WORDS = {"s3": "S3 and compatible", "gcs": "Google Cloud Storage", "azure": "Azure Blob", "swift": "OpenStack Swift"}
ACCESS = {
    "public": "every organisation",
    "owner_organization": "the whole organisation",
    "teams": "some teams",
    "single_project": "this project",
}
SPELLED = {"id": "ID", "url": "URL", "arn": "ARN", "kms": "KMS", "json": "JSON", "temp": "TempURL"}
YES_OR_NO = (("", "where there is an endpoint"), ("true", "yes"), ("false", "no"))
Answer = Response | str | tuple[str, int]


@dataclass(frozen=True)
class Line:
    """A store of the list. `may_manage`: whoever looks may try and remove it."""

    id: str
    name: str
    kind: str
    root: str
    access: str
    use: str
    is_default: bool
    may_manage: bool
    may_choose: bool


@dataclass(frozen=True)
class Field:
    """A field of the form, as the kind's model describes it."""

    name: str
    label: str
    hint: str
    required: bool
    secret: bool
    long: bool
    default: str
    choices: tuple[tuple[str, str], ...]


@route(blueprint, PAGE, action="project.read")
def show(project_id: str) -> str:
    """Stores that the project may use, and the form of one kind."""
    session, project = _project(project_id, "project.read")
    return _page(session, project)


@route(blueprint, PAGE, action="store.manage", methods=["POST"])
def add(project_id: str) -> Answer:
    """Add a store for this project, and try it."""
    session, project = _project(project_id, "store.manage")
    kind = request.form.get("kind", "")
    if kind not in KINDS:
        return _again(project_id, {"non_field_errors": "Choose a kind of store."})
    given = {field.name: request.form.get(field.name, "").strip() for field in _fields(kind)}
    name = request.form.get("name", "")[:200]
    values = {name: value for name, value in given.items() if value}
    body = NewStore.model_validate(
        {"name": name, "type": uris.API_TYPES[kind], "project": project.id, "configuration": values}
    )
    try:
        services().added_stores.create(session, current_actor(), body)
    except ValidationError as error:
        return _again(project_id, _errors(error), {**given, "name": body.name}, kind)
    return _back(project)


@route(blueprint, f"{PAGE}/<store_id>/test", action="store.manage", methods=["POST"])
def test(project_id: str, store_id: str) -> str:
    """Try it; the page shows each step."""
    tried = try_store(store_id)
    session, project = _project(project_id, "project.read")
    return _page(session, project, tried={"id": store_id, **tried})


@route(blueprint, f"{PAGE}/default", action="project.update", methods=["POST"])
def choose(project_id: str) -> Answer:
    """Outputs go there from now on; without a store to the installation's own."""
    changes = Changes(default_store=request.form.get("store", ""))
    try:
        project = services().projects.update(request_session(), current_actor(), project_id, changes)
    except ValidationError as error:
        return _again(project_id, {"non_field_errors": error.message})
    return _back(project)


@route(blueprint, f"{PAGE}/<store_id>/remove", action="store.manage", methods=["POST"])
def remove(project_id: str, store_id: str) -> Answer:
    """Forget it; what is in it stays there."""
    session, actor = request_session(), current_actor()
    try:
        row = services().added_stores.get(session, actor, store_id, "store.manage")
        services().added_stores.delete(session, actor, row)
    except ConflictError as error:
        return _again(project_id, {"non_field_errors": error.message})
    return _back(_project(project_id, "project.read")[1])


@route(blueprint, f"{PAGE}/adopt", action="store.adopt", methods=["POST"])
def adopt(project_id: str) -> Answer:
    """Take a file that is there already in as a datum."""
    url = request.form.get("url", "").strip()
    try:
        datum = adopt_file(project_id, None, url)
    except (ValidationError, ConflictError) as error:
        return _again(project_id, {"url": error.message.removeprefix("url: ")}, {"url": url})
    session, project = _project(project_id, "project.read")
    return _page(session, project, adopted=f"datum://{datum.id}")


def _again(
    project_id: str, errors: dict[str, str], form: dict[str, str] | None = None, kind: str = ""
) -> tuple[str, int]:
    request_session().rollback()
    session, project = _project(project_id, "project.read")
    return _page(session, project, form, errors, kind), 400


def _page(
    session: Session,
    project: Project,
    form: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    kind: str = "",
    tried: dict[str, Any] | None = None,
    adopted: str = "",
) -> str:
    kind = kind or request.args.get("kind", "s3")
    kind = kind if kind in KINDS else "s3"
    owner = session.get(Organization, project.organization_id)
    counts = services().projects.summary(session, [project.id])[project.id]
    actor = current_actor()
    return render_template(
        "stores.html",
        project=project,
        owner=owner.name if owner else "",
        section="stores",
        running=counts["started_count"] + counts["stopping_count"],
        rows=[_line(project, row) for row in services().added_stores.of_project(session, project)],
        kinds=WORDS,
        kind=kind,
        fields=_fields(kind),
        form=form or {},
        errors=errors,
        tried=tried,
        adopted=adopted,
        may_add=can(actor, "store.manage", project.organization_id, project.id),
        may_adopt=can(actor, "store.adopt", project.organization_id, project.id),
    )


def _line(project: Project, row: Store) -> Line:
    actor = current_actor()
    uses = [word for word, is_allowed in (("inputs", row.allow_read), ("outputs", row.allow_write)) if is_allowed]
    return Line(
        id=row.id,
        name=row.name,
        kind=WORDS.get(row.kind, "folder"),
        root="" if row.kind == "folder" else uris.root_of(row.kind, row.config, row.id),
        access=ACCESS[row.access] if row.organization_id else "this installation",
        use=" and ".join(uses) or "nothing",
        is_default=row.id == project.default_store_id,
        may_manage=bool(row.organization_id) and can(actor, "store.manage", row.organization_id, ruling_project(row)),
        may_choose=row.organization_id is not None
        and row.allow_write
        and can(actor, "project.update", project.organization_id, project.id),
    )


def _fields(kind: str) -> list[Field]:
    model = KINDS[kind]
    own_first = sorted(model.model_fields.items(), key=lambda field: field[0] in StoreConfig.model_fields)
    return [
        Field(
            name=name,
            label=_label(name),
            hint=info.description or "",
            required=info.is_required(),
            secret=name in model.SECRETS,
            long=name == "service_account_json",
            default="" if info.is_required() or not isinstance(info.default, str) else info.default,
            choices=YES_OR_NO if info.annotation == bool | None else (),
        )
        for name, info in own_first
    ]


def _label(name: str) -> str:
    """`kms_key_arn` as people write it: KMS key ARN."""
    first, *rest = (SPELLED.get(word, word) for word in name.replace("temp_url", "temp").split("_"))
    return " ".join([first[0].upper() + first[1:], *rest])


def _errors(error: ValidationError) -> dict[str, str]:
    shown = {name.removeprefix("configuration."): entries for name, entries in error.fields.items()}
    return {name: " ".join(text for text, _ in entries) for name, entries in shown.items()}


def _project(project_id: str, action: str) -> tuple[Session, Project]:
    session = request_session()
    return session, services().projects.get(session, current_actor(), project_id, action)


def _back(project: Project) -> Response:
    return redirect(url_for("stores_pages.show", project_id=project.id), code=303)
