"""Three machines, a control plane of its own, a signed release, and a stack of the real CLI that joins them."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import agent_release
import server_release
from controlplane.clock import utc_now
from controlplane.releases.keys import ReleaseKeys
from controlplane.releases.publishing import Publisher
from fixtures.ssh_hosts import SshHost, SshNet
from fixtures.stack import REMORA, Stack
from fixtures.work import IMAGE
from plugin.store_parts import VERSITYGW
from support.cli import Project, Pulumi
from worker_bootstrap.agent import VERSION
from worker_bootstrap.release import server_file, server_part

ROOT = Path(__file__).parents[3]
NEXT = "0.1.1"
NAME = "lab"
VERSIONS = {
    "pyproject.toml": "version",
    "remora/__init__.py": "__version__",
    "controlplane/accounts/api.py": "VERSION",
    "worker_bootstrap/agent/__init__.py": "VERSION",
}
# Debian 12, of which the machines are.
HOST_PYTHON = 11
# What the installer and its services may leave nowhere; the bytes of the store are the one thing that stays.
PLACES = "/opt/remora* /etc/remora* /var/lib/remora-agent /var/lib/remora-queue /var/cache/remora* /root/.cache/pex"
LEFT = f"""\
ls -d {PLACES} /etc/systemd/system/remora* /etc/systemd/system/*/remora* 2>/dev/null
getent passwd | grep '^remora'
iptables -S | grep -i remora
ip6tables -S | grep -i remora
systemctl list-units --all --no-legend 'remora*'
docker ps --all --quiet
docker network ls --format '{{{{.Name}}}}' | grep '^remora'
ls /root; ls /tmp | grep -v ^systemd-private
"""


class Lab:
    """Everything that the tests of this folder share."""

    def __init__(self, folder: Path, stack: Stack, net: SshNet) -> None:
        self.folder = folder
        self.stack = stack
        self.net = net
        self.hosts = net.hosts
        self.handover = folder / "handover"
        self._releases = Releases(folder, ReleaseKeys(stack.home / "keys"), folder / "store")
        self.release = self._releases.publish(VERSION)
        place = folder / "pulumi" / f"project-{NAME}"
        place.mkdir(parents=True)
        self._pulumi = Pulumi(folder / "pulumi", (), {"PYTHONPATH": str(place)})
        # A copy of the program: tests change its code.
        self.project: Project = self._pulumi.project(
            ROOT, "Pulumi.yaml", "stacks", "infra", "worker_bootstrap", stack=NAME
        )
        self.settings: dict[str, Any] = {
            "name": NAME,
            "hosts": [{"address": host.address} for host in net.hosts],
            "access": net.access(),
            "release": str(self.release),
            "handover": str(self.handover),
            "master": self.invited(),
        }
        self.configure()

    def configure(self, **changes: Any) -> None:
        """Change the stack's configuration."""
        self.settings |= changes
        self.project.set("remora:flavour", "on_prem")
        self.project.set("remora:provider", "ssh")
        self.project.set("remora:on_prem", json.dumps(self.settings))

    def remora(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command on the control plane's machine."""
        environment = {**os.environ, "REMORA_HOME": str(self.stack.home)}
        return subprocess.run([REMORA, *words], env=environment, capture_output=True, text=True, timeout=60)

    def invited(self) -> dict[str, Any]:
        """What the control plane prints for installers."""
        done = self.remora("server", "invite", "--address", f"{self.net.gateway}/32", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["master"]

    def next_release(self) -> Path:
        """A newer release, signed by the same key."""
        return self._releases.publish(NEXT)

    def workers(self) -> list[dict[str, Any]]:
        """Machines of the installation as the control plane knows them, by name."""
        rows = self.stack.query(
            "SELECT w.name, w.state, w.version, w.slots FROM worker w JOIN installation i ON i.id = w.installation_id"
            " WHERE i.name = ? ORDER BY w.name",
            NAME,
        )
        return [dict(zip(("name", "state", "version", "slots"), row, strict=True)) for row in rows]

    def left(self, host: SshHost) -> str:
        """What there is of ours on a machine."""
        return left(host)

    def at_once(self, work: Callable[[SshHost], Any]) -> None:
        """The same on every machine."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(work, self.hosts))


class Releases:
    """Signed releases of this tree's agent and, if asked for, control plane, with a version that one likes."""

    def __init__(self, folder: Path, keys: ReleaseKeys, store: Path) -> None:
        self._folder = folder
        self._publisher = Publisher(keys, store, utc_now)

    def publish(
        self, version: str, *, with_server: bool = False, change: Callable[[Path], None] = lambda _: None
    ) -> Path:
        """The release's folder, the store's program in it too; `change` is done to the tree that it is made of."""
        source = self._folder / f"agent-{version}"
        tree = _tree(source / "tree", version)
        change(tree)
        _build_agent(source, tree)
        if with_server:
            machine, minor = platform.machine(), HOST_PYTHON
            name = server_file(server_part(machine, minor))
            server_release.build(machine, minor, source / name, agent_release.CACHE, tree)
        release = self._publisher.publish(source, timedelta(days=9)).folder
        program = release / f"versitygw-{platform.machine()}"
        shutil.copy(VERSITYGW, program)
        digest = hashlib.sha256(program.read_bytes()).hexdigest()
        program.with_name(f"{program.name}.sha256").write_text(f"{digest}  {program.name}\n")
        return release


def left(host: SshHost) -> str:
    """What there is of ours on a machine."""
    return host.ask("sh", "-c", LEFT).stdout


def _tree(folder: Path, version: str) -> Path:
    """This tree, saying that it is of `version`."""
    for part in server_release.SOURCES:
        whole, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if whole.is_dir():
            shutil.copytree(whole, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(whole, target)
    for file, key in VERSIONS.items():
        path = folder / file
        path.write_text(path.read_text().replace(f'{key} = "{VERSION}"', f'{key} = "{version}"'))
    return folder


def _build_agent(out: Path, tree: Path) -> None:
    former, agent_release.SOURCE = agent_release.SOURCE, tree / "worker_bootstrap"
    try:
        machine = platform.machine()
        agent_release.build(machine, out / f"{agent_release.NAME}-{machine}.pex", agent_release.CACHE)
    finally:
        agent_release.SOURCE = former


def machines(net: SshNet, count: int = 3) -> None:
    """So many, each with the sample's image."""
    net.add(count)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: host.load(IMAGE), net.hosts))
