"""Stores that hang, or whose lists never end: every request about them ends, with a sentence."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from controlplane.settings import Settings
from fixtures.hanging import HangingServer, hanging_server
from fixtures.store_rigs import HERE
from fixtures.web import World, make_archive

CODE = b"""
- step:
    name: train
    image: python:3.11-slim
    command: python train.py
    inputs:
      - {name: data, optional: true}
"""
PAGE = (
    "<ListBucketResult><IsTruncated>true</IsTruncated>"
    "<NextContinuationToken>{}</NextContinuationToken>{}</ListBucketResult>"
)
ENTRY = (
    "<Contents><Key>{}</Key><Size>1</Size><ETag>x</ETag><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    times = {"store_test_timeout": 1.0, "store_list_timeout": 2.0}
    return settings.model_copy(update={"allowed_networks": HERE, **times})


@pytest.fixture
def hanging() -> Iterator[HangingServer]:
    with hanging_server() as server:
        yield server


@contextmanager
def lister(page: Callable[[int], str]) -> Iterator[str]:
    """The address of a server that answers its n-th request with page(n)."""
    numbers = itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(next(numbers)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def add(world: World, endpoint: str) -> str:
    keys = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "of-this-test"}
    body = {"name": "slow", "type": "s3", "configuration": {"bucket": "bucket", "endpoint_url": endpoint, **keys}}
    answer = world.client("ann").post("/api/v0/stores/", json={**body, "project": world.project})
    assert answer.status_code == 201, answer.text
    return answer.json["id"]


def run(world: World, *uris: str) -> Any:
    commit = world.client("ann").upload(world.project, make_archive(valohai_yaml=CODE)).json["identifier"]
    body = {"project": world.project, "commit": commit, "step": "train", "inputs": {"data": list(uris)}}
    return world.client("ann").post("/api/v0/executions/", json=body)


def test_a_test_of_a_store_that_hangs_ends(world: World, hanging: HangingServer) -> None:
    store = add(world, hanging.url)
    tried = world.client("ann").post(f"/api/v0/stores/{store}/test/").json
    assert not tried["ok"]
    assert [step["name"] for step in tried["steps"]] == ["write"]
    assert "gave no whole answer in time" in tried["steps"][0]["sentence"]
    assert tried["steps"][0]["remedy"]


def test_a_file_of_a_store_that_hangs_is_not_taken_in(world: World, hanging: HangingServer) -> None:
    store = add(world, hanging.url)
    body = {"url": "s3://bucket/a.csv", "project": world.project}
    answer = world.client("ann").post(f"/api/v0/stores/{store}/adopt/", json=body)
    assert answer.status_code == 400
    assert "gave no whole answer in time" in answer.json["url"][0]["message"]


def test_wildcards_of_a_store_that_hangs_share_their_time(world: World, hanging: HangingServer) -> None:
    add(world, hanging.url)
    answer = run(world, *[f"s3://bucket/{number}/*" for number in range(20)])
    assert answer.status_code == 400
    assert "can't be listed in the store slow" in answer.json["inputs"][0]["message"]
    assert hanging.taken == 1


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (lambda number: PAGE.format("same", ""), "the store's list does not end"),
        (lambda number: PAGE.format(number, ""), "list does not end|longer than 2 s in all|no whole answer in time"),
        (lambda number: PAGE.format("same", ENTRY.format(number)), "the store's list does not end"),
        (
            lambda number: PAGE.format(number, ENTRY.format(f"z{number}")),
            "longer than 2 s in all|no whole answer in time",
        ),
    ],
)
def test_a_list_that_never_ends_is_ended(world: World, page: Callable[[int], str], why: str) -> None:
    with lister(page) as endpoint:
        add(world, endpoint)
        answer = run(world, "s3://bucket/**")
    assert answer.status_code == 400
    sentence = answer.json["inputs"][0]["message"]
    assert any(part in sentence for part in why.split("|")), sentence
