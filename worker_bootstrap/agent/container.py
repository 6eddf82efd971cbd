"""The attempt's container: command, environment, folders, network, relay."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.files import DownloadError
from worker_bootstrap.agent.relay import RelayServer
from worker_bootstrap.agent.runtime.docker import ContainerSpec, bridge_name
from worker_bootstrap.protocol.job import Job

if TYPE_CHECKING:
    from worker_bootstrap.agent.attempt import Tools

CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
CA_TARGET = "/etc/remora/ca.crt"
CA_SOURCE = Path("/etc/ssl/certs/ca-certificates.crt")
SCRIPT = "/valohai/config/command.sh"


class Sandbox:
    """Makes the container of one attempt."""

    def __init__(
        self,
        job: Job,
        secrets: dict[str, Any],
        tools: Tools,
        folder: Path,
        open_relay: Callable[[str, str], RelayServer],
    ) -> None:
        self._job = job
        self._secrets = secrets
        self._tools = tools
        self._folder = folder
        self._open_relay = open_relay

    def create(self, image: str) -> tuple[str, RelayServer | None, dict[str, Any]]:
        """(container id, relay, content of api.json). Raises EngineError, DownloadError for a mount."""
        job, tools = self._job, self._tools
        network, gateway = tools.runtime.network(job.attempt)
        relay = self._open_relay(gateway, self._secrets["relay_token"])
        tools.firewall.open(job.attempt, gateway, relay.port, _proxies(job.container.proxy))
        write_script(self._folder / "config", job.container.command)
        spec = ContainerSpec(
            attempt=job.attempt,
            execution=job.execution,
            installation=job.installation,
            image=image,
            argv=command_line(job.container.command),
            workdir="/valohai/repository",
            env=self._environment(),
            binds=self._binds(),
            cpu=job.container.cpu,
            memory=job.container.memory,
            pids=job.container.pids,
            gpus=job.container.gpus,
            host_network=job.container.host_network,
        )
        return tools.runtime.create(spec, network), relay, relay.config()

    def _environment(self) -> dict[str, str]:
        job = self._job
        env = {
            "PYTHONUNBUFFERED": "1",
            "VH_CONFIG_DIR": "/valohai/config",
            "VH_INPUTS_DIR": "/valohai/inputs",
            "VH_OUTPUTS_DIR": "/valohai/outputs",
            "VH_REPOSITORY_DIR": "/valohai/repository",
            **job.container.proxy,
        }
        if job.container.ca_bundle and CA_SOURCE.exists():
            env |= dict.fromkeys(CA_VARIABLES, CA_TARGET)
        return {**env, **job.env, **self._secrets.get("env", {})}

    def _binds(self) -> list[tuple[str, str, bool]]:
        base = self._folder
        binds = [
            (str(base / "repository"), "/valohai/repository", False),
            (str(base / "inputs"), "/valohai/inputs", False),
            (str(base / "outputs"), "/valohai/outputs", False),
            (str(base / "config"), "/valohai/config", True),
        ]
        if self._job.container.ca_bundle and CA_SOURCE.exists():
            binds.append((str(CA_SOURCE), CA_TARGET, True))
        for mount in self._job.container.mounts:
            source = os.path.realpath(mount.source)
            allowed = [os.path.realpath(path) for path in self._tools.config.mounts_allowed]
            if not any(source == path or source.startswith(path.rstrip("/") + "/") for path in allowed):
                raise DownloadError(reasons.MOUNT_REFUSED, mount.source)
            binds.append((source, mount.destination, mount.readonly))
        return binds


def command_line(command: str) -> list[str]:
    """A command with a shebang runs by itself; others by the shell, so that only the last line's code counts."""
    return [SCRIPT] if command.startswith("#!") else ["/bin/sh", SCRIPT]


def write_script(folder: Path, command: str) -> None:
    """The command as a file in the configuration folder."""
    path = folder / "command.sh"
    path.write_text(command + "\n")
    path.chmod(0o755)


def write_configs(folder: Path, job: Job, inputs: dict[str, Any], api: dict[str, Any]) -> None:
    """`/valohai/config`: each object as .json, and as .yaml (JSON is YAML)."""
    objects: dict[str, Any] = {
        **job.config,
        "inputs": inputs,
        "api": api,
        "runtime": {"attempt": job.number, "worker": job.worker, "bridge": bridge_name(job.attempt)},
        "distributed": {"config": {}, "members": [], "self": {}},
    }
    for name, value in objects.items():
        text = json.dumps(value, indent=1)
        for suffix in ("json", "yaml"):
            (folder / f"{name}.{suffix}").write_text(text)


def _proxies(variables: dict[str, str]) -> list[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for name, value in variables.items():
        parts = urlsplit(value) if name.lower() in ("http_proxy", "https_proxy") else None
        if parts and parts.hostname and parts.port:
            found.add((parts.hostname, parts.port))
    return sorted(found)
