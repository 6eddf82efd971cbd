"""Private images: a credential for one pull, kept nowhere, and no use of what another organisation pulled."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from worker.fake_master import Record
from worker.registry_server import RegistryServer
from worker.rig import IMAGE, Rig, docker

pytestmark = pytest.mark.needs("engine")
PASSWORD = "a-password-that-is-found-nowhere"


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    server = RegistryServer(os.urandom(1 << 16))
    server.login = f"alice:{PASSWORD}"
    yield server
    server.close()
    subprocess.run(["docker", "rmi", "-f", f"{server.image}:1"], capture_output=True)


@pytest.fixture(autouse=True)
def logins(rig: Rig) -> Iterator[dict[str, tuple[str, str]]]:
    """The credentials that the master has, by organisation."""
    rig.master.logins = {"theirs": ("alice", PASSWORD)}
    yield rig.master.logins
    rig.master.logins = {}


def pull(rig: Rig, image: str, organization: str = "theirs", **options: str) -> Record:
    """An attempt with that image; it has no shell, so its command always fails."""
    return rig.run("true", organization=organization, container={"image": image, **options})


def was_pulled(rig: Rig, record: Record) -> bool:
    assert record.ends[0].outcome == "error"
    return bool(record.data("container"))


def test_the_credential_serves_one_pull_and_is_kept_nowhere(rig: Rig, registry: RegistryServer) -> None:
    record = pull(rig, f"{registry.image}:1")
    assert was_pulled(rig, record), record.ends
    image = rig.lines(record, "status")
    assert f"Pulled image {registry.image}:1" in image
    assert not any(PASSWORD in line for line in rig.lines(record))
    kept = subprocess.run(["grep", "-rlF", PASSWORD, str(rig.agent.home)], capture_output=True, text=True)
    assert kept.stdout == ""
    assert not any(PASSWORD.encode() in data for data in rig.store.objects.values())


@pytest.mark.security("N05b")
def test_another_organisation_can_not_use_what_is_on_the_machine(rig: Rig, registry: RegistryServer) -> None:
    assert was_pulled(rig, pull(rig, f"{registry.image}:1"))
    image_id = docker("image", "inspect", "-f", "{{.Id}}", f"{registry.image}:1")
    digest = docker("image", "inspect", "-f", "{{index .RepoDigests 0}}", f"{registry.image}:1")
    for name in (f"{registry.image}:1", digest):
        end = pull(rig, name, "another").ends[0]
        assert (end.outcome, end.reason) == ("error", "image_without_login"), end
    # An engine takes a manifest that it has for that of any registry that is named with the digest.
    foreign = f"127.0.0.1:1/small@{digest.partition('@')[2]}"
    assert not pull(rig, foreign, "another").data("container")
    for name in (image_id, image_id.removeprefix("sha256:")[:12]):
        end = pull(rig, name, "another").ends[0]
        assert (end.outcome, end.reason) == ("error", "image_not_found"), end
        assert end.detail == f"{name} is the id of a private image; name it as its registry does"
    end = pull(rig, f"{registry.image}:1", "another", image_pull="never").ends[0]
    assert (end.outcome, end.reason) == ("error", "image_not_found"), end
    # Whose image it is goes on, asked for anew each time and downloaded once.
    downloaded = registry.requests["GET blobs"]
    assert was_pulled(rig, pull(rig, f"{registry.image}:1"))
    assert registry.requests["GET blobs"] == downloaded + 1, "the configuration, and no layer"


def test_a_right_that_is_gone_is_gone_at_once(rig: Rig, registry: RegistryServer) -> None:
    assert was_pulled(rig, pull(rig, f"{registry.image}:1"))
    registry.login = "alice:another"
    end = pull(rig, f"{registry.image}:1").ends[0]
    assert (end.outcome, end.reason) == ("error", "image_denied"), end
    assert end.detail.startswith(f"{registry.image}:1: ") and PASSWORD not in end.detail


def test_the_mark_outlives_the_agent(rig: Rig, registry: RegistryServer) -> None:
    assert was_pulled(rig, pull(rig, f"{registry.image}:1"))
    rig.agent.kill()
    rig.agent.start()
    assert pull(rig, f"{registry.image}:1", "another").ends[0].reason == "image_without_login"


def test_an_image_with_a_public_name_too_stays_usable_by_that(rig: Rig, registry: RegistryServer) -> None:
    """A public image that somebody pushed into a private registry as well: the engine has one image of two names."""
    assert was_pulled(rig, pull(rig, f"{registry.image}:1"))
    docker("tag", IMAGE, f"{registry.image}:2")
    try:
        assert rig.lines(rig.run("echo ran", organization="another"), "stdout") == ["ran"]
    finally:
        docker("rmi", f"{registry.image}:2")


def test_the_master_is_asked_again_until_it_has_a_token(rig: Rig, registry: RegistryServer) -> None:
    rig.master.login_errors = ["later", "later"]
    assert was_pulled(rig, pull(rig, f"{registry.image}:1"))
    assert rig.master.login_errors == []


@pytest.mark.parametrize(
    "code, end",
    [("login_refused", ("error", "registry_login_failed")), ("login_unreachable", ("failed", "image_pull_failed"))],
)
def test_why_there_is_no_token(rig: Rig, registry: RegistryServer, code: str, end: tuple[str, str]) -> None:
    rig.master.login_errors = [f"{code}: AWS does not know: this key."]
    found = pull(rig, f"{registry.image}:1").ends[0]
    assert (found.outcome, found.reason, found.detail) == (*end, "AWS does not know: this key.")
    assert not registry.requests


def test_a_master_of_before_gives_none(rig: Rig, registry: RegistryServer) -> None:
    """It does not know this question."""
    rig.master.login_errors = ["denied"]
    assert pull(rig, f"{registry.image}:1").ends[0].reason == "image_without_login"
