"""The log of an attempt: every line once, in order, secrets hidden, whatever comes and however fast."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from worker.fake_master import Record
from worker.rig import IMAGE, Rig, docker
from worker_bootstrap.agent.logs.keeper_client import KeeperClient
from worker_bootstrap.agent.logs.spool_reader import SpoolReader

pytestmark = pytest.mark.needs("engine")
ENGINE = "unix:///var/run/docker.sock"
SECRET = "a-secret-of-this-test"
HIDDEN = {"env": {"TOKEN": SECRET}, "mask": [SECRET]}


def points(record: Record) -> list[dict[str, Any]]:
    return [point for data in record.data("metadata") for _, point in data["points"]]


def test_both_streams_in_order_with_growing_times(rig: Rig) -> None:
    record = rig.run("for n in 1 2 3; do echo out $n; echo err $n >&2; done; printf 'no newline'")
    assert rig.lines(record, "stdout") == ["out 1", "out 2", "out 3", "no newline"]
    assert rig.lines(record, "stderr") == ["err 1", "err 2", "err 3"]
    assert rig.lines(record)[0] == "Attempt 1 on machine."
    assert rig.lines(record)[-1] == "Ended: complete (done, exit code 0)"
    tail = rig.master.tail(record)
    moments = [datetime.fromisoformat(line[1]) for line in tail]
    assert moments == sorted(set(moments)) and len(tail) == record.ends[0].lines
    assert [line[3] for line in tail] == rig.lines(record)


def test_lines_come_while_the_command_runs(rig: Rig) -> None:
    record = rig.master.grant(rig.job("echo first; sleep 60"))
    rig.master.wait_line(record, "first")
    assert not record.ends
    rig.master.stop(record, kill=True)
    rig.master.ended(record)


def test_secrets_are_hidden_also_when_they_come_in_pieces(rig: Rig) -> None:
    command = f"""
        echo "<$TOKEN>"; echo "<$TOKEN>" >&2
        printf 'in pieces {SECRET[:9]}'; sleep 1.5; printf '{SECRET[9:]}\\n'
        python -c 'import json, os; print(json.dumps([os.environ["TOKEN"]]))'
        printf "$TOKEN" | base64"""
    record = rig.run(command, secrets=HIDDEN)
    lines = rig.lines(record, "stdout")
    # A line that has begun is shown after a second of quiet; what may be a secret's beginning is held back.
    assert lines[:4] == ["<***>", "in pieces ", "***", '["***"]']
    assert lines[4].startswith("***")
    assert rig.lines(record, "stderr") == ["<***>"]
    assert not any(SECRET[:9] in line or SECRET[9:] in line for line in rig.lines(record))
    assert not any(SECRET[:9] in line[3] for line in rig.master.tail(record))


def test_secrets_stay_hidden_under_the_next_agent(make_rig: Any) -> None:
    rig = make_rig(slots=1)
    rig.agent.start()
    record = rig.master.grant(
        rig.job('echo up; until [ -e /valohai/outputs/go ]; do sleep 0.1; done; echo "<$TOKEN>"', secrets=HIDDEN)
    )
    rig.master.wait_line(record, "up")
    rig.agent.kill()
    (rig.agent.home / "work" / record.job.attempt / "outputs" / "go").touch()
    rig.agent.start()
    rig.master.ended(record)
    assert rig.lines(record, "stdout") == ["up", "<***>"]


def test_a_line_of_10_mb_is_whole_in_pieces(rig: Rig) -> None:
    record = rig.run("python -c \"print('begin' + 'ä' * 5_000_000 + 'end')\"; echo after")
    lines = rig.lines(record, "stdout")
    assert lines[-1] == "after"
    assert all(len(line.encode()) <= 65_536 + 3 for line in lines)
    assert "".join(line.removesuffix("…") for line in lines[:-1]) == "begin" + "ä" * 5_000_000 + "end"


def test_200_000_lines_as_fast_as_they_come(rig: Rig) -> None:
    record = rig.run("seq -f 'line number %.0f of very many' 200000")
    assert rig.lines(record, "stdout") == [f"line number {n} of very many" for n in range(1, 200_001)]
    assert record.ends[0].lines == len(rig.lines(record))
    assert not record.data("gap")


def test_bytes_that_are_no_text(rig: Rig) -> None:
    record = rig.run("printf 'a\\377\\000b\\n'; head -c 100000 /dev/urandom; echo; echo after")
    assert rig.lines(record, "stdout")[0] == "a\ufffd\0b"
    assert rig.lines(record, "stdout")[-1] == "after"


def test_a_full_spool_blocks_the_command_and_drops_nothing(make_rig: Any) -> None:
    """The log store is away: the command waits (which is no silence of its own), goes on, and every line is there."""
    rig = make_rig(slots=1)
    rig.agent.start()
    rig.store.answers["log/"] = [503] * 100_000
    command = "seq -f 'line number %.0f of very many, long enough to fill it' 100000; date +%s > /valohai/outputs/ended"
    limits = {"log_spool_bytes": 4_000_000, "no_output_timeout": 1.5}
    record = rig.master.grant(rig.job(command, limits=limits))
    work = rig.agent.home / "work" / record.job.attempt
    size = rig.master.wait(lambda: settled(work / "log"), "a spool that grows no more")
    assert size < 4_000_000 + 3_000_000
    time.sleep(1.5)  # longer than it may be silent
    assert rig.container(record)["State"]["Running"], "the command ended, so it was not held"
    assert not (work / "outputs" / "ended").exists()
    rig.store.answers.clear()
    assert rig.master.ended(record).outcome == "complete"
    expected = [f"line number {n} of very many, long enough to fill it" for n in range(1, 100_001)]
    assert rig.lines(record, "stdout") == expected
    assert set(record.outputs) == {"ended"}


def settled(folder: Path) -> int:
    """Bytes of the spool once they stay the same for a second; 0 before."""
    size = spooled(folder)
    if size < 4_000_000:
        return 0
    time.sleep(1.0)
    return size if spooled(folder) == size else 0


def spooled(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


@pytest.mark.slow
def test_a_command_that_ends_while_its_output_is_not_taken(make_rig: Any) -> None:
    """The engine answers nothing about such a container: its last output is taken beyond the limit."""
    rig = make_rig(slots=1, engine_timeout=2.0)
    rig.agent.start()
    rig.store.answers["log/"] = [503] * 100_000
    record = rig.master.grant(
        rig.job("yes & sleep 4; kill -9 $!; echo last >&2", limits={"log_spool_bytes": 4_000_000})
    )
    rig.master.wait(lambda: "uploading" in record.phases, "the end of the container")
    rig.store.answers.clear()
    assert rig.master.ended(record).outcome == "complete"
    assert "last" in rig.lines(record, "stderr")
    assert set(rig.lines(record, "stdout")) == {"y"}


def test_a_blocked_command_can_be_stopped(make_rig: Any) -> None:
    rig = make_rig(slots=1)
    rig.agent.start()
    rig.store.answers["log/"] = [503] * 100_000
    record = rig.master.grant(rig.job("yes", limits={"log_spool_bytes": 4_000_000}))
    work = rig.agent.home / "work" / record.job.attempt
    rig.master.wait(lambda: settled(work / "log"), "a spool that grows no more")
    rig.master.stop(record)
    rig.master.wait(lambda: "uploading" in record.phases, "the end of the container")
    rig.store.answers.clear()
    assert rig.master.ended(record).outcome == "stopped"


def test_a_queue_that_is_away_costs_no_line(rig: Rig) -> None:
    record = rig.master.grant(rig.job("for n in $(seq 30); do echo $n; sleep 0.1; done"))
    rig.master.wait_line(record, "5")
    rig.queue.kill()
    time.sleep(1.0)  # the command goes on meanwhile
    rig.queue.start()
    assert rig.master.ended(record).outcome == "complete"
    assert rig.lines(record, "stdout") == [str(n) for n in range(1, 31)]


def test_json_lines_are_metadata_and_stay_in_the_log(rig: Rig) -> None:
    lines = ['{"loss": 0.5}', "[1]", '{"loss": NaN}', "{broken}", "x {}"]
    record = rig.run("\n".join([*(f"echo '{line}'" for line in lines), "echo '{\"loss\": 9}' >&2"]))
    assert points(record) == [{"loss": 0.5}, {"loss": "NaN"}]
    assert rig.lines(record, "stdout") == lines


def test_more_points_than_are_kept_are_sampled_and_counted(rig: Rig) -> None:
    record = rig.run("python -c \"import json\nfor n in range(5000): print(json.dumps({'n': n}))\"")
    kept = [point["n"] for point in points(record)]
    sampled = sum(data["sampled"] for data in record.data("metadata"))
    assert len(kept) + sampled == 5000
    seconds = {line[1][:19] for line in rig.master.tail(record)}
    assert 0 < len(kept) <= 50 * len(seconds)
    assert kept == sorted(kept) and kept[-1] == 4999
    assert len([line for line in rig.lines(record, "stdout") if line.startswith("{")]) == 5000


def test_a_slow_writer_keeps_every_point(rig: Rig) -> None:
    record = rig.run('for n in $(seq 20); do echo "{\\"n\\": $n}"; sleep 0.05; done')
    assert [point["n"] for point in points(record)] == list(range(1, 21))
    assert not any(data["sampled"] for data in record.data("metadata"))


def test_a_keeper_takes_the_container_that_replaced_the_first(tmp_path: Path) -> None:
    """An agent that was killed before the start makes its container anew; the keeper stays."""
    keeper = KeeperClient(tmp_path)
    keeper.spawn()
    made: list[str] = []
    try:
        for word in ("never", "second"):
            made.append(docker("create", "--log-driver", "none", IMAGE, "echo", word))
            keeper.attach(made[-1], ENGINE)
            if word == "never":
                docker("rm", "-f", made.pop())
        docker("start", made[0])
        assert keeper.drain(10)
        keeper.finish(10)
    finally:
        keeper.kill()
        for container in made:
            docker("rm", "-f", container)
    lines = [json.loads(line) for line in SpoolReader(tmp_path).read(1 << 20).splitlines()]
    assert [(line[2], line[3]) for line in lines] == [("stdout", "second")]


@pytest.mark.slow
def test_memory_stays_flat_for_a_log_of_300_mb(make_rig: Any) -> None:
    rig = make_rig(slots=1)
    rig.agent.start()
    line = "a line of about one hundred bytes, which is a usual length in a log of a training that goes on"
    job = rig.job(f"echo ready; sleep 1; yes '{line}' | head -n 3500000")
    record = rig.master.grant(job)
    rig.master.wait_line(record, "ready")
    keeper = int((rig.agent.home / "work" / job.attempt / "log" / "keeper.lock").read_text())
    before, most = resident(keeper), 0
    while not record.ends:
        most = max(most, resident(keeper))
        time.sleep(0.2)
    assert most - before < 60_000_000
    assert record.ends[0].lines > 3_500_000
    assert sum(data["lines"] for data in record.data("segment")) == record.ends[0].lines


def resident(process: int) -> int:
    """Bytes of memory; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0
