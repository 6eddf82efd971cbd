"""Inputs by addresses of stores: which store holds one, and what a wildcard stands for.

A wildcard is expanded when the execution is accepted, outside of its transaction: a list of a store takes time. So it
is tried first, the error names what has to be listed, and then it is tried again with the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.data.models import Datum
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.deadline import within
from controlplane.data.stores.keys import check_key
from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.ids import is_id
from controlplane.environments.models import Store
from controlplane.errors import DomainError, ValidationError
from controlplane.projects.models import Project
from controlplane.stores.access import named, store_of_uri, usable_stores
from controlplane.stores.uris import parse_pattern, root_of

MAX_FILES = 10_000
MAX_LISTED = 200_000
MAX_PATTERNS = 50
MAX_ALL = 50_000
ASKED_AT_ONCE = 500
T = TypeVar("T")


@dataclass(frozen=True)
class Listed:
    """An object that a wildcard stands for; `root` is its address up to the last folder before the wildcard."""

    uri: str
    size: int
    version: str
    root: str


Lists = Mapping[str, Sequence[Listed]]


class ListingNeededError(DomainError):
    """Wildcards have to be expanded first: {address: store}."""

    status = 409
    code = "listing_needed"

    def __init__(self, wanted: dict[str, Store], project_id: str) -> None:
        super().__init__("Addresses with wildcards have to be listed first; try again.")
        self.wanted = wanted
        self.project_id = project_id


class BadStoreAddressError(ValueError):
    """This address can't be an input; the text is a sentence for its field."""


def resolve_store_uri(session: Session, project: Project, uri: str) -> tuple[Store, str, Datum | None]:
    """(store, key, the datum that it is). Raises BadStoreAddressError with the stores that there are."""
    row, key = _found(session, project, uri)
    try:
        check_key(key)
    except StoreError as error:
        raise BadStoreAddressError(f"{uri[:200]!r} names no object: {error}.") from error
    of = (Datum.store_id == row.id, Datum.key == key, Datum.project_id == project.id, Datum.deleted_at.is_(None))
    datum = session.scalars(select(Datum).where(*of).limit(1)).first()
    if datum is None:
        _check_open(row)
    if datum is None and is_of_another(key, project.id):
        raise BadStoreAddressError(f"{uri[:200]!r} is another project's output.")
    return row, key, datum


def datums_of(session: Session, project: Project, row: Store, uris: Sequence[str]) -> list[str]:
    """Ids of the project's datums among these objects of the store."""
    root = root_of(row.kind, row.config, row.id)
    keys = [uri.removeprefix(root) for uri in uris]
    found: list[str] = []
    for start in range(0, len(keys), ASKED_AT_ONCE):
        known = Datum.key.in_(keys[start : start + ASKED_AT_ONCE])
        of = (Datum.store_id == row.id, known, Datum.project_id == project.id, Datum.deleted_at.is_(None))
        found.extend(session.scalars(select(Datum.id).where(*of).order_by(Datum.key)))
    return found


def is_listable(session: Session, project: Project, uri: str) -> Store:
    """The store of an address with wildcards. Raises BadStoreAddressError."""
    row = _found(session, project, uri)[0]
    _check_open(row)
    return row


def _found(session: Session, project: Project, uri: str) -> tuple[Store, str]:
    found = store_of_uri(session, project, uri)
    if found is not None:
        return found
    readable = [row for row in usable_stores(session, project) if row.allow_read]
    raise BadStoreAddressError(
        f"No store of this project holds {uri[:200]!r}; it has: {named(readable)}. Add one under Stores."
    )


def _check_open(row: Store) -> None:
    if row.organization_id is None:
        raise BadStoreAddressError(
            f"The store {row.name} is shared by projects: of it only this project's own files can be inputs, "
            "as datum://ID."
        )


def is_of_another(key: str, project_id: str) -> bool:
    """Keys of outputs and uploads begin with a project's id: no address may lead from one project into another."""
    first = key.partition("/")[0]
    return is_id(first) and first != project_id


class Listings:
    """Expands wildcards; `seconds` for all those of one request."""

    def __init__(self, stores: StoreRegistry, seconds: float) -> None:
        self._stores = stores
        self._seconds = seconds

    def with_lists(self, session: Session, make: Callable[[Lists], T]) -> T:
        """What `make` gives, with the lists that it asks for. Raises ValidationError for one that can't be had."""
        try:
            return make({})
        except ListingNeededError as needed:
            wanted = {uri: (row, needed.project_id) for uri, row in needed.wanted.items()}
        # Nobody waits for a store while the database is locked.
        session.rollback()
        with within(self._seconds):
            lists = self._lists(wanted)
        return make(lists)

    def _lists(self, wanted: Mapping[str, tuple[Store, str]]) -> Lists:
        found: dict[str, Sequence[Listed]] = {}
        left = MAX_ALL
        for uri, (row, project) in wanted.items():
            found[uri] = self._list(uri, row, project)
            left -= len(found[uri])
            if left < 0:
                raise ValidationError({"inputs": f"More than {MAX_ALL} objects are inputs by wildcards; name less."})
        return found

    def _list(self, uri: str, row: Store, project_id: str) -> list[Listed]:
        root = root_of(row.kind, row.config, row.id)
        pattern = parse_pattern(uri[len(root) :])
        found: list[Listed] = []
        try:
            for seen, info in enumerate(self._stores.of_row(row).list(pattern.prefix, deep=pattern.deep)):
                if seen == MAX_LISTED:
                    raise ValidationError(
                        {"inputs": f"More than {MAX_LISTED} objects begin like {uri[:200]!r}; name less."}
                    )
                if pattern.matches(info.key) and not is_of_another(info.key, project_id):
                    found.append(Listed(root + info.key, info.size, info.etag, root + pattern.folder))
                if len(found) > MAX_FILES:
                    raise ValidationError({"inputs": f"More than {MAX_FILES} objects are {uri[:200]!r}; name less."})
        except StoreError as error:
            raise ValidationError(
                {"inputs": (f"{uri[:200]!r} can't be listed in the store {row.name}: {error}.", "store")}
            ) from error
        if not found:
            raise ValidationError({"inputs": (f"Nothing in the store {row.name} is {uri[:200]!r}.", "does_not_exist")})
        return found
