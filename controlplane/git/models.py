"""A project's repository, and its branches and tags as of the last fetch."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id, Owned


class Repository(HasId, Owned, Base):
    """One a project. `auth`: none | token | key, of which `secret` is encrypted; `public_key` is the key's.

    `host_key` is the pinned one of an ssh server, `offered_host_key` one that it showed and nobody accepted yet.
    `fetch_reason` and `fetch_error` say why the last fetch failed; empty when it did not.
    """

    __tablename__ = "repository"
    __table_args__ = (UniqueConstraint("project_id"),)

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))
    url: Mapped[str] = mapped_column(String(2048))
    ref: Mapped[str] = mapped_column(String(255), default="")
    username: Mapped[str] = mapped_column(String(128), default="")
    auth: Mapped[str] = mapped_column(String(8), default="none")
    secret: Mapped[str] = mapped_column(Text, default="")
    public_key: Mapped[str] = mapped_column(Text, default="")
    host_key: Mapped[str] = mapped_column(Text, default="")
    offered_host_key: Mapped[str] = mapped_column(Text, default="")
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    fetch_chore_id: Mapped[str | None] = mapped_column(Id)
    fetch_reason: Mapped[str] = mapped_column(String(32), default="")
    fetch_error: Mapped[str] = mapped_column(Text, default="")
    fetched_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class RepositoryRef(HasId, Owned, Base):
    """`kind`: branch | tag. `identifier` is the commit that it leads to."""

    __tablename__ = "repository_ref"
    __table_args__ = (UniqueConstraint("repository_id", "kind", "name"),)

    repository_id: Mapped[str] = mapped_column(Id, ForeignKey("repository.id"))
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    name: Mapped[str] = mapped_column(String(255))
    identifier: Mapped[str] = mapped_column(String(80))
