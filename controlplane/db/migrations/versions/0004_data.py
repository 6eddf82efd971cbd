"""Data and executions: comments, pins, lineage, aliases' history, uploads, variables of organisations and groups"""

import json
import time
import uuid
from os import urandom
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)
MOMENT = sa.DateTime(timezone=True)
NEW = (
    "upload", "alias_change", "datum_use", "execution_comment", "group_variable", "variable_group",
    "organization_variable",
)  # fmt: skip
STEP = 500


def upgrade() -> None:
    op.add_column("execution", sa.Column("pinned_at", MOMENT, nullable=True))
    op.add_column("execution", sa.Column("metadata_points", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("datum", sa.Column("creator_id", ID, nullable=True))
    op.create_index("ix_datum_alias_datum_id", "datum_alias", ["datum_id"])
    _table(
        "organization_variable",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("secret", sa.Boolean(), nullable=False),
        sa.UniqueConstraint("organization_id", "name", name="uq_organization_variable_organization_id"),
    )
    _table(
        "variable_group",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.UniqueConstraint("organization_id", "name", name="uq_variable_group_organization_id"),
    )
    _table(
        "group_variable",
        _reference("group_variable", "group_id", "variable_group"),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("secret", sa.Boolean(), nullable=False),
        sa.UniqueConstraint("group_id", "name", name="uq_group_variable_group_id"),
    )
    _table(
        "execution_comment",
        _reference("execution_comment", "execution_id", "execution"),
        _reference("execution_comment", "author_id", "user"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("edited_at", MOMENT, nullable=True),
        sa.Column("deleted_at", MOMENT, nullable=True),
    )
    op.create_index("ix_execution_comment_order", "execution_comment", ["execution_id", "id"])
    _table(
        "datum_use",
        _reference("datum_use", "execution_id", "execution"),
        _reference("datum_use", "datum_id", "datum"),
        sa.Column("input", sa.String(255), nullable=False),
        sa.UniqueConstraint("execution_id", "input", "datum_id", name="uq_datum_use_execution_id"),
    )
    op.create_index("ix_datum_use_datum", "datum_use", ["datum_id", "id"])
    _table(
        "alias_change",
        _reference("alias_change", "project_id", "project"),
        sa.Column("name", sa.String(128), nullable=False),
        _reference("alias_change", "datum_id", "datum", nullable=True),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
    )
    op.create_index("ix_alias_change_order", "alias_change", ["project_id", "name", "id"])
    _table(
        "upload",
        _reference("upload", "project_id", "project"),
        _reference("upload", "store_id", "store"),
        _reference("upload", "creator_id", "user"),
        _reference("upload", "datum_id", "datum", nullable=True),
        sa.Column("name", sa.String(512), nullable=False),
        sa.Column("key", sa.String(1024), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("part_size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("user_metadata", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("store_upload", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
    )
    op.create_index("ix_upload_project_state", "upload", ["project_id", "state"])
    op.create_index("ix_upload_state_expires", "upload", ["state", "expires_at"])
    _fill_uses()


def downgrade() -> None:
    for name in NEW:
        op.drop_table(name)
    op.drop_index("ix_datum_alias_datum_id", "datum_alias")
    op.drop_column("datum", "creator_id")
    op.drop_column("execution", "metadata_points")
    op.drop_column("execution", "pinned_at")


def _table(name: str, *columns: sa.schema.SchemaItem) -> None:
    """A table of rows that belong to an organisation."""
    op.create_table(
        name,
        sa.Column("id", ID, nullable=False),
        _reference(name, "organization_id", "organization"),
        *columns,
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )
    op.create_index(f"ix_{name}_organization_id", name, ["organization_id"])


def _reference(table: str, column: str, other: str, *, nullable: bool = False) -> sa.Column:
    key = sa.ForeignKey(f"{other}.id", name=f"fk_{table}_{column}_{other}")
    return sa.Column(column, ID, key, nullable=nullable)


def _fill_uses() -> None:
    """Inputs of the executions that there are; a datum that is not there any more is left out."""
    execution = sa.table("execution", *(sa.column(n, t) for n, t in (("id", ID), ("organization_id", ID))))
    execution.append_column(sa.column("inputs", sa.JSON()))
    datum = sa.table("datum", sa.column("id", ID))
    use = sa.table("datum_use", *(sa.column(n, ID) for n in ("id", "organization_id", "execution_id", "datum_id")))
    use.append_column(sa.column("input", sa.String()))
    connection, after = op.get_bind(), None
    while True:
        query = sa.select(execution).order_by(execution.c.id).limit(STEP)
        rows = connection.execute(query if after is None else query.where(execution.c.id > after)).all()
        wanted = {(row.organization_id, row.id, name, found) for row in rows for name, found in _datums(row.inputs)}
        ids = {entry[3] for entry in wanted}
        known = set(connection.scalars(sa.select(datum.c.id).where(datum.c.id.in_(ids)))) if ids else set()
        names = ("organization_id", "execution_id", "input", "datum_id")
        found = [{"id": _new_id(), **dict(zip(names, entry, strict=True))} for entry in wanted if entry[3] in known]
        if found:
            connection.execute(use.insert(), found)
        if len(rows) < STEP:
            return
        after = rows[-1].id


def _datums(inputs: Any) -> list[tuple[str, str]]:
    """(input, datum id) of an execution's inputs."""
    table = json.loads(inputs) if isinstance(inputs, str) else inputs
    pairs = [(name[:255], uri) for name, uris in (table or {}).items() for uri in uris]
    found = [(name, uri.removeprefix("datum://")) for name, uri in pairs if uri.startswith("datum://")]
    return [(name, datum) for name, datum in found if len(datum) == 36]


def _new_id() -> str:
    """A UUID of version 7."""
    value = int(time.time() * 1000) << 80 | int.from_bytes(urandom(10), "big")
    value = value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0b10 << 62
    return str(uuid.UUID(int=value))
