"""Who leads a loop: a row with a holder, an epoch and an end, by the database's own time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.models import Lease

# A leader that stops in the middle of a transaction must not hold its locks for ever.
LIMITS = text(
    "SELECT set_config('idle_in_transaction_session_timeout', :idle, true), set_config('lock_timeout', :lock, true)"
)


class LeaseLostError(RuntimeError):
    """Another process leads now: nothing was written."""


def database_now(session: Session) -> datetime:
    """The database's clock."""
    if session.get_bind().dialect.name == "sqlite":
        value = session.scalar(text("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"))
        return datetime.fromisoformat(str(value)).replace(tzinfo=UTC)
    return session.scalar(text("SELECT clock_timestamp()")).astimezone(UTC)  # type: ignore[union-attr]


class LeaseKeeper:
    """Takes, renews and guards one loop's lease. `ttl` is seconds."""

    def __init__(self, db: Database, name: str, holder: str, ttl: float) -> None:
        self._db = db
        self._name = name
        self._holder = holder
        self._ttl = timedelta(seconds=ttl)
        self.epoch = 0

    def acquire(self) -> bool:
        """Take or renew the lease; False while another process leads."""
        try:
            with self._transaction() as session:
                return self._take(session)
        except IntegrityError:
            return False

    def release(self) -> None:
        """Let another process lead at once."""
        with self._transaction() as session:
            row = session.get(Lease, self._name, with_for_update=True)
            if row is not None and row.holder == self._holder and row.epoch == self.epoch:
                row.expires_at = database_now(session)
                row.holder = ""

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A transaction that holds only while this process leads. Raises LeaseLostError, and writes nothing then."""
        with self._transaction() as session:
            # Shared: loops of one process go on side by side; whoever takes the lease over has to wait for them.
            query = select(Lease.holder, Lease.epoch).where(Lease.name == self._name).with_for_update(read=True)
            if session.execute(query).first() != (self._holder, self.epoch):
                raise LeaseLostError(self._name)
            yield session

    def _take(self, session: Session) -> bool:
        now = database_now(session)
        row = session.get(Lease, self._name, with_for_update=True)
        if row is None:
            row = Lease(name=self._name, holder="", epoch=0, expires_at=now)
            session.add(row)
        if row.holder != self._holder or row.epoch != self.epoch:
            if row.holder and row.expires_at > now and row.holder != self._holder:
                return False
            row.holder, row.epoch = self._holder, row.epoch + 1
        row.expires_at = now + self._ttl
        session.flush()
        self.epoch = row.epoch
        return True

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self._db.begin(SYSTEM) as session:
            if not self._db.is_sqlite:
                milliseconds = str(max(1000, int(self._ttl.total_seconds() * 1000)))
                session.execute(LIMITS, {"idle": milliseconds, "lock": milliseconds})
            yield session
