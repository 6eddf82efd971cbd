"""Commits: a code snapshot and its judged valohai.yaml."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id, Owned


class Commit(HasId, Owned, Base):
    """`identifier` is a Git hash, or `~SHA256` of an ad-hoc archive. `config` is parsed and judged once.

    `archive_key` names the tar.gz in the code store, empty until a Git commit is first used; `config_errors`
    non-empty: nothing runs from it. `listed`: a branch or tag leads to it, as of the last fetch.
    """

    __tablename__ = "commit"
    __table_args__ = (
        UniqueConstraint("project_id", "identifier"),
        Index("ix_commit_recent", "project_id", "created_at"),
        Index("ix_commit_time", "project_id", "commit_time"),
    )

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))
    identifier: Mapped[str] = mapped_column(String(80))
    ref: Mapped[str] = mapped_column(String(255), default="adhoc")
    repository_id: Mapped[str | None] = mapped_column(Id)
    description: Mapped[str] = mapped_column(Text, default="")
    author: Mapped[str] = mapped_column(String(255), default="")
    adhoc: Mapped[bool] = mapped_column(default=False)
    listed: Mapped[bool] = mapped_column(default=True)
    yaml_path: Mapped[str] = mapped_column(String(255), default="valohai.yaml")
    archive_key: Mapped[str] = mapped_column(String(255), default="")
    archive_sha256: Mapped[str] = mapped_column(String(64), default="")
    archive_size: Mapped[int] = mapped_column(default=0)
    config_text: Mapped[str] = mapped_column(Text, default="")
    config: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    config_errors: Mapped[list[Any]] = mapped_column(default=list)
    commit_time: Mapped[datetime]
    created_at: Mapped[datetime]
    creator_id: Mapped[str | None] = mapped_column(Id, ForeignKey("user.id"))
