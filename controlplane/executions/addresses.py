"""Addresses of inputs, resolved when an execution is created: neither a later alias nor a later file changes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.data.models import Datum, DatumAlias
from controlplane.db.ids import is_id
from controlplane.environments.models import Store
from controlplane.errors import ValidationError
from controlplane.projects.models import Project
from controlplane.stores.inputs import (
    MAX_FILES,
    MAX_PATTERNS,
    BadStoreAddressError,
    Listed,
    ListingNeededError,
    Lists,
    datums_of,
    is_listable,
    resolve_store_uri,
)
from controlplane.stores.uris import STORE_SCHEMES, is_pattern

READABLE = "http(s)://…, s3://…, gs://…, azure://…, swift://…, datum://ID or datum://ALIAS"


@dataclass(frozen=True)
class Resolved:
    """`inputs`: {input: [address]}; `files`: {address with a wildcard: [[address, size, version, root]]}.

    `matched`: {address with a wildcard: ids of the project's datums among what it stands for}.
    """

    inputs: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[list[str | int]]] = field(default_factory=dict)
    matched: dict[str, list[str]] = field(default_factory=dict)


def resolve_inputs(session: Session, project: Project, inputs: dict[str, list[str]], lists: Lists) -> Resolved:
    """Addresses of http(s) and of stores as they are, all else as `datum://ID`.

    Raises ValidationError naming every bad one, ListingNeededError for wildcards that `lists` does not have.
    """
    found = Resolved()
    errors: dict[str, list[tuple[str, str]]] = {}
    needed: dict[str, Store] = {}
    for name, uris in inputs.items():
        found.inputs[name] = []
        for uri in uris:
            try:
                if _is_pattern(uri):
                    _expand(session, project, uri, lists, found, needed)
                    found.inputs[name].append(uri)
                else:
                    found.inputs[name].append(_resolve(session, project, uri))
            except _BadAddressError as error:
                errors.setdefault(f"inputs.{name}", []).append((str(error), error.code))
        _count(name, found, errors)
    if errors:
        raise ValidationError(errors)
    if len(needed) > MAX_PATTERNS:
        raise ValidationError({"inputs": f"{len(needed)} addresses with wildcards; at most {MAX_PATTERNS}."})
    if needed:
        raise ListingNeededError(needed, project.id)
    return found


def _is_pattern(uri: str) -> bool:
    return uri.partition("://")[0] in STORE_SCHEMES and is_pattern(uri)


def _expand(
    session: Session, project: Project, uri: str, lists: Lists, found: Resolved, needed: dict[str, Store]
) -> None:
    try:
        row = is_listable(session, project, uri)
    except BadStoreAddressError as error:
        raise _BadAddressError(str(error), "store") from error
    if uri in lists:
        found.files[uri] = [_kept(entry) for entry in lists[uri]]
        found.matched[uri] = datums_of(session, project, row, [entry.uri for entry in lists[uri]])
    else:
        needed[uri] = row


def _kept(entry: Listed) -> list[str | int]:
    return [entry.uri, entry.size, entry.version, entry.root]


def _count(name: str, found: Resolved, errors: dict[str, list[tuple[str, str]]]) -> None:
    count = sum(len(found.files.get(uri, "x")) for uri in found.inputs[name])
    if count > MAX_FILES:
        errors.setdefault(f"inputs.{name}", []).append((f"{count} files; at most {MAX_FILES}.", "invalid"))


class _BadAddressError(ValueError):
    def __init__(self, message: str, code: str = "invalid") -> None:
        super().__init__(message)
        self.code = code


def _resolve(session: Session, project: Project, uri: str) -> str:
    scheme, mark, rest = uri.partition("://")
    if not mark or not rest:
        raise _BadAddressError(f"{uri[:200]!r} is no address; this version reads {READABLE}.")
    if scheme in ("http", "https"):
        _check_http(uri)
        return uri
    if scheme == "datum":
        datum = _by_id_or_alias(session, project, rest)
    elif scheme == "folder":
        datum = session.scalars(select(Datum).where(Datum.uri == uri, Datum.project_id == project.id)).first()
    elif scheme in STORE_SCHEMES:
        datum = _of_store(session, project, uri)
        if datum is None:
            return uri
    else:
        raise _BadAddressError(f"{scheme[:20]}:// can't be read; this version reads {READABLE}.")
    if datum is None or datum.project_id != project.id or datum.deleted_at is not None:
        raise _BadAddressError(
            f"No datum {rest[:100]!r} in this project; `vh data list` and `vh alias list` show what there is.",
            "does_not_exist",
        )
    if datum.purged_at is not None:
        raise _BadAddressError(f"{datum.name} was purged; its bytes are gone.", "purged")
    return f"datum://{datum.id}"


def _of_store(session: Session, project: Project, uri: str) -> Datum | None:
    try:
        return resolve_store_uri(session, project, uri)[2]
    except BadStoreAddressError as error:
        raise _BadAddressError(str(error), "store") from error


def _check_http(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(ord(char) <= 32 or ord(char) == 127 for char in uri):
        raise _BadAddressError(f"{uri[:200]!r} is no address of a file; write blanks as %20.")


def _by_id_or_alias(session: Session, project: Project, name: str) -> Datum | None:
    datum = session.get(Datum, name.lower()) if is_id(name) else None
    if datum is not None:
        return datum
    alias = session.scalar(select(DatumAlias).where(DatumAlias.project_id == project.id, DatumAlias.name == name))
    return session.get(Datum, alias.datum_id) if alias else None
