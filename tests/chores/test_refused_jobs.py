"""Redis can name what it likes: one function runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Callback, Queue
from rq.job import Job

from chores.rig import ChoreRig
from controlplane.chores.queue import FUNCTION, QUEUE
from controlplane.db.ids import uuid7

pytestmark = pytest.mark.needs("redis")


def _queue(rig: ChoreRig, serializer: str = "json") -> Queue:
    """RQ itself, as the chores' own user."""
    connection = redis.Redis.from_url(rig.settings.chores.get_secret_value())
    return Queue(QUEUE, connection=connection, serializer=serializer)


def _hostile(rig: ChoreRig, name: str, queue: Queue, proof: Path) -> Job:
    command = f"touch {proof}"
    options: dict[str, Any] = {
        "function": {"func": "os.system", "args": (command,)},
        "pickle": {"func": os.system, "args": (command,)},
        "callback": {
            "func": "os.getpid",
            "on_failure": Callback("os.system"),
            "on_success": Callback("os.system"),
        },
        "argument": {"func": FUNCTION, "args": (command,)},
        "keyword": {"func": FUNCTION, "args": (uuid7(),), "kwargs": {"command": command}},
    }
    return queue.enqueue_call(**options[name])


@pytest.mark.parametrize("name", ["function", "pickle", "callback", "argument", "keyword"])
def test_a_job_of_another_function_is_refused(rig: ChoreRig, name: str) -> None:
    proof = rig.folder / "proof"
    job = _hostile(rig, name, _queue(rig, "pickle" if name == "pickle" else "json"), proof)
    rig.start_process()
    refused = rig.until(lambda: rig.events("chore_job_refused"), f"the refusal; log:\n{rig.log()}")
    assert refused[0]["job"] == job.id
    if name == "function":
        assert refused[0]["why"] == "it names 'os.system'; only 'chore' is allowed"
    # The process goes on, and nothing is left of the job.
    rig.start_relay()
    rig.let_go()
    assert rig.ended(rig.ask_here("waits")).state == "done"
    assert not proof.exists()
    assert not rig.server.admin().exists(job.key, "rq:queue:chores:intermediate")


def test_callbacks_of_an_honest_job_are_not_run(rig: ChoreRig) -> None:
    proof = rig.folder / "proof"
    chore = rig.ask_here("gives-up")
    _queue(rig).enqueue_call(
        FUNCTION,
        args=(chore,),
        job_id=f"touch-{chore}",
        on_success=Callback("chores.test_refused_jobs.leave_proof"),
        on_failure=Callback("chores.test_refused_jobs.leave_proof"),
        meta={"proof": str(proof)},
    )
    rig.start_process()
    assert rig.ended(chore).state == "failed"
    rig.start_relay()
    rig.let_go()
    assert rig.ended(rig.ask_here("waits")).state == "done"
    assert not proof.exists()
    assert "leave_proof" not in rig.log()


def leave_proof(job: Job, *_: Any) -> None:
    Path(job.meta["proof"]).touch()


def test_a_job_for_no_chore_does_nothing(rig: ChoreRig) -> None:
    nobody = uuid7()
    _queue(rig).enqueue_call(FUNCTION, args=(nobody,))
    rig.start_process()
    assert rig.until(lambda: rig.events("chore_not_taken"), "the log")[0]["chore"] == nobody
