"""A queue that is reached over a network: TLS, and certificates of both sides."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.dispatch.queue import Queue, QueueAddress, QueueError, QueueRefusedError
from fixtures.bench import YAML, archive
from fixtures.stack import REMORA, Stack, running_stack, wait_until
from fixtures.tls import Authority, Certificate, TlsRedis
from worker.rig import QUICK, AgentProcess
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.identity import IdentityStore
from worker_bootstrap.agent.join import join
from worker_bootstrap.protocol import names
from worker_bootstrap.protocol.crypto import password_hash

MASTER, JOIN = "master-" + "p" * 24, "join-" + "p" * 24
USERS = {
    names.MASTER_USER: names.master_acl(password_hash(MASTER)),
    names.JOIN_USER: names.join_acl(password_hash(JOIN)),
}
pytestmark = pytest.mark.needs("redis")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """One of its own: it gets a second installation, whose queue ends with these tests."""
    with running_stack() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder / "authority", "authority of the test")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Authority:
    return Authority(folder / "stranger", "authority of somebody else")


@pytest.fixture(scope="module")
def queue(folder: Path, authority: Authority) -> Iterator[TlsRedis]:
    server = TlsRedis(folder / "queue", authority.server("localhost"), USERS)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def elsewhere(folder: Path, authority: Authority) -> Iterator[TlsRedis]:
    """Its certificate is for another host."""
    server = TlsRedis(folder / "elsewhere", authority.server("other.example.test"), USERS)
    yield server
    server.stop()


def as_master(server: TlsRedis, shown: Certificate | None, ca: Path) -> str:
    """What the master says of this queue; empty when it is let in."""
    address = QueueAddress(server.url, names.MASTER_USER, MASTER, ca=str(ca))
    if shown is not None:
        address = replace(address, certificate=str(shown.certificate), key=str(shown.key))
    queue = Queue(address, timeout=5)
    try:
        queue.ping()
    except QueueError as error:
        return str(error)
    finally:
        queue.close()
    return ""


def as_agent(server: TlsRedis, shown: Certificate | None, ca: Path, home: Path, log: pytest.LogCaptureFixture) -> str:
    """What the agent's log says about its first try to join."""
    tls = {"ca": str(ca)}
    if shown is not None:
        tls |= {"cert": str(shown.certificate), "key": str(shown.key)}
    config = AgentConfig(server.url, JOIN, "s" * 32, "group", "machine", tls=tls, join_wait=0.2)
    halted = threading.Event()
    logger = logging.getLogger("remora.agent")
    logger.addHandler(log.handler)
    try:
        join(config, IdentityStore(home / "identity").keys(), halted.is_set, lambda _: halted.set())
    finally:
        logger.removeHandler(log.handler)
    return log.text


