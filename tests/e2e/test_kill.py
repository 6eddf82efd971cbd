"""SIGKILL of one process in the middle of a running execution: it ends once, its log is whole and in order."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fixtures.bench import Bench, make_bench
from fixtures.inputs import FileServer
from fixtures.stack import Stack, ask, running_stack

LINES = 60
COMMAND = f"""
python -u -c "
import time
for n in range({LINES}):
    print('line', n)
    time.sleep(0.1)
"
cp /bin/true /valohai/outputs/kept
"""


@pytest.fixture(scope="module")
def own(served: FileServer) -> Iterator[Bench]:
    """A stack that nobody else uses."""
    with running_stack() as stack:
        yield make_bench(stack, served, "kill")


def check_ended_once(own: Bench, execution: str) -> None:
    ran = own.end(execution, timeout=90)
    assert ran.shown["status"] == "complete", ran.text
    assert ran.shown["attempt"] == 1, ran.text
    assert ran.lines("stdout") == [f"line {number}" for number in range(LINES)]
    times = [event["time"] for event in ran.events]
    assert times == sorted(times) and len(set(times)) == len(times)
    assert [row["name"] for row in ran.shown["outputs"]] == ["kept"]
    assert final_events(own.stack, execution) == ["complete"]


def final_events(stack: Stack, execution: str) -> list[str]:
    """Endings that were written down."""
    with stack.api() as api:
        events = ask(api, f"executions/{execution}/status-events/", limit=0)["status_events"]
    states = [event["message"].partition(":")[0] for event in events]
    return [state for state in states if state in ("complete", "error", "stopped", "crashed")]


@pytest.mark.parametrize("name", ["agent", "loops", "web", "redis"])
def test_sigkill(own: Bench, name: str) -> None:
    execution = own.start(COMMAND)
    own.stack.wait_for_line(execution, "line 10")
    own.stack.kill(name)
    check_ended_once(own, execution)


def test_sigkill_of_agent_while_it_is_down_longer(own: Bench) -> None:
    """The container ends while no agent lives: nothing is lost, and it is not run again."""
    execution = own.start("for n in $(seq 0 59); do echo line $n; done\nsleep 2\ncp /bin/true /valohai/outputs/kept")
    own.stack.wait_for_line(execution, "line 59")
    own.stack.pause("agent")
    time.sleep(4)
    own.stack.kill("agent")
    check_ended_once(own, execution)


def test_stopped_while_the_loops_are_killed(own: Bench) -> None:
    execution = own.start("echo begun\nsleep 60")
    own.stack.wait_for_line(execution, "begun")
    own.stack.stop_execution(execution)
    own.stack.kill("loops")
    ran = own.end(execution, ("stopped",))
    assert final_events(own.stack, execution) == ["stopped"]
    assert "begun" in ran.lines("stdout")
