"""Machines join, join again, and are refused; what a worker's Redis user may do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis
from sqlalchemy import select

from controlplane.audit.models import AuditEvent
from controlplane.db.session import SYSTEM
from dispatch.rig import Rig
from worker_bootstrap.protocol import crypto, names


def audit(rig: Rig) -> list[str]:
    with rig.db.read(SYSTEM) as session:
        return [row.action for row in session.scalars(select(AuditEvent).order_by(AuditEvent.at, AuditEvent.id))]


def test_a_machine_with_the_secret_gets_a_login_of_its_own(rig: Rig) -> None:
    worker = rig.worker()
    assert worker.reply.settings["beat_interval"] == 0.25
    assert rig.worker_row(worker.id).slots == 2
    assert "worker.joined" in audit(rig)


@pytest.mark.security("N19")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"join_secret": "wrong"}, "The group or its join secret is wrong: check both on this machine."),
        ({"group": "elsewhere"}, "The group or its join secret is wrong: check both on this machine."),
        ({"slots": 0}, "slots: 1 to 1024 are allowed, 0 are asked for."),
    ],
)
def test_a_refusal_is_told_sealed_and_audited(rig: Rig, changes: dict[str, object], says: str) -> None:
    worker = rig.worker(joined=False, **changes)
    assert worker.join().error == says
    assert "worker.join_refused" in audit(rig)
    assert not any(name.startswith("worker-") for name in rig.server.admin().acl_users())


def test_another_protocol_is_refused_with_the_remedy(rig: Rig) -> None:
    reply = rig.worker(joined=False).join(protocol=9)
    assert "install the agent's release that belongs to this master" in reply.error


@pytest.mark.security("N19")
def test_a_request_that_another_key_signed_gets_no_answer(rig: Rig) -> None:
    worker = rig.worker(joined=False)
    request = worker.request()
    worker.send_join(request, key=crypto.SigningKey.generate())
    assert worker.wait_reply(request, timeout=0.8) is None
    assert not worker.join().error, "the loop went on"


@pytest.mark.security("N08")
def test_nobody_joins_while_the_default_user_is_on(rig: Rig) -> None:
    rig.server.admin().execute_command("ACL", "SETUSER", "default", "on", "nopass")
    worker = rig.worker(joined=False)
    request = worker.request()
    worker.send_join(request)
    assert worker.wait_reply(request, timeout=0.8) is None
    rig.server.admin().execute_command("ACL", "SETUSER", "default", "off")
    assert worker.wait_reply(request) is not None


def test_the_same_machine_with_the_same_key_stays_the_same_worker(rig: Rig) -> None:
    worker = rig.worker()
    before, old = worker.id, worker.redis
    assert worker.join().worker == before
    worker.beat()
    with pytest.raises(redis.AuthenticationError):
        old.connection_pool.disconnect()
        old.xread({names.inbox(before): "0-0"})


def test_a_machine_that_lost_its_keys_is_a_new_worker_and_its_attempts_are_lost(rig: Rig) -> None:
    worker = rig.worker(slots=1)
    execution = rig.execution()
    grant = worker.wait("grant")
    worker.accept(grant.attempt)
    rig.state(execution, "started")
    before = worker.id
    worker.signing, worker.seal, worker.seq, worker.position = crypto.SigningKey.generate(), worker.seal, 0, "0-0"
    worker.inbox.clear()
    assert worker.join().worker != before
    assert (rig.worker_row(before).state, rig.worker_row(before).left_at is not None) == ("left", True)
    worker.hello()
    again = worker.wait("grant")
    assert again.body["number"] == 2
    assert [attempt.outcome for attempt in rig.attempts(execution)] == ["lost", ""]
    assert names.worker_user(before) not in rig.server.admin().acl_users()


@pytest.mark.security("N19")
def test_somebody_without_the_secret_cannot_replace_a_machines_keys(rig: Rig) -> None:
    worker = rig.worker()
    thief = rig.worker(joined=False, machine=worker.machine, join_secret="guess")
    assert thief.join().error
    assert rig.worker_row(worker.id).signing_key == crypto.b64(worker.signing.public)


@pytest.mark.security("N18")
def test_a_worker_reads_its_inbox_and_appends_to_its_streams_and_nothing_else(rig: Rig) -> None:
    worker, other = rig.worker(), rig.worker()
    worker.redis.xadd(names.tail(worker.id, "x"), {"batch": b"1"})
    forbidden = [
        lambda: worker.redis.xread({names.inbox(other.id): "0-0"}),
        lambda: worker.redis.xread({names.outbox(worker.id): "0-0"}),
        lambda: worker.redis.xadd(names.outbox(other.id), {"a": b"1"}),
        lambda: worker.redis.xadd(names.inbox(worker.id), {"a": b"1"}),
        lambda: worker.redis.xadd(names.JOIN_STREAM, {"a": b"1"}),
        lambda: worker.redis.xtrim(names.outbox(worker.id), maxlen=0),
        lambda: worker.redis.delete(names.outbox(worker.id)),
        lambda: worker.redis.execute_command("ACL", "LIST"),
        lambda: worker.redis.eval("return 1", 0),
        lambda: worker.redis.keys("*"),
        lambda: worker.redis.info(),
        lambda: worker.redis.execute_command("CONFIG", "GET", "*"),
    ]
    for call in forbidden:
        with pytest.raises(redis.exceptions.NoPermissionError):
            call()


@pytest.mark.security("N19")
def test_the_join_user_may_only_ask(rig: Rig) -> None:
    joiner = rig.worker(joined=False).client("join", rig.worker(joined=False)._join_password)
    for call in (
        lambda: joiner.xread({names.JOIN_STREAM: "0-0"}),
        lambda: joiner.xadd("in:x", {"a": b"1"}),
        lambda: joiner.xadd("joined:x", {"a": b"1"}),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            call()


@pytest.mark.security("N19")
def test_a_request_that_is_handled_twice_gets_the_same_login(still_rig: Rig) -> None:
    """A crash between the commit and the end of the answer: the request is read again."""
    rig = still_rig
    worker = rig.worker(joined=False)
    request = worker.request()
    worker.send_join(request)
    worker.send_join(request)
    rig.start()
    try:
        first = worker.wait_reply(request)
        rig.until(lambda: rig.server.admin().xlen(names.JOIN_STREAM) == 0, "the second one")
        second = worker.wait_reply(request)
        assert first == second
        assert replace(first, queue_password="") != first
    finally:
        rig.stop()
