"""Who has a chore: one process, and only as long as its lease."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from controlplane.chores.claims import Claim, Claims
from controlplane.chores.errors import ChoreLostError
from controlplane.chores.models import Chore
from controlplane.chores.registry import KINDS
from controlplane.chores.service import ChoreService
from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.leases import database_now


@pytest.fixture
def claims(database: Database) -> Claims:
    return Claims(database, lost_after=3.0, max_tries=2, retry_pause=0.0)


def _ask(database: Database, delay: float = 0.0, unique_key: str | None = None) -> str:
    with database.begin(SYSTEM) as session:
        return ChoreService(KINDS).enqueue(session, "housekeeping", unique_key=unique_key, delay=delay)


def _look(database: Database, chore: str) -> Chore:
    with database.read(SYSTEM) as session:
        return session.get_one(Chore, chore)


def _let_the_lease_end(database: Database, chore: str) -> None:
    with database.begin(SYSTEM) as session:
        ended = database_now(session) - timedelta(seconds=1)
        session.execute(update(Chore).where(Chore.id == chore).values(lease_until=ended))


def _taken(claims: Claims, chore: str) -> Claim:
    claim = claims.take(chore)
    assert claim is not None
    return claim


def test_one_process_has_it(database: Database, claims: Claims) -> None:
    chore = _ask(database)
    claim = _taken(claims, chore)
    assert claims.take(chore) is None
    claims.finish(claim, {"sessions": 1})
    assert claims.take(chore) is None
    assert _look(database, chore).state == "done"


def test_it_is_not_taken_before_its_time(database: Database, claims: Claims) -> None:
    assert claims.take(_ask(database, delay=60)) is None


def test_a_process_that_was_away_writes_nothing(database: Database, claims: Claims) -> None:
    chore = _ask(database)
    late = _taken(claims, chore)
    _let_the_lease_end(database, chore)
    now = _taken(claims, chore)
    assert not claims.renew(late)
    for write in (
        lambda: claims.tell(late, "late"),
        lambda: claims.finish(late, {"sessions": 99}),
        lambda: claims.fail(late, "failed", "late"),
        lambda: claims.again(late, "failed", "late"),
        lambda: claims.give_back(late),
    ):
        with pytest.raises(ChoreLostError):
            write()
    with pytest.raises(ChoreLostError), claims.begin(late):
        pytest.fail("a late process may not write")
    assert claims.renew(now)
    claims.finish(now, {"sessions": 1})
    row = _look(database, chore)
    assert (row.state, row.result, row.progress) == ("done", {"sessions": 1}, "")


def test_a_renewed_lease_keeps_others_away(database: Database, claims: Claims) -> None:
    chore = _ask(database)
    claim = _taken(claims, chore)
    _let_the_lease_end(database, chore)
    assert claims.renew(claim)
    assert claims.take(chore) is None


def test_a_failed_try_gives_way_to_a_newer_one_of_the_same(database: Database, claims: Claims) -> None:
    first = _ask(database, unique_key="fetch:7")
    claim = _taken(claims, first)
    second = _ask(database, unique_key="fetch:7")
    claims.again(claim, "failed", "The repository does not answer.")
    row = _look(database, first)
    assert (row.state, row.reason) == ("failed", "superseded")
    assert _look(database, second).state == "queued"
