"""Housekeeping and retention: what is old goes, what is not stays, a dry run only counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from controlplane.accounts.models import BrowserSession, LoginFailure, LoginLink, Token, User
from controlplane.audit.models import AuditEvent
from controlplane.chores.models import Chore
from controlplane.chores.registry import KINDS
from controlplane.chores.relay import Schedule
from controlplane.chores.removing import STEP
from controlplane.chores.runner import Runner
from controlplane.chores.service import ChoreService
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.leases import database_now
from controlplane.dispatch.models import IdempotencyRecord
from controlplane.settings import Settings
from dispatch.rig import make_settings

DAY = timedelta(days=1)
OLD, YOUNG = 91 * DAY, 89 * DAY


class World:
    """A database with things of every age."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.db = database
        self.settings = settings
        with database.begin(SYSTEM) as session:
            self.now: datetime = database_now(session)
            self.user = uuid7()
            session.add(User(id=self.user, username="ada", created_at=self.now))

    def add(self, *rows: Any) -> None:
        with self.db.begin(SYSTEM) as session:
            session.add_all(rows)

    def event(self, age: timedelta, action: str, actor: str = "system") -> AuditEvent:
        return AuditEvent(at=self.now - age, actor=actor, action=action)

    def signed_in(self, expired: timedelta, ended: timedelta | None = None) -> BrowserSession:
        return BrowserSession(
            user_id=self.user,
            digest=uuid7(),
            csrf="c",
            created_at=self.now - 40 * DAY,
            expires_at=self.now - expired,
            ended_at=None if ended is None else self.now - ended,
        )

    def token(self, expired: timedelta | None, revoked: timedelta | None = None) -> Token:
        return Token(
            user_id=self.user,
            digest=uuid7(),
            created_at=self.now - 40 * DAY,
            expires_at=None if expired is None else self.now - expired,
            revoked_at=None if revoked is None else self.now - revoked,
        )

    def link(self, expired: timedelta) -> LoginLink:
        return LoginLink(user_id=self.user, digest=uuid7(), target="/", expires_at=self.now - expired)

    def answer(self, age: timedelta) -> IdempotencyRecord:
        return IdempotencyRecord(
            user_id=self.user, key=uuid7(), request_digest="d", status=201, created_at=self.now - age
        )

    def chore(self, age: timedelta, state: str) -> Chore:
        then = self.now - age
        finished = then if state in ("done", "failed") else None
        return Chore(kind="housekeeping", state=state, created_at=then, next_at=then, finished_at=finished)

    def count(self, table: Any) -> int:
        with self.db.read(SYSTEM) as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def run(self, kind: str, *, dry_run: bool = False) -> dict[str, Any]:
        with self.db.begin(SYSTEM) as session:
            chore = ChoreService(KINDS).enqueue(session, kind, {"dry_run": dry_run})
        Runner(self.db, self.settings, KINDS).run(chore)
        with self.db.read(SYSTEM) as session:
            row = session.get_one(Chore, chore)
        assert row.state == "done", row.error
        return row.result


@pytest.fixture
def world(database: Database, database_url: str, tmp_path: Path) -> World:
    return World(database, make_settings(tmp_path / "home", database_url, "", ""))


def _furnish(world: World) -> None:
    hour = timedelta(hours=1)
    world.add(
        *(world.signed_in(age) for age in (2 * DAY, 9 * DAY, hour, -DAY)),
        *(world.signed_in(-DAY, ended) for ended in (2 * DAY, hour)),
        *(world.token(age) for age in (2 * DAY, hour, -DAY, None)),
        *(world.token(None, revoked) for revoked in (2 * DAY, hour)),
        *(world.answer(age) for age in (3 * DAY, 2 * DAY - hour, hour)),
        *(world.link(age) for age in (2 * DAY, hour)),
        *(LoginFailure(subject="user:ada", at=world.now - age) for age in (2 * DAY, hour)),
    )


