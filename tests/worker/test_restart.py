"""The agent, its line keepers, the queue, killed at any moment: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from worker.fake_master import Record
from worker.rig import Rig, docker

pytestmark = pytest.mark.needs("engine")
COUNT = "i=0; while [ $i -lt {n} ]; do i=$((i+1)); echo line $i; sleep {pause}; done\necho out > /valohai/outputs/out"


@pytest.fixture(scope="module")
def own(make_module_rig: Any) -> Rig:
    return make_module_rig(slots=2, orphan_interval=0.5)


@pytest.fixture
def agent(own: Rig) -> Iterator[Rig]:
    """One that runs, whatever the test before did to it."""
    if not own.agent.alive:
        own.agent.start()
    yield own


def counting(rig: Rig, n: int = 40, pause: float = 0.05) -> Record:
    record = rig.master.grant(rig.job(COUNT.format(n=n, pause=pause)))
    rig.master.wait_line(record, "line 5")
    return record


def check_whole(rig: Rig, record: Record, n: int = 40) -> None:
    """Every line once and in order, the output once, one end."""
    assert rig.master.ended(record).outcome == "complete"
    assert rig.lines(record, "stdout") == [f"line {i}" for i in range(1, n + 1)]
    assert record.outputs["out"]["size"] == 4
    assert len(record.data("output")) == 1
    assert len(record.ends) == 1


def keeper(rig: Rig, record: Record) -> int:
    """The process id of the attempt's line keeper."""
    return int((rig.agent.home / "work" / record.job.attempt / "log" / "keeper.lock").read_text())


def test_a_killed_agent_finds_its_container_again(agent: Rig) -> None:
    record = counting(agent)
    before = agent.container(record)["Id"]
    agent.agent.kill()
    agent.agent.start()
    check_whole(agent, record)
    assert record.data("container")[0]["id"] == before and len(record.data("container")) == 1
    assert "The agent was started again; the container ran on." in agent.lines(record, "status")


def test_an_agent_that_is_told_to_end_leaves_containers_running(agent: Rig) -> None:
    record = counting(agent)
    assert agent.agent.terminate() < 8
    assert agent.container(record)["State"]["Running"]
    agent.agent.start()
    check_whole(agent, record)


def test_a_container_that_ended_while_the_agent_was_down(agent: Rig) -> None:
    record = counting(agent, n=15)
    agent.agent.kill()
    name = f"label=remora.attempt={record.job.attempt}"
    agent.master.wait(lambda: not docker("ps", "-q", "--filter", name), "the container's end")
    agent.agent.start()
    check_whole(agent, record, n=15)


def test_a_stop_that_came_while_the_agent_was_down(agent: Rig) -> None:
    record = counting(agent, n=2000)
    agent.agent.kill()
    agent.master.stop(record)
    agent.agent.start()
    end = agent.master.ended(record)
    assert (end.outcome, end.reason) == ("stopped", "stopped_by_user")


@pytest.mark.parametrize("phase", ["code", "image", "uploading"])
def test_killed_in_any_phase(agent: Rig, phase: str) -> None:
    rig = agent
    if phase == "code":
        rig.store.gate.clear()
    record = rig.master.grant(rig.job(COUNT.format(n=3, pause=0), files={"unique": os.urandom(8)}))
    rig.master.wait_phase(record, phase)
    rig.agent.kill()
    rig.store.gate.set()
    rig.agent.start()
    check_whole(rig, record, n=3)


def test_a_live_output_that_was_stored_just_before_the_kill(agent: Rig) -> None:
    """The store has it, the agent's notes do not: `already there` is success."""
    rig = agent
    command = "cd /valohai/outputs; echo live > out; chmod 444 out; echo begun; until [ -e go ]; do sleep 0.05; done"
    record = rig.master.grant(rig.job(command))
    rig.master.wait(lambda: record.outputs, "the live output")
    rig.agent.kill()
    work = rig.agent.home / "work" / record.job.attempt
    (work / "uploaded.jsonl").write_text("")
    (work / "outputs" / "go").touch()
    rig.agent.start()
    assert rig.master.ended(record).outcome == "complete"
    assert rig.store.objects[record.outputs["out"]["key"]] == b"live\n"
    assert [data["name"] for data in record.data("output")].count("out") == 1


