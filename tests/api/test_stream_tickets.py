"""Who gets a ticket for a live log, and what `web` passes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from controlplane.stream.passing import Passing
from fixtures.web import World, make_archive


@pytest.fixture
def execution(world: World) -> str:
    ann = world.client("ann")
    commit = ann.upload(world.project, make_archive()).json["identifier"]
    made = ann.post("/api/v0/executions/", json={"project": world.project, "commit": commit, "step": "train"})
    return made.json["id"]


def address(execution: str) -> str:
    return f"/api/v1/executions/{execution}/stream-ticket/"


@pytest.mark.parametrize(("name", "status"), [("ann", 200), ("vic", 200), ("ped", 200), ("eve", 404), ("ops", 404)])
def test_whoever_may_read_the_execution_gets_one(world: World, execution: str, name: str, status: int) -> None:
    answer = world.client(name).post(address(execution))
    assert answer.status_code == status
    if status == 200:
        found = world.services.tickets.open(answer.json["ticket"], execution)
        assert found and found.organization == world.organization_of("ann")
        assert answer.headers["Cache-Control"] == "no-store"


def test_a_browser_sends_its_form_token(world: World, execution: str) -> None:
    browser = world.browser("ann")
    assert browser.post(address(execution)).status_code == 403
    assert browser.post(address(execution), headers={"X-CSRF-Token": browser.csrf}).status_code == 200
    elsewhere = {"X-CSRF-Token": browser.csrf, "Origin": "https://evil.test"}
    assert browser.post(address(execution), headers=elsewhere).status_code == 403


@pytest.mark.security("N02")
def test_it_is_for_this_execution_and_ends(world: World, execution: str) -> None:
    ticket = world.client("ann").post(address(execution)).json["ticket"]
    assert world.services.tickets.open(ticket, world.project) is None
    world.clock.forward(world.services.settings.stream_ticket_ttl)
    assert world.services.tickets.open(ticket, execution) is None


@contextmanager
def upstream(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Something that answers one request on a loopback port, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                asked.append(peer.recv(65536))
                peer.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join(10)


def passing_to(world: World, passing: Passing) -> None:
    object.__setattr__(world.services, "streams", passing)


def test_what_the_stream_process_says_is_passed_on(world: World, execution: str) -> None:
    said = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nx-secret: 1\r\n\r\n{}"
    with upstream(said) as (port, asked):
        passing_to(world, Passing(port, 1, 5))
        answer = world.client().get(
            f"/stream/executions/{execution}/log",
            headers={"Authorization": "Ticket abc", "Last-Event-ID": "1:5", "Cookie": "remora_session=x"},
        )
        assert (answer.status_code, answer.data, answer.mimetype) == (401, b"{}", "application/json")
    assert "x-secret" not in answer.headers
    lines = asked[0].decode().split("\r\n")
    assert lines[0] == f"GET /stream/executions/{execution}/log HTTP/1.0"
    assert sorted(lines[1:-2]) == ["Authorization: Ticket abc", "Host: remora.test:8765", "Last-Event-ID: 1:5"]


def test_without_a_stream_process_or_a_place_the_page_is_told(world: World, execution: str) -> None:
    path = f"/stream/executions/{execution}/log"
    passing_to(world, Passing(1, 1, 5))
    for _ in range(3):
        assert world.client().get(path).status_code == 503
    passing_to(world, Passing(1, 0, 5))
    assert world.client().get(path).json["code"] == "unavailable"
    with upstream(b"nonsense") as (port, _):
        passing_to(world, Passing(port, 1, 5))
        assert world.client().get(path).status_code == 503
    assert world.client().get("/stream/executions/x/log").status_code == 404
