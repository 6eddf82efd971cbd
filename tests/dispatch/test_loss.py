"""Silent and lost workers, late ones, a queue that is away or has forgotten everything, two masters."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import redis
from sqlalchemy import func, select

from controlplane.db.session import SYSTEM
from controlplane.executions.models import Attempt
from controlplane.processes.loops import Loops, build_parts
from dispatch.rig import Rig
from worker_bootstrap.protocol import names


@pytest.mark.security("N17")
def test_a_lost_workers_execution_runs_elsewhere_and_the_late_one_is_stopped(rig: Rig) -> None:
    first = rig.worker(slots=1)
    execution = rig.execution()
    attempt = first.wait("grant").attempt
    first.accept(attempt)
    rig.state(execution, "started")
    second = rig.worker(slots=1)
    with rig.beating(second):
        rig.until(lambda: rig.worker_row(first.id).state == "silent", "silence")
        assert rig.look(execution).state == "started"
        again = second.wait("grant", timeout=10)
    assert (again.body["number"], rig.worker_row(first.id).state) == (2, "lost")
    second.accept(again.attempt)
    # The late one: its words count no more, and what it runs is stopped.
    first.event(attempt, "metadata", points=[["2026-03-01T12:00:00.000001", {"late": 1}]], sampled=0)
    first.end(attempt)
    first.beat(attempt)
    stop = first.wait("stop", lambda m: m.attempt == attempt)
    assert (stop.body["reason"], stop.body["kill"]) == ("superseded", True)
    second.end(again.attempt)
    second.wait_ack()
    ended = rig.look(execution)
    assert (ended.state, ended.attempt_number, ended.cumulative_metadata) == ("complete", 2, {})


def test_a_late_worker_keeps_its_attempt_while_no_newer_one_was_granted(rig: Rig) -> None:
    worker = rig.worker(slots=1)
    execution = rig.execution()
    attempt = worker.wait("grant").attempt
    worker.accept(attempt)
    worker.event(attempt, "phase", phase="running", detail="")
    rig.state(execution, "started")
    rig.state(execution, "queued")
    assert rig.look(execution).reason == "retrying"
    worker.hello(attempt)
    worker.beat(attempt)
    assert rig.state(execution, "started").attempt_number == 1
    worker.end(attempt)
    worker.wait_ack()
    assert rig.look(execution).state == "complete"


def test_a_late_end_counts_when_nobody_else_runs_it(rig: Rig) -> None:
    worker = rig.worker(slots=1)
    execution = rig.execution()
    attempt = worker.wait("grant").attempt
    worker.accept(attempt)
    rig.state(execution, "started")
    rig.state(execution, "queued")
    worker.end(attempt)
    worker.wait_ack()
    assert (rig.look(execution).state, len(rig.attempts(execution))) == ("complete", 1)


def test_nobody_is_lost_while_the_queue_is_away(rig: Rig) -> None:
    worker = rig.worker(slots=1)
    execution = rig.execution()
    attempt = worker.wait("grant").attempt
    worker.accept(attempt)
    rig.state(execution, "started")
    os.kill(rig.server.pid, signal.SIGSTOP)
    try:
        waiting = rig.execution()
        time.sleep(rig.settings.lost_after + rig.settings.silent_after)
        row = rig.worker_row(worker.id)
        assert (row.state, rig.look(execution).state) == ("active", "started")
        assert rig.look(waiting).state == "queued"
        assert rig.look(waiting).reason == "queue_unreachable"
    finally:
        os.kill(rig.server.pid, signal.SIGCONT)
    worker.beat(attempt)
    worker.end(attempt)
    worker.wait_ack(timeout=15)
    assert rig.look(execution).state == "complete"


def test_a_queue_that_forgot_everything_is_made_whole(rig: Rig) -> None:
    worker = rig.worker(slots=2)
    running = rig.execution()
    attempt = worker.wait("grant").attempt
    worker.accept(attempt)
    worker.wait_ack()
    rig.server.restart()

    def login_works() -> bool:
        try:
            worker.redis.ping()
        except redis.RedisError:
            return False
        return True

    rig.until(login_works, "the worker's user", 15)
    worker.position = "0-0"
    waiting = rig.execution()
    worker.beat(attempt)
    again = worker.wait("grant", lambda m: m.body["execution"] == waiting, timeout=15)
    worker.accept(again.attempt)
    worker.end(again.attempt)
    worker.end(attempt)
    worker.wait_ack(timeout=15)
    assert {rig.look(e).state for e in (running, waiting)} == {"complete"}


def test_a_flushed_queue_delivers_an_unaccepted_grant_again(rig: Rig) -> None:
    worker = rig.worker()
    execution = rig.execution()
    worker.wait("grant")
    rig.server.admin().flushall()
    worker.position, worker.inbox = "0-0", []
    grant = worker.wait("grant")
    assert grant.body["execution"] == execution
    assert rig.server.admin().exists(names.inbox("master"))


def test_two_masters_make_one_attempt_each(rig: Rig) -> None:
    other = build_parts(rig.settings)
    stop = threading.Event()
    second = threading.Thread(target=Loops(other).run, args=(stop,), daemon=True)
    second.start()
    try:
        worker = rig.worker(slots=20)
        executions = [rig.execution() for _ in range(10)]
        grants = {worker.wait("grant").attempt for _ in executions}
        while len(grants) < 10:
            grants.add(worker.wait("grant").attempt)
        for attempt in grants:
            worker.accept(attempt)
            worker.end(attempt)
        worker.wait_ack()
        with rig.db.read(SYSTEM) as session:
            assert session.scalar(select(func.count()).select_from(Attempt)) == 10
        # The first one ends; the second one takes over.
        rig.stop()
        execution = rig.execution()
        grant = worker.wait("grant", lambda m: m.body["execution"] == execution)
        worker.accept(grant.attempt)
        worker.end(grant.attempt)
        rig.state(execution, "complete")
    finally:
        stop.set()
        second.join(30)
        other.db.engine.dispose()
