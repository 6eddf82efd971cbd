"""One machine, and the stack of the real CLI that puts all of Remora on it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from controlplane.releases.keys import ReleaseKeys
from fixtures.ssh_hosts import SshHost, SshNet, make_image
from onprem.lab import ROOT, Releases, machines
from support.cli import Project, Pulumi
from worker_bootstrap.agent import VERSION

STATE, SETTINGS, COMMAND = "/var/lib/remora-server", "/etc/remora-server", "/opt/remora-server/remora"


@dataclass
class Alone:
    """One machine, and the stack of the real CLI that puts everything on it."""

    host: SshHost
    project: Project
    releases: Releases
    settings: dict[str, Any]

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

    def api(self) -> httpx.Client:
        """The first administrator's client."""
        return self.http(Authorization=f"Token {self.access()['token']}")

    def worker(self) -> dict[str, Any]:
        """The one that the dashboard's status knows, or nothing."""
        shown = json.loads(self.host.ask(COMMAND, "server", "status", "--json").stdout or "{}")
        return next(iter(shown.get("workers", [])), {})


@contextmanager
def standing_alone(folder: Path) -> Iterator[Alone]:
    """A fresh machine; nothing of Remora is on it yet."""
    make_image()
    net = SshNet(folder)
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
        made = Alone(host, project, releases, {"name": "alone", "hosts": [{"address": host.address}]})
        made.configure(access=net.access(), dashboard=made.url)
        yield made
    finally:
        net.close()
