"""Credentials of image registries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id, Owned


class RegistryCredential(HasId, Owned, Base):
    """Opens images whose names fit `image_pattern`: to every project of the organisation, or to one.

    `secrets` is a sealed JSON object. `version` grows with each change: tokens of an older one are not used.
    """

    __tablename__ = "registry_credential"

    project_id: Mapped[str | None] = mapped_column(Id, ForeignKey("project.id"), index=True)
    type: Mapped[str] = mapped_column(String(16))
    image_pattern: Mapped[str] = mapped_column(String(255))
    configuration: Mapped[dict[str, Any]]
    secrets: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]
