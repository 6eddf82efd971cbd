"""Objects that are there already, taken in as datums: nothing is copied."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.clock import Clock
from controlplane.data.models import Datum
from controlplane.data.stores.base import ObjectInfo, StoreError
from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.ids import uuid7
from controlplane.environments.models import Store
from controlplane.errors import ConflictError, ValidationError
from controlplane.permissions import Actor
from controlplane.projects.models import Project
from controlplane.stores.inputs import BadStoreAddressError, resolve_store_uri
from controlplane.stores.uris import is_pattern

NOT_FOUND = "adoptable_file_not_found"


def find(session: Session, project: Project, row: Store, url: str) -> tuple[str, Datum | None]:
    """(key, the datum that it is already) of an address in this store. Raises ValidationError."""
    try:
        if is_pattern(url):
            raise BadStoreAddressError("One file at a time: an address without '*'.")
        found, key, datum = resolve_store_uri(session, project, url)
    except BadStoreAddressError as error:
        raise ValidationError({"url": (str(error), NOT_FOUND)}) from error
    if found.id != row.id:
        raise ValidationError({"url": (f"This address is in the store {found.name}.", NOT_FOUND)})
    return key, datum


def look(stores: StoreRegistry, row: Store, key: str) -> ObjectInfo:
    """The object itself. Raises ValidationError when it is not there, or not to be seen."""
    try:
        return stores.of_row(row).stat(key)
    except StoreError as error:
        raise ValidationError({"url": (f"The file can't be taken in: {error}.", NOT_FOUND)}) from error


def adopt(
    session: Session, actor: Actor, project: Project, row: Store, info: ObjectInfo, url: str, clock: Clock
) -> Datum:
    """A datum of the object. Raises ConflictError when another project has it."""
    known = session.scalar(select(Datum.project_id).where(Datum.store_id == row.id, Datum.key == info.key))
    if known is not None:
        raise ConflictError("This file is a datum already, and is not this project's.", code="adopted")
    datum = Datum(
        id=uuid7(),
        organization_id=project.organization_id,
        project_id=project.id,
        store_id=row.id,
        creator_id=actor.user_id,
        name=info.key.rpartition("/")[2],
        key=info.key,
        uri=url,
        size=info.size,
        created_at=clock(),
    )
    session.add(datum)
    session.flush()
    return datum
