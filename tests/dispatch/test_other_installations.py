"""Whoever owns the queue of one installation has no say in another one's executions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.clock import utc_now
from controlplane.db.session import SYSTEM
from controlplane.environments.importing import Importer, parse_document
from controlplane.environments.references import References
from controlplane.security.vault import Vault
from dispatch.fake_worker import TIME, FakeWorker
from dispatch.rig import PASSWORDS, RedisServer, Rig
from worker_bootstrap.protocol import codec, names
from worker_bootstrap.protocol.messages import End, Event

SECRET = "s" * 32


@pytest.fixture
def elsewhere(still_rig: Rig, tmp_path: Path) -> Iterator[RedisServer]:
    """The queue of a second installation, which the loops read beside the first one's from their start on."""
    rig = still_rig
    server = RedisServer(tmp_path / "elsewhere")
    server.start()
    (tmp_path / "password").write_text(PASSWORDS["master"])
    (tmp_path / "secret").write_text(SECRET)
    group = {"slug": "elsewhere", "name": "Elsewhere", "join_secret": f"file:{tmp_path / 'secret'}"}
    document = {
        "name": "elsewhere",
        "flavour": "on_prem",
        "provider": "ssh",
        "queue": {"url": server.address, "password": f"file:{tmp_path / 'password'}"},
        "stores": [{"name": "data", "purpose": "data", "kind": "folder", "location": str(tmp_path / "data")}],
        "groups": [group],
    }
    vault = Vault.from_file(rig.settings.keys_dir / "secret.key")
    with rig.db.begin(SYSTEM) as session:
        importer = Importer(vault, References({}, tmp_path / "queues", utc_now), utc_now)
        importer.run(session, parse_document(json.dumps(document)))
    rig.start()
    yield server
    rig.stop()
    server.stop()


@pytest.mark.security("N17")
def test_events_that_are_forged_in_another_installations_queue_change_nothing(
    still_rig: Rig, elsewhere: RedisServer
) -> None:
    rig, worker = still_rig, still_rig.worker()
    execution = rig.execution()
    attempt = worker.wait("grant").attempt
    worker.accept(attempt)
    rig.state(execution, "started")
    with rig.beating(worker, lambda: [attempt]):
        forge(worker, attempt, elsewhere)
        worker.event(attempt, "phase", phase="running", detail="")
        worker.wait_ack()
        assert rig.look(execution).state == "started"
        assert len(rig.attempts(execution)) == 1
        worker.end(attempt)
        rig.state(execution, "complete")


def forge(worker: FakeWorker, attempt: str, elsewhere: RedisServer) -> None:
    """Say the end of this worker's attempt in every way that the owner of the other queue has, and be read."""
    owner = FakeWorker(elsewhere.address, PASSWORDS["join"], "elsewhere", SECRET)
    assert not owner.join().error
    owner.hello()
    end = End("error", "step_failed", TIME, 1)
    owner.say("end", attempt, end)
    theirs = {"worker": worker.id, "installation": worker.reply.installation}
    owner.send(owner.envelope("end", end, attempt, worker.seq + 1, **theirs))
    # Where the other worker would speak if it had its queue here; even by that worker's own key, should it be known.
    everything = owner.client("admin", PASSWORDS["admin"])
    said = [worker.envelope("end", end, attempt, worker.seq + 1)]
    for key in (owner.signing, worker.signing):
        everything.xadd(names.outbox(worker.id), codec.encode(key, said))
    owner.say("event", attempt, Event("phase", TIME, {"phase": "running", "detail": "by somebody else"}))
    owner.wait_ack(2)
