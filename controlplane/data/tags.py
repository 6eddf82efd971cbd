"""Tags of datums as rows of their own, so that lists find by them with an index; they follow what is written."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, ForeignKey, Index, String, delete, event, insert, inspect
from sqlalchemy.orm import Mapped, Mapper, mapped_column

from controlplane.db.base import Base, Id, Owned

MAX_TAG = 255


class DatumTag(Owned, Base):
    """A datum has this tag."""

    __tablename__ = "datum_tag"
    __table_args__ = (Index("ix_datum_tag_tag", "project_id", "tag", "datum_id"),)

    # Always asked for with a project: an index of the organisation would only mislead.
    organization_id: Mapped[str] = mapped_column(Id, ForeignKey("organization.id"))
    datum_id: Mapped[str] = mapped_column(Id, ForeignKey("datum.id"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(MAX_TAG), primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))


def follow(model: type[Any]) -> None:
    """Keep the tags of this mapped class from now on."""
    event.listen(model, "after_insert", _write)
    event.listen(model, "after_update", _write)


def _write(_mapper: Mapper[Any], connection: Connection, row: Any) -> None:
    history = inspect(row).attrs.tags.history
    if not history.added:
        return
    connection.execute(delete(DatumTag).where(DatumTag.datum_id == row.id))
    tags = {tag for tag in history.added[0] or () if len(tag) <= MAX_TAG}
    if tags:
        owner = {"organization_id": row.organization_id, "project_id": row.project_id, "datum_id": row.id}
        connection.execute(insert(DatumTag), [{**owner, "tag": tag} for tag in sorted(tags)])
