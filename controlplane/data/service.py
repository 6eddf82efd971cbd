"""Datums: list, read, addresses for downloading."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from controlplane.clock import api_time
from controlplane.data.models import Datum, DatumAlias
from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.ids import is_id
from controlplane.errors import NotFoundError
from controlplane.executions.models import Execution
from controlplane.permissions import Actor, require


class DataService:
    """What people do with files that executions made."""

    def __init__(self, stores: StoreRegistry, public_url: str) -> None:
        self._stores = stores
        self._public_url = public_url

    def of(self, session: Session, execution: Execution) -> list[Datum]:
        """Outputs of the execution's newest attempt that left any."""
        query = select(Datum).where(Datum.output_execution_id == execution.id, Datum.deleted_at.is_(None))
        return list(session.scalars(query.order_by(Datum.name, Datum.id)))

    def list(
        self, session: Session, project_id: str | None, execution_id: str | None, limit: int, offset: int
    ) -> tuple[list[Datum], int]:
        """(page, count), newest first."""
        where: list[ColumnElement[bool]] = [Datum.deleted_at.is_(None), Datum.purged_at.is_(None)]
        if project_id:
            where.append(Datum.project_id == project_id)
        if execution_id:
            where.append(Datum.output_execution_id == execution_id)
        count = session.scalar(select(func.count()).select_from(Datum).where(*where)) or 0
        query = select(Datum).where(*where).order_by(Datum.created_at.desc(), Datum.id.desc())
        return list(session.scalars(query.limit(limit).offset(offset))), count

    def get(self, session: Session, actor: Actor, datum_id: str, action: str = "data.read") -> Datum:
        """A datum. Raises NotFoundError, PermissionDeniedError."""
        row = session.get(Datum, datum_id) if is_id(datum_id) else None
        if row is None or row.deleted_at is not None:
            raise NotFoundError
        require(actor, action, row.organization_id, row.project_id)
        return row

    def aliases(self, session: Session, project_id: str, limit: int) -> list[DatumAlias]:
        """Aliases of a project, the newest change first."""
        query = select(DatumAlias).where(DatumAlias.project_id == project_id)
        return list(session.scalars(query.order_by(DatumAlias.changed_at.desc()).limit(limit)))

    def download_url(self, session: Session, datum: Datum) -> str:
        """A signed address of the bytes. Raises NotFoundError for a purged one."""
        if datum.purged_at is not None:
            raise NotFoundError(f"{datum.name} was purged.")
        filename = datum.name.rpartition("/")[2]
        return self._stores.by_id(session, datum.store_id).sign_get(datum.key, filename=filename).url

    def serialize(self, session: Session, row: Datum, include: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
        """The API's form."""
        execution = session.get(Execution, row.output_execution_id) if row.output_execution_id else None
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
            "tags": row.tags,
            "metadata": row.user_metadata,
            "purged": row.purged_at is not None,
            "project": row.project_id,
            "store": row.store_id,
            "output_execution": None if execution is None else {"id": execution.id, "counter": execution.counter},
            "url": f"{self._public_url}/api/v0/data/{row.id}/",
        }
        if "download_url" in include:
            shown["download_url"] = self.download_url(session, row)
        return shown
