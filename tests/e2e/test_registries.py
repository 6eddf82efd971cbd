"""A private image on the whole stack: a real registry with users, credentials by the API, executions that pull."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fixtures.bench import Bench, Ran, make_bench
from fixtures.image_registry import PASSWORD, USER, ImageRegistry, image_registry
from fixtures.stack import REMORA, Stack

pytestmark = [pytest.mark.needs("image"), pytest.mark.needs("registry")]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    with image_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def image(registry: ImageRegistry, request: pytest.FixtureRequest) -> Iterator[str]:
    """A private image that no engine has; nobody has a credential for it yet."""
    made = registry.push(f"{request.node.name.replace('_', '-')}/tool:1")
    yield made
    registry.forget(made)


@pytest.fixture
def keep(bench: Bench) -> Iterator[Any]:
    """Keeps a credential until the test's end; gives its id."""
    made: list[str] = []

    def keep_one(pattern: str, password: str = PASSWORD, **fields: str) -> str:
        body = {"type": "docker", "image_pattern": pattern, "configuration": {"username": USER, "password": password}}
        with bench.stack.api() as api:
            answer = api.post("registry-credentials/", json={**body, **fields})
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["id"])
        return made[-1]

    yield keep_one
    with bench.stack.api() as api:
        for credential in made:
            api.delete(f"registry-credentials/{credential}/")


class Strangers(Stack):
    """The same stack, for another person."""

    def __init__(self, stack: Stack, token: str) -> None:
        super().__init__(stack.home)
        self._token = token

    @property
    def access(self) -> dict[str, str]:
        return {**super().access, "token": self._token}


@pytest.fixture(scope="module")
def stranger(bench: Bench) -> Bench:
    """A project of another organisation."""
    environment = {**os.environ, "REMORA_HOME": str(bench.stack.home)}
    command = [str(REMORA), "server", "add-user", "stranger"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    login = {"username": "stranger", "password": done.stdout.split()[-1]}
    token = httpx.post(f"{bench.stack.url}/api/v0/get-token/", data=login, trust_env=False).json()["token"]
    return make_bench(Strangers(bench.stack, token), bench.files, "strange")


def end_of(ran: Ran) -> tuple[str, str]:
    return ran.shown["status"], ran.shown["reason"]


def test_an_execution_pulls_with_the_credential_and_nobody_else_can(
    bench: Bench, stranger: Bench, keep: Any, image: str
) -> None:
    keep(f"{image.partition('/')[0]}/*")
    ran = bench.run("echo it ran", image=image)
    assert ran.shown["status"] == "complete", ran.text
    assert ran.lines("stdout") == ["it ran"] and f"Pulled image {image}" in ran.lines("status")
    # Now the machine has it. A second one of the same project asks again, and downloads nothing.
    assert bench.run("echo again", image=image).shown["status"] == "complete"
    ran = stranger.run("echo stolen", image=image)
    assert end_of(ran) == ("error", "image_without_login"), ran.text
    assert ran.said.startswith(f"Its registry does not give the image {image} to everybody, and no credential")
    assert "Add a credential under Registries" in ran.shown["next_step"]
    assert "stolen" not in ran.lines("stdout")
    kept = subprocess.run(["grep", "-rlF", PASSWORD, str(bench.stack.home)], capture_output=True, text=True)
    assert kept.stdout == "", "the password is in clear nowhere: no log, no database, no file of the agent"


def test_no_credential(bench: Bench, image: str) -> None:
    ran = bench.run("true", image=image)
    assert end_of(ran) == ("error", "image_without_login"), ran.text
    assert "no basic auth credentials" in ran.said


def test_a_wrong_password_and_after_it_is_mended(bench: Bench, keep: Any, image: str) -> None:
    credential = keep(f"{image.partition('/')[0]}/*", "wrong")
    ran = bench.run("true", image=image)
    assert end_of(ran) == ("error", "image_denied"), ran.text
    assert ran.said.startswith(f"Its registry refuses the credential for the image {image}: ")
    assert "Test the credential under Registries" in ran.shown["next_step"]
    with bench.stack.api() as api:
        body = {"configuration": {"username": USER, "password": PASSWORD}}
        api.put(f"registry-credentials/{credential}/", json=body).raise_for_status()
    assert bench.run("true", image=image).shown["status"] == "complete"


def test_the_nearest_pattern_is_used(bench: Bench, keep: Any, image: str) -> None:
    host, _, rest = image.partition("/")
    keep(f"{host}/*", "wrong")
    keep(f"{host}/{rest.partition('/')[0]}/*")
    keep(f"{host}/another/*", "wrong")
    assert bench.run("true", image=image).shown["status"] == "complete"


def test_a_credential_of_another_project(bench: Bench, keep: Any, image: str) -> None:
    with bench.stack.api() as api:
        other = api.post("projects/", json={"name": "other of registries"}).json()["id"]
    keep(f"{image.partition('/')[0]}/*", project=other)
    assert end_of(bench.run("true", image=image)) == ("error", "image_without_login")


def test_a_right_that_is_taken_away_counts_for_an_image_that_is_there(
    bench: Bench, registry: ImageRegistry, keep: Any, image: str
) -> None:
    keep(f"{image.partition('/')[0]}/*")
    assert bench.run("true", image=image).shown["status"] == "complete"
    registry.set_password("another")
    try:
        assert end_of(bench.run("true", image=image)) == ("error", "image_denied")
    finally:
        registry.set_password(PASSWORD)
