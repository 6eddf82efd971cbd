"""Bring a database to the newest revision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"


def alembic_config() -> Config:
    """Alembic's configuration, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Run the migrations up to `revision` on this engine."""
    config = alembic_config()
    with engine.connect() as connection, _tables_may_be_rebuilt(connection), connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        _check_references(connection)


def _check_references(connection: Connection) -> None:
    """Raise RuntimeError, so that nothing is committed, when a row refers to one that is not there."""
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all() if _is_sqlite(connection) else ()
    if broken:
        raise RuntimeError(f"the database has rows that refer to nothing: {broken[:5]}")


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


@contextmanager
def _tables_may_be_rebuilt(connection: Connection) -> Iterator[None]:
    """SQLite changes a column by making its table anew: meanwhile nobody may miss the old one (its own procedure)."""
    if not _is_sqlite(connection):
        yield
        return
    # The driver's own connection: SQLAlchemy would begin a transaction, and within one this pragma does nothing.
    raw = connection.connection.dbapi_connection
    assert raw is not None
    raw.execute("PRAGMA foreign_keys=OFF")  # type: ignore[attr-defined]
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys=ON")  # type: ignore[attr-defined]
