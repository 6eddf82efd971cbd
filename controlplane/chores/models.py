"""Chores: what the control plane does for itself. The row is the truth; Redis only says which rows to look at."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id

FINISHED = ("done", "failed")
_PENDING = text("state = 'queued'")


class Chore(HasId, Base):
    """One chore. state: queued → running → done | failed; a failed try leads back to queued, at `next_at`.

    `unique_key`: of chores that wait, only one has it. `organization_id` NULL is the system's own.
    `epoch` grows whenever a process takes the chore, which is its until `lease_until`; each of its writes carries it.
    `reason` is a code for programs, `error` the sentence beside it; `result` is what a finished chore counted.
    """

    __tablename__ = "chore"
    __table_args__ = (
        Index("ix_chore_due", "state", "next_at"),
        Index("ix_chore_kind_recent", "kind", "created_at"),
        Index("ix_chore_pending", "unique_key", unique=True, sqlite_where=_PENDING, postgresql_where=_PENDING),
    )

    organization_id: Mapped[str | None] = mapped_column(Id, ForeignKey("organization.id"), index=True)
    kind: Mapped[str] = mapped_column(String(64))
    arguments: Mapped[dict[str, Any]] = mapped_column(default=dict)
    unique_key: Mapped[str | None] = mapped_column(String(128))
    state: Mapped[str] = mapped_column(String(16), default="queued")
    reason: Mapped[str] = mapped_column(String(32), default="")
    error: Mapped[str] = mapped_column(Text, default="")
    progress: Mapped[str] = mapped_column(Text, default="")
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    tries: Mapped[int] = mapped_column(default=0)
    epoch: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime]
    next_at: Mapped[datetime]
    pushed_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
