"""Datums: files that executions made. Immutable; never overwritten."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id, Owned


class Datum(HasId, Owned, Base):
    """A file in a store at `key`; made by `output_execution_id`'s attempt, or uploaded."""

    __tablename__ = "datum"
    __table_args__ = (
        UniqueConstraint("store_id", "key"),
        Index("ix_datum_project_recent", "project_id", "created_at"),
        Index("ix_datum_execution", "output_execution_id", "name"),
    )

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))
    store_id: Mapped[str] = mapped_column(Id, ForeignKey("store.id"))
    output_execution_id: Mapped[str | None] = mapped_column(Id, ForeignKey("execution.id"))
    output_attempt_id: Mapped[str | None] = mapped_column(Id, ForeignKey("attempt.id"))
    name: Mapped[str] = mapped_column(String(512))
    key: Mapped[str] = mapped_column(String(1024))
    uri: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    md5: Mapped[str] = mapped_column(String(32), default="")
    sha1: Mapped[str] = mapped_column(String(40), default="")
    sha256: Mapped[str] = mapped_column(String(64), default="")
    tags: Mapped[list[str]] = mapped_column(default=list)
    user_metadata: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    purged_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class DatumAlias(HasId, Owned, Base):
    """A name that points at a datum, resolved when an execution is created."""

    __tablename__ = "datum_alias"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(128))
    datum_id: Mapped[str] = mapped_column(Id, ForeignKey("datum.id"))
    changed_at: Mapped[datetime]
