"""Datums: list, read, describe, purge, addresses for downloading. Works in the caller's session."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from controlplane.audit.service import AuditService
from controlplane.clock import Clock, api_time
from controlplane.data import filters
from controlplane.data.aliases import NAME, point
from controlplane.data.models import Datum, DatumAlias
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.ids import is_id
from controlplane.errors import NotFoundError, UnavailableError, ValidationError
from controlplane.executions.checks import texts
from controlplane.executions.events import MAX_ALIASES
from controlplane.executions.models import Attempt, Execution
from controlplane.executions.request import LINE, check_tags
from controlplane.limits import Limits
from controlplane.permissions import Actor, require

MAX_PURGED = 1_000


class DataService:
    """What people do with files that executions made or that they uploaded."""

    def __init__(
        self, stores: StoreRegistry, public_url: str, clock: Clock, audit: AuditService, limits: Limits
    ) -> None:
        self._stores = stores
        self._public_url = public_url
        self._clock = clock
        self._audit = audit
        self._limits = limits

    def of(self, session: Session, execution: Execution) -> list[Datum]:
        """Outputs of the execution's newest attempt that left any."""
        where = (Datum.output_execution_id == execution.id, Datum.deleted_at.is_(None))
        return list(session.scalars(select(Datum).where(*where, _newest(execution.id)).order_by(Datum.name, Datum.id)))

    def list(
        self,
        session: Session,
        project_id: str | None,
        execution_id: str | None,
        limit: int,
        offset: int,
        wanted: Mapping[str, Any] | None = None,
    ) -> tuple[list[Datum], int]:
        """(page, count); `wanted` holds values of `filters.FIELDS`, ordering and no_count. The newest first."""
        wanted = wanted or {}
        where: list[ColumnElement[bool]] = filters.conditions(project_id, wanted)
        if project_id:
            where.append(Datum.project_id == project_id)
        if execution_id:
            where += [Datum.output_execution_id == execution_id, _newest(execution_id)]
        ordering = wanted.get("ordering") or "-ctime"
        column = filters.ORDERINGS[ordering.removeprefix("-")]
        order = (column.desc(), Datum.id.desc()) if ordering.startswith("-") else (column.asc(), Datum.id.asc())
        rows = list(session.scalars(select(Datum).where(*where).order_by(*order).limit(limit).offset(offset)))
        if wanted.get("no_count") or (not offset and len(rows) < limit):
            return rows, offset + len(rows)
        return rows, session.scalar(select(func.count()).select_from(Datum).where(*where)) or 0

    def get(self, session: Session, actor: Actor, datum_id: str, action: str = "data.read") -> Datum:
        """A datum. Raises NotFoundError, PermissionDeniedError."""
        row = session.get(Datum, datum_id) if is_id(datum_id) else None
        if row is None or row.deleted_at is not None:
            raise NotFoundError
        require(actor, action, row.organization_id, row.project_id)
        return row

    def describe(self, session: Session, actor: Actor, datum: Datum, metadata: dict[str, Any]) -> dict[str, Any]:
        """Put this metadata in place of the old; `valohai.tags` and `valohai.alias` work as in an output's own.

        Raises ValidationError, LimitReachedError.
        """
        self.check_metadata(metadata)
        datum.user_metadata = metadata
        if "valohai.tags" in metadata:
            datum.tags = check_tags(texts(metadata["valohai.tags"], self._limits.most("tags"), 255))
        for alias in texts(metadata.get("valohai.alias"), MAX_ALIASES, 128):
            self._point(session, actor, datum, alias)
        return metadata

    def check_metadata(self, metadata: dict[str, Any]) -> None:
        """Raise LimitReachedError for too much of it."""
        self._limits.check("metadata_bytes", len(json.dumps(metadata)))

    def set_tags(self, datum: Datum, tags: Sequence[str]) -> list[str]:
        """Replace the tags. Raises ValidationError, LimitReachedError."""
        self._limits.check("tags", len(set(tags)))
        datum.tags = check_tags(list(tags))
        return datum.tags

    def purge(self, session: Session, actor: Actor, datum: Datum) -> None:
        """Remove the bytes, but for adopted ones; the row stays, marked. Raises UnavailableError."""
        if datum.purged_at is not None:
            return
        if not datum.is_adopted:
            self._remove(session, datum)
        datum.purged_at = self._clock()
        self._audit.by(session, actor, "data.purged", datum.organization_id, datum.id, name=datum.name, size=datum.size)

    def _remove(self, session: Session, datum: Datum) -> None:
        try:
            self._stores.by_id(session, datum.store_id).delete(datum.key)
        except StoreError as error:
            raise UnavailableError(f"The store does not remove {datum.name} now: {error}.") from error

    def purge_outputs(self, session: Session, actor: Actor, execution: Execution) -> dict[str, int]:
        """{purged, bytes, left} of an execution's outputs, those of earlier attempts too. See `purge`."""
        of = (Datum.output_execution_id == execution.id, Datum.purged_at.is_(None), Datum.deleted_at.is_(None))
        rows = session.scalars(select(Datum).where(*of).order_by(Datum.name).limit(MAX_PURGED)).all()
        for row in rows:
            self.purge(session, actor, row)
        session.flush()
        left = session.scalar(select(func.count()).select_from(Datum).where(*of)) or 0
        return {"purged": len(rows), "bytes": sum(row.size for row in rows), "left": left}

    def download_url(self, session: Session, datum: Datum) -> str:
        """A signed address of the bytes. Raises NotFoundError for a purged one."""
        if datum.purged_at is not None:
            raise NotFoundError(f"{datum.name} was purged.")
        filename = datum.name.rpartition("/")[2]
        return self._stores.by_id(session, datum.store_id).sign_get(datum.key, filename=filename).url

    def serialize(self, session: Session, row: Datum, include: set[str] | None = None) -> dict[str, Any]:
        """The API's form."""
        return self.serialize_all(session, [row], include)[0]

    def serialize_all(
        self, session: Session, rows: Sequence[Datum], include: set[str] | None = None
    ) -> list[dict[str, Any]]:
        """The API's form of several, with two queries in all."""
        counters = _counters(session, {row.output_execution_id for row in rows if row.output_execution_id})
        aliases = _aliases(session, [row.id for row in rows])
        return [self._form(session, row, counters, aliases, include or set()) for row in rows]

    def _form(
        self,
        session: Session,
        row: Datum,
        counters: dict[str, int],
        aliases: dict[str, list[str]],
        include: set[str],
    ) -> dict[str, Any]:
        made_by = row.output_execution_id
        shown = {
            "id": row.id,
            "name": row.name,
            "size": row.size,
            "ctime": api_time(row.created_at),
            "uri": f"datum://{row.id}",
            "storage_uri": row.uri,
            "md5": row.md5,
            "sha1": row.sha1,
            "sha256": row.sha256,
            "checksums": {kind: found for kind in ("md5", "sha1", "sha256") if (found := getattr(row, kind))},
            "tags": row.tags,
            "metadata": row.user_metadata,
            "aliases": aliases.get(row.id, []),
            "purged": row.purged_at is not None,
            "project": row.project_id,
            "store": row.store_id,
            "creator": row.creator_id,
            "output_execution": {"id": made_by, "counter": counters[made_by]} if made_by in counters else None,
            "url": f"{self._public_url}/api/v0/data/{row.id}/",
        }
        if "download_url" in include:
            shown["download_url"] = None if row.purged_at else self.download_url(session, row)
        return shown

    def _point(self, session: Session, actor: Actor, datum: Datum, alias: str) -> None:
        if not NAME.fullmatch(alias) or not LINE.fullmatch(alias):
            raise ValidationError({"metadata": f"valohai.alias: {alias[:40]!r} is no name of an alias."})
        count = session.scalar(
            select(func.count()).select_from(DatumAlias).where(DatumAlias.project_id == datum.project_id)
        )
        known = select(DatumAlias.id).where(DatumAlias.project_id == datum.project_id, DatumAlias.name == alias)
        if session.scalar(known) is None:
            self._limits.check("aliases", (count or 0) + 1)
        point(session, datum, alias, actor.user_id, self._clock())


def _newest(execution_id: str) -> ColumnElement[bool]:
    """Outputs of the newest attempt that left any."""
    newest = (
        select(Attempt.id)
        .join(Datum, Datum.output_attempt_id == Attempt.id)
        .where(Datum.output_execution_id == execution_id, Attempt.execution_id == execution_id)
        .order_by(Attempt.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    return or_(Datum.output_attempt_id.is_(None), Datum.output_attempt_id == newest)


def _counters(session: Session, ids: set[str]) -> dict[str, int]:
    if not ids:
        return {}
    rows = session.execute(select(Execution.id, Execution.counter).where(Execution.id.in_(ids)))
    return {row[0]: row[1] for row in rows}


def _aliases(session: Session, ids: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if not ids:
        return found
    query = select(DatumAlias.datum_id, DatumAlias.name).where(DatumAlias.datum_id.in_(ids))
    for datum_id, name in session.execute(query.order_by(DatumAlias.name)):
        found.setdefault(datum_id, []).append(name)
    return found
