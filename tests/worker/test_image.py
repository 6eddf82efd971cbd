"""Getting the image: said while it comes, not fetched again, and every failure with its reason."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from worker.registry_server import RegistryServer
from worker.rig import IMAGE, Rig, docker

pytestmark = pytest.mark.needs("engine")


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    server = RegistryServer(os.urandom(8 << 20))
    yield server
    server.close()
    subprocess.run(["docker", "rmi", "-f", f"{server.image}:1"], capture_output=True)


def test_an_image_is_pulled_with_progress(rig: Rig, registry: RegistryServer) -> None:
    registry.slow = 0.4
    image = f"{registry.image}:1"
    record = rig.run("true", container={"image": image})
    status = rig.lines(record, "status")
    first, last = status.index(f"Pulling image {image}"), status.index(f"Pulled image {image}")
    assert any(line.startswith(f"Pulling image {image}: ") and line.endswith(" of 8 MB") for line in status[first:last])
    assert docker("image", "inspect", "-f", "{{.Id}}", image)
    # It has no shell, which is the user's to mend.
    assert record.ends[0].outcome == "error"
    assert "/bin/sh" in record.ends[0].detail + "".join(rig.lines(record, "stderr"))


def test_an_image_that_is_there_is_not_pulled(rig: Rig, registry: RegistryServer) -> None:
    image = f"{registry.image}:1"
    docker("tag", IMAGE, image)
    record = rig.run("echo ran", container={"image": image})
    assert rig.lines(record, "stdout") == ["ran"]
    assert not registry.requests
    assert not any("Pulling" in line for line in rig.lines(record, "status"))


@pytest.mark.parametrize("name", ["VH_NO_IMAGE_CACHE", "VH_CLEAN"])
def test_users_can_have_it_pulled_all_the_same(rig: Rig, registry: RegistryServer, name: str) -> None:
    image = f"{registry.image}:1"
    docker("tag", IMAGE, image)
    record = rig.run("true", container={"image": image}, env={name: "1"})
    assert f"Pulled image {image}" in rig.lines(record, "status")
    assert registry.requests["GET blobs"] == 2


def test_an_image_that_does_not_exist(rig: Rig, registry: RegistryServer) -> None:
    registry.status = 404
    record = rig.run("true", container={"image": f"{registry.image}:1"})
    end = record.ends[0]
    assert (end.outcome, end.reason) == ("error", "image_not_found")
    assert end.detail.startswith(f"{registry.image}:1: ") and "manifest unknown" in end.detail


def test_a_registry_that_is_broken_is_the_infrastructures_failure(rig: Rig, registry: RegistryServer) -> None:
    registry.status = 500
    end = rig.run("true", container={"image": f"{registry.image}:1"}).ends[0]
    assert (end.outcome, end.reason) == ("failed", "image_pull_failed")


def test_an_image_that_must_be_there_and_is_not(rig: Rig, registry: RegistryServer) -> None:
    image = f"{registry.image}:1"
    end = rig.run("true", container={"image": image, "image_pull": "never"}).ends[0]
    assert (end.outcome, end.reason) == ("error", "image_not_found")
    assert end.detail == f"{image} is not on this machine and the group's pull policy is never"
    assert not registry.requests


def test_a_stop_does_not_wait_for_the_image(rig: Rig, registry: RegistryServer) -> None:
    registry.slow = 2.0
    record = rig.master.grant(rig.job("true", container={"image": f"{registry.image}:1"}))
    rig.master.wait_line(record, "Pulling image")
    rig.master.stop(record)
    end = rig.master.ended(record, timeout=10)
    assert (end.outcome, end.reason) == ("stopped", "stopped_by_user")
