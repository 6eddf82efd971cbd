"""Segments of an attempt's log in the log store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id, Owned


class LogSegment(HasId, Owned, Base):
    """Lines `first` to `last` as one gzip member at `key` (index at the key with `.idx` for `.gz`)."""

    __tablename__ = "log_segment"
    __table_args__ = (UniqueConstraint("attempt_id", "first"),)

    attempt_id: Mapped[str] = mapped_column(Id, ForeignKey("attempt.id"))
    first: Mapped[int] = mapped_column(BigInteger)
    last: Mapped[int] = mapped_column(BigInteger)
    lines: Mapped[int] = mapped_column(BigInteger)
    size: Mapped[int] = mapped_column(BigInteger)
    raw_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(512))
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    first_time: Mapped[str] = mapped_column(String(32))
    last_time: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]
