"""Engines and sessions. A session without a scope can't read rows that belong to somebody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, create_engine, event, true
from sqlalchemy.orm import LoaderCriteriaOption, ORMExecuteState, Session, sessionmaker, with_loader_criteria

from controlplane.db.base import Owned


class UnscopedQueryError(RuntimeError):
    """A query for owned rows in a session that says nothing of who asks: a defect, not a user's error."""


@dataclass(frozen=True)
class Scope:
    """Whose rows a session sees: the given organisations, or (`system`) everybody's."""

    organizations: frozenset[str] = field(default_factory=frozenset)
    system: bool = False


SYSTEM = Scope(system=True)


def make_engine(url: str) -> Engine:
    """An engine for SQLite (WAL, BEGIN IMMEDIATE, busy timeout 10 s, synchronous FULL) or PostgreSQL."""
    if url.startswith("postgresql://"):
        url = "postgresql+psycopg://" + url.removeprefix("postgresql://")
    if not url.startswith("sqlite"):
        # Values of a failed statement may be secrets: they stay out of errors and logs.
        return create_engine(
            url, hide_parameters=True, pool_pre_ping=True, pool_size=10, max_overflow=10, pool_timeout=10
        )
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": 10, "check_same_thread": False})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction control is off: SQLAlchemy's "begin" event starts them.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "busy_timeout=10000", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Any) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


class Database:
    """Sessions by scope. One an application; `engine` is shared by threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._make = sessionmaker(engine, expire_on_commit=False)
        self._read = sessionmaker(engine.execution_options(read_only=True), expire_on_commit=False)
        for make in (self._make, self._read):
            event.listen(make, "do_orm_execute", _apply_scope)
            event.listen(make, "loaded_as_persistent", _keep)
            event.listen(make, "pending_to_persistent", _keep)

    def session(self, scope: Scope | None, *, read_only: bool = False) -> Session:
        """A session; `read_only` takes no write lock on SQLite."""
        session = (self._read if read_only else self._make)()
        session.info.update(scope=scope, rows=[])
        return session

    @contextmanager
    def begin(self, scope: Scope | None) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back on an exception."""
        with self.session(scope) as session, session.begin():
            yield session

    @contextmanager
    def read(self, scope: Scope | None) -> Iterator[Session]:
        """One reading transaction."""
        with self.session(scope, read_only=True) as session:
            yield session

    @property
    def is_sqlite(self) -> bool:
        """Whether the embedded database is used."""
        return self.engine.dialect.name == "sqlite"


def set_scope(session: Session, scope: Scope) -> None:
    """From now on the session sees what `scope` allows."""
    session.info["scope"] = scope


def _keep(session: Session, row: object) -> None:
    """A session's own references are weak: a row would be read again as soon as nobody else holds it."""
    session.info["rows"].append(row)


def _apply_scope(state: ORMExecuteState) -> None:
    if (
        state.is_column_load
        or state.is_relationship_load
        or not (state.is_select or state.is_update or state.is_delete)
    ):
        return
    if not any(issubclass(mapper.class_, Owned) for mapper in state.all_mappers):
        return
    scope: Scope | None = state.session.info.get("scope")
    if scope is None:
        raise UnscopedQueryError("a query for owned rows needs a scope")
    if not scope.system:
        state.statement = state.statement.options(_belongs_to(scope.organizations))


@lru_cache(maxsize=256)
def _belongs_to(organizations: frozenset[str]) -> LoaderCriteriaOption:
    """The criterion of one scope; making it takes longer than many a query."""
    return with_loader_criteria(
        Owned,
        lambda cls: cls.organization_id.in_(organizations) if hasattr(cls, "organization_id") else true(),
        include_aliases=True,
    )
