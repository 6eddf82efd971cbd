"""The Docker engine behind the Runtime interface."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import requests

from worker_bootstrap.agent.runtime import profile
from worker_bootstrap.agent.runtime.base import (
    ContainerCreateError,
    ContainerRuntimeError,
    ContainerSpec,
    EngineGoneError,
    ExitInfo,
    Handle,
    Image,
    ImageNotFoundError,
    Login,
    NetworkError,
    Problem,
    Progress,
    Usage,
)
from worker_bootstrap.agent.runtime.client import EngineClient, NotThereError, RefusedError
from worker_bootstrap.agent.runtime.firewall import Fence, Firewall
from worker_bootstrap.agent.runtime.images import Images
from worker_bootstrap.agent.runtime.networks import Network, Networks
from worker_bootstrap.agent.runtime.private import PrivateImages
from worker_bootstrap.agent.runtime.subnets import DEFAULT_POOL, bridge_name
from worker_bootstrap.agent.runtime.usage import Gpus, devices_of, usage_of

OLDEST_API = (1, 41)
ENDED = ("exited", "dead")
SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")


class DockerRuntime:
    """Containers on the engine at `url` (unix:///path; empty: the default socket).

    `private` knows what was pulled with a credential. `labels` name this worker's containers (remora.installation,
    remora.machine). Without a `firewall` (an agent that is not root) containers reach the machine and its
    metadata service.
    """

    def __init__(
        self,
        url: str,
        private: PrivateImages,
        labels: Mapping[str, str] | None = None,
        firewall: Firewall | None = None,
        pool: IPv4Network = DEFAULT_POOL,
        timeout: float = 60.0,
    ) -> None:
        self._labels = dict(labels or {})
        self._client = EngineClient(url, timeout)
        self._images = Images(self._client, private)
        self._networks = Networks(self._client, self._labels, pool)
        self._firewall = firewall
        self._gpus = Gpus()
        self._samples: dict[str, tuple[int, float]] = {}
        self._devices: dict[str, list[str]] = {}
        self._creating = threading.Lock()

    @property
    def engine_url(self) -> str:
        """Where the line keeper attaches."""
        return self._client.url

    # ---- machine ---------------------------------------------------------------------------------
    def check(self) -> list[Problem]:
        """What is wrong with this machine; never raises."""
        problems = self._check_engine()
        if self._firewall is None:
            sentence = "Containers can reach this machine and its metadata service: there are no firewall rules."
            fix = "run the agent as root; only the agent of the embedded group may go without"
            problems.append(Problem("firewall", sentence, fix, fatal=False))
        else:
            problem = self._firewall.check()
            problems.extend([problem] if problem else [])
        return problems

    def pull(self, image: str, policy: str, login: Login, progress: Progress) -> Image:
        """The image on this machine. Raises ImageNotFoundError, ImageDeniedError, PullError, what `login` raises."""
        return self._images.pull(image, policy, login, progress)

    def list_attempts(self) -> list[str]:
        """Attempts of this worker of which a container or a network is left, sorted."""
        filters = {"label": ["remora.attempt", *(f"{name}={value}" for name, value in self._labels.items())]}
        found = self._client.call(lambda api: api.containers(all=True, filters=filters))
        return sorted({entry["Labels"]["remora.attempt"] for entry in found} | self._networks.attempts())

    # ---- network ---------------------------------------------------------------------------------
    def prepare_network(self, attempt: str, allow: Sequence[tuple[str, int]] = ()) -> str:
        """Gateway address of the attempt's own network, fenced in. Raises NetworkError."""
        network = self._networks.ensure(attempt)
        if self._firewall is not None:
            fence = Fence(network.bridge, network.gateway, str(self._networks.pool), allow=tuple(allow))
            self._firewall.put(fence)
        return network.gateway

    def open_relay(self, attempt: str, port: int) -> None:
        """Let the attempt's container reach TCP `port` on its gateway. Raises NetworkError."""
        if self._firewall is not None:
            self._firewall.open_relay(bridge_name(attempt), port)

    def refresh_rules(self) -> None:
        """Put back firewall rules that something else removed."""
        if self._firewall is not None:
            self._firewall.refresh()

    # ---- one container ---------------------------------------------------------------------------
    def create(self, spec: ContainerSpec) -> Handle:
        """The created container; the existing one if the attempt has one."""
        network = None if spec.host_network else self._networks.find(spec.attempt)
        if network is None and not spec.host_network:
            raise NetworkError(f"attempt {spec.attempt} has no network: call prepare_network first")
        profile.check_binds([bind.host for bind in spec.binds], self._client.url.removeprefix("unix://"))
        with self._creating:
            return self.find(spec.attempt) or self._create(spec, network)

    def start(self, handle: Handle) -> None:
        """Start it; nothing happens if it runs already. Raises ContainerCreateError."""
        try:
            self._client.call(lambda api: api.start(handle.id))
        except NotThereError as error:
            raise ContainerCreateError(f"the container cannot start: {error}") from error
        except RefusedError as error:
            raise ContainerCreateError(f"the container cannot start: {error}") from error

    def wait(self, handle: Handle, timeout: float) -> ExitInfo | None:
        """How it ended, or None. Raises LookupError when it is gone."""
        deadline = time.monotonic() + timeout
        while True:
            state = self._state(handle)
            if state["Status"] in ENDED:
                return _exit_info(state)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._wait_a_while(handle, state["Status"], left)

    def signal(self, handle: Handle, name: str) -> None:
        """Send SIGINT, SIGTERM or SIGKILL to its processes; an ended one is left alone."""
        if name not in SIGNALS:
            raise ValueError(f"signal: {name!r} is none of {', '.join(SIGNALS)}")
        try:
            state = self._details(handle.id)
            if not state["HostConfig"].get("Init") and name != "SIGKILL":
                self._signal_from_inside(handle, name)
            self._client.call(lambda api: api.kill(handle.id, signal=name))
        except NotThereError:
            return
        except RefusedError as error:
            # 409: it has ended meanwhile. (Docker 20.10 answers 500 for the same.)
            if error.status != 409 and "is not running" not in str(error):
                raise

    def find(self, attempt: str) -> Handle | None:
        """The attempt's container, running or not."""
        try:
            details = self._details(container_name(attempt))
        except NotThereError:
            return None
        network = self._networks.find(attempt) if details["HostConfig"]["NetworkMode"] != "host" else None
        return _handle(attempt, details["Id"], network)

    def running(self, handle: Handle) -> bool:
        """Whether it runs now."""
        try:
            return bool(self._state(handle)["Running"])
        except NotThereError:
            return False

    def memory_limit(self, handle: Handle) -> int:
        """Bytes that the container may use; 0 is no limit."""
        return int(self._details(handle.id)["HostConfig"].get("Memory") or 0)

    def stats(self, handle: Handle) -> Usage | None:
        """A sample, None when the container does not run."""
        try:
            raw: Any = self._client.call(lambda api: api.stats(handle.id, decode=False, stream=False, one_shot=True))
            if handle.id not in self._devices:
                self._devices[handle.id] = devices_of(self._details(handle.id))
        except (NotThereError, RefusedError):
            return None
        if not raw.get("memory_stats"):
            return None
        sample, self._samples[handle.id] = usage_of(raw, self._samples.get(handle.id), time.monotonic())
        gpus = self._gpus.usage(self._devices[handle.id])
        return Usage(**{**sample.__dict__, "gpus": gpus}) if gpus else sample

    def remove(self, handle: Handle) -> None:
        """Take away container, anonymous volumes, network and rules."""
        self.cleanup(handle.attempt)
        self._samples.pop(handle.id, None)
        self._devices.pop(handle.id, None)

    def cleanup(self, attempt: str) -> None:
        """`remove` for an attempt whose container may not exist."""
        try:
            self._client.call(lambda api: api.remove_container(container_name(attempt), v=True, force=True))
        except NotThereError:
            pass
        except RefusedError as error:
            if "already in progress" not in str(error):
                raise
        # The rules go last: at no moment is there a bridge without its fence.
        self._networks.remove(attempt)
        if self._firewall is not None:
            self._firewall.remove(bridge_name(attempt))

    # ---- inside ----------------------------------------------------------------------------------
    def _create(self, spec: ContainerSpec, network: Network | None) -> Handle:
        init = profile.has_init()
        env = {**(profile.GROUP_SIGNALS if init else {}), **spec.env}
        try:
            created: Any = self._client.call(
                lambda api: api.create_container(
                    spec.image,
                    entrypoint=list(spec.command[:1]),
                    command=list(spec.command[1:]),
                    environment=dict(env),
                    working_dir=spec.workdir or None,
                    name=container_name(spec.attempt),
                    labels={**spec.labels, **self._labels, **profile.labels_of(spec)},
                    healthcheck={"test": ["NONE"]},
                    host_config=profile.host_config(
                        spec,
                        network=network.name if network else "",
                        init=init,
                        api_version=str(api.api_version),
                        machine_memory=profile.machine_memory(),
                    ),
                )
            )
        except NotThereError as error:
            raise ImageNotFoundError(f"{spec.image}: {error}") from error
        except (RefusedError, TypeError, ValueError) as error:
            raise ContainerCreateError(f"the engine makes no container: {error}") from error
        return _handle(spec.attempt, created["Id"], network)

    def _wait_a_while(self, handle: Handle, status: str, seconds: float) -> None:
        if status == "created":
            # The engine's wait answers at once for a container that never ran.
            time.sleep(min(seconds, 0.1))
            return
        try:
            self._client.call(lambda api: _wait_quietly(api, handle.id, max(0.05, seconds)))
        except (NotThereError, RefusedError):
            return

    def _signal_from_inside(self, handle: Handle, name: str) -> None:
        """Without an init process the kernel keeps SIGINT and SIGTERM from PID 1 and nobody passes them on."""
        command = ["/bin/sh", "-c", f"kill -{name.removeprefix('SIG')} -1"]
        try:
            made: Any = self._client.call(lambda api: api.exec_create(handle.id, command))
            self._client.call(lambda api: api.exec_start(made["Id"], detach=True))
        except RefusedError:
            return

    def _details(self, name: str) -> dict[str, Any]:
        return self._client.call(lambda api: api.inspect_container(name))

    def _state(self, handle: Handle) -> dict[str, Any]:
        return self._details(handle.id)["State"]

    def _check_engine(self) -> list[Problem]:
        url = self._client.url
        if not url.startswith("unix://"):
            fix = "unset DOCKER_HOST, or name the machine's own socket: unix:///var/run/docker.sock"
            return [Problem("engine", f"The engine at {url} is not on this machine.", fix)]
        path = Path(url.removeprefix("unix://"))
        try:
            version: Any = self._client.call(lambda api: api.version())
            info: Any = self._client.call(lambda api: api.info())
        except EngineGoneError as error:
            if path.exists() and not os.access(path, os.R_OK | os.W_OK):
                fix = "add the agent's user to the group docker, or run it as root"
                return [Problem("engine_denied", f"The agent may not use the engine's socket {path}.", fix)]
            return [Problem("engine", f"The engine does not answer: {error}", "start it: systemctl start docker")]
        except ContainerRuntimeError as error:
            return [Problem("engine", f"The engine refuses to answer: {error}", "look at its own log")]
        return _judge_engine(version, info)


