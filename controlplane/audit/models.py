"""The audit log: append-only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id


class AuditEvent(HasId, Base):
    """`actor` is a user's id, `system`, or empty for nobody known; no secret ever stands in `payload`."""

    __tablename__ = "audit_event"

    organization_id: Mapped[str | None] = mapped_column(Id, index=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(String(64), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(128), default="")
    schema: Mapped[int] = mapped_column(default=1)
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
