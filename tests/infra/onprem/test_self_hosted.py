"""All of Remora on one machine over ssh, by the real CLI: up, log in, work, up again, upgrade, destroy.

The tests of this file follow one another on the same machine, as a platform engineer's days do.
"""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from controlplane.releases.keys import ReleaseKeys
from fixtures.client import Vh
from fixtures.ssh_hosts import SshHost, SshNet, make_image
from fixtures.stack import REMORA, wait_until
from fixtures.work import IMAGE
from infra.installation import InstallationDocument
from onprem.lab import NEXT, ROOT, Releases, left, machines
from stacks.wizard.control_plane import PROOF
from support.cli import Project, Pulumi
from support.events import Run
from worker_bootstrap.agent import VERSION

pytestmark = [
    pytest.mark.needs("pulumi", "root", "debootstrap", "engine", "image", "redis", "versitygw", "sshd"),
    pytest.mark.timeout(600),
]
STATE, SETTINGS, COMMAND = "/var/lib/remora-server", "/etc/remora-server", "/opt/remora-server/remora"
YAML = f"""
- step:
    name: train
    image: {IMAGE}
    command: echo made >/valohai/outputs/made.txt
"""


@dataclass
class Alone:
    """One machine, and the stack of the real CLI that puts everything on it."""

    host: SshHost
    project: Project
    releases: Releases
    settings: dict[str, Any]
    folder: Path

    @property
    def url(self) -> str:
        return f"https://{self.host.address}"

    def configure(self, **changes: Any) -> None:
        self.settings |= changes
        self.project.set("remora:self_hosted", json.dumps(self.settings))

    def server(self, *words: str) -> str:
        """A command of the control plane on its machine."""
        return self.host(COMMAND, "server", *words)

    def http(self, **headers: str) -> httpx.Client:
        """A client that trusts the installation's own authority, by the file that people are told of."""
        trust = ssl.create_default_context(cadata=self.host("cat", f"{SETTINGS}/installation/ca.pem"))
        return httpx.Client(base_url=self.url, headers=headers, verify=trust, timeout=30, trust_env=False)

    def access(self) -> dict[str, str]:
        return json.loads(self.host("cat", f"{STATE}/access.json"))

    def worker(self) -> dict[str, Any]:
        """The one that the dashboard's status knows, or nothing."""
        shown = json.loads(self.host.ask(COMMAND, "server", "status", "--json").stdout or "{}")
        return next(iter(shown.get("workers", [])), {})


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    make_image()
    folder = tmp_path_factory.mktemp("alone")
    net = SshNet(tmp_path_factory.mktemp("ssh"))
    try:
        machines(net, 1)
        # The home of whoever installs: its keys sign the release, and its store holds it.
        home = folder / "home"
        releases = Releases(folder, ReleaseKeys(home / "keys"), home / "stores" / "releases")
        releases.publish(VERSION, with_server=True)
        place = folder / "pulumi" / "project-alone"
        place.mkdir(parents=True)
        pulumi = Pulumi(folder / "pulumi", (), {"PYTHONPATH": str(place), "REMORA_HOME": str(home)})
        project = pulumi.project(ROOT, "Pulumi.yaml", "stacks", "infra", "worker_bootstrap", stack="alone")
        project.set("remora:flavour", "self_hosted")
        project.set("remora:provider", "ssh")
        (host,) = net.hosts
        settings = {"name": "alone", "hosts": [{"address": host.address}], "access": net.access()}
        made = Alone(host, project, releases, settings, folder)
        made.configure(dashboard=made.url)
        yield made
    finally:
        net.close()


def done(run: Run) -> Run:
    assert run.ok, run.output[-6000:]
    print(f"{run.seconds:5.1f} s  {run.counts}")
    return run


