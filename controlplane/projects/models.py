"""Projects, who may work in them, and their environment variables."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id, Owned


class Project(HasId, Owned, Base):
    """`next_counter` numbers executions (`#12`); it is raised in the transaction that creates one."""

    __tablename__ = "project"
    __table_args__ = (UniqueConstraint("organization_id", "name"),)

    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str] = mapped_column(Text, default="")
    team_id: Mapped[str | None] = mapped_column(Id, ForeignKey("team.id"))
    yaml_path: Mapped[str] = mapped_column(String(255), default="valohai.yaml")
    next_counter: Mapped[int] = mapped_column(default=1)
    default_environment_id: Mapped[str | None] = mapped_column(Id)
    default_store_id: Mapped[str | None] = mapped_column(Id)
    weight: Mapped[int] = mapped_column(default=1)
    creator_id: Mapped[str | None] = mapped_column(Id, ForeignKey("user.id"))
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class ProjectMembership(HasId, Owned, Base):
    """role: admin | contributor | viewer; of a user or of a team."""

    __tablename__ = "project_membership"

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"), index=True)
    user_id: Mapped[str | None] = mapped_column(Id, ForeignKey("user.id"), index=True)
    team_id: Mapped[str | None] = mapped_column(Id, ForeignKey("team.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))


class ProjectVariable(HasId, Owned, Base):
    """An environment variable of every execution; `value` is encrypted when `secret`."""

    __tablename__ = "project_variable"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(255))
    value: Mapped[str] = mapped_column(Text)
    secret: Mapped[bool] = mapped_column(default=False)
