"""The models and what the migrations make are the same schema, on both databases."""

from __future__ import annotations

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from controlplane.db.migrate import alembic_config
from controlplane.db.models import Base
from controlplane.db.session import Database


def test_migrations_make_what_the_models_say(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_of_chores_that_wait_one_has_the_key(database: Database) -> None:
    """Autogeneration does not look at what an index is limited to."""
    with database.engine.connect() as connection:
        found = {index["name"]: index for index in inspect(connection).get_indexes("chore")}["ix_chore_pending"]
        assert found["unique"]
        limits = found.get("dialect_options", {})
        assert any("queued" in str(limit) for limit in limits.values()), limits


def test_migrations_lead_back(database: Database) -> None:
    config = alembic_config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        left = set(inspect(connection).get_table_names())
        assert left <= {"alembic_version"}
        command.upgrade(config, "head")
        assert connection.execute(text("SELECT count(*) FROM chore")).scalar() == 0
