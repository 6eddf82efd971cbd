"""Asking for chores, and seeing what became of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pydantic
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from controlplane.chores.kinds import Kinds
from controlplane.chores.models import Chore
from controlplane.db.ids import uuid7
from controlplane.dispatch.leases import database_now
from controlplane.errors import NotFoundError, ValidationError


class ChoreService:
    """Writes chores into the caller's transaction: with it they are there, or not."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds

    def enqueue(
        self,
        session: Session,
        kind: str,
        arguments: dict[str, Any] | None = None,
        *,
        unique_key: str | None = None,
        organization_id: str | None = None,
        delay: float = 0.0,
    ) -> str:
        """The chore's id. While one with the same `unique_key` waits, that one is it; `delay` is seconds.

        A chore that runs already is another one: it may have passed what has changed since. Raises ValidationError.
        """
        self._check(kind, arguments or {})
        now = database_now(session)
        values = {
            "id": uuid7(),
            "kind": kind,
            "arguments": arguments or {},
            "unique_key": unique_key,
            "organization_id": organization_id,
            "state": "queued",
            "created_at": now,
            "next_at": now + timedelta(seconds=delay),
        }
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        statement = insert(Chore).values(**values).on_conflict_do_nothing().returning(Chore.id)
        pending = select(Chore.id).where(Chore.unique_key == unique_key, Chore.state == "queued")
        # The one that waited may be taken between the two statements: then there is room for a new one.
        while True:
            found = session.scalar(statement) or session.scalar(pending)
            if found is not None:
                return found

    def get(self, session: Session, chore: str) -> Chore:
        """A chore. Raises NotFoundError."""
        row = session.get(Chore, chore, populate_existing=True)
        if row is None:
            raise NotFoundError(f"No chore {chore}.")
        return row

    def newest(self, session: Session, count: int) -> list[Chore]:
        """The last chores that were asked for, newest first."""
        return list(session.scalars(select(Chore).order_by(Chore.id.desc()).limit(count)))

    def _check(self, kind: str, arguments: dict[str, Any]) -> None:
        known = self._kinds.get(kind)
        if known is None:
            raise ValidationError({"kind": f"There is no chore {kind!r}; there are: {', '.join(sorted(self._kinds))}."})
        try:
            known.arguments.model_validate(arguments)
        except pydantic.ValidationError as error:
            wrong = {".".join(map(str, one["loc"])) or "arguments": one["msg"] for one in error.errors()}
            raise ValidationError(wrong) from error
