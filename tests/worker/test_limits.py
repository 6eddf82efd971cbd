"""How an attempt is ended: by people, by its limits, by the kernel; and how many run at once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from worker.fake_master import Record
from worker.rig import Rig

pytestmark = pytest.mark.needs("engine")
HANDLER = """
import signal, sys, time
def seen(number, frame):
    print("got", signal.Signals(number).name, flush=True)
    if signal.Signals(number).name in sys.argv[1:]:
        open("/valohai/outputs/saved", "w").write("saved")
        sys.exit(9)
signal.signal(signal.SIGINT, seen)
signal.signal(signal.SIGTERM, seen)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def one_slot(make_module_rig: Any) -> Rig:
    rig = make_module_rig(slots=1)
    rig.agent.start()
    return rig


def start(rig: Rig, *ends_at: str) -> Record:
    """A command that tells which signals it gets, and ends at one of these."""
    job = rig.job(f"python handler.py {' '.join(ends_at)}", files={"handler.py": HANDLER})
    record = rig.master.grant(job)
    rig.master.wait_line(record, "ready")
    return record


def test_a_stop_is_a_sigint_and_what_was_saved_is_stored(rig: Rig) -> None:
    record = start(rig, "SIGINT")
    rig.master.stop(record)
    end = rig.master.ended(record)
    assert (end.outcome, end.reason) == ("stopped", "stopped_by_user")
    assert rig.lines(record, "stdout") == ["ready", "got SIGINT"]
    assert set(record.outputs) == {"saved"}


def test_after_the_grace_comes_sigterm(rig: Rig) -> None:
    record = start(rig, "SIGTERM")
    rig.master.stop(record)
    assert rig.master.ended(record).outcome == "stopped"
    assert rig.lines(record, "stdout") == ["ready", "got SIGINT", "got SIGTERM"]


def test_a_process_that_ignores_signals_is_killed(rig: Rig) -> None:
    record = start(rig)
    began = time.monotonic()
    rig.master.stop(record)
    end = rig.master.ended(record)
    assert time.monotonic() - began >= 2 * record.job.limits.stop_grace
    assert (end.outcome, end.exit_code) == ("stopped", 137)
    assert rig.lines(record, "stdout") == ["ready", "got SIGINT", "got SIGTERM"]
    said = [line for line in rig.lines(record, "status") if line.startswith("Ending the command")]
    assert said == [f"Ending the command: {name}." for name in ("SIGINT", "SIGTERM", "SIGKILL")]


def test_a_kill_skips_the_grace(rig: Rig) -> None:
    record = start(rig)
    rig.master.stop(record, kill=True)
    assert rig.master.ended(record).exit_code == 137
    assert rig.lines(record, "stdout") == ["ready"]


def test_a_signal_reaches_the_commands_children(rig: Rig) -> None:
    """The shell that runs the lines of a command is not in the way."""
    command = "echo before\nsh -c 'python handler.py SIGINT; true'\necho after"
    record = rig.master.grant(rig.job(command, files={"handler.py": HANDLER}))
    rig.master.wait_line(record, "ready")
    rig.master.stop(record)
    rig.master.ended(record)
    assert "got SIGINT" in rig.lines(record, "stdout")
    assert "after" not in rig.lines(record, "stdout")


def test_the_time_limit(rig: Rig) -> None:
    record = rig.run("while true; do echo tick; sleep 0.1; done", limits={"time_limit": 1.0})
    assert (record.ends[0].outcome, record.ends[0].reason) == ("error", "time_limit")
    assert "tick" in rig.lines(record, "stdout")


def test_no_output_for_too_long(rig: Rig) -> None:
    record = rig.run("echo begun; sleep 60", limits={"no_output_timeout": 1.0})
    assert (record.ends[0].outcome, record.ends[0].reason) == ("error", "no_output_timeout")


@pytest.mark.slow
def test_output_now_and_then_is_enough(rig: Rig) -> None:
    record = rig.run("for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.4; done", limits={"no_output_timeout": 2.5})
    assert record.ends[0].outcome == "complete"


def test_too_much_memory_is_named_with_the_limit(rig: Rig) -> None:
    limit = {"memory": 64 << 20}
    end = rig.run("python -c 'x = bytearray(200_000_000); print(len(x))'", container=limit).ends[0]
    assert (end.outcome, end.reason, end.exit_code) == ("error", "oom_killed", 137)
    assert end.detail == "64 MiB"


