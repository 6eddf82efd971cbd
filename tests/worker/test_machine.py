"""A machine: whether it may serve, whom it listens to, and when it powers itself off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from worker.fake_master import Record
from worker.rig import Rig
from worker_bootstrap.protocol import codec, crypto, names, typed
from worker_bootstrap.protocol.messages import Batch, Drain, Envelope

pytestmark = pytest.mark.needs("engine")
ROOT = Path(__file__).resolve().parents[2]
MAIN = "worker_bootstrap.agent.__main__"
NOBODY = 65534
Make = Callable[..., Rig]


def logged(rig: Rig, text: str) -> None:
    rig.master.wait(lambda: text in rig.agent.log, f"{text!r} in the agent's log; it has: {rig.agent.log[-2000:]}", 20)


@pytest.fixture
def joined(make_rig: Make, tmp_path: Path) -> Rig:
    """One that would write a file instead of powering off, after 1.5 s without a word."""
    off = [sys.executable, "-c", f"open({str(tmp_path / 'off')!r}, 'w')"]
    rig = make_rig(slots=1, max_offline=1.5, lease_lost_after=60.0, power_off=off, rejoin_after=0.5)
    rig.agent.start()
    assert rig.master.worker
    return rig


# ---- root ---------------------------------------------------------------------------------------------
@pytest.fixture
def nobodys_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="remora-nobody-"))
    os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def run_as_nobody(home: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    base = {"queue_url": "redis://127.0.0.1:1", "join_password": "p", "join_secret": "s", "group": "g", "name": "n"}
    path = home / "agent.json"
    path.write_text(json.dumps(base | settings))
    path.chmod(0o600)
    os.chown(path, NOBODY, NOBODY)
    # Its Python need not be one that everybody may read: the rights are dropped when it has been loaded.
    drop = f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    command = [sys.executable, "-c", f"import os, encodings.idna; from {MAIN} import main; {drop}; main()"]
    command += ["--home", str(home)]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2.5)
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(command, -1, "", (error.stderr or b"").decode())


@pytest.mark.needs("root")
def test_without_root_it_refuses_to_join_and_says_what_to_do(nobodys_home: Path) -> None:
    done = run_as_nobody(nobodys_home)
    assert done.returncode == 78
    assert "Containers can reach this machine and its metadata service: there are no firewall rules." in done.stderr
    assert "Remedy: run the agent as root; only the agent of the embedded group may go without" in done.stderr


@pytest.mark.needs("root")
def test_the_embedded_groups_agent_may_go_without(nobodys_home: Path) -> None:
    """It gets as far as the engine, which nobody may not use."""
    done = run_as_nobody(nobodys_home, allow_without_firewall=True)
    assert done.returncode == -1, done.stderr
    assert "no firewall rules" not in done.stderr.split("waiting:")[0]
    assert "waiting: " in done.stderr


# ---- whom it listens to -------------------------------------------------------------------------------
def test_a_newer_protocol_is_refused_with_a_sentence(rig: Rig) -> None:
    worker = rig.master.worker
    message = Envelope("1", "drain", "installation-of-the-test", worker, 0.0, {}, protocol=9)
    entry = codec.sign_entry(rig.master.key, typed.dumps(Batch([message])))
    rig.queue.client().xadd(names.inbox(worker), entry)
    logged(rig, "batch refused: protocol 9 is not spoken here, only 1 to 1: this side needs a newer release")
    assert rig.run("echo still here").ends[0].outcome == "complete"


def test_only_the_masters_signature_counts(rig: Rig) -> None:
    job = rig.job("echo never")
    rig.master.send(job.worker, "grant", job, job.attempt, key=crypto.SigningKey.generate())
    logged(rig, "batch refused: unknown key")
    assert rig.run("echo still here").ends[0].outcome == "complete"
    assert not (rig.agent.home / "work" / job.attempt).exists()


@pytest.mark.security("N18")
def test_a_job_for_another_worker_is_refused(rig: Rig) -> None:
    job = replace(rig.job("echo never"), worker="another")
    rig.master.send(rig.master.worker, "grant", job, job.attempt)
    logged(rig, f"grant refused: job of attempt {job.attempt} for worker another")


def test_secrets_that_are_sealed_to_another_machine(rig: Rig) -> None:
    other = crypto.seal(crypto.SealKey.generate().public, b"{}", b"x")
    record = rig.master.grant(replace(rig.job("echo never"), secrets=crypto.b64(other)))
    rig.master.wait(lambda: record.accepted, "the answer")
    assert record.accepted[0].refused == "bad_job"


@pytest.mark.security("N17")
def test_an_old_attempt_is_not_run_after_a_newer_one(rig: Rig) -> None:
    newer = rig.job("echo newer", execution="same", number=2)
    rig.master.ended(rig.master.grant(newer))
    rig.master.grant(rig.job("echo older", execution="same", number=1))
    logged(rig, "grant refused: attempt number 1 is not newer than one that is known here")


def test_a_stop_for_something_unknown_is_answered(rig: Rig) -> None:
    record = Record(replace(rig.job("echo never"), attempt="unknown"))
    rig.master.records["unknown"] = record
    rig.master.stop(record)
    end = rig.master.ended(record)
    assert (end.outcome, end.reason) == ("unknown", "worker_forgot")


def test_a_drained_machine_ends_its_work_takes_no_more_and_leaves(make_rig: Make) -> None:
    rig = make_rig(slots=2)
    rig.agent.start()
    record = rig.master.grant(rig.job("echo up; until [ -e /valohai/outputs/go ]; do sleep 0.1; done"))
    rig.master.wait_line(record, "up")
    rig.master.send(rig.master.worker, "drain", Drain("no longer needed"))
    rig.master.wait(lambda: rig.master.beats[-1][2].draining, "a draining beat")
    late = rig.master.grant(rig.job("echo never"))
    rig.master.wait(lambda: late.accepted, "the refusal")
    assert late.accepted[0].refused == "draining" and rig.master.beats[-1][2].free == 0
    (rig.agent.home / "work" / record.job.attempt / "outputs" / "go").touch()
    assert rig.master.ended(record).outcome == "complete"
    assert rig.agent.wait(15) == 0


def test_a_beat_counts_what_was_said(rig: Rig) -> None:
    """While the master has not committed up to there, an attempt that is not listed may have ended."""
    rig.run("true")
    worker = rig.master.worker
    rig.master.wait(lambda: rig.master.beats[-1][2].seq == rig.master.last_seq[worker] > 0, "a beat with that number")


# ---- dead-man -----------------------------------------------------------------------------------------
def test_a_machine_that_is_cut_off_powers_off(joined: Rig, tmp_path: Path) -> None:
    joined.queue.kill()
    joined.master.wait((tmp_path / "off").exists, "the power-off", 20)
    logged(joined, "powering off")


def test_it_never_powers_off_while_a_container_runs(joined: Rig, tmp_path: Path) -> None:
    rig = joined
    command = "echo up; until [ -e /valohai/outputs/go ]; do sleep 0.1; done"
    record = rig.master.grant(rig.job(command, limits={"log_spool_bytes": 1 << 30}))
    rig.master.wait_line(record, "up")
    rig.queue.kill()
    logged(rig, "the queue is away")
    with pytest.raises(AssertionError, match="in vain"):
        rig.master.wait((tmp_path / "off").exists, "the power-off", 3.5)
    assert rig.container(record)["State"]["Running"]


def test_a_machine_that_never_joins_powers_off(make_rig: Make, tmp_path: Path) -> None:
    off = [sys.executable, "-c", f"open({str(tmp_path / 'off')!r}, 'w')"]
    rig = make_rig(slots=1, max_offline=1.5, power_off=off, join_wait=0.5)
    rig.master.join_answers = False
    rig.agent.start()
    rig.master.wait((tmp_path / "off").exists, "the power-off", 20)
    assert not rig.master.workers
    logged(rig, "not joined yet: no answer in 0 s: is the master running")


def test_a_machine_that_is_refused_says_why(make_rig: Make) -> None:
    rig = make_rig(slots=1)
    rig.master.join_error = "this group takes no more machines"
    rig.agent.start()
    logged(rig, "not joined yet: the master refused this machine: this group takes no more machines")


def test_only_one_agent_uses_a_folder(rig: Rig) -> None:
    command = [sys.executable, "-m", "worker_bootstrap.agent", "--home", str(rig.agent.home)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, "another agent uses" in done.stderr) == (78, True)