def test_both_sides_are_let_in_with_their_certificates(
    queue: TlsRedis, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert as_master(queue, authority.client("master"), authority.file) == ""
    assert "no answer in" in as_agent(queue, authority.client("agent"), authority.file, tmp_path, caplog)


def test_without_a_certificate(
    queue: TlsRedis, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = "the queue demands a client certificate and none was shown"
    assert wanted in as_master(queue, None, authority.file)
    assert wanted in as_agent(queue, None, authority.file, tmp_path, caplog)


def test_a_certificate_of_another_authority(
    queue: TlsRedis, authority: Authority, stranger: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = "the queue does not know the authority of the client certificate"
    shown = stranger.client("agent")
    assert wanted in as_master(queue, shown, authority.file)
    assert wanted in as_agent(queue, shown, authority.file, tmp_path, caplog)


def test_a_queue_of_another_authority(
    queue: TlsRedis, authority: Authority, stranger: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = "the queue's certificate is not of the authority that is trusted here"
    shown = authority.client("agent")
    assert wanted in as_master(queue, shown, stranger.file)
    assert wanted in as_agent(queue, shown, stranger.file, tmp_path, caplog)


def test_a_queue_with_another_host_name(
    elsewhere: TlsRedis, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = "the queue's certificate is for another host name"
    shown = authority.client("agent")
    assert wanted in as_master(elsewhere, shown, authority.file)
    assert wanted in as_agent(elsewhere, shown, authority.file, tmp_path, caplog)


@pytest.mark.security("N05")
def test_the_master_refuses_plain_addresses_beyond_the_loopback() -> None:
    with pytest.raises(QueueRefusedError, match="without TLS: use rediss://"):
        Queue("redis://queue.example.test:6379")


# ---- an installation of its own ---------------------------------------------------------------------
def document(stack: Stack, queue: TlsRedis, folder: Path, shown: Certificate, **changes: Any) -> Path:
    """An installation document whose queue wants certificates."""
    secrets = {"password": MASTER, "secret": "secret-of-the-group-" + "s" * 16}
    for name, text in secrets.items():
        (folder / name).write_text(text)
    stores = [
        {"name": purpose, "purpose": purpose, "kind": "folder", "location": str(stack.home / "stores" / purpose)}
        for purpose in ("code", "releases", "logs", "data")
    ]
    body: dict[str, Any] = {
        "name": "over-tls",
        "flavour": "on_prem",
        "provider": "ssh",
        "queue": {
            "url": queue.url,
            "password": f"file:{folder / 'password'}",
            "ca": str(shown.ca),
            "certificate": str(shown.certificate),
            "key": str(shown.key),
            **changes,
        },
        "stores": stores,
        "groups": [{"slug": "own-machines", "name": "Own machines", "join_secret": f"file:{folder / 'secret'}"}],
    }
    path = folder / "installation.json"
    path.write_text(json.dumps(body))
    return path


def remora(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "REMORA_HOME": str(stack.home)}
    return subprocess.run([REMORA, *words], env=environment, capture_output=True, text=True, timeout=60)


def test_a_document_with_a_plain_queue_elsewhere_is_not_imported(
    stack: Stack, queue: TlsRedis, authority: Authority, tmp_path: Path
) -> None:
    path = document(stack, queue, tmp_path, authority.client("master"), url="redis://queue.example.test:6379")
    done = remora(stack, "server", "import-installation", str(path))
    assert done.returncode == 1
    assert "queue.url" in done.stderr and "use rediss://" in done.stderr


@pytest.mark.needs("engine", "image")
def test_master_and_agent_work_over_tls(stack: Stack, queue: TlsRedis, authority: Authority, tmp_path: Path) -> None:
    path = document(stack, queue, tmp_path, authority.client("master"))
    done = remora(stack, "server", "import-installation", str(path))
    assert done.returncode == 0, done.stderr
    (tmp_path / "join").write_text(JOIN)
    shown = authority.client("agent")
    words = ["--installation", "over-tls", "--join-password", str(tmp_path / "join"), "--ca", str(shown.ca)]
    words += ["--certificate", str(shown.certificate), "--key", str(shown.key)]
    credential = remora(stack, "server", "join-credential", "own-machines", *words)
    assert credential.returncode == 0, credential.stderr
    agent = AgentProcess(tmp_path / "agent", QUICK)
    joined = subprocess.run(
        [REMORA, "worker", "join", "--home", agent.home, "--name", "far-away", "--without-firewall"],
        input=credential.stdout,
        capture_output=True,
        text=True,
    )
    assert joined.returncode == 0, joined.stderr
    try:
        agent.start()
        assert _run_there(stack) == ["over the network"], agent.log
    finally:
        agent.stop()


def _run_there(stack: Stack) -> list[str]:
    """Lines of an execution in the group behind TLS."""
    with stack.api() as api:

        def found() -> Any:
            shown = api.get("environments/").json()["results"]
            return [one for one in shown if one["slug"].endswith("own-machines")]

        environment = wait_until(found, 20, "the environment")[0]["id"]
        project = api.post("projects/", data={"name": "over-tls"}).json()["id"]
        sent = api.post(
            f"projects/{project}/import-package/",
            files={"data": ("data.tgz", archive({"valohai.yaml": YAML.encode()}), "application/gzip")},
            data={"description": "", "yaml_path": "valohai.yaml"},
        )
        body = {"project": project, "commit": sent.json()["identifier"], "step": "any", "environment": environment}
        created = api.post("executions/", json={**body, "command": "echo over the network"})
        assert created.status_code == 201, created.text
    execution = created.json()["id"]
    assert stack.wait(execution, timeout=90)["status"] == "complete"
    return [event["message"] for event in stack.log(execution) if event["stream"] == "stdout"]