def test_a_child_that_was_killed_is_no_failure_when_the_command_goes_on(rig: Rig) -> None:
    limit = {"memory": 64 << 20}
    end = rig.run("python -c 'x = bytearray(200_000_000)'\necho went on", container=limit).ends[0]
    assert (end.outcome, end.reason) == ("complete", "done")


def test_a_stop_before_the_start(rig: Rig) -> None:
    rig.store.gate.clear()
    record = rig.master.grant(rig.job("echo never", files={"unique": str(time.time())}))
    rig.master.wait_phase(record, "code")
    rig.master.stop(record)
    rig.store.gate.set()
    end = rig.master.ended(record)
    assert (end.outcome, end.reason, end.exit_code) == ("stopped", "stopped_by_user", None)
    assert rig.lines(record, "stdout") == []


def test_as_many_run_at_once_as_there_are_slots(rig: Rig) -> None:
    records = [rig.master.grant(rig.job(f"echo slot {n}; sleep 60")) for n in range(2)]
    for n, record in enumerate(records):
        rig.master.wait_line(record, f"slot {n}")
    rig.master.wait(lambda: rig.master.beats[-1][2].free == 0, "a beat without a free slot")
    assert sorted(rig.master.beats[-1][2].attempts) == sorted(record.job.attempt for record in records)
    for record in records:
        rig.master.stop(record, kill=True)
        rig.master.ended(record)


def test_a_grant_too_many_waits_and_one_more_is_refused(one_slot: Rig) -> None:
    rig = one_slot
    first, second = (rig.master.grant(rig.job(f"echo number {n}; sleep 60")) for n in (1, 2))
    rig.master.wait_line(first, "number 1")
    third = rig.master.grant(rig.job("echo never"))
    rig.master.wait(lambda: third.accepted, "the refusal")
    assert (third.accepted[0].refused, third.accepted[0].detail) == ("no_slot", "all slots are taken")
    assert second.accepted[0].refused == "" and second.phases == []
    rig.master.stop(first, kill=True)
    rig.master.wait_line(second, "number 2")
    rig.master.stop(second, kill=True)
    rig.master.ended(second)


def test_one_that_waits_for_a_slot_can_be_stopped(one_slot: Rig) -> None:
    rig = one_slot
    first, second = (rig.master.grant(rig.job(f"echo number {n}; sleep 60")) for n in (1, 2))
    rig.master.wait_line(first, "number 1")
    rig.master.wait(lambda: second.accepted, "the second grant")
    rig.master.stop(second)
    end = rig.master.ended(second)
    assert (end.outcome, end.reason, end.exit_code) == ("stopped", "stopped_by_user", None)
    assert not first.ends
    rig.master.stop(first, kill=True)
    rig.master.ended(first)


def test_a_grant_that_comes_twice_runs_once(rig: Rig) -> None:
    job = rig.job("echo once")
    record = rig.master.grant(job)
    rig.master.grant(job)
    rig.master.ended(record)
    rig.master.grant(job)
    rig.master.wait(lambda: len(record.accepted) == 3, "three answers")
    assert rig.lines(record, "stdout") == ["once"]
    assert len(record.ends) == 1


def test_usage_is_sampled_and_sent(rig: Rig) -> None:
    busy = "import time; x = bytearray(30_000_000); f = open('/tmp/f', 'wb')\nwhile True: f.write(x[:1000])"
    record = rig.master.grant(rig.job(f'timeout 30 python -c "{busy}"'))
    rig.master.wait(lambda: len(samples_of(record)) >= 3, "three samples")
    rig.master.stop(record, kill=True)
    rig.master.ended(record)
    times, samples = zip(*samples_of(record), strict=True)
    assert list(times) == sorted(times)
    assert max(sample["cpu"] for sample in samples) > 0.2
    assert max(sample["memory"] for sample in samples) > 30_000_000
    assert samples[-1]["memory_limit"] >= samples[-1]["memory"]
    assert max(sample["pids"] for sample in samples) >= 2
    assert {"disk_read", "disk_write", "net_rx", "net_tx", "gpus"} < set(samples[-1])


def samples_of(record: Record) -> list[tuple[str, dict[str, Any]]]:
    return [(moment, sample) for data in record.data("usage") for moment, sample in data["samples"]]
