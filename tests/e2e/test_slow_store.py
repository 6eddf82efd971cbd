"""A store that never answers: its execution ends with a sentence, and others run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.bench import Bench, make_bench
from fixtures.hanging import HangingServer, hanging_server, hanging_swift
from fixtures.inputs import FileServer
from fixtures.stack import running_stack, wait_until

pytestmark = pytest.mark.needs("redis", "engine", "image")
SETTINGS = {"REMORA_STORE_TIMEOUT": "60", "REMORA_STORE_TEST_TIMEOUT": "1", "REMORA_MAX_ATTEMPTS": "1"}


@pytest.fixture(scope="module")
def server() -> Iterator[HangingServer]:
    with hanging_server() as running:
        yield running


@pytest.fixture(scope="module")
def own(served: FileServer) -> Iterator[Bench]:
    """A stack of two slots that nobody else uses; its agent waits ten seconds for a store that is away."""
    with running_stack(SETTINGS, {"upload_patience": 200.0}) as stack:
        yield make_bench(stack, served, "slow")


def test_others_run_while_a_store_hangs_and_its_own_execution_says_why_it_ended(own, server):
    with own.stack.api() as api:
        body = {"name": "slow", "type": "swift", "configuration": hanging_swift(server), "project": own.project}
        made = api.post("stores/", json=body)
        assert made.status_code == 201, made.text
        tried = api.post(f"stores/{made.json()['id']}/test/").json()
        assert not tried["ok"]
        assert "in time" in tried["steps"][-1]["sentence"]
        api.put(f"projects/{own.project}/", json={"default_store": "slow"}).raise_for_status()
    before = server.taken
    stuck = own.start("cp /bin/true /valohai/outputs/x")
    wait_until(lambda: server.taken > before, 40, "a store that is asked")
    other = make_bench(own.stack, own.files, "other").run("cp /bin/true /valohai/outputs/x")
    assert other.shown["status"] == "complete", other.text
    assert server.open, "the store was given up meanwhile"
    server.end()
    ended = own.end(stuck, timeout=90)
    assert ended.shown["status"] in ("error", "crashed"), ended.text
    assert "x: the store does not answer the control plane" in ended.said, ended.text