REMOVED = {"sessions": 3, "tokens": 2, "idempotency keys": 1, "login links": 1, "wrong logins": 1}
TABLES = {
    "sessions": BrowserSession,
    "tokens": Token,
    "idempotency keys": IdempotencyRecord,
    "login links": LoginLink,
    "wrong logins": LoginFailure,
}


def test_housekeeping_removes_what_expired_a_day_ago(world: World) -> None:
    _furnish(world)
    before = {what: world.count(table) for what, table in TABLES.items()}
    assert world.run("housekeeping") == REMOVED
    assert {what: before[what] - world.count(table) for what, table in TABLES.items()} == REMOVED
    assert world.run("housekeeping") == dict.fromkeys(REMOVED, 0)
    with world.db.read(SYSTEM) as session:
        left = session.scalars(select(BrowserSession.expires_at)).all()
    assert all(expires > world.now - DAY for expires in left)


def test_a_dry_run_of_housekeeping_counts_and_removes_nothing(world: World) -> None:
    _furnish(world)
    before = {what: world.count(table) for what, table in TABLES.items()}
    assert world.run("housekeeping", dry_run=True) == REMOVED
    assert {what: world.count(table) for what, table in TABLES.items()} == before


def _fill_the_audit_log(world: World) -> None:
    world.add(
        *(world.event(OLD, "worker.lost") for _ in range(STEP + 7)),
        world.event(OLD, "worker.joined"),
        world.event(YOUNG, "worker.lost"),
        world.event(OLD, "login.tried", actor=""),
        world.event(OLD, "project.created", actor=world.user),
        world.event(OLD, "worker.removed", actor=world.user),
        *(world.chore(31 * DAY, state) for state in ("done", "failed", "queued", "running")),
        *(world.chore(29 * DAY, state) for state in ("done", "failed")),
    )


def test_retention_removes_only_what_is_old(world: World) -> None:
    _fill_the_audit_log(world)
    assert world.run("retention") == {"machine events": STEP + 8, "chores": 2}
    with world.db.read(SYSTEM) as session:
        events = session.execute(select(AuditEvent.action, AuditEvent.at).order_by(AuditEvent.id)).all()
        states = sorted(session.scalars(select(Chore.state).where(Chore.created_at < world.now - DAY)))
        told = session.scalars(select(AuditEvent).where(AuditEvent.action == "retention.applied")).one()
    assert [action for action, _ in events if action != "retention.applied"] == [
        "worker.lost",
        "login.tried",
        "project.created",
        "worker.removed",
    ]
    assert states == ["done", "failed", "queued", "running"]
    assert told.payload == {"removed": {"machine events": STEP + 8, "chores": 2}}


def test_a_dry_run_of_retention_counts_and_removes_nothing(world: World) -> None:
    _fill_the_audit_log(world)
    events, chores = world.count(AuditEvent), world.count(Chore)
    assert world.run("retention", dry_run=True) == {"machine events": STEP + 8, "chores": 2}
    assert world.count(AuditEvent) == events
    assert world.count(Chore) == chores + 1


def test_the_schedule_asks_again_when_the_time_has_passed(world: World) -> None:
    schedule = Schedule(ChoreService(KINDS), world.settings, KINDS.values())

    def asked() -> list[str]:
        with world.db.begin(SYSTEM) as session:
            schedule.ask(session)
        with world.db.read(SYSTEM) as session:
            return sorted(session.scalars(select(Chore.kind)))

    assert asked() == ["data-retention", "housekeeping", "retention", "uploads"]
    assert asked() == ["data-retention", "housekeeping", "retention", "uploads"]
    with world.db.begin(SYSTEM) as session:
        for chore in session.scalars(select(Chore)):
            chore.state, chore.created_at = "done", chore.created_at - timedelta(hours=2)
    assert asked() == ["data-retention", "housekeeping", "housekeeping", "retention", "uploads", "uploads"]


def test_an_interval_of_zero_is_never(database: Database, database_url: str, tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "home", database_url, "", "", housekeeping_interval=0, retention_interval=0)
    assert not Schedule(ChoreService(KINDS), settings, KINDS.values()).is_time
