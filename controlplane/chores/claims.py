"""Who has a chore, and how it ends. Every write of a process carries the epoch under which it took the chore.

queued ──take──▶ running ──finish──▶ done
  ▲  ▲             │ │ └────fail───▶ failed
  │  └──give_back──┘ │
  └──────again───────┘      a lease that has ended: `take` by another process
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.chores.errors import ChoreLostError
from controlplane.chores.models import Chore
from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.leases import database_now

LONGEST_PAUSE = timedelta(hours=1)


@dataclass(frozen=True)
class Claim:
    """A chore that this process has."""

    chore: str
    epoch: int
    kind: str
    arguments: dict[str, Any]


class Claims:
    """Takes chores and ends them. `lost_after` and `retry_pause` are seconds."""

    def __init__(self, db: Database, lost_after: float, max_tries: int, retry_pause: float) -> None:
        self._db = db
        self._lost_after = timedelta(seconds=lost_after)
        self._max_tries = max_tries
        self._retry_pause = timedelta(seconds=retry_pause)

    def take(self, chore: str) -> Claim | None:
        """The chore, if it is due and nobody has it. One whose process died too often ends as failed."""
        with self._db.begin(SYSTEM) as session:
            row = session.scalar(select(Chore).where(Chore.id == chore).with_for_update(skip_locked=True))
            now = database_now(session)
            if row is None or not _is_free(row, now):
                return None
            if row.tries >= self._max_tries:
                sentence = f"The process that ran it died {row.tries} times; the log of `chores` says more."
                _end(row, now, "failed", "died", sentence)
                return None
            row.state, row.started_at, row.lease_until = "running", now, now + self._lost_after
            row.tries += 1
            row.epoch += 1
            return Claim(row.id, row.epoch, row.kind, row.arguments)

    def renew(self, claim: Claim) -> bool:
        """Keep the chore; False when it is not this process's any more."""
        try:
            with self.begin(claim) as session:
                session.get_one(Chore, claim.chore).lease_until = database_now(session) + self._lost_after
        except ChoreLostError:
            return False
        return True

    @contextmanager
    def begin(self, claim: Claim) -> Iterator[Session]:
        """A transaction that holds only while this process has the chore. Raises ChoreLostError."""
        with self._db.begin(SYSTEM) as session:
            self._row(session, claim)
            yield session

    def tell(self, claim: Claim, progress: str) -> None:
        """Say how far it is. Raises ChoreLostError."""
        with self.begin(claim) as session:
            session.get_one(Chore, claim.chore).progress = progress

    def finish(self, claim: Claim, result: dict[str, Any]) -> None:
        """It is done. Raises ChoreLostError."""
        with self.begin(claim) as session:
            row = session.get_one(Chore, claim.chore)
            row.result = result
            _end(row, database_now(session), "done", "", "")

    def fail(self, claim: Claim, reason: str, sentence: str) -> None:
        """It failed, and is not tried again. Raises ChoreLostError."""
        with self.begin(claim) as session:
            _end(session.get_one(Chore, claim.chore), database_now(session), "failed", reason, sentence)

    def again(self, claim: Claim, reason: str, sentence: str) -> None:
        """It failed, and is tried again after a pause that doubles, unless it failed too often."""
        with self.begin(claim) as session:
            row, now = session.get_one(Chore, claim.chore), database_now(session)
            if row.tries >= self._max_tries:
                _end(row, now, "failed", reason, sentence)
                return
            row.reason, row.error = reason, sentence
            pause = min(LONGEST_PAUSE, self._retry_pause * 2 ** (row.tries - 1))
            _requeue(session, row, now, now + pause)

    def give_back(self, claim: Claim) -> None:
        """Another process may take it at once; this was no try. Raises ChoreLostError."""
        with self.begin(claim) as session:
            row, now = session.get_one(Chore, claim.chore), database_now(session)
            row.tries -= 1
            _requeue(session, row, now, now)

    @staticmethod
    def _row(session: Session, claim: Claim) -> Chore:
        query = select(Chore).where(Chore.id == claim.chore).with_for_update()
        row = session.scalar(query)
        if row is None or row.state != "running" or row.epoch != claim.epoch:
            raise ChoreLostError(claim.chore)
        return row


def _is_free(row: Chore, now: datetime) -> bool:
    if row.state == "queued":
        return row.next_at <= now
    return row.state == "running" and row.lease_until is not None and row.lease_until <= now


def _end(row: Chore, now: datetime, state: str, reason: str, sentence: str) -> None:
    row.state, row.reason, row.error = state, reason, sentence
    row.lease_until, row.finished_at = None, now


def _requeue(session: Session, row: Chore, now: datetime, next_at: datetime) -> None:
    twin = select(Chore.id).where(Chore.unique_key == row.unique_key, Chore.state == "queued")
    if row.unique_key is not None and session.scalar(twin) is not None:
        _end(row, now, "failed", "superseded", "A newer one of the same waits in its place.")
        return
    row.state, row.next_at, row.pushed_at, row.lease_until = "queued", next_at, None, None
