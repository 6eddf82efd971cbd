"""Take the agent off a machine: service, containers with their networks and rules, files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from worker_bootstrap.agent.files import read_json
from worker_bootstrap.agent.runtime.base import ContainerRuntimeError
from worker_bootstrap.agent.runtime.docker import DockerRuntime
from worker_bootstrap.agent.runtime.firewall import Firewall
from worker_bootstrap.agent.runtime.private import PrivateImages
from worker_bootstrap.host.errors import HostError
from worker_bootstrap.host.service import CACHE, SYSTEMCTL_SECONDS, SYSTEMD_RUNS, UNIT


class Removal:
    """What `install` and the running agent have made, in HOME, ROOT and the folder of units."""

    def __init__(self, home: Path, root: Path, units: Path) -> None:
        self._home = home
        self._root = root
        self._unit = units / UNIT

    def run(self, yes: bool) -> list[str]:
        """Remove it; sentences about what had to stay. Executions that run end only with `yes`.

        Raises HostError, OSError.
        """
        work = self._home / "work"
        busy = sorted(path.parent.name for path in work.glob("*/job.json"))
        if busy and not yes:
            raise HostError(f"{len(busy)} executions run here: drain the machine first, or say --yes to end them.")
        self._stop()
        for lock in work.glob("*/log/keeper.lock"):
            _end(lock.read_text())
        left = self._clean_engine()
        self._unit.unlink(missing_ok=True)
        if SYSTEMD_RUNS.is_dir():
            subprocess.run(["systemctl", "daemon-reload"], timeout=SYSTEMCTL_SECONDS)
        # This very program runs out of the last two.
        for folder in (self._home, CACHE, self._root):
            shutil.rmtree(folder, ignore_errors=True)
        return left

    def _stop(self) -> None:
        if not self._unit.exists() or not SYSTEMD_RUNS.is_dir():
            return
        done = subprocess.run(
            ["systemctl", "disable", "--now", UNIT], capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS
        )
        if done.returncode != 0:
            raise HostError(f"systemctl disable --now {UNIT}: {done.stderr.strip()}")

    def _clean_engine(self) -> list[str]:
        """Containers, networks and rules of this machine's attempts."""
        keys = read_json(self._home / "identity" / "keys.json", {})
        settings = read_json(self._home / "agent.json", {})
        firewall = Firewall() if os.geteuid() == 0 and shutil.which("iptables") else None
        left: list[str] = []
        if keys.get("machine"):
            private = PrivateImages(self._home / "private-images.json")
            labels = {"remora.machine": str(keys["machine"])}
            runtime = DockerRuntime(str(settings.get("engine", "")), private, labels, firewall)
            try:
                for attempt in runtime.list_attempts():
                    runtime.cleanup(attempt)
            except ContainerRuntimeError as error:
                left.append(f"containers of attempts: {error}")
        if firewall is not None:
            firewall.remove_parents()
        return left


def _end(text: str) -> None:
    try:
        os.kill(int(text), signal.SIGTERM)
    except (ValueError, ProcessLookupError):
        return
