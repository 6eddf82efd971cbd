"""The agent as a service of systemd, on a machine of its own."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.host import ENGINE, Host, make_image
from worker.fake_master import JOIN_SECRET
from worker.queue_server import JOIN_PASSWORD
from worker.rig import QUICK, Rig
from worker_bootstrap.credential import JoinCredential

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.needs("root", "debootstrap", "engine", "image", "redis"),
]
FILE = "/root/remora-agent.pex"
COUNT = "i=0; while [ $i -lt 80 ]; do i=$((i+1)); echo line $i; sleep 0.1; done"


@pytest.fixture(scope="module")
def host(agent_file: Path) -> Iterator[Host]:
    make_image()
    host = Host(Path("/var/lib") / f"remora-test-{uuid.uuid4().hex[:8]}")
    try:
        deadline = time.monotonic() + 30
        while host.ask("systemctl", "is-system-running").stdout.strip() not in ("running", "degraded"):
            assert time.monotonic() < deadline, "systemd does not start"
            time.sleep(0.2)
        host.copy(agent_file, FILE)
        yield host
    finally:
        host.close()


@pytest.fixture
def installed(host: Host, make_rig: Callable[..., Rig]) -> Rig:
    """A rig whose agent is the service on the host."""
    rig = make_rig()
    (host.folder / "agent.json").write_text(json.dumps(QUICK))
    credential = JoinCredential(rig.queue.url, "group", JOIN_PASSWORD, JOIN_SECRET)
    words = ["--home", str(host.folder), "--credential", "/dev/stdin", "--engine", ENGINE, "--without-firewall"]
    said = host(FILE, "install", *words, "--name", "host", "--slots", "2", given=credential.encode())
    assert said.startswith("Installed 0.1.0 in /opt/remora-agent")
    return rig


def keeper(host: Host, attempt: str) -> str:
    return (host.folder / "work" / attempt / "log" / "keeper.lock").read_text()


def test_the_service_runs_and_a_restart_loses_no_line(host: Host, installed: Rig) -> None:
    rig = installed
    assert rig.master.worker, host.journal()
    assert host("systemctl", "is-enabled", "remora-agent").strip() == "enabled"
    record = rig.master.grant(rig.job(COUNT))
    rig.master.wait(lambda: any("line 10" in line for line in rig.master.tail(record)), "its tenth line")
    before, holder = host("systemctl", "show", "-p", "MainPID", "remora-agent"), keeper(host, record.job.attempt)
    host("systemctl", "restart", "remora-agent")
    assert host("systemctl", "show", "-p", "MainPID", "remora-agent") != before
    assert keeper(host, record.job.attempt) == holder
    end = rig.master.ended(record)
    assert (end.outcome, end.exit_code) == ("complete", 0), host.journal()
    assert rig.lines(record, "stdout") == [f"line {number}" for number in range(1, 81)]

    host("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "remora-agent")
    again = rig.run("echo after a crash")
    assert rig.lines(again, "stdout") == ["after a crash"], host.journal()
    shown = json.loads(host("/opt/remora-agent/current", "status", "--home", str(host.folder)))
    assert (shown["running"], shown["joined"], shown["release"]) == (True, True, "0.1.0")


def test_systemd_finds_no_fault_in_the_unit(host: Host, installed: Rig) -> None:
    done = host.ask("systemd-analyze", "verify", "/etc/systemd/system/remora-agent.service")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_unusable_settings_are_not_tried_again_and_again(host: Host, installed: Rig) -> None:
    path = host.folder / "agent.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"queue_url": "redis://queue.example.test"}))
    host.ask("systemctl", "restart", "remora-agent")
    deadline = time.monotonic() + 20
    while host.ask("systemctl", "is-failed", "remora-agent").stdout.strip() != "failed":
        assert time.monotonic() < deadline, host.journal()
        time.sleep(0.2)
    assert "without TLS: use rediss://" in host.journal()
