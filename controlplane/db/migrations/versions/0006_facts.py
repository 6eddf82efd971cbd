"""Tags, parameters and metadata as rows, so that lists find by them with an index; uploads in parts of stores"""

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)
STEP = 500
MAX_NAME = 255
KINDS = {"tags": "tag", "parameters": "parameter", "cumulative_metadata": "metadata"}
FACT, TAG, PART = "execution_fact", "datum_tag", "upload_part"


def upgrade() -> None:
    op.create_table(
        FACT,
        _reference(FACT, "execution_id", "execution"),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(MAX_NAME), nullable=False),
        _reference(FACT, "project_id", "project"),
        sa.Column("number", sa.Float(53), nullable=True),
        sa.Column("digest", sa.String(32), nullable=False),
        _reference(FACT, "organization_id", "organization"),
        sa.PrimaryKeyConstraint("execution_id", "kind", "name", name=f"pk_{FACT}"),
    )
    op.create_table(
        TAG,
        _reference(TAG, "datum_id", "datum"),
        sa.Column("tag", sa.String(MAX_NAME), nullable=False),
        _reference(TAG, "project_id", "project"),
        _reference(TAG, "organization_id", "organization"),
        sa.PrimaryKeyConstraint("datum_id", "tag", name=f"pk_{TAG}"),
    )
    op.add_column("upload", sa.Column("error", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        PART,
        _reference(PART, "upload_id", "upload"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("mark", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "number", name=f"pk_{PART}"),
    )
    _fill("execution", FACT, KINDS, _facts)
    _fill("datum", TAG, {"tags": "tag"}, _tags)
    # An index is made faster over what is there already.
    op.create_index(f"ix_{FACT}_number", FACT, ["project_id", "kind", "name", "number", "execution_id"])
    op.create_index(f"ix_{FACT}_digest", FACT, ["project_id", "kind", "name", "digest", "execution_id"])
    op.create_index("ix_datum_tag_tag", TAG, ["project_id", "tag", "datum_id"])


def downgrade() -> None:
    op.drop_table(PART)
    op.drop_column("upload", "error")
    op.drop_table(TAG)
    op.drop_table(FACT)


def _reference(table: str, column: str, other: str) -> sa.Column:
    key = sa.ForeignKey(f"{other}.id", name=f"fk_{table}_{column}_{other}")
    return sa.Column(column, ID, key, nullable=False)


def _fill(source: str, target: str, columns: dict[str, str], made: Any) -> None:
    """Rows of `target` for all that there is, in steps."""
    ids = ("id", "organization_id", "project_id")
    table = sa.table(source, *(sa.column(name, ID) for name in ids), *(sa.column(name, sa.JSON()) for name in columns))
    connection, after = op.get_bind(), None
    new = sa.Table(target, sa.MetaData(), autoload_with=connection)
    for name in ("execution_id", "datum_id", "project_id", "organization_id"):
        if name in new.c:
            new.c[name].type = ID
    while True:
        query = sa.select(table).order_by(table.c.id).limit(STEP)
        rows = connection.execute(query if after is None else query.where(table.c.id > after)).all()
        values = [one for row in rows for one in made(row)]
        if values:
            connection.execute(new.insert(), values)
        if len(rows) < STEP:
            return
        after = rows[-1].id


def _facts(row: Any) -> Iterator[dict[str, Any]]:
    owner = {"organization_id": row.organization_id, "project_id": row.project_id, "execution_id": row.id}
    for column, kind in KINDS.items():
        held = getattr(row, column)
        pairs = held.items() if isinstance(held, dict) else ((tag, None) for tag in dict.fromkeys(held or ()))
        for name, value in pairs:
            if len(name) <= MAX_NAME and (value is not None or kind == "tag"):
                number, digest = (None, "") if kind == "tag" else _compared(value)
                yield {**owner, "kind": kind, "name": name, "number": number, "digest": digest}


def _tags(row: Any) -> Iterator[dict[str, Any]]:
    owner = {"organization_id": row.organization_id, "project_id": row.project_id, "datum_id": row.id}
    for tag in dict.fromkeys(row.tags or ()):
        if len(tag) <= MAX_NAME:
            yield {**owner, "tag": tag}


def _compared(value: Any) -> tuple[float | None, str]:
    """(number, digest of the text) of a value."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None, digest
    try:
        number = float(value)
    except OverflowError:
        return None, digest
    return (number if math.isfinite(number) else None), digest
