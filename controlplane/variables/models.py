"""Environment variables beyond one project: of an organisation, and in named groups."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id, Owned


class OrganizationVariable(HasId, Owned, Base):
    """A variable of every execution of the organisation; `value` is encrypted when `secret`."""

    __tablename__ = "organization_variable"
    __table_args__ = (UniqueConstraint("organization_id", "name"),)

    name: Mapped[str] = mapped_column(String(255))
    value: Mapped[str] = mapped_column(Text)
    secret: Mapped[bool] = mapped_column(default=False)


class VariableGroup(HasId, Owned, Base):
    """Variables that a step or an execution takes by the group's name."""

    __tablename__ = "variable_group"
    __table_args__ = (UniqueConstraint("organization_id", "name"),)

    name: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class GroupVariable(HasId, Owned, Base):
    """A variable of a group; `value` is encrypted when `secret`."""

    __tablename__ = "group_variable"
    __table_args__ = (UniqueConstraint("group_id", "name"),)

    group_id: Mapped[str] = mapped_column(Id, ForeignKey("variable_group.id"))
    name: Mapped[str] = mapped_column(String(255))
    value: Mapped[str] = mapped_column(Text)
    secret: Mapped[bool] = mapped_column(default=False)