@pytest.mark.slow
def test_killed_again_and_again(agent: Rig) -> None:
    record = counting(agent, n=60)
    for _ in range(4):
        agent.agent.kill()
        agent.agent.start()
        time.sleep(0.4)  # into whatever it does then
    check_whole(agent, record, n=60)


def test_a_killed_line_keeper_is_replaced_and_the_gap_is_shown(agent: Rig) -> None:
    record = counting(agent, n=80)
    os.kill(keeper(agent, record), signal.SIGKILL)
    assert agent.master.ended(record).outcome == "complete"
    lines = agent.lines(record)
    gaps = [
        n for n, line in enumerate(lines) if line.startswith("Output is missing here: the line keeper was replaced")
    ]
    assert len(gaps) == 1
    numbers = [int(line.split()[1]) for line in lines if line.startswith("line ")]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 80
    before = [int(line.split()[1]) for line in lines[: gaps[0]] if line.startswith("line ")]
    assert before == list(range(1, len(before) + 1)), "lines are missing elsewhere than at the gap"
    after = numbers[len(before) :]
    assert after == list(range(after[0], 81)), "lines are missing elsewhere than at the gap"
    assert [data["first"] for data in record.data("gap")] == [gaps[0] + 1]


def test_agent_and_keeper_killed_while_the_container_runs_on(agent: Rig) -> None:
    record = counting(agent, n=80)
    agent.agent.kill()
    os.kill(keeper(agent, record), signal.SIGKILL)
    agent.agent.start()
    assert agent.master.ended(record).outcome == "complete"
    lines = agent.lines(record)
    assert "line 80" in lines
    assert any(line.startswith("Output is missing here: the line keeper was replaced") for line in lines)
    assert len(record.data("gap")) == 1


def test_agent_and_keeper_killed_and_the_container_ends_meanwhile(agent: Rig) -> None:
    record = counting(agent, n=15)
    agent.agent.kill()
    os.kill(keeper(agent, record), signal.SIGKILL)
    name = f"label=remora.attempt={record.job.attempt}"
    agent.master.wait(lambda: not docker("ps", "-q", "--filter", name), "the container's end")
    agent.agent.start()
    assert agent.master.ended(record).outcome == "complete"
    assert any("the container ended while no line keeper was there" in line for line in agent.lines(record, "status"))
    assert len(record.data("gap")) == 1


def test_a_queue_that_forgot_everything(agent: Rig) -> None:
    """Redis is killed and comes back empty: users are made again, what was said is said again."""
    record = counting(agent, n=60)
    agent.queue.kill()
    time.sleep(0.5)  # the container goes on meanwhile
    agent.queue.start()
    check_whole(agent, record, n=60)


def test_a_master_that_commits_nothing_for_a_while(agent: Rig) -> None:
    agent.master.commits = False
    try:
        record = agent.master.grant(agent.job(COUNT.format(n=20, pause=0)))
        name = f"label=remora.attempt={record.job.attempt}"
        agent.master.wait(lambda: docker("ps", "-aq", "--filter", name), "the container")
    finally:
        agent.master.commits = True
    check_whole(agent, record, n=20)


def test_a_container_without_an_owner_is_swept(agent: Rig) -> None:
    record = counting(agent, n=2000)
    agent.agent.kill()
    work = agent.agent.home / "work" / record.job.attempt
    os.kill(keeper(agent, record), signal.SIGKILL)
    work.rename(agent.folder / "lost")
    agent.agent.start()
    name = f"label=remora.attempt={record.job.attempt}"
    agent.master.wait(lambda: not docker("ps", "-aq", "--filter", name), "the sweep")
    assert not docker("network", "ls", "-q", "--filter", name)


def test_a_machine_that_became_another_worker_ends_the_former_ones_work(agent: Rig) -> None:
    record = counting(agent, n=2000)
    agent.agent.kill()
    (agent.agent.home / "identity" / "worker.json").unlink()
    agent.master.workers.clear()
    agent.agent.start()
    name = f"label=remora.attempt={record.job.attempt}"
    agent.master.wait(lambda: not docker("ps", "-aq", "--filter", name), "the end of the former container")
    agent.master.wait(lambda: not (agent.agent.home / "work" / record.job.attempt).exists(), "its folder to go")
    assert agent.run("echo new").ends[0].outcome == "complete"
