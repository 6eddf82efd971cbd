"""Which stores a project may use, and which of them keeps what an execution makes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from controlplane.data.stores.base import StoreError
from controlplane.environments.models import Store, StoreTeam, Worker
from controlplane.environments.service import visible_groups
from controlplane.errors import ValidationError
from controlplane.executions.models import Execution
from controlplane.projects.models import Project, ProjectMembership
from controlplane.stores.uris import root_of

ACCESS = ("public", "single_project", "teams", "owner_organization")


def usable_stores(session: Session, project: Project) -> list[Store]:
    """Stores that people added and this project may use, its organisation's first; then its installations' own ones."""
    added = select(Store).where(Store.organization_id.is_not(None), _open_to(session, project))
    found = list(session.scalars(added.order_by(Store.name, Store.id)))
    found.sort(key=lambda row: not is_ours(row, project))
    installations = {group.installation_id for group in visible_groups(session, frozenset({project.organization_id}))}
    own = select(Store).where(Store.installation_id.in_(installations), Store.purpose == "data")
    return [*found, *session.scalars(own.order_by(Store.created_at, Store.id))]


def _open_to(session: Session, project: Project) -> ColumnElement[bool]:
    member = select(ProjectMembership.team_id).where(
        ProjectMembership.project_id == project.id, ProjectMembership.team_id.is_not(None)
    )
    teams = {team for team in (project.team_id, *session.scalars(member)) if team is not None}
    shared = select(StoreTeam.store_id).where(StoreTeam.team_id.in_(teams))
    ours = Store.organization_id == project.organization_id
    return or_(
        Store.access == "public",
        ours & (Store.access == "owner_organization"),
        ours & (Store.access == "teams") & Store.id.in_(shared),
        (Store.access == "single_project") & (Store.project_id == project.id),
    )


def is_ours(row: Store, project: Project) -> bool:
    """Whether the store is the project's organisation's or its installation's: nobody else can have made it."""
    return row.organization_id in (None, project.organization_id)


def ruling_project(row: Store) -> str | None:
    """The project whose roles count for the store: only while it is for that project alone."""
    return row.project_id if row.access == "single_project" else None


def store_of_uri(session: Session, project: Project, uri: str) -> tuple[Store, str] | None:
    """(store, key) of an address below the root of a store that the project may read.

    The longest root wins; a public store of others comes last, whatever it claims to be.
    """
    roots = [(row, root_of(row.kind, row.config, row.id)) for row in usable_stores(session, project) if row.allow_read]
    fitting = [(row, root) for row, root in roots if uri.startswith(root)]
    if not fitting:
        return None
    row, root = max(fitting, key=lambda entry: (is_ours(entry[0], project), len(entry[1])))
    return row, uri[len(root) :]


def named(rows: Sequence[Store]) -> str:
    """The stores as a sentence names them."""
    listed = [f"{row.name} ({root_of(row.kind, row.config, row.id)})" for row in rows if row.kind != "folder"]
    return ", ".join(listed)[:1000] or "none but this installation's own"


def choose_store(session: Session, project: Project, wanted: str | None) -> str | None:
    """Id of the store for an execution's outputs: that of its step, else the project's default; None: the machine's.

    Raises ValidationError for a store that is not there or takes nothing.
    """
    field = "upload_store" if wanted else "default_store"
    return find_writable(session, project, wanted or project.default_store_id or "", field)


def find_writable(session: Session, project: Project, name: str, field: str) -> str | None:
    """Id of the store that `name` names; None for an empty name. Raises ValidationError for `field`.

    A store of others is named by its id only: its name may be that of one of ours.
    """
    if not name:
        return None
    rows = usable_stores(session, project)
    by_id = (row for row in rows if row.id == name)
    found = next(by_id, None) or next((row for row in rows if row.name == name and is_ours(row, project)), None)
    if found is None:
        known = ", ".join(dict.fromkeys(row.name for row in rows))[:500] or "none"
        raise ValidationError(
            {field: (f"No store {name[:80]!r} for this project; there is: {known}.", "does_not_exist")}
        )
    if not found.allow_write:
        raise ValidationError({field: f"The store {found.name} may only be read."})
    return found.id


def output_store(session: Session, execution: Execution, worker: Worker) -> Store:
    """The row of the store that keeps this execution's outputs on this worker. Raises StoreError `not_found`."""
    chosen = execution.options.get("store")
    query = select(Store).where(Store.installation_id == worker.installation_id, Store.purpose == "data")
    row = (
        session.get(Store, chosen)
        if chosen
        else session.scalars(query.order_by(Store.created_at, Store.id).limit(1)).first()
    )
    if row is None:
        raise StoreError("not_found", "the store for its outputs is gone")
    return row
