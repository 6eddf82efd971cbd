"""Machines that exist already, by the real CLI: up, work, up again, upgrade, a machine that dies halfway, destroy.

The tests of this file follow one another on the same machines, as a platform engineer's days do.
"""

from __future__ import annotations

import base64
import gzip
import json
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from fixtures.bench import YAML, Bench, archive
from fixtures.inputs import FileServer
from fixtures.stack import wait_until
from fixtures.work import IMAGE
from infra.installation import InstallationDocument
from onprem.claims import LET_END, MIB, TURN, connects, files_with, listening, reaches
from onprem.lab import NAME, NEXT, Lab
from stacks.wizard.control_plane import ControlPlane, find_access
from support.events import Run
from worker_bootstrap.agent import VERSION

pytestmark = [
    pytest.mark.needs("pulumi", "root", "debootstrap", "engine", "image", "redis", "versitygw", "sshd"),
    pytest.mark.timeout(900),
]
QUEUE_PORT, STORE_PORT = 7379, 7070
CONNECT = "python -c 'import socket; socket.create_connection((\"{}\", {}), 3)'"
SECRETS = ("queue-password", "master.key", f"group-{'machines'}", "store-credentials")


def done(run: Run) -> Run:
    assert run.ok, run.output[-6000:]
    print(f"{run.seconds:5.1f} s  {run.counts}")
    return run


@pytest.fixture(scope="module")
def bench(lab: Lab, served: FileServer) -> Bench:
    with lab.stack.api() as api:
        project = api.post("projects/", data={"name": "on-prem"}).json()["id"]
    made = Bench(lab.stack, project, "", served)
    made.commit = made.send(archive({"valohai.yaml": YAML.encode()})).json()["identifier"]
    return made


def environment(lab: Lab) -> str:
    with lab.stack.api() as api:
        return next(row["id"] for row in api.get("environments/").json()["results"] if row["slug"] == "machines")


def ran_on(lab: Lab, executions: list[str]) -> set[str]:
    marks = ",".join("?" * len(executions))
    rows = lab.stack.query(
        f"SELECT DISTINCT w.name FROM attempt a JOIN worker w ON w.id = a.worker_id WHERE a.execution_id IN ({marks})",
        *(execution.replace("-", "") for execution in executions),
    )
    return {row[0] for row in rows}


def outputs(lab: Lab, execution: str) -> list[dict[str, Any]]:
    with lab.stack.api() as api:
        return api.get(f"executions/{execution}/outputs/").raise_for_status().json()


def test_a_fault_is_told_before_anything_is_changed(lab: Lab, tmp_path: Path) -> None:
    stranger = tmp_path / "known_hosts"
    stranger.write_text("")
    lab.configure(access=lab.net.access(known_hosts=str(stranger)))
    run = lab.project.up()
    assert not run.ok
    for host in lab.hosts:
        assert f"{host.address}: its host key is not the one in {stranger}: compare it" in run.output
    assert "Nothing was changed on any machine" in run.output
    assert [lab.left(host) for host in lab.hosts] == ["", "", ""]
    lab.configure(access=lab.net.access())


def test_up_and_three_workers_work(lab: Lab, bench: Bench) -> None:
    planned = done(lab.project.preview())
    assert [lab.left(host) for host in lab.hosts] == ["", "", ""]
    made = done(lab.project.up())
    assert made.counts["create"] == planned.counts["create"]
    parts = {"queue", "store", "handover", *(host.address for host in lab.hosts)}
    assert {step.name for step in made.changes if step.op == "create"} >= parts

    document = lab.project.outputs()["installation"]
    assert InstallationDocument.model_validate(document).queue.password == f"file:{lab.handover}/queue-password"
    assert {oct(path.stat().st_mode & 0o777) for path in lab.handover.iterdir()} == {"0o600"}
    file = lab.folder / "installation.json"
    file.write_text(json.dumps(document))
    tried = lab.remora("server", "import-installation", str(file), "--dry-run", "--json")
    found = {change["part"]: change["kind"] for change in json.loads(tried.stdout)["changes"]}
    assert found["group machines"] == found["store data"] == found["queue"] == "added"
    assert lab.stack.query("SELECT count(*) FROM installation") == [(1,)]
    assert lab.remora("server", "import-installation", str(file)).returncode == 0
    again = lab.remora("server", "import-installation", str(file))
    assert again.stdout == f"Installation {NAME}: 1 worker groups, 4 stores; nothing to change.\n"

    names = sorted(host.address for host in lab.hosts)
    wait_until(lambda: [worker["name"] for worker in lab.workers()] == names, 90, f"three workers; {lab.workers()}")
    assert {(worker["state"], worker["version"], worker["slots"]) for worker in lab.workers()} == {
        ("active", VERSION, 1)
    }
    command = "sleep 4; echo made here > /valohai/outputs/made.txt; echo done"
    started = [bench.start(command, environment=environment(lab)) for _ in names]
    for execution in started:
        assert lab.stack.wait(execution, timeout=120)["status"] == "complete", lab.stack.log(execution)
    assert ran_on(lab, started) == set(names)
    kept = lab.hosts[0]("find", "/var/lib/remora-store/buckets", "-name", "made.txt").split()
    assert len(kept) == 3
    logs = "".join(path.read_text(errors="replace") for path in (lab.stack.home / "log").glob("*.log"))
    assert logs and "Signature" not in logs


