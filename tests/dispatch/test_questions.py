"""Signed addresses and relayed calls: only for one's own current attempt, only for what it lists."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select

from controlplane.clock import utc_now
from controlplane.data.models import Datum
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM
from controlplane.environments.models import Store
from controlplane.projects.models import Project
from dispatch.fake_worker import FakeWorker
from dispatch.rig import Rig
from worker_bootstrap.protocol.messages import UrlItem


def datum(rig: Rig, project: str) -> Datum:
    with rig.db.begin(SYSTEM) as session:
        store = session.scalars(select(Store).where(Store.purpose == "data")).one()
        key = f"{project}/x/1/{uuid7()}.bin"
        row = Datum(
            organization_id=rig.ground.organization,
            project_id=project,
            store_id=store.id,
            name="model.bin",
            key=key,
            uri=f"folder://{store.id}/{key}",
            size=5,
            created_at=utc_now(),
        )
        session.add(row)
        return row


@pytest.fixture
def granted(rig: Rig) -> tuple[Rig, FakeWorker, str, str, Datum]:
    own = datum(rig, rig.ground.project)
    worker = rig.worker()
    inputs = {"data": ["https://example.org/a.csv", f"datum://{own.id}"]}
    execution = rig.execution(inputs=inputs)
    attempt = worker.wait("grant").attempt
    worker.accept(attempt)
    worker.wait_ack()
    return rig, worker, execution, attempt, own


def test_addresses_of_what_the_attempt_lists(granted) -> None:
    rig, worker, execution, attempt, own = granted
    answer = worker.ask_urls(
        attempt,
        UrlItem("1", "code", ""),
        UrlItem("2", "input", "data-0"),
        UrlItem("3", "input", "data-1"),
        UrlItem("4", "output", "sub/model.bin", 77),
        UrlItem("5", "log", "00000000000000000001.gz", 99),
    )
    code, plain, stored, output, segment = answer.items
    assert (code.method, urlsplit(code.url).path.endswith(f"{'a' * 64}.tar.gz")) == ("GET", True)
    assert plain.url == "https://example.org/a.csv"
    assert urlsplit(stored.url).path.endswith(own.key)
    assert output.key == f"{rig.ground.project}/{execution}/1/sub/model.bin"
    assert (output.method, output.headers) == ("PUT", {"If-None-Match": "*"})
    assert parse_qs(urlsplit(output.url).query)["size"] == ["77"]
    assert segment.key == f"logs/{rig.ground.project}/{execution}/1/00000000000000000001.gz"


@pytest.mark.security("N18")
@pytest.mark.parametrize(
    ("item", "error"),
    [
        (UrlItem("1", "input", "data-9"), "denied"),
        (UrlItem("1", "input", "../../etc/passwd"), "denied"),
        (UrlItem("1", "output", "../x"), "bad_name"),
        (UrlItem("1", "output", "/etc/passwd"), "bad_name"),
        (UrlItem("1", "output", "a//b"), "bad_name"),
        (UrlItem("1", "output", "x", -1), "too_large"),
        (UrlItem("1", "log", "../../other/1/1.gz"), "bad_name"),
        (UrlItem("1", "log", "00000000000000000001.gz", 1 << 40), "too_large"),
        (UrlItem("1", "secrets", "x"), "denied"),
    ],
)
def test_everything_else_is_denied_item_by_item(granted, item: UrlItem, error: str) -> None:
    _, worker, _, attempt, _ = granted
    denied, fine = worker.ask_urls(attempt, item, UrlItem("2", "code", "")).items
    assert (denied.error, denied.url) == (error, "")
    assert fine.url


def test_a_store_address_counts_only_as_that_of_a_file_of_this_project(rig: Rig) -> None:
    foreign = uuid7()
    with rig.db.begin(SYSTEM) as session:
        session.add(Project(id=foreign, organization_id=rig.ground.organization, name="other", created_at=utc_now()))
    own, theirs = datum(rig, rig.ground.project), datum(rig, foreign)
    worker = rig.worker()
    rig.execution(inputs={"data": [own.uri, theirs.uri]})
    attempt = worker.wait("grant").attempt
    first, second = worker.ask_urls(attempt, UrlItem("1", "input", "data-0"), UrlItem("2", "input", "data-1")).items
    assert urlsplit(first.url).path.endswith(own.key)
    assert (second.error, second.url) == ("not_found", "")


@pytest.mark.security("N17", "N18")
def test_an_ended_attempt_and_another_workers_get_nothing(granted) -> None:
    rig, worker, _, attempt, _ = granted
    other = rig.worker()
    with pytest.raises(AssertionError, match="no urls came"):
        other.wait_urls = other.ask_urls(attempt, UrlItem("1", "code", ""))
    worker.end(attempt)
    (item,) = worker.ask_urls(attempt, UrlItem("1", "code", "")).items
    assert (item.error, item.url) == ("old_attempt", "")


def test_calls_from_inside_the_container(granted) -> None:
    rig, worker, execution, attempt, own = granted
    done = worker.relay(attempt, "set_status_detail", json.dumps({"status_detail": "epoch 3"}))
    assert (done.status, rig.look(execution).status_detail) == (200, "epoch 3")
    inputs = worker.relay(attempt, "input_request", inputs=["data"])
    (found,) = json.loads(inputs.body)
    assert [file["original_uri"] for file in found["files"]] == ["https://example.org/a.csv", f"datum://{own.id}"]
    assert all(file["url"].startswith("http") for file in found["files"])
    assert worker.relay(attempt, "input_request", inputs=["nope"]).status == 404
    assert worker.relay(attempt, "trigger_catalog", q=["x"]).status == 501
    assert worker.relay(attempt, "drop_tables").status == 404
    assert worker.relay(attempt, "set_status_detail", "no json").status == 400
