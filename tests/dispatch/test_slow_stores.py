"""A store that takes a question and never answers holds up those who asked for it, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.clock import utc_now
from controlplane.data.models import Datum
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM
from controlplane.dispatch.slow import EACH_AT_ONCE
from controlplane.environments.models import Store
from dispatch.fake_worker import FakeWorker
from dispatch.rig import RedisServer, Rig, furnish, make_settings
from fixtures.executions import Ground
from fixtures.hanging import HangingServer, hanging_server, hanging_swift
from worker_bootstrap.protocol.messages import Envelope, Relay, UrlItem, Urls


@pytest.fixture
def rig(
    ground: Ground, redis_server: RedisServer, database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Rig]:
    """Stores have a minute for an answer, or what a test says, and may stand on this machine."""
    timeout = getattr(request, "param", 60.0)
    urls = database_url, redis_server.url("master"), redis_server.url("chores")
    more = {"allowed_networks": "127.0.0.0/8", "store_timeout": timeout, "silent_after": 30.0, "lost_after": 60.0}
    settings = make_settings(tmp_path / "home", *urls, **more)
    furnish(ground, settings)
    made = Rig(ground, redis_server, settings)
    made.start()
    yield made
    made.stop()
    made.parts.db.engine.dispose()


@pytest.fixture
def server() -> Iterator[HangingServer]:
    with hanging_server() as running:
        yield running


@dataclass
class Scene:
    """Two attempts on one worker: `stuck` keeps its outputs in the store that hangs, `well` in the machine's own."""

    rig: Rig
    server: HangingServer
    worker: FakeWorker
    stuck: str
    well: str

    def ask(self, attempt: str, request: str, name: str = "x") -> Envelope:
        """Said, and not waited for."""
        item = UrlItem(name, "output", name, 5)
        message = self.worker.envelope("urls", Urls(request, [item]), attempt)
        self.worker.send(message)
        return message

    def answer(self, request: str) -> UrlItem:
        return UrlItem(**self.worker.wait("urls", lambda m: m.body["request"] == request).body["items"][0])

    def others_go_on(self) -> None:
        """Events, beats and questions of the other attempt are handled, while nothing came for the stuck one."""
        self.worker.event(self.well, "status", message="still here")
        self.worker.beat(self.stuck, self.well)
        self.worker.wait_ack()
        assert self.worker.ask_urls(self.well, UrlItem("1", "output", "model.bin", 7)).items[0].url
        done = self.worker.relay(self.well, "set_status_detail", json.dumps({"status_detail": "on"}))
        assert done.status == 200


@pytest.fixture
def scene(rig: Rig, server: HangingServer) -> Scene:
    store = uuid7()
    with rig.db.begin(SYSTEM) as session:
        session.add(
            Store(
                id=store,
                organization_id=rig.ground.organization,
                name="slow",
                purpose="data",
                kind="swift",
                config=hanging_swift(server),
                created_at=utc_now(),
            )
        )
        session.flush()
        datum = Datum(
            organization_id=rig.ground.organization,
            project_id=rig.ground.project,
            store_id=store,
            name="a.csv",
            key="a.csv",
            uri="swift://p/c/a.csv",
            size=5,
            created_at=utc_now(),
        )
        session.add(datum)
        session.flush()
        inputs = {"data": [f"datum://{datum.id}"]}
    worker = rig.worker()
    attempts = {}
    for name, values in (("stuck", {"options": {"store": store}, "inputs": inputs}), ("well", {})):
        rig.execution(**values)
        attempts[name] = worker.wait("grant").attempt
        worker.accept(attempts[name])
    worker.wait_ack()
    return Scene(rig, server, worker, attempts["stuck"], attempts["well"])


def test_others_go_on_and_the_question_is_answered_in_the_end(scene: Scene) -> None:
    scene.ask(scene.stuck, "first")
    scene.rig.until(lambda: scene.server.open, "a store that is asked")
    scene.others_go_on()
    assert not [m for m in scene.worker.inbox if m.kind == "urls"]
    assert scene.server.open, "the store was given up meanwhile"
    scene.server.end()
    assert scene.answer("first").error == "unavailable"


@pytest.mark.parametrize("rig", [1.0], indirect=True)
def test_a_store_has_its_time_and_no_more(scene: Scene) -> None:
    scene.ask(scene.stuck, "first")
    assert scene.answer("first").error == "unavailable"
    assert scene.server.taken == 1


def test_the_same_question_again_is_one_question(scene: Scene) -> None:
    for _ in range(5):
        scene.ask(scene.stuck, "same")
    scene.rig.until(lambda: scene.server.taken, "a store that is asked")
    scene.others_go_on()
    assert scene.server.taken == 1
    scene.server.end()
    assert scene.answer("same").error == "unavailable"
    scene.worker.nothing("urls")


def test_an_organisation_waits_for_few_answers_at_once(scene: Scene) -> None:
    for number in range(EACH_AT_ONCE * 3):
        scene.ask(scene.stuck, f"question-{number}")
    scene.rig.until(lambda: scene.server.taken, "a store that is asked")
    scene.others_go_on()
    assert scene.server.taken <= EACH_AT_ONCE
    assert len(scene.rig.parts.slow) > EACH_AT_ONCE


def test_a_call_from_inside_a_container_keeps_no_transaction_open(scene: Scene) -> None:
    call = Relay("relayed", "input_request", {"inputs": ["data"]})
    scene.worker.send(scene.worker.envelope("relay", call, scene.stuck))
    scene.rig.until(lambda: scene.server.open, "a store that is asked")
    scene.others_go_on()
    assert scene.server.open
    scene.server.end()
    answer = scene.worker.wait("relay", lambda m: m.body["request"] == "relayed").body
    assert (answer["status"], "gave no whole answer in time" in answer["body"]) == (503, True)


def test_an_attempt_that_ended_meanwhile_gets_no_address(scene: Scene) -> None:
    for number in range(EACH_AT_ONCE):
        scene.ask(scene.stuck, f"question-{number}")
    scene.ask(scene.stuck, "late")
    scene.worker.end(scene.stuck)
    scene.worker.wait_ack()
    scene.server.end()
    assert scene.answer("late").error == "old_attempt"


def test_the_loops_end_while_a_store_hangs(scene: Scene) -> None:
    for number in range(EACH_AT_ONCE * 2):
        scene.ask(scene.stuck, f"question-{number}")
    scene.rig.until(lambda: scene.server.open, "a store that is asked")
    scene.rig.stop()
    assert len(scene.rig.parts.slow) == EACH_AT_ONCE, "what ran is given up, what waited is forgotten"