def test_the_installer_proves_a_group_by_an_execution(lab: Lab) -> None:
    access = find_access(lab.stack.home, "")
    assert access is not None
    for counter in (1, 2):
        done = ControlPlane(access).prove("machines", IMAGE, 120)
        assert (done["status"], done["counter"]) == ("complete", counter)
        assert "Remora works here." in [event["message"] for event in lab.stack.log(done["id"])]


def test_data_does_not_pass_the_control_plane_and_of_a_log_what_is_asked_for(lab: Lab, bench: Bench) -> None:
    """The control plane stands in another network namespace than the machines: all that it hears crosses one bridge."""
    before, place = lab.net.crossed(), environment(lab)
    made = bench.start(f"head -c {8 * MIB} /dev/urandom > /valohai/outputs/made.bin", environment=place)
    lab.stack.wait(made, ("complete",), 120)
    [output] = outputs(lab, made)
    used = bench.start(TURN, environment=place, inputs={"data": [f"datum://{output['id']}"]})
    (name,) = wait_until(lambda: ran_on(lab, [used]), 60, "a machine")
    host = next(host for host in lab.hosts if host.address == name)
    wait_until(lambda: host.ask("sh", "-ec", LET_END).returncode == 0, 60, "its container")
    lab.stack.wait(used, ("complete",), 120)
    # 8 MiB went out, came in and went out again, and 4 MiB of log were said.
    alone = lab.net.crossed() - before
    print(f"{alone} bytes crossed")
    assert alone < MIB, f"{alone} bytes"

    [turned] = outputs(lab, used)
    stored = lab.hosts[0]("find", "/var/lib/remora-store/buckets", "-name", "made.bin").strip()
    begin = base64.b64decode(lab.hosts[0]("sh", "-ec", f"head -c {3 * MIB} {stored} | base64 -w0"))
    before = lab.net.crossed()
    said = [event["message"] for event in lab.stack.log(used) if event["stream"] == "stdout"]
    assert "".join(said) == base64.b64encode(begin).decode()
    assert lab.net.crossed() - before > 2 * MIB, "the log, because it was asked for"

    # Who looks at an output gets it from the store, not from the control plane.
    with lab.stack.api() as api:
        address = api.get(f"data/{turned['id']}/download/").json()["url"]
    before = lab.net.crossed()
    trusted = ssl.create_default_context(cafile=str(lab.handover / "ca.pem"))
    got = httpx.get(address, verify=trusted, trust_env=False).content
    assert got[-3 * MIB :] == begin[::-1] and lab.net.crossed() - before > 8 * MIB
    marks = (begin[:32], begin[:32][::-1], said[0].encode(), said[-1].encode())
    (lab.folder / "planted.gz").write_bytes(gzip.compress(b"before" + said[-1].encode()))
    assert files_with(lab.folder, *marks) == [str(lab.folder / "planted.gz")]
    assert files_with(lab.stack.home, *marks) == []


@pytest.mark.security("N05")
def test_nothing_of_ours_listens_where_another_machine_reaches_it(lab: Lab, bench: Bench) -> None:
    execution = bench.start("while [ ! -e /tmp/end ]; do sleep 0.1; done", environment=environment(lab))
    (name,) = wait_until(lambda: ran_on(lab, [execution]), 60, "a machine")
    host, other = (next(one for one in lab.hosts if (one.address == name) is here) for here in (True, False))
    wait_until(lambda: host.ask("sh", "-ec", "docker exec $(docker ps -q) true").returncode == 0, 60, "its container")
    sshd, services = {("0.0.0.0", 22), ("::", 22)}, {QUEUE_PORT, STORE_PORT}
    for machine in lab.hosts:
        open_here = {(address, port) for address, port in listening(machine) - sshd if port not in services}
        if machine is not host:
            assert open_here == set()
            assert machine is lab.hosts[0] or not {port for _, port in listening(machine)} & services
    # The relay of the running attempt: its container reaches it, no other machine does.
    [(address, port)] = {place for place in listening(host) - sshd if place[1] not in services}
    assert host.ask("sh", "-ec", f"docker exec $(docker ps -q) {CONNECT.format(address, port)}").returncode == 0
    assert connects(other, host.address, 22) and not reaches(other, address, port, by=host.address)
    host("sh", "-ec", LET_END)
    lab.stack.wait(execution, ("complete",), 60)


