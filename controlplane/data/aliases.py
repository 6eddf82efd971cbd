"""Aliases: names that point at datums and can be moved; where they have pointed stays known.

Executions resolve them when they are created, so that a later move changes nothing for them.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.accounts.models import User
from controlplane.audit.service import AuditService
from controlplane.clock import Clock, api_time
from controlplane.data.models import AliasChange, Datum, DatumAlias
from controlplane.db.ids import is_id
from controlplane.errors import ConflictError, NotFoundError, ValidationError
from controlplane.limits import Limits
from controlplane.permissions import Actor, require
from controlplane.projects.models import Project

NAME = re.compile(r"[^\x00-\x1f\x7f/]{1,128}")
ORDERINGS = {"name": DatumAlias.name, "mtime": DatumAlias.changed_at, "ctime": DatumAlias.id, "id": DatumAlias.id}


def point(session: Session, datum: Datum, name: str, actor: str, now: datetime) -> DatumAlias:
    """Let the alias of the datum's project point at it from now on; `actor` is as in AliasChange."""
    query = select(DatumAlias).where(DatumAlias.project_id == datum.project_id, DatumAlias.name == name)
    row = session.scalar(query)
    if row is not None and row.datum_id == datum.id:
        return row
    if row is None:
        row = DatumAlias(organization_id=datum.organization_id, project_id=datum.project_id, name=name)
        session.add(row)
    row.datum_id, row.changed_at = datum.id, now
    note(session, row, datum.id, actor, now)
    session.flush()
    return row


def note(session: Session, row: DatumAlias, datum_id: str | None, actor: str, now: datetime) -> None:
    """Append to the alias's history."""
    session.add(
        AliasChange(
            organization_id=row.organization_id,
            project_id=row.project_id,
            name=row.name,
            datum_id=datum_id,
            actor=actor,
            at=now,
        )
    )


class AliasesService:
    """What people do with aliases. Works in the caller's session."""

    def __init__(self, clock: Clock, audit: AuditService, limits: Limits) -> None:
        self._clock = clock
        self._audit = audit
        self._limits = limits

    def list(
        self, session: Session, project_id: str, ordering: str, limit: int, offset: int, *, search: str | None = None
    ) -> tuple[list[DatumAlias], int]:
        """(page, count) of a project's aliases."""
        where: list[Any] = [DatumAlias.project_id == project_id]
        if search:
            where.append(DatumAlias.name.icontains(search, autoescape=True))
        column = ORDERINGS[ordering.removeprefix("-")]
        order = column.desc() if ordering.startswith("-") else column.asc()
        query = select(DatumAlias).where(*where).order_by(order, DatumAlias.id).limit(limit).offset(offset)
        rows = list(session.scalars(query))
        if not offset and len(rows) < limit:
            return rows, len(rows)
        return rows, session.scalar(select(func.count()).select_from(DatumAlias).where(*where)) or 0

    def get(self, session: Session, actor: Actor, alias_id: str, action: str = "data.read") -> DatumAlias:
        """An alias. Raises NotFoundError, PermissionDeniedError."""
        row = session.get(DatumAlias, alias_id) if is_id(alias_id) else None
        if row is None:
            raise NotFoundError
        require(actor, action, row.organization_id, row.project_id)
        return row

    def create(self, session: Session, actor: Actor, project: Project, name: str, datum: Datum) -> DatumAlias:
        """A new alias. Raises ConflictError when there is one of that name, ValidationError, LimitReachedError."""
        if not NAME.fullmatch(name) or is_id(name):
            raise ValidationError({"name": "1 to 128 characters in one line without '/'; an id is no alias."})
        of = DatumAlias.project_id == project.id
        if session.scalar(select(DatumAlias.id).where(of, DatumAlias.name == name)):
            raise ConflictError(f"There is an alias {name!r}; move it, or choose another name.", code="exists")
        count = session.scalar(select(func.count()).select_from(DatumAlias).where(of)) or 0
        self._limits.check("aliases", count + 1)
        self._check_target(project.id, datum)
        row = point(session, datum, name, actor.user_id, self._clock())
        self._note(session, actor, "alias.created", row)
        return row

    def move(self, session: Session, actor: Actor, row: DatumAlias, datum: Datum) -> DatumAlias:
        """Let it point at another datum. Raises ValidationError."""
        self._check_target(row.project_id, datum)
        point(session, datum, row.name, actor.user_id, self._clock())
        self._note(session, actor, "alias.moved", row)
        return row

    def delete(self, session: Session, actor: Actor, row: DatumAlias) -> None:
        """Take it away; its history and the datum stay."""
        note(session, row, None, actor.user_id, self._clock())
        self._note(session, actor, "alias.deleted", row)
        session.delete(row)

    def resolve(self, session: Session, project_id: str, name: str) -> DatumAlias:
        """The alias of that name. Raises NotFoundError."""
        row = session.scalar(select(DatumAlias).where(DatumAlias.project_id == project_id, DatumAlias.name == name))
        if row is None:
            raise NotFoundError(f"The project has no alias {name[:80]!r}.")
        return row

    def history(self, session: Session, row: DatumAlias, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """(page, count) of where it has pointed, the newest first."""
        of = (AliasChange.project_id == row.project_id, AliasChange.name == row.name)
        query = select(AliasChange).where(*of).order_by(AliasChange.id.desc()).limit(limit).offset(offset)
        count = session.scalar(select(func.count()).select_from(AliasChange).where(*of)) or 0
        return [self._change(session, change) for change in session.scalars(query)], count

    def serialize(self, session: Session, row: DatumAlias) -> dict[str, Any]:
        """The API's form."""
        datum = session.get(Datum, row.datum_id)
        target = None if datum is None else {"id": datum.id, "name": datum.name}
        return {
            "id": row.id,
            "project": row.project_id,
            "name": row.name,
            "datum": target,
            "mtime": api_time(row.changed_at),
        }

    @staticmethod
    def _change(session: Session, change: AliasChange) -> dict[str, Any]:
        datum = session.get(Datum, change.datum_id) if change.datum_id else None
        user = session.get(User, change.actor) if is_id(change.actor) else None
        return {
            "datum": None if datum is None else {"id": datum.id, "name": datum.name},
            "by": user.username if user else change.actor,
            "at": api_time(change.at),
        }

    @staticmethod
    def _check_target(project_id: str, datum: Datum) -> None:
        if datum.project_id != project_id:
            raise ValidationError({"datum": ("The project has no such datum.", "does_not_exist")})
        if datum.purged_at is not None:
            raise ValidationError({"datum": (f"{datum.name} was purged; its bytes are gone.", "purged")})

    def _note(self, session: Session, actor: Actor, action: str, row: DatumAlias) -> None:
        self._audit.by(session, actor, action, row.organization_id, row.id, name=row.name, datum=row.datum_id)
