"""Addresses of inputs, resolved when an execution is created: a later alias changes nothing."""

from __future__ import annotations

from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.data.models import Datum, DatumAlias
from controlplane.db.ids import is_id
from controlplane.errors import ValidationError
from controlplane.projects.models import Project

READABLE = "http(s)://…, datum://ID or datum://ALIAS"


def resolve_inputs(session: Session, project: Project, inputs: dict[str, list[str]]) -> dict[str, list[str]]:
    """{input: [address]}: http(s) as it is, all else as `datum://ID`. Raises ValidationError naming every bad one."""
    found: dict[str, list[str]] = {}
    errors: dict[str, list[tuple[str, str]]] = {}
    for name, uris in inputs.items():
        found[name] = []
        for uri in uris:
            try:
                found[name].append(_resolve(session, project, uri))
            except _BadAddressError as error:
                errors.setdefault(f"inputs.{name}", []).append((str(error), error.code))
    if errors:
        raise ValidationError(errors)
    return found


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
    else:
        raise _BadAddressError(f"{scheme[:20]}:// comes in a later version; this one reads {READABLE}.")
    if datum is None or datum.project_id != project.id or datum.deleted_at is not None:
        raise _BadAddressError(
            f"No datum {rest[:100]!r} in this project; `vh data list` and `vh alias list` show what there is.",
            "does_not_exist",
        )
    if datum.purged_at is not None:
        raise _BadAddressError(f"{datum.name} was purged; its bytes are gone.", "purged")
    return f"datum://{datum.id}"


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