def container_name(attempt: str) -> str:
    """Name of an attempt's container: one name, so that there is never a second one."""
    return f"remora-{attempt}"


def _judge_engine(version: Mapping[str, Any], info: Mapping[str, Any]) -> list[Problem]:
    problems = []
    api = tuple(int(part) for part in str(version.get("ApiVersion", "0.0")).split("."))
    if api < OLDEST_API:
        sentence = f"The engine speaks API {version.get('ApiVersion')}, 1.41 is the oldest that works."
        problems.append(Problem("engine_old", sentence, "install Docker 20.10 or newer"))
    options = " ".join(info.get("SecurityOptions") or [])
    if "seccomp" not in options or "profile=unconfined" in options:
        sentence = "The engine applies no seccomp profile."
        problems.append(Problem("seccomp", sentence, "use an engine with seccomp and its default profile", fatal=False))
    return problems


def _wait_quietly(api: Any, container: str, seconds: float) -> None:
    try:
        api.wait(container, timeout=seconds, condition="not-running")
    except (requests.exceptions.Timeout, requests.exceptions.ConnectionError):
        # Either the time is over or the engine went away: the next look at the state tells which.
        return


def _handle(attempt: str, container: str, network: Network | None) -> Handle:
    name = container_name(attempt)
    return Handle(attempt, container, name, network.gateway if network else "", network.name if network else "")


def _exit_info(state: Mapping[str, Any]) -> ExitInfo:
    return ExitInfo(
        exit_code=int(state["ExitCode"]),
        oom_killed=bool(state.get("OOMKilled")),
        started=_time(str(state.get("StartedAt", ""))),
        finished=_time(str(state.get("FinishedAt", ""))),
        error=str(state.get("Error", "")),
    )


def _time(text: str) -> str:
    """Six digits and no zone, as everywhere in a log; empty for the engine's year 1."""
    if not text or text.startswith("0001-"):
        return ""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return f"{whole}.{fraction[:6]:0<6}"
