"""One leader at a time, by the database's clock; one that stalled writes nothing late."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from controlplane.audit.models import AuditEvent
from controlplane.clock import utc_now
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.leases import LeaseKeeper, LeaseLostError


def keeper(database: Database, name: str, ttl: float = 1.0) -> LeaseKeeper:
    return LeaseKeeper(database, "loop", name, ttl)


def write(session, text: str) -> None:
    session.add(AuditEvent(at=utc_now(), actor="system", action=text))


def written(database: Database) -> list[str]:
    with database.read(SYSTEM) as session:
        return list(session.scalars(select(AuditEvent.action)))


def test_one_leads_until_it_falls_silent(database: Database) -> None:
    first, second = keeper(database, "a", 0.5), keeper(database, "b", 0.5)
    assert first.acquire()
    assert not second.acquire()
    assert first.acquire()
    assert first.epoch == 1
    time.sleep(0.7)
    assert second.acquire()
    assert second.epoch == 2
    assert not first.acquire()


def test_a_leader_that_stalled_writes_nothing(database: Database) -> None:
    first, second = keeper(database, "a", 0.3), keeper(database, "b", 0.3)
    first.acquire()
    time.sleep(0.4)
    second.acquire()
    with pytest.raises(LeaseLostError), first.begin() as session:
        write(session, "late")
    with second.begin() as session:
        write(session, "in time")
    assert written(database) == ["in time"]


def test_the_same_process_that_comes_back_leads_with_a_new_epoch(database: Database) -> None:
    first, second = keeper(database, "a"), keeper(database, "b")
    first.acquire()
    first.release()
    assert second.acquire()
    second.release()
    assert first.acquire()
    assert first.epoch == 3


def test_nobody_takes_over_in_the_middle_of_a_leaders_transaction(database: Database) -> None:
    first, second = keeper(database, "a", 0.3), keeper(database, "b", 0.3)
    first.acquire()
    order: list[str] = []

    def take_over() -> None:
        while not second.acquire():
            time.sleep(0.02)
        order.append("taken over")

    with first.begin() as session:
        write(session, "slow")
        session.flush()
        thread = threading.Thread(target=take_over)
        thread.start()
        time.sleep(0.25)
        order.append("written")
    thread.join(5)
    assert order == ["written", "taken over"]


def test_of_many_that_try_at_once_one_leads(database: Database) -> None:
    """A lease that ends again and again, with eight that want it: each epoch has one holder."""
    held: list[tuple[int, str]] = []
    barrier = threading.Barrier(8)

    def run(name: str) -> None:
        mine = keeper(database, name, 30)
        for _ in range(10):
            barrier.wait(30)
            if mine.acquire():
                held.append((mine.epoch, name))
                with mine.begin() as session:
                    write(session, f"epoch {mine.epoch}")
                mine.release()

    threads = [threading.Thread(target=run, args=(f"p{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({epoch for epoch, _ in held}) == len(held) >= 10
    assert len(set(written(database))) == len(held)


def test_leases_are_apart_by_name(database: Database, tmp_path: Path) -> None:
    assert LeaseKeeper(database, uuid7(), "a", 5).acquire()
    assert LeaseKeeper(database, uuid7(), "b", 5).acquire()