def test_up_log_in_and_work(alone: Alone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planned = done(alone.project.preview())
    assert left(alone.host) == ""
    made = done(alone.project.up())
    assert made.counts["create"] == planned.counts["create"]
    assert {step.name for step in made.changes} >= {"queue", "store", "master", alone.host.address}
    document = InstallationDocument.model_validate(alone.project.outputs()["installation"])
    assert (document.flavour, document.queue.password) == (
        "self_hosted",
        f"file:{SETTINGS}/installation/queue-password",
    )
    wait_until(lambda: alone.worker().get("state") == "active", 90, "the worker")

    link = alone.server("login-link").strip()
    assert link.startswith(f"{alone.url}/login/link#")
    with alone.http(Origin=alone.url) as browser:
        ticket = urlsplit(link).fragment
        answer = browser.post("/login/link", data={"ticket": ticket})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        shown = browser.get("/", follow_redirects=True)
        assert shown.status_code == 200 and "Log out" in shown.text
        assert browser.post("/login/link", data={"ticket": ticket}).status_code == 400

    authority = tmp_path / "ca.pem"
    authority.write_text(alone.host("cat", f"{SETTINGS}/installation/ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    vh = Vh(tmp_path / "config", tmp_path / "code")
    (vh.folder / "valohai.yaml").write_text(YAML)
    vh("login", "--host", alone.url, "--token", alone.access()["token"])
    vh("project", "create", "--name", "first", "--link")
    vh("exec", "run", "--adhoc", "train", timeout=120)
    ran = execution(alone)
    assert ran["status"] == "complete", ran
    assert [one["name"] for one in ran["outputs"]] == ["made.txt"]
    kept = alone.host("find", "/var/lib/remora-store/buckets", "-name", "made.txt").split()
    assert len(kept) == 1


def execution(alone: Alone) -> dict[str, Any]:
    """The first one, once it has ended."""
    with alone.http(Authorization=f"Token {alone.access()['token']}") as api:
        (project,) = api.get("/api/v0/projects/").json()["results"]

        def look() -> dict[str, Any] | None:
            (row,) = api.get("/api/v0/executions/", params={"project": project["id"]}).json()["results"]
            shown = api.get(f"/api/v0/executions/{row['id']}/").json()
            return shown if shown["status"] in ("complete", "error", "crashed", "stopped") else None

        return wait_until(look, 120, "the end of the execution")


def test_its_user_owns_little_and_its_secrets_are_nobody_elses(alone: Alone) -> None:
    host = alone.host
    files = [f"{SETTINGS}/environment", f"{SETTINGS}/server.key", f"{SETTINGS}/installation/queue-password", STATE]
    assert host("stat", "-c", "%a %U", *files).split("\n")[:4] == [
        "600 root", "600 remora-server", "600 remora-server", "700 remora-server",
    ]  # fmt: skip
    pid = host("systemctl", "show", "--property=MainPID", "--value", "remora-server").strip()
    status = dict(line.split(":\t", 1) for line in host("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
    # CAP_NET_BIND_SERVICE is the tenth: port 443.
    assert (int(status["CapBnd"], 16), int(status["CapEff"], 16), status["NoNewPrivs"]) == (1 << 10, 1 << 10, "1")
    assert status["Uid"].split()[0] != "0"
    state = json.dumps(alone.project.export("--show-secrets"))
    secrets = [host("cat", f"{SETTINGS}/installation/{name}") for name in ("queue-password", "group-machines")]
    secrets += [host("cat", f"{SETTINGS}/installation/store-credentials").split()[1]]
    secrets += [host("cat", f"{SETTINGS}/{name}").split("\n")[1] for name in ("server.key", "own.key")]
    secrets += [alone.access()["token"], alone.access()["password"]]
    assert all(len(one) > 15 for one in secrets)
    assert [one for one in secrets if one in state] == []
    assert "PRIVATE KEY" not in state
    log = host("sh", "-c", f"cat {STATE}/log/*.log; journalctl --no-pager --unit=remora-server")
    assert log and [one for one in secrets if one in log] == []


def test_a_second_up_changes_nothing(alone: Alone) -> None:
    assert done(alone.project.up()).changes == []


def test_an_upgrade_keeps_the_data(alone: Alone) -> None:
    alone.releases.publish(NEXT, with_server=True)
    before = alone.host("readlink", "/opt/remora-server/current").strip()
    run = done(alone.project.up())
    assert {step.op for step in run.changes} == {"update"}
    with alone.http() as browser:
        assert browser.get("/api/v0/server/").json()["version"] == NEXT
    after = alone.host("readlink", "/opt/remora-server/current").strip()
    assert set(alone.host("ls", "-d", before, after).split()) == {before, after} and before != after
    assert execution(alone)["status"] == "complete"
    assert done(alone.project.up()).changes == []


def test_destroy_leaves_nothing_but_data(alone: Alone) -> None:
    done(alone.project.destroy())
    assert left(alone.host) == ""
    assert alone.host("ls", f"{STATE}/remora.db", "/var/lib/remora-store/buckets")


def wizard(alone: Alone, *words: str) -> list[dict[str, Any]]:
    """What `remora …` printed, as people of the same home type it."""
    environment = alone.project.pulumi.variables()
    for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PYTHONPATH"):
        environment.pop(name)
    ended = subprocess.run([REMORA, *words, "--json"], env=environment, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, f"{ended.stdout[-3000:]}{ended.stderr[-3000:]}"
    return [json.loads(line) for line in ended.stdout.splitlines()]


def event(said: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(one for one in said if one["event"] == kind)


def the_project(alone: Alone) -> str:
    """Id of the wizard's own."""
    with alone.http(Authorization=f"Token {alone.access()['token']}") as api:
        return next(row["id"] for row in api.get("/api/v0/projects/").json()["results"] if row["name"] == PROOF)


@pytest.mark.slow
def test_the_wizard_proves_it_and_data_is_taken_up_again(alone: Alone, tmp_path: Path) -> None:
    answers = tmp_path / "answers.yaml"
    answers.write_text(yaml.safe_dump({"flavour": "self_hosted", "provider": "ssh", "self_hosted": alone.settings}))
    install = ("install", "--answers", str(answers), "--yes", "--proof-image", IMAGE)
    said = wizard(alone, *install)
    assert event(said, "proof")["status"] == "complete"
    assert event(said, "login")["link"].startswith(f"{alone.url}/login/link#")
    first, project = event(said, "proof")["url"], {"project": the_project(alone)}
    again = wizard(alone, *install[:3], "--plan")
    assert {kind: count for kind, count in event(again, "plan")["changes"].items() if kind != "same" and count} == {}

    stays = event(wizard(alone, "destroy", "alone", "--yes"), "stays")["resources"]
    assert [line.split(" on ")[0] for line in stays] == ["/var/lib/remora-store", STATE]
    assert left(alone.host) == ""

    said = wizard(alone, *install)
    assert event(said, "proof")["status"] == "complete" and event(said, "proof")["url"] != first
    with alone.http(Authorization=f"Token {alone.access()['token']}") as api:
        shown = {row["urls"]["display"] for row in api.get("/api/v0/executions/", params=project).json()["results"]}
    assert {first, event(said, "proof")["url"]} <= shown
    wizard(alone, "destroy", "alone", "--yes")
    assert left(alone.host) == ""
