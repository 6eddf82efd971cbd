"""Datums: files that executions made. Immutable; never overwritten."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.data.tags import follow
from controlplane.db.base import Base, HasId, Id, Owned


class Datum(HasId, Owned, Base):
    """A file in a store at `key`; made by `output_execution_id`'s attempt, or uploaded by `creator_id`.

    Name, size, checksums and bytes never change. Purging removes the bytes and keeps the row, marked; those of a file
    that was adopted stay.
    """

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
    creator_id: Mapped[str | None] = mapped_column(Id)
    created_at: Mapped[datetime]
    purged_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    @property
    def is_adopted(self) -> bool:
        """Whether it was there before Remora, so that its bytes are not ours to remove; our keys begin so."""
        return not self.key.startswith(f"{self.project_id}/")


class DatumUse(HasId, Owned, Base):
    """An execution has this datum as input, since it was created: the other half of lineage."""

    __tablename__ = "datum_use"
    __table_args__ = (
        UniqueConstraint("execution_id", "input", "datum_id"),
        Index("ix_datum_use_datum", "datum_id", "id"),
    )

    execution_id: Mapped[str] = mapped_column(Id, ForeignKey("execution.id"))
    datum_id: Mapped[str] = mapped_column(Id, ForeignKey("datum.id"))
    input: Mapped[str] = mapped_column(String(255))


class DatumAlias(HasId, Owned, Base):
    """A name that points at a datum, resolved when an execution is created."""

    __tablename__ = "datum_alias"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(128))
    datum_id: Mapped[str] = mapped_column(Id, ForeignKey("datum.id"), index=True)
    changed_at: Mapped[datetime]


class AliasChange(HasId, Owned, Base):
    """Where an alias has pointed since `at`: append-only. `datum_id` None: it was removed.

    `actor` is a user's id, or `execution:ID` of one whose output's metadata named the alias.
    """

    __tablename__ = "alias_change"
    __table_args__ = (Index("ix_alias_change_order", "project_id", "name", "id"),)

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(128))
    datum_id: Mapped[str | None] = mapped_column(Id, ForeignKey("datum.id"))
    actor: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]


class Upload(HasId, Owned, Base):
    """A file on its way in from a person. state: open → (completing) → complete | aborted.

    Parts lie below `key` until they are put together there, or are the store's own in its `store_upload`; `sha256` is
    what the sender says of the whole. `error` says why completing failed: it is open again then.
    """

    __tablename__ = "upload"
    __table_args__ = (
        Index("ix_upload_project_state", "project_id", "state"),
        Index("ix_upload_state_expires", "state", "expires_at"),
    )

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))
    store_id: Mapped[str] = mapped_column(Id, ForeignKey("store.id"))
    creator_id: Mapped[str] = mapped_column(Id, ForeignKey("user.id"))
    datum_id: Mapped[str | None] = mapped_column(Id, ForeignKey("datum.id"))
    name: Mapped[str] = mapped_column(String(512))
    key: Mapped[str] = mapped_column(String(1024))
    size: Mapped[int] = mapped_column(BigInteger)
    part_size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    tags: Mapped[list[str]] = mapped_column(default=list)
    user_metadata: Mapped[dict[str, Any]] = mapped_column(default=dict)
    state: Mapped[str] = mapped_column(String(16), default="open")
    store_upload: Mapped[str] = mapped_column(Text, default="")
    error: Mapped[str] = mapped_column(Text, default="", server_default="")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class UploadPart(Base):
    """A part that has come into the store's own upload; `mark` is what the store answered as its ETag."""

    __tablename__ = "upload_part"

    upload_id: Mapped[str] = mapped_column(Id, ForeignKey("upload.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    mark: Mapped[str] = mapped_column(String(255))


follow(Datum)
