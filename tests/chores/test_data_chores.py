"""Unfinished uploads, and what is kept for a time only: dry runs count, real runs remove."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from controlplane.chores.models import Chore
from controlplane.chores.registry import KINDS
from controlplane.chores.runner import Runner
from controlplane.chores.service import ChoreService
from controlplane.clock import utc_now
from controlplane.data.models import Datum
from controlplane.db.session import SYSTEM
from controlplane.executions.models import MetadataPoint, UsageSample
from controlplane.logs.models import LogSegment
from fixtures.runs import Runs
from fixtures.web import World

DAY = 86_400.0


def run(world: World, kind: str, *, dry_run: bool = False, **settings: Any) -> dict[str, Any]:
    """What the chore counted."""
    with world.services.db.begin(SYSTEM) as session:
        chore = ChoreService(KINDS).enqueue(session, kind, {"dry_run": dry_run})
    Runner(world.services.db, world.services.settings.model_copy(update=settings), KINDS).run(chore)
    with world.services.db.read(SYSTEM) as session:
        row = session.get_one(Chore, chore)
    assert row.state == "done", row.error
    return row.result


def files(world: World, purpose: str) -> list[str]:
    return sorted(p.name for p in (world.services.settings.stores_dir / purpose).rglob("*") if p.is_file())


def test_uploads_that_nobody_completes(world: World) -> None:
    ann, wanted = world.client("ann"), {"project": world.project, "name": "a", "size": 3, "sha256": "0" * 64}
    old = ann.post("/api/v1/uploads/", json=wanted).json
    part = ann.get(f"/api/v1/uploads/{old['id']}/parts/").json[0]
    path = part["url"].removeprefix("http://remora.test:8765")
    assert world.client().call("PUT", path, data=b"abc", headers=part["headers"]).status_code == 201
    world.clock.now = utc_now()
    young = ann.post("/api/v1/uploads/", json=wanted).json
    assert run(world, "uploads", dry_run=True) == {"uploads": 1}
    assert files(world, "data") == ["a"]
    assert run(world, "uploads") == {"uploads": 1}
    assert files(world, "data") == []
    assert ann.get(f"/api/v1/uploads/{old['id']}/").json["state"] == "aborted"
    assert ann.get(f"/api/v1/uploads/{young['id']}/").json["state"] == "open"
    assert run(world, "uploads") == {"uploads": 0}


def _furnish(runs: Runs) -> dict[str, str]:
    """An old execution, a pinned one and a young one, each with log, output, points and samples."""
    now, found = utc_now(), {}
    for name, age in (("old", 100), ("pinned", 100), ("young", 1)):
        runs.world.clock.now = now - timedelta(days=age)
        found[name] = runs.create()["id"]
        runs.log(found[name], "one", "two")
        runs.datum(f"{name}.txt", b"1", found[name])
        ended = {"state": "complete", "ended_at": runs.world.clock.now}
        runs.change(found[name], **ended, pinned_at=now if name == "pinned" else None)
        attempt, organization = runs.attempts(found[name])[0], runs.world.organization_of("ann")
        with runs.world.services.db.begin(SYSTEM) as session:
            session.add(
                MetadataPoint(
                    organization_id=organization, execution_id=found[name], attempt_id=attempt, at=now, data={"a": 1}
                )
            )
            session.add(UsageSample(organization_id=organization, attempt_id=attempt, at=now, data={"cpu": 1}))
    runs.world.clock.now = now - timedelta(days=100)
    aliased = runs.datum("aliased.txt", b"1")
    body = {"project": runs.world.project, "name": "kept", "datum": aliased}
    assert runs.world.client("ann").post("/api/v0/datum-aliases/", json=body).status_code == 201
    return found


EVERYTHING = {
    "retention_outputs": 90 * DAY,
    "retention_logs": 90 * DAY,
    "retention_metadata": 90 * DAY,
    "retention_usage": 90 * DAY,
}
GONE = {"outputs": 1, "log segments": 2, "metadata points": 1, "utilisation samples": 1}


def test_nothing_is_removed_unless_it_is_wanted(runs: Runs) -> None:
    _furnish(runs)
    assert run(runs.world, "data-retention") == {}
    assert len(files(runs.world, "data")) == 4 and len(files(runs.world, "logs")) == 6


def test_what_is_older_than_its_retention(runs: Runs) -> None:
    world, made = runs.world, _furnish(runs)
    assert run(world, "data-retention", dry_run=True, **EVERYTHING) == GONE
    assert len(files(world, "data")) == 4 and len(files(world, "logs")) == 6
    assert run(world, "data-retention", **EVERYTHING) == GONE
    assert len(files(world, "data")) == 3 and len(files(world, "logs")) == 4
    with world.services.db.read(SYSTEM) as session:
        purged = session.scalars(select(Datum.name).where(Datum.purged_at.is_not(None))).all()
        counts = [session.scalar(select(func.count()).select_from(t)) for t in (LogSegment, MetadataPoint, UsageSample)]
    assert purged == ["old.txt"] and counts == [4, 2, 2]
    log = world.client("ann").get(f"/api/v0/executions/{made['old']}/events/").json
    assert log["total"] == 2 and "2 lines (1 to 2) are missing" in log["events"][0]["message"]
    assert run(world, "data-retention", **EVERYTHING) == dict.fromkeys(GONE, 0)
