"""Once and in order: resends, holes, duplicates, forgeries, poison, stops."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import func, select

from controlplane.audit.models import AuditEvent
from controlplane.db.session import SYSTEM
from controlplane.executions.models import ExecutionEvent, MetadataPoint
from dispatch.fake_worker import FakeWorker
from dispatch.rig import Rig
from worker_bootstrap.protocol import codec, names
from worker_bootstrap.protocol.messages import Accepted, Beat, End, Event


def started(rig: Rig, **values: object) -> tuple[FakeWorker, str, str]:
    """(worker, execution, attempt) of an execution that runs."""
    worker = rig.worker()
    execution = rig.execution(**values)
    attempt = worker.wait("grant").attempt
    worker.accept(attempt)
    rig.state(execution, "started")
    return worker, execution, attempt


def point(number: int) -> Event:
    time = f"2026-03-01T12:00:00.{number:06}"
    return Event("metadata", time, {"points": [[time, {"n": number}]], "sampled": 0})


def numbers(rig: Rig, execution: str) -> list[int]:
    with rig.db.read(SYSTEM) as session:
        query = select(MetadataPoint.data).where(MetadataPoint.execution_id == execution).order_by(MetadataPoint.at)
        return [data["n"] for data in session.scalars(query)]


def test_a_grant_is_sent_again_until_it_is_accepted_with_the_same_bytes(rig: Rig) -> None:
    worker = rig.worker()
    rig.execution()
    first, second = worker.wait("grant"), worker.wait("grant")
    assert (first.attempt, first.body) == (second.attempt, second.body)
    worker.accept(first.attempt)
    worker.wait_ack()
    worker.inbox.clear()
    worker.nothing("grant", 0.8)


def test_after_a_hole_nothing_is_applied_until_the_worker_sends_again(rig: Rig) -> None:
    worker, execution, attempt = started(rig)
    worker.wait_ack()
    worker.inbox.clear()
    lost = worker.next("event", attempt, point(1))
    late = worker.next("event", attempt, point(2))
    worker.send(late)
    worker.nothing("ack", 0.5)
    assert numbers(rig, execution) == []
    worker.send(lost, late)
    worker.wait_ack()
    assert numbers(rig, execution) == [1, 2]


def test_what_comes_twice_counts_once_and_is_acknowledged_again(rig: Rig) -> None:
    worker, execution, attempt = started(rig)
    message = worker.say("event", attempt, point(1))
    worker.wait_ack()
    worker.acked = 0
    worker.send(message, message)
    worker.wait_ack()
    assert numbers(rig, execution) == [1]


@pytest.mark.security("N17", "N18")
def test_batches_of_another_key_and_words_in_anothers_name_do_nothing(rig: Rig) -> None:
    worker, execution, attempt = started(rig)
    other = rig.worker()
    worker.send(worker.envelope("end", End("complete", "done", "t", 0), attempt, 2), key=other.signing)
    other.send(other.envelope("end", End("complete", "done", "t", 0), attempt, 1, worker=worker.id))
    other.say("end", attempt, End("complete", "done", "t", 0))
    other.wait_ack()
    worker.redis.xadd(names.outbox(worker.id), {"batch": b"{" * 100, "sig": b"x" * 64, "key": b"k"})
    deep = b'{"messages":' + b"[" * 30 + b"]" * 30 + b"}"
    worker.redis.xadd(names.outbox(worker.id), codec.sign_entry(worker.signing, deep))
    worker.event(attempt, "phase", phase="running", detail="")
    worker.wait_ack(2)
    assert rig.look(execution).state == "started"
    with rig.db.read(SYSTEM) as session:
        assert session.scalar(select(AuditEvent.action).where(AuditEvent.action == "worker.unusable_messages"))


def test_a_poison_message_is_skipped_and_acknowledged(rig: Rig) -> None:
    worker, execution, attempt = started(rig)
    worker.say("event", attempt, {"kind": "metadata", "time": "t", "data": {"points": "no list"}})
    worker.say("event", attempt, {"kind": 5})
    worker.say("event", attempt, {"kind": "segment", "time": "t", "data": {"first": "x"}})
    worker.say("event", attempt, {"kind": "output", "time": "t", "data": {"name": "../../x", "size": -5}})
    worker.say("event", attempt, {"kind": "status", "time": "t", "data": {"message": "nul \0 in it"}})
    worker.send(worker.envelope("beat", {"free": "many"}), worker.envelope("hello", {}))
    worker.send(worker.envelope("beat", Beat(1, ["not an id", "x" * 5000], "no stream id")))
    worker.event(attempt, "metadata", points=[["2026-03-01T12:00:00.000001", {"n": 7}]], sampled=0)
    worker.wait_ack()
    assert numbers(rig, execution) == [7]
    assert rig.look(execution).state == "started"


def test_a_whole_life_in_one_batch_is_applied_but_for_the_message_that_is_no_use(rig: Rig) -> None:
    worker = rig.worker()
    execution = rig.execution()
    attempt = worker.wait("grant").attempt
    said = [
        ("accepted", Accepted()),
        ("event", Event("phase", "t", {"phase": "running"})),
        ("event", {"kind": "output", "time": "t", "data": {"name": "../../x", "size": -5}}),
        ("event", Event("status", "t", {"message": "nearly done"})),
        ("end", End("complete", "done", "t", 0, lines=0)),
    ]
    worker.send(*(worker.next(kind, attempt, body) for kind, body in said))
    worker.wait_ack()
    assert rig.look(execution).state == "complete"
    assert [a.state for a in rig.attempts(execution)] == ["ended"]
    with rig.db.read(SYSTEM) as session:
        query = select(ExecutionEvent.message).where(ExecutionEvent.execution_id == execution)
        told = list(session.scalars(query.order_by(ExecutionEvent.at, ExecutionEvent.id)))
        refused = select(AuditEvent.payload).where(AuditEvent.action == "worker.unusable_messages")
        skipped = [payload["messages_skipped"] for payload in session.scalars(refused)]
    assert told == ["started", "running", "nearly done", "complete"], "each once, in the order in which it was said"
    assert skipped == [1]


def test_an_end_that_cannot_be_read_fails_the_attempt_instead_of_leaving_it_open(rig: Rig) -> None:
    worker, execution, attempt = started(rig)
    worker.say("end", attempt, {"outcome": "complete"})
    again = worker.wait("grant", lambda m: m.attempt != attempt)
    assert again.body["number"] == 2
    assert rig.attempts(execution)[0].outcome == "failed"


def test_a_refused_job_is_tried_again_elsewhere(rig: Rig) -> None:
    first = rig.worker(slots=1)
    execution = rig.execution()
    grant = first.wait("grant")
    second = rig.worker(slots=1)
    first.say("accepted", grant.attempt, Accepted("disk_full", "3 bytes left"))
    assert second.wait("grant").body["number"] == 2
    assert rig.look(execution).attempt_number == 2


def test_a_running_execution_is_stopped_through_its_worker(rig: Rig) -> None:
    worker, execution, attempt = started(rig)
    with rig.db.begin(SYSTEM) as session:
        rows = rig.attempts(execution)
        row = session.get(type(rows[0]), attempt)
        execution_row = session.get(type(rig.look(execution)), execution)
        assert row and execution_row
        row.stop_reason, execution_row.state = "stopped_by_user", "stopping"
    stop = worker.wait("stop")
    assert (stop.attempt, stop.body["reason"]) == (attempt, "stopped_by_user")
    assert worker.wait("stop").attempt == attempt, "it is said again until the attempt has ended"
    worker.end(attempt, "stopped", "stopped_by_user", None)
    worker.wait_ack()
    assert rig.look(execution).state == "stopped"
    worker.inbox.clear()
    worker.nothing("stop", 0.7)


def test_a_worker_that_runs_what_was_never_granted_is_told_to_stop_it(rig: Rig) -> None:
    worker = rig.worker()
    stranger = "0198c5a0-0000-7000-8000-000000000000"
    worker.beat(stranger)
    stop = worker.wait("stop")
    assert (stop.attempt, stop.body["kill"]) == (stranger, True)


def test_an_attempt_that_the_machine_forgot_is_tried_again(rig: Rig) -> None:
    worker, execution, attempt = started(rig)
    worker.beat()
    worker.beat(attempt)
    worker.beat(seq=99)
    worker.beat()
    worker.wait_ack()
    assert rig.look(execution).state == "started", "no two beats in a row that count were without it"
    worker.beat()
    worker.beat()
    rig.until(lambda: rig.look(execution).attempt_number == 2, "the second attempt")
    assert rig.attempts(execution)[0].reason == "worker_forgot"


def test_both_streams_are_trimmed_and_the_tail_goes_after_the_end(rig: Rig) -> None:
    worker, _, attempt = started(rig)
    lines = codec.encode_lines([[1, "t", "stdout", "hello"]])
    worker.redis.xadd(names.tail(worker.id, attempt), codec.sign_entry(worker.signing, lines))
    worker.end(attempt)
    worker.wait_ack()
    worker.beat()
    admin = rig.server.admin()
    rig.until(lambda: admin.xlen(names.outbox(worker.id)) == 0, "an empty outbox")
    rig.until(lambda: admin.xlen(names.inbox(worker.id)) == 0, "an empty inbox")
    assert 0 < admin.ttl(names.tail(worker.id, attempt)) <= 600


def test_a_flood_of_messages_waits_and_none_is_lost(rig: Rig) -> None:
    worker, execution, attempt = started(rig)
    for start in range(0, 2000, 200):
        worker.send(*(worker.next("event", attempt, point(start + i)) for i in range(200)))
    worker.wait_ack(timeout=60)
    with rig.db.read(SYSTEM) as session:
        kept = session.scalar(
            select(func.count()).select_from(MetadataPoint).where(MetadataPoint.execution_id == execution)
        )
        assert kept == 50, "every point stands in one second of the attempt's time: the cap is 50"
        events = session.scalar(
            select(func.count()).select_from(ExecutionEvent).where(ExecutionEvent.execution_id == execution)
        )
        assert events
    assert json.dumps(rig.look(execution).cumulative_metadata)


def test_an_idle_worker_hears_of_its_master_now_and_then(rig: Rig) -> None:
    """Whoever never does takes itself for cut off, and powers its machine off."""
    worker = rig.worker()
    worker.wait("ack")
    worker.inbox.clear()

    def beats_and_hears() -> bool:
        worker.beat()
        return any(message.kind == "ack" for message in worker.listen())

    assert rig.until(beats_and_hears, "a word for an idle worker")
    worker.inbox.clear()
    worker.beat()
    worker.nothing("ack", rig.settings.silent_after / 3)
