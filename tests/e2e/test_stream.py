"""The live log as viewers see it, on the real thing: through `web`, while parts are killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from controlplane.db.ids import uuid7
from fixtures.bench import Bench, make_bench
from fixtures.follower import Follower
from fixtures.inputs import FileServer
from fixtures.stack import Stack, running_stack

pytestmark = pytest.mark.needs("redis", "image")

COUNTING = "for n in $(seq 0 {last}); do echo line $n; sleep {pause}; done"


def ticket(stack: Stack, execution: str) -> str:
    with stack.api() as api:
        answer = api.post(f"{stack.url}/api/v1/executions/{execution}/stream-ticket/")
    return answer.raise_for_status().json()["ticket"]


def follow(stack: Stack, execution: str, last: str = "") -> Follower:
    return Follower(stack.url, execution, lambda: ticket(stack, execution), last).start()


def printed(follower: Follower) -> list[str]:
    return [message for message in follower.messages() if message.startswith("line ")]


def numbered(count: int) -> list[str]:
    return [f"line {number}" for number in range(count)]


@pytest.fixture(scope="module")
def own(served: FileServer) -> Iterator[Bench]:
    """A stack that nobody else uses."""
    with running_stack() as stack:
        yield make_bench(stack, served, "stream")


def test_lines_come_while_it_runs_and_the_end_is_said(bench: Bench) -> None:
    execution = bench.start("echo line 0\nwhile [ ! -e /tmp/go ]; do sleep 0.05; test $SECONDS -lt 2 || break; done")
    follower = follow(bench.stack, execution)
    follower.until_message("line 0")
    assert not follower.ended
    follower.until_end()
    follower.check_whole()
    assert follower.states()[-1] == "complete"
    stored = [event["message"] for event in bench.stack.log(execution)]
    assert follower.messages() == stored
