"""The Docker engine as the runtime of attempts."""

from __future__ import annotations

import ipaddress
import os
import resource
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest, IPAMConfig, IPAMPool, LogConfig, Ulimit

CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "KILL"]
POOL = ipaddress.ip_network("10.231.0.0/16")
LABEL = "remora.attempt"


class EngineGoneError(RuntimeError):
    """The engine does not answer."""


class EngineError(RuntimeError):
    """The engine refused."""


class ImageMissingError(RuntimeError):
    """The image is neither here nor at its registry."""


@dataclass(frozen=True)
class ContainerSpec:
    """One container. `binds`: (host path, container path, read-only). Limits of 0 are none. Memory in bytes."""

    attempt: str
    execution: str
    installation: str
    image: str
    argv: list[str]
    workdir: str
    env: dict[str, str]
    binds: list[tuple[str, str, bool]]
    cpu: float = 0.0
    memory: int = 0
    pids: int = 4096
    gpus: int = 0
    gpu_ids: list[str] = field(default_factory=list)
    host_network: bool = False


@dataclass(frozen=True)
class ExitInfo:
    """How a container ended."""

    exit_code: int
    oom_killed: bool
    error: str = ""


class DockerRuntime:
    """Containers with the profile of this platform. Methods raise EngineGoneError and EngineError."""

    def __init__(self, base_url: str = "") -> None:
        self._url = base_url
        self._client: Any = docker.APIClient(base_url=base_url or None, timeout=60)

    def ping(self) -> None:
        """Raise EngineGoneError unless the engine answers."""
        self._call(self._client.ping)

    def pull(self, image: str, progress: Callable[[str], None]) -> str:
        """The image's id; pulled when it is not here. Raises ImageMissingError."""
        try:
            return self._call(self._client.inspect_image, image)["Id"]
        except ImageMissingError:
            progress(f"Pulling image {image}")
        last = ""
        try:
            for step in self._client.pull(image, stream=True, decode=True):
                if "error" in step:
                    raise ImageMissingError(f"{image}: {step['error']}")
                status = str(step.get("status", ""))
                if status != last and "id" not in step:
                    progress(status)
                last = status
        except APIError as error:
            raise ImageMissingError(f"{image}: {error.explanation or error}") from error
        except (DockerException, requests.RequestException) as error:
            raise EngineGoneError(str(error)) from error
        return self._call(self._client.inspect_image, image)["Id"]

    def network(self, attempt: str) -> tuple[str, str]:
        """(name, gateway address) of the attempt's own bridge; made when it is not there."""
        name = f"remora-{attempt}"
        for found in self._call(self._client.networks, names=[name]):
            return name, found["IPAM"]["Config"][0]["Gateway"]
        taken = self._taken_subnets()
        for subnet in POOL.subnets(new_prefix=28):
            if any(subnet.overlaps(other) for other in taken):
                continue
            gateway = str(next(subnet.hosts()))
            pool = IPAMPool(subnet=str(subnet), gateway=gateway)
            try:
                self._call(
                    self._client.create_network,
                    name,
                    driver="bridge",
                    ipam=IPAMConfig(pool_configs=[pool]),
                    options={"com.docker.network.bridge.name": bridge_name(attempt)},
                    labels={LABEL: attempt},
                )
            except EngineError as error:
                if "overlap" in str(error):
                    continue
                raise
            return name, gateway
        raise EngineError("no free subnet for a bridge")

    def create(self, spec: ContainerSpec, network: str) -> str:
        """Container id; the one that exists already is taken. Raises ImageMissingError."""
        known = self.find(spec.attempt)
        if known:
            return known
        memory = spec.memory or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        requests_gpu = []
        if spec.gpus:
            ids = spec.gpu_ids or None
            requests_gpu = [DeviceRequest(count=0 if ids else spec.gpus, device_ids=ids, capabilities=[["gpu"]])]
        host_config = self._client.create_host_config(
            binds=[f"{host}:{target}:{'ro' if readonly else 'rw'}" for host, target, readonly in spec.binds],
            cap_drop=["ALL"],
            cap_add=CAPABILITIES,
            security_opt=["no-new-privileges"],
            pids_limit=spec.pids,
            mem_limit=spec.memory or None,
            nano_cpus=int(spec.cpu * 1e9) or None,
            shm_size=memory // 2,
            log_config=LogConfig(type="none"),
            network_mode="host" if spec.host_network else network,
            restart_policy={"Name": "no"},
            ipc_mode="private",
            init=True if self._has_init() else None,
            ulimits=[Ulimit(name="nofile", soft=open_files(), hard=open_files()), Ulimit(name="core", soft=0, hard=0)],
            device_requests=requests_gpu or None,
        )
        created = self._call(
            self._client.create_container,
            spec.image,
            entrypoint=spec.argv[:1],
            command=spec.argv[1:],
            environment=spec.env,
            working_dir=spec.workdir,
            name=f"remora-{spec.attempt}",
            labels={LABEL: spec.attempt, "remora.execution": spec.execution, "remora.installation": spec.installation},
            host_config=host_config,
        )
        return created["Id"]

    def start(self, container: str) -> None:
        """Start; nothing happens when it runs already."""
        self._call(self._client.start, container)

    def find(self, attempt: str) -> str:
        """Id of the attempt's container, or empty."""
        found = self._call(self._client.containers, all=True, filters={"label": f"{LABEL}={attempt}"})
        return found[0]["Id"] if found else ""

    def state(self, container: str) -> ExitInfo | None:
        """How it ended; None while it has not."""
        state = self._call(self._client.inspect_container, container)["State"]
        if state["Status"] in ("created", "running", "paused", "restarting"):
            return None
        return ExitInfo(int(state["ExitCode"]), bool(state["OOMKilled"]), state.get("Error", ""))

    def was_started(self, container: str) -> bool:
        """Whether it ever ran."""
        return self._call(self._client.inspect_container, container)["State"]["Status"] != "created"

    def signal(self, container: str, name: str) -> None:
        """Send a signal to its first process; nothing happens when it has ended."""
        try:
            self._call(self._client.kill, container, signal=name)
        except EngineError:
            return

    def stats(self, container: str) -> dict[str, float]:
        """cpu (cores), memory (bytes), rx and tx (bytes so far), pids."""
        raw = self._call(self._client.stats, container, stream=False)
        now, before = raw.get("cpu_stats", {}), raw.get("precpu_stats", {})
        used = now.get("cpu_usage", {}).get("total_usage", 0) - before.get("cpu_usage", {}).get("total_usage", 0)
        passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
        cores = now.get("online_cpus", 1)
        networks = raw.get("networks", {}).values()
        return {
            "cpu": round(used / passed * cores, 4) if passed > 0 else 0.0,
            "memory": float(raw.get("memory_stats", {}).get("usage", 0)),
            "rx": float(sum(n["rx_bytes"] for n in networks)),
            "tx": float(sum(n["tx_bytes"] for n in networks)),
            "pids": float(raw.get("pids_stats", {}).get("current", 0)),
        }

    def remove(self, attempt: str) -> None:
        """Container, anonymous volumes and network of an attempt."""
        container = self.find(attempt)
        if container:
            self._call(self._client.remove_container, container, v=True, force=True)
        for found in self._call(self._client.networks, filters={"label": f"{LABEL}={attempt}"}):
            self._call(self._client.remove_network, found["Id"])

    def _has_init(self) -> bool:
        return bool(self._call(self._client.info).get("InitBinary")) and _docker_init_there()

    def _taken_subnets(self) -> list[ipaddress.IPv4Network]:
        taken: list[ipaddress.IPv4Network] = []
        for network in self._call(self._client.networks):
            for config in (network.get("IPAM") or {}).get("Config") or []:
                if ":" not in config.get("Subnet", ":"):
                    taken.append(ipaddress.IPv4Network(config["Subnet"]))
        return taken

    @staticmethod
    def _call(function: Any, *args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except ImageNotFound as error:
            raise ImageMissingError(str(error.explanation or error)) from error
        except NotFound as error:
            raise EngineError(str(error.explanation or error)) from error
        except APIError as error:
            raise EngineError(str(error.explanation or error)) from error
        except (DockerException, requests.RequestException, OSError) as error:
            raise EngineGoneError(str(error)) from error


def _docker_init_there() -> bool:
    paths = (
        "/usr/bin/docker-init",
        "/usr/sbin/docker-init",
        "/usr/libexec/docker/docker-init",
        "/usr/local/bin/docker-init",
    )
    return any(os.access(path, os.X_OK) for path in paths)


def open_files() -> int:
    """Open files of a container: 65536, or this machine's hard limit where an engine may not raise it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)


def bridge_name(attempt: str) -> str:
    """Interface of an attempt's bridge: `rm` and 12 hex digits of its id (the random end)."""
    return f"rm{attempt.replace('-', '')[-12:]}"


class Firewall:
    """Rules per bridge: no metadata addresses, nothing of this machine but the relay, no other bridge of ours."""

    def __init__(self) -> None:
        self.active = (
            os.geteuid() == 0 and subprocess.run(["iptables", "-w", "-L", "-n"], capture_output=True).returncode == 0
        )

    def open(self, attempt: str, gateway: str, relay_port: int, allowed: list[tuple[str, int]]) -> None:
        """Put the rules in place for this attempt's bridge."""
        if not self.active:
            return
        for chain, rule in self._rules(attempt, gateway, relay_port, allowed):
            if subprocess.run(["iptables", "-w", "-C", chain, *rule], capture_output=True).returncode != 0:
                self._run(["iptables", "-w", "-I", chain, *rule])

    def close(self, attempt: str) -> None:
        """Take this attempt's rules away."""
        if not self.active:
            return
        marker = f"--comment {attempt}"
        for chain in ("INPUT", "DOCKER-USER"):
            listing = subprocess.run(["iptables", "-w", "-S", chain], capture_output=True, text=True).stdout
            for line in listing.splitlines():
                if marker in line:
                    subprocess.run(["iptables", "-w", "-D", *line.split()[1:]], capture_output=True)

    @staticmethod
    def _rules(attempt: str, gateway: str, port: int, allowed: list[tuple[str, int]]) -> list[tuple[str, list[str]]]:
        """In the order of insertion: each goes before the ones inserted earlier."""
        bridge = ["-i", bridge_name(attempt)]
        note = ["-m", "comment", "--comment", attempt]
        rules = [
            ("DOCKER-USER", [*bridge, "-d", str(POOL), *note, "-j", "DROP"]),
            ("DOCKER-USER", [*bridge, "-d", "169.254.0.0/16", *note, "-j", "DROP"]),
            ("INPUT", [*bridge, *note, "-j", "DROP"]),
        ]
        if port:
            rules.append(("INPUT", [*bridge, "-d", gateway, "-p", "tcp", "--dport", str(port), *note, "-j", "ACCEPT"]))
        for host, number in allowed:
            rules.append(("INPUT", [*bridge, "-d", host, "-p", "tcp", "--dport", str(number), *note, "-j", "ACCEPT"]))
        for protocol in ("udp", "tcp"):
            rules.append(("INPUT", [*bridge, "-p", protocol, "--dport", "53", *note, "-j", "ACCEPT"]))
        rules.append(("INPUT", [*bridge, "-m", "state", "--state", "ESTABLISHED,RELATED", *note, "-j", "ACCEPT"]))
        return rules

    @staticmethod
    def _run(command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise EngineError(f"firewall: {done.stderr.strip()}")
