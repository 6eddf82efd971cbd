"""Alembic's environment: runs on the connection that the caller gives."""

from alembic import context

from controlplane.db.base import UtcDateTime
from controlplane.db.models import Base


def render_item(kind, item, _autogen):  # noqa: ANN001, ANN201
    """Migrations stand alone: no import of today's column types."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    compare_type=True,
    render_item=render_item,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
