"""Who is granted what: slots, states of workers, fairness, jobs that can't be made, reasons of those that wait."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from controlplane.clock import utc_now
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM
from controlplane.dispatch.dispatcher import LIVE
from controlplane.environments.models import Worker, WorkerGroup
from controlplane.executions.models import Attempt, Execution
from controlplane.projects.models import Project
from dispatch.rig import Rig


def grants(rig: Rig) -> int:
    with rig.db.read(SYSTEM) as session:
        return session.scalar(select(func.count()).select_from(Attempt).where(Attempt.state.in_(LIVE))) or 0


def test_never_more_than_the_slots_and_the_next_when_one_ends(rig: Rig) -> None:
    worker = rig.worker(slots=2)
    executions = [rig.execution() for _ in range(3)]
    first, second = worker.wait("grant"), worker.wait("grant")
    assert [g.body["execution"] for g in (first, second)] == executions[:2]
    for grant in (first, second):
        worker.accept(grant.attempt)
    last = rig.until(lambda: r if (r := rig.look(executions[2])).reason == "all_busy" else None, "its reason")
    assert last.reason_args == {"environment": "This machine", "slots": 2, "position": 1}
    assert grants(rig) == 2
    worker.end(first.attempt)
    assert worker.wait("grant", lambda m: m.body["execution"] == executions[2])


@pytest.mark.parametrize("state", ["draining", "silent", "lost"])
def test_only_active_workers_are_granted_anything(still_rig: Rig, state: str) -> None:
    rig = still_rig
    with rig.db.begin(SYSTEM) as session:
        row = session.get_one(Worker, rig.ground.worker)
        # Its last beat is ahead, so that the draining one does not fall silent before it is looked at.
        row.state, row.left_at, row.last_beat_at = state, None, utc_now() + timedelta(minutes=1)
    rig.start()
    try:
        execution = rig.execution()
        wanted = "worker_draining" if state == "draining" else "worker_silent"
        rig.until(lambda: rig.look(execution).reason == wanted, wanted)
        assert grants(rig) == 0
    finally:
        rig.stop()


def test_a_draining_worker_is_told_so_and_gets_nothing_more(rig: Rig) -> None:
    worker = rig.worker()
    with rig.db.begin(SYSTEM) as session:
        session.get_one(Worker, worker.id).state = "draining"
    worker.beat()
    worker.wait("drain")
    rig.execution()
    worker.nothing("grant")


def test_a_group_that_is_switched_off_grants_nothing_and_says_so(rig: Rig) -> None:
    rig.worker()
    with rig.db.begin(SYSTEM) as session:
        session.get_one(WorkerGroup, rig.ground.group).enabled = False
    execution = rig.execution()
    rig.until(lambda: rig.look(execution).reason == "group_disabled", "its reason")


def test_without_a_machine_it_says_so(rig: Rig) -> None:
    execution = rig.execution()
    row = rig.until(lambda: r if (r := rig.look(execution)).reason == "no_worker_in_group" else None, "its reason")
    assert row.reason_args == {"environment": "This machine"}


def test_an_execution_of_which_no_job_can_be_made_ends_and_does_not_block_the_others(rig: Rig) -> None:
    worker = rig.worker(slots=1)
    broken = rig.execution(options={"mounts": [{"nonsense": True}]}, priority=9)
    huge = rig.execution(interpolated_command="x" * 5_000_000, priority=8)
    good = rig.execution()
    assert worker.wait("grant").body["execution"] == good
    for execution in (broken, huge):
        ended = rig.state(execution, "error")
        assert ended.reason == "job_impossible"


def test_projects_share_the_slots_however_long_one_queue_is(still_rig: Rig) -> None:
    rig = still_rig
    other = uuid7()
    with rig.db.begin(SYSTEM) as session:
        session.add(Project(id=other, organization_id=rig.ground.organization, name="q", created_at=utc_now()))
    first = [rig.execution() for _ in range(30)]
    second = [rig.execution(project_id=other, counter=1000 + i) for i in range(5)]
    rig.start()
    try:
        worker = rig.worker(slots=10)
        rig.until(lambda: grants(rig) == 10, "ten grants")
        with rig.db.read(SYSTEM) as session:
            running = set(session.scalars(select(Execution.id).where(Execution.attempt_number > 0)))
        assert len(running & set(second)) == 5
        assert running & set(first) == set(first[:5])
        assert worker.wait("grant")
    finally:
        rig.stop()


def test_a_stopped_execution_is_not_granted(rig: Rig) -> None:
    execution = rig.execution()
    with rig.db.begin(SYSTEM) as session:
        session.get_one(Execution, execution).state = "stopped"
    rig.worker().nothing("grant")
