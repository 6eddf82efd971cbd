"""The live log as viewers see it, on the real thing: through `web`, while parts are killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Browser, expect

from fixtures.bench import Bench, make_bench
from fixtures.follower import Follower
from fixtures.inputs import FileServer
from fixtures.pages import chromium  # noqa: F401
from fixtures.stack import Stack, running_stack

pytestmark = pytest.mark.needs("redis", "image")

VIEWERS = 50
STATES = ("started", "complete")


def counting(count: int, pause: float = 0.05) -> str:
    return f"for n in $(seq 0 {count - 1}); do echo line $n; sleep {pause}; done"


def numbered(count: int) -> list[str]:
    return [f"line {number}" for number in range(count)]


def printed(follower: Follower) -> list[str]:
    return [message for message in follower.messages() if message.startswith("line ")]


def ticket(stack: Stack, execution: str) -> str:
    with stack.api() as api:
        answer = api.post(f"{stack.url}/api/v1/executions/{execution}/stream-ticket/")
    return answer.raise_for_status().json()["ticket"]


def follow(stack: Stack, execution: str, last: str = "") -> Follower:
    return Follower(stack.url, execution, lambda: ticket(stack, execution), last).start()


def get(stack: Stack, execution: str, authorization: str) -> httpx.Response:
    address = f"{stack.url}/stream/executions/{execution}/log"
    return httpx.get(address, headers={"Authorization": authorization}, timeout=10, trust_env=False)


def check(stack: Stack, follower: Follower, execution: str, count: int) -> None:
    """The viewer saw the whole log, as it is stored, once and in order."""
    follower.until_end()
    follower.check_whole()
    assert printed(follower) == numbered(count)
    assert follower.messages() == [event["message"] for event in stack.log(execution)]
    assert follower.states()[-1] == "complete"


@pytest.fixture(scope="module")
def own(served: FileServer) -> Iterator[Bench]:
    """A stack that nobody else uses."""
    with running_stack() as stack:
        yield make_bench(stack, served, "stream")


def test_lines_come_while_it_runs_and_the_end_is_said(bench: Bench) -> None:
    execution = bench.start(counting(40))
    follower = follow(bench.stack, execution)
    follower.until_message("line 5")
    assert not follower.ended
    check(bench.stack, follower, execution, 40)
    again = follow(bench.stack, execution, "1:0")
    check(bench.stack, again, execution, 40)
    assert again.connections == 1


def test_who_comes_again_goes_on_after_its_last_line(bench: Bench) -> None:
    execution = bench.start(counting(60))
    first = follow(bench.stack, execution)
    first.until_message("line 10")
    first.stop()
    second = follow(bench.stack, execution, first.last)
    second.until_end()
    seen = [line for line in first.lines if line[1] <= int(first.last.partition(":")[2])]
    both = Follower("", "", str, lines=[*seen, *[line for line in second.lines if line not in seen]])
    both.check_whole()
    assert printed(both) == numbered(60)


def test_tickets_open_one_log_for_a_while(bench: Bench) -> None:
    ran, other = bench.start("echo one"), bench.start("echo two")
    good = ticket(bench.stack, ran)
    for authorization in ("", "Ticket x", f"Ticket {good}x", f"Token {bench.stack.access['token']}"):
        assert get(bench.stack, ran, authorization).status_code == 401, authorization
    assert get(bench.stack, other, f"Ticket {good}").status_code == 401
    bench.end(ran)
    answer = get(bench.stack, ran, f"Ticket {good}")
    assert answer.status_code == 200 and "event: end" in answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-frame-options"] == "DENY"
    with bench.stack.api() as api:
        missing = api.post(f"{bench.stack.url}/api/v1/executions/{bench.project}/stream-ticket/")
    assert missing.status_code == 404


@pytest.mark.parametrize("name", ["stream", "web", "redis"])
def test_sigkill_in_the_middle_loses_and_doubles_nothing(own: Bench, name: str) -> None:
    execution = own.start(counting(100))
    follower = follow(own.stack, execution)
    follower.until_message("line 10")
    own.stack.kill(name)
    check(own.stack, follower, execution, 100)


@pytest.mark.slow
def test_a_worker_that_comes_back_goes_on_in_the_same_log(own: Bench) -> None:
    execution = own.start(counting(40, 0.2))
    follower = follow(own.stack, execution)
    follower.until_message("line 3")
    own.stack.pause("agent")
    follower.until(lambda: follower.states()[-2:] == ["started", "queued"], "the loss of the worker", 60)
    own.stack.kill("agent")
    check(own.stack, follower, execution, 40)


def test_a_new_attempt_shows(own: Bench) -> None:
    """The container is taken away: the execution runs again, and its viewer stays."""
    execution = own.start(counting(40))
    follower = follow(own.stack, execution)
    follower.until_message("line 3")
    found = own.stack.query("SELECT container_id FROM attempt WHERE execution_id = ?", UUID(execution).hex)
    subprocess.run(["docker", "rm", "--force", found[0][0]], check=True, capture_output=True)
    follower.until_end(90)
    follower.check_whole()
    assert {line[0] for line in follower.lines} == {1, 2}
    assert [message for message in follower.messages(2) if message.startswith("line ")] == numbered(40)
    assert follower.states()[-1] == "complete"


def test_many_viewers_and_the_api_answers(own: Bench) -> None:
    execution = own.start(counting(150))
    followers = [follow(own.stack, execution) for _ in range(VIEWERS)]
    for follower in followers:
        follower.until_message("line 20", 60)
    with own.stack.api() as api:
        for _ in range(20):
            assert api.get(f"executions/{execution}/").json()["status"] in STATES
    for follower in followers:
        check(own.stack, follower, execution, 150)


def test_going_down_waits_for_no_viewer(served: FileServer) -> None:
    with running_stack() as stack:
        execution = make_bench(stack, served, "down").start("echo begun; sleep 60")
        follower = follow(stack, execution)
        follower.until_message("begun")
        begun = time.monotonic()
        stack.stop()
        assert time.monotonic() - begun < 15, "the drain timeout of 20 s was waited for"
        follower.stop()


@pytest.mark.needs("browser")
def test_the_page_shows_lines_and_states_by_the_stream(bench: Bench, chromium: Browser) -> None:  # noqa: F811
    stack = bench.stack
    context = chromium.new_context(base_url=stack.url)
    tab = context.new_page()
    tab.goto("/login")
    tab.get_by_label("Name", exact=True).fill(stack.access["user"])
    tab.get_by_label("Password").fill(stack.access["password"])
    tab.get_by_role("button", name="Log in", exact=True).click()
    tab.wait_for_url(lambda url: "/login" not in url)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    execution = bench.start(counting(100))
    tab.goto(f"/executions/{execution}/")
    line = tab.locator(".log-body li")
    expect(line.filter(has_text="line 50")).to_be_visible(timeout=30_000)
    expect(line.filter(has_text="line 99")).to_be_visible(timeout=30_000)
    expect(tab.locator("#head")).to_have_attribute("data-state", "complete", timeout=30_000)
    assert any(url.endswith(f"/stream/executions/{execution}/log") for url in asked)
    assert not any("icket=" in url for url in asked)
    context.close()
