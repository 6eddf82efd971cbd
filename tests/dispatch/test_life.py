"""One execution's life over a real Redis and database: join, grant, accepted, event, end, ack."""

from __future__ import annotations

import json

from dispatch.rig import Rig
from worker_bootstrap.protocol import crypto


def test_an_execution_runs_from_grant_to_end(rig: Rig) -> None:
    worker = rig.worker()
    execution = rig.execution()
    grant = worker.wait("grant")
    assert (grant.body["execution"], grant.body["number"], grant.body["worker"]) == (execution, 1, worker.id)
    sealed = crypto.unb64(grant.body["secrets"])
    assert set(json.loads(worker.seal.open(sealed, grant.attempt.encode()))) >= {"env", "mask", "relay_token"}
    worker.accept(grant.attempt)
    rig.state(execution, "started")
    worker.event(grant.attempt, "phase", phase="running", detail="")
    worker.end(grant.attempt)
    worker.wait_ack(3)
    ended = rig.look(execution)
    assert (ended.state, ended.reason, ended.exit_code) == ("complete", "done", 0)
    (attempt,) = rig.attempts(execution)
    assert attempt.state == "ended"
    assert attempt.outcome == "complete"