@pytest.mark.security("I06")
def test_nobody_else_reaches_the_queue(lab: Lab) -> None:
    host = lab.hosts[0]
    rules = host("iptables", "-S", "REMORA-QUEUE").splitlines()
    assert rules[-1] == "-A REMORA-QUEUE -j DROP"
    allowed = {line.split()[3] for line in rules if " -s " in line}
    assert allowed == {f"{one}/32" for one in [lab.net.gateway, *(host.address for host in lab.hosts)]}
    shown = host("stat", "-c", "%a %U", "/etc/remora-queue/ca.key", "/etc/remora-queue/password-master")
    assert shown.split("\n")[:2] == ["600 root", "600 root"]


def test_a_second_up_changes_nothing_not_even_after_other_code(lab: Lab) -> None:
    assert done(lab.project.up()).changes == []
    for file in ("infra/onprem/hosts.py", "infra/onprem/resources.py", "infra/onprem/queue.py", "stacks/on_prem.py"):
        path = lab.project.folder / file
        path.write_text(path.read_text() + "\n\ndef further() -> int:\n    return 1\n")
    assert done(lab.project.up()).changes == []


@pytest.mark.security("I03")
def test_the_state_holds_no_secret(lab: Lab) -> None:
    state = json.dumps(lab.project.export("--show-secrets"))
    secrets = [word for name in SECRETS for word in (lab.handover / name).read_text().split() if len(word) > 20]
    secrets += [lab.hosts[0]("cat", "/etc/remora-queue/password-join"), lab.net.key.read_text().split("\n")[1]]
    secrets += [lab.hosts[0]("cat", "/etc/remora-queue/ca.key").split("\n")[1]]
    for host in lab.hosts:
        agent = json.loads(host("cat", "/var/lib/remora-agent/agent.json"))
        secrets += [agent["join_password"], agent["join_secret"]]
    assert len(secrets) > 10
    assert [secret for secret in secrets if secret in state] == []
    assert "remora-join-1:" not in state and "PRIVATE KEY" not in state


def test_an_upgrade_leaves_running_executions_alone(lab: Lab, bench: Bench) -> None:
    command = "for i in $(seq 1 4000); do echo line $i; [ -e /tmp/end ] && exit 0; sleep 0.2; done; exit 3"
    execution = bench.start(command, environment=environment(lab))
    lab.stack.wait_for_line(execution, "line 3", timeout=60)
    lab.configure(release=str(lab.next_release()))
    run = done(lab.project.up())
    # Queue and store stay as they are, but for the tool that their machine keeps.
    assert {step.op for step in run.changes} == {"update"}
    wait_until(lambda: {one["version"] for one in lab.workers()} == {NEXT}, 60, f"the upgrade; {lab.workers()}")
    (name,) = ran_on(lab, [execution])
    host = next(host for host in lab.hosts if host.address == name)
    host("sh", "-ec", "docker exec $(docker ps -q) touch /tmp/end")
    assert lab.stack.wait(execution, timeout=60)["status"] == "complete"
    lines = [event["message"] for event in lab.stack.log(execution) if event["stream"] == "stdout"]
    assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]


def test_a_machine_that_dies_in_the_middle_is_finished_by_the_next_up(lab: Lab) -> None:
    host = lab.hosts[2]
    hosts: list[dict[str, Any]] = [{"address": one.address, "slots": 2, "mounts": ["/srv"]} for one in lab.hosts]
    lab.configure(hosts=hosts)
    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(lab.project.up()))
    thread.start()
    end = time.monotonic() + 120
    while host.ask("test", "-e", "/opt/remora-agent/release").returncode != 0:
        assert time.monotonic() < end and thread.is_alive(), runs
        time.sleep(0.02)
    host.power_off()
    thread.join(300)
    (run,) = runs
    assert not run.ok
    assert f"{host.address}: it went away during" in run.output and "run `up` again" in run.output
    host.power_on()
    finished = done(lab.project.up())
    assert [step.name for step in finished.changes if step.type.endswith("Host")] == [host.address]
    wait_until(lambda: {one["slots"] for one in lab.workers()} == {2}, 90, f"two slots each; {lab.workers()}")
    agent = json.loads(host("cat", "/var/lib/remora-agent/agent.json"))
    assert (agent["mounts_allowed"], agent["name"]) == (["/srv"], host.address)


def test_destroy_leaves_nothing(lab: Lab) -> None:
    done(lab.project.destroy())
    assert [lab.left(host) for host in lab.hosts] == ["", "", ""]
    assert not lab.handover.exists()
    # What the store held is data: it stays until somebody removes it.
    assert lab.hosts[0]("ls", "/var/lib/remora-store/buckets").split() == [
        f"{NAME}-{purpose}" for purpose in ("code", "data", "logs", "releases")
    ]
