"""Machines that can't be used: each fault is a sentence with host and remedy, and nothing is changed on any of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.ssh_hosts import SshHost, SshNet
from infra.onprem.preflight import PreflightError, Report, Wanted, survey
from infra.onprem.remote import Access, Place, connected, run_apart
from onprem.lab import LEFT

pytestmark = [pytest.mark.needs("root", "debootstrap", "engine", "image", "sshd"), pytest.mark.timeout(300)]


def look(net: SshNet, address: str, port: int = 22, wanted: Wanted | None = None, **changes: str) -> list[Report]:
    place = Place(address, port, Access(**net.access(**changes)))
    return run_apart(lambda: survey({place: wanted or Wanted("lab", ["x86_64", "aarch64"])}, time.time))


def refused(net: SshNet, address: str, port: int = 22, wanted: Wanted | None = None, **changes: str) -> str:
    with pytest.raises(PreflightError) as caught:
        look(net, address, port, wanted, **changes)
    (line,) = caught.value.lines
    name = address if port == 22 else f"{address}:{port}"
    assert line.startswith(f"{name}: ")
    return line.removeprefix(f"{name}: ")


@pytest.fixture
def host(net: SshNet) -> Iterator[SshHost]:
    yield net.hosts[1]
    assert net.hosts[1].ask("sh", "-c", LEFT).stdout == ""


def test_a_machine_as_it_should_be(net: SshNet, host: SshHost) -> None:
    (report,) = look(net, host.address)
    assert report.failures == [] and report.facts["machine"]


def test_another_host_key(net: SshNet, host: SshHost, tmp_path: Path) -> None:
    other = tmp_path / "known_hosts"
    other.write_text(net.known_hosts.read_text().replace(host.address, "192.0.2.1"))
    said = refused(net, host.address, known_hosts=str(other))
    assert said.startswith(f"its host key is not the one in {other}: compare it")
    lines = [line.split() for line in net.known_hosts.read_text().splitlines()]
    stranger = next(line for line in lines if line[0] != host.address)
    other.write_text(f"{host.address} {stranger[1]} {stranger[2]}\n")
    assert "its host key is not the one in" in refused(net, host.address, known_hosts=str(other))
    assert "there is no /no/such: `ssh-keyscan" in refused(net, host.address, known_hosts="/no/such")


def test_keys_that_open_nothing(net: SshNet, host: SshHost, tmp_path: Path) -> None:
    other = SshKey(tmp_path)
    said = refused(net, host.address, key=str(other.file))
    assert said == f"user root is not let in by the key {other.file}: put its public half on the machine."
    assert "is no private key" in refused(net, host.address, key=str(other.file.with_suffix(".pub")))
    assert refused(net, host.address, key="/no/such") == (
        "the key /no/such can't be read (No such file or directory): set `access.key`."
    )
    locked = SshKey(tmp_path, "locked", passphrase="of this test")
    assert "has a passphrase: name a key without one" in refused(net, host.address, key=str(locked.file))


def test_a_machine_that_is_down(net: SshNet, host: SshHost) -> None:
    assert "no ssh on port 2222 (" in refused(net, host.address, port=2222)
    assert "start the machine and its sshd, or correct `hosts`." in refused(net, host.address, port=2222)


def test_a_person_who_may_not_sudo_and_one_who_may(net: SshNet, host: SshHost) -> None:
    said = refused(net, host.address, user="person")
    assert said.startswith("user person may not sudo without a password (")
    assert "write `person ALL=(ALL) NOPASSWD: ALL` into /etc/sudoers.d/person" in said
    host("sh", "-c", "echo 'person ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/person")
    try:
        (report,) = look(net, host.address, user="person")
        assert report.failures == []
    finally:
        host("rm", "/etc/sudoers.d/person")


@contextmanager
def changed(host: SshHost, before: str, after: str) -> Iterator[None]:
    host("sh", "-ec", before)
    try:
        yield
    finally:
        host("sh", "-ec", after)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "systemctl stop docker.socket docker",
            "systemctl start docker",
            "its Docker engine does not answer: install it (apt-get install docker.io) and start it",
        ),
        (
            "mv /usr/bin/docker /usr/bin/docker.away; printf 'Package: docker.io\\nPin: release *\\n"
            "Pin-Priority: -1\\n' >/etc/apt/preferences.d/none",
            "mv /usr/bin/docker.away /usr/bin/docker; rm /etc/apt/preferences.d/none",
            "there is no Docker engine, and apt has no docker.io: install it",
        ),
        (
            "mkdir /opt/remora-agent; printf other >/opt/remora-agent/installation",
            "rm -r /opt/remora-agent",
            "it belongs to the installation other: remove that agent",
        ),
        (
            "touch /etc/systemd/system/remora-agent.service",
            "rm /etc/systemd/system/remora-agent.service",
            "it has an agent that this installer did not put there: remove that agent",
        ),
    ],
)
def test_what_is_wrong_on_a_machine(net: SshNet, host: SshHost, before: str, after: str, said: str) -> None:
    with changed(host, before, after):
        assert refused(net, host.address).startswith(said)


def test_a_port_that_is_taken_and_folders_that_are_missing(net: SshNet, host: SshHost) -> None:
    wanted = Wanted("lab", ["x86_64", "aarch64"], listens={"remora-queue": 22})
    assert refused(net, host.address, wanted=wanted).startswith("port 22 is taken by something else: choose another")
    wanted = Wanted("lab", ["x86_64", "aarch64"], mounts=["/srv", "/no/such"])
    assert refused(net, host.address, wanted=wanted).startswith("there is no /no/such: make the folder")


def test_a_machine_behind_another(net: SshNet, host: SshHost) -> None:
    middle = net.hosts[0].address

    async def who() -> str:
        async with connected(Place(host.address, 22, Access(**net.access(jump=f"root@{middle}")))) as session:
            return await session.run(["sh", "-c", 'echo "$SSH_CLIENT"'])

    assert run_apart(who).split()[0] == middle


def test_what_is_given_is_no_argument_and_a_file_is_put_for_its_owner_alone(net: SshNet, host: SshHost) -> None:
    secret = "a-secret-of-this-test"

    async def write() -> tuple[str, str]:
        async with connected(Place(host.address, 22, Access(**net.access()))) as session:
            await session.put("/tmp/put-here", secret.encode())
            look = "cat >/dev/null; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true"
            return await session.run(["cat", "/tmp/put-here"]), await session.run(["sh", "-c", look], secret.encode())

    written, arguments = run_apart(write)
    assert written == secret
    assert "cat /proc/" in arguments and secret not in arguments
    assert host("stat", "-c", "%a", "/tmp/put-here").strip() == "600"
    host("rm", "/tmp/put-here")


class SshKey:
    """A key that no machine knows."""

    def __init__(self, folder: Path, name: str = "other", passphrase: str = "") -> None:
        self.file = folder / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(self.file)]
        subprocess.run(command, check=True, timeout=20)
