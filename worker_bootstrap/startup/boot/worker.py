"""A new machine becomes a worker: engine, join credential, verified agent, service."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker_bootstrap.startup.boot import machine, nvidia, release, surroundings
from worker_bootstrap.startup.boot.aws import Aws
from worker_bootstrap.startup.boot.steps import StepError, command, persevere, say

HOME = Path("/var/lib/remora-agent")
ROOT = Path("/opt/remora-agent")
CACHE = "/var/cache/remora-agent"
MEMBER = HOME / "identity" / "worker.json"
RELEASE = Path("/opt/remora-start/release")
CONSOLE = machine.UNITS / "remora-agent.service.d" / "console.conf"
DEADLINE = "remora-deadline.timer"
JOIN_LOOK = 2.0


class Worker:
    """What the steps of a worker know of each other."""

    def __init__(self, settings: dict[str, Any], cloud: Aws) -> None:
        self._settings = settings
        self._cloud = cloud
        self._name = ""
        self._gpus: list[str] = []
        self._credential = ""
        self._file = Path()

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """In their order: what somebody else must mend comes before what takes long."""
        return [
            ("Identity of this machine", self._identify),
            ("Proxy, authorities and mirrors", lambda: surroundings.settle(self._settings["surroundings"])),
            ("Join credential", self._ask_credential),
            ("Release of the agent", self._fetch),
            ("Container engine", self._engine),
            ("GPUs", self._find_gpus),
            ("Service of the agent", self._install),
        ]

    def _identify(self) -> None:
        machine.ssh(self._settings["ssh"])
        self._name = self._cloud.machine()

    def _engine(self) -> None:
        machine.install("docker.io", "iptables")
        command("systemctl", "daemon-reload")
        command("systemctl", "enable", "--quiet", "docker.service")
        # An image's engine may run already, without the proxy and the mirror of this installation.
        command("systemctl", "restart", "docker.service")

    def _find_gpus(self) -> None:
        self._gpus = nvidia.settle()

    def _ask_credential(self) -> None:
        name = self._settings["credential_secret"]
        self._credential = self._cloud.secret(name)
        if not self._credential:
            raise StepError(
                f"The secret {name} is missing or holds no join credential yet: the queue's machine writes it at its "
                "first boot; its console says what keeps it."
            )

    def _fetch(self) -> None:
        machine.install("ca-certificates", "openssl")
        wanted = self._settings
        bucket, kind = wanted["releases_bucket"], machine.architecture()
        [self._file] = release.fetch(
            lambda name, write, most: self._cloud.read_object(bucket, name, write, most),
            wanted["release_manifest"],
            RELEASE,
            wanted["release_keys"],
            wanted["minimum_release"],
            {kind: kind},
        )

    def _install(self) -> None:
        """By the agent's own commands; settings that its owner decides stand in agent.json before."""
        around = self._settings["surroundings"]
        fields = {
            "max_offline": float(self._settings["max_offline"]),
            "power_off": ["systemctl", "poweroff"],
            "http_proxy": around["proxy"],
            "ca_bundle": surroundings.BUNDLE if around["ca_bundle"] else "",
            **self._settings["agent"],
        }
        HOME.mkdir(parents=True, exist_ok=True, mode=0o700)
        machine.write(HOME / "agent.json", json.dumps(fields), 0o600)
        # What the agent says belongs onto the console too: nobody can log in here to read it.
        machine.write(CONSOLE, "[Service]\nStandardOutput=journal+console\nStandardError=journal+console\n")
        gpus = [word for gpu in self._gpus for word in ("--gpu", gpu)]
        words = ["--name", self._name, "--slots", str(self._settings["slots"]), *gpus, "--credential", "/dev/stdin"]
        self._agent(str(self._file), "install", "--no-start", *words, given=self._credential)
        # The keys of the configuration count, whatever an older credential says; the agent's own check then hands
        # over those that the release names.
        trust = {"keys": self._settings["release_keys"], "minimum_version": self._settings["minimum_release"]}
        machine.write(ROOT / "trust.json", json.dumps(trust))
        self._agent(str(ROOT / "current"), "fetch-release", str(RELEASE))
        shutil.rmtree(RELEASE)
        command("systemctl", "daemon-reload")
        command("systemctl", "enable", "--quiet", "--now", "remora-agent.service")

    @staticmethod
    def _agent(*words: str, given: str = "") -> str:
        # Where the service unpacks the file too: its first start then takes no time.
        return command("env", f"PEX_ROOT={CACHE}", *words, given=given)


def main() -> None:
    """All steps; then wait until the master has taken this machine."""
    settings = machine.settings()
    pauses = settings["pauses"]
    say(f"Remora {settings['installation']}: this machine becomes a worker of group {settings['group']}.")
    persevere(Worker(settings, Aws(settings["place"])).steps(), pauses["first"], pauses["most"])
    while not MEMBER.exists():
        time.sleep(JOIN_LOOK)
    command("systemctl", "disable", "--quiet", "--now", DEADLINE)
    machine.finish()
    say(f"This machine is a worker of group {settings['group']} now.")
