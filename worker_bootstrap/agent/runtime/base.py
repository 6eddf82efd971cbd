"""The interface between the agent and whatever runs containers.

Order of calls for one attempt: `pull`, `prepare_network`, `open_relay` (when the relay listens),
`create`, (the line keeper attaches), `start`, `wait` ... `signal` ..., `remove`. Each call may be made
again after a crash: it finds what the earlier call left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Progress = Callable[[str], None]
"""Takes one plain sentence for the status line; called at most once a second."""


class ContainerRuntimeError(Exception):
    """Something between the agent and the containers went wrong."""


class EngineGoneError(ContainerRuntimeError):
    """The engine does not answer. Worth trying again: nothing is known about the container."""


class ImageNotFoundError(ContainerRuntimeError):
    """The registry (or, with policy `never`, the machine) has no such image, or hides it from us."""


class ImageDeniedError(ContainerRuntimeError):
    """The registry does not let us have the image; `with_login` says whether it was given a credential."""

    def __init__(self, message: str, *, with_login: bool) -> None:
        super().__init__(message)
        self.with_login = with_login


class PullError(ContainerRuntimeError):
    """The image could not be fetched for another reason: network, disk, registry."""


class ContainerCreateError(ContainerRuntimeError):
    """The engine refused the container: bad mount, unknown device, command not found."""


class NetworkError(ContainerRuntimeError):
    """No network or no firewall rules could be made for the attempt. It must not start."""


@dataclass(frozen=True)
class Bind:
    """A file or folder of the machine inside the container."""

    host: str
    container: str
    readonly: bool = True


@dataclass(frozen=True)
class RegistryAuth:
    """Credentials of an image registry."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Image:
    """An image that the engine has: the id by which it means this one for good, and what people are shown of it."""

    id: str
    digest: str


Login = Callable[[], RegistryAuth | None]
"""Gets the credential for the image that is pulled, at the moment when it is needed."""


@dataclass(frozen=True)
class ContainerSpec:
    """One container. memory and shm in bytes, cpu in cores; 0 means no limit (shm: half the memory).

    `gpus` are device ids of this machine ("0", "GPU-..."), or the number of devices wanted.
    `number` is the attempt's number within the execution. `dns` empty: the engine's own resolvers.
    `ulimits`: name -> (soft, hard), -1 is unlimited.
    """

    attempt: str
    execution: str
    number: int
    image: str
    command: Sequence[str]
    workdir: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    binds: Sequence[Bind] = ()
    cpu: float = 0.0
    memory: int = 0
    pids: int = 4096
    shm: int = 0
    gpus: Sequence[str] | int = 0
    host_network: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    dns: Sequence[str] = ()


@dataclass(frozen=True)
class Handle:
    """A container that exists. `gateway_ip` and `network` are empty with the host's network."""

    attempt: str
    id: str
    name: str
    gateway_ip: str = ""
    network: str = ""


@dataclass(frozen=True)
class ExitInfo:
    """How a container ended. Times are the engine's, ISO 8601 UTC; `error` is what the engine said at start."""

    exit_code: int
    oom_killed: bool = False
    started: str = ""
    finished: str = ""
    error: str = ""


@dataclass(frozen=True)
class Problem:
    """Why this machine cannot (`fatal`) or should not run containers, and what to do about it."""

    code: str
    sentence: str
    fix: str
    fatal: bool = True


@dataclass(frozen=True)
class GpuUsage:
    """One device at one moment: utilisation 0-1, memory in bytes."""

    id: str
    utilization: float
    memory: int
    memory_total: int


@dataclass(frozen=True)
class Usage:
    """One sample. cpu in cores since the last sample (1.5 = one and a half); the rest in bytes.

    disk_* and net_* count since the container's start.
    """

    cpu: float
    memory: int
    memory_limit: int
    disk_read: int
    disk_write: int
    net_rx: int
    net_tx: int
    pids: int
    gpus: tuple[GpuUsage, ...] = ()


class Runtime(Protocol):
    """Runs the containers of one worker. Every method may raise EngineGoneError."""

    @property
    def engine_url(self) -> str:
        """Where the line keeper attaches: unix:///path."""
        ...

    def check(self) -> list[Problem]:
        """What is wrong with this machine; never raises."""
        ...

    def pull(self, image: str, policy: str, login: Login, progress: Progress) -> Image:
        """The image, fetched by policy always | missing | never.

        What was once got with a credential is asked for at its registry again, whatever the policy.
        Raises ImageNotFoundError, ImageDeniedError, PullError, and what `login` raises.
        """
        ...

    def prepare_network(self, attempt: str, allow: Sequence[tuple[str, int]] = ()) -> str:
        """The gateway address (dotted) of the attempt's own network, with its firewall rules. Raises NetworkError.

        `allow`: (host, TCP port) pairs on this machine that stay reachable: the group's proxies. Never take them
        from what a user wrote.
        """
        ...

    def open_relay(self, attempt: str, port: int) -> None:
        """Let the attempt's container reach TCP `port` on its gateway. Raises NetworkError."""
        ...

    def refresh_rules(self) -> None:
        """Put back firewall rules that something else removed; cheap, to be called with every beat."""
        ...

    def create(self, spec: ContainerSpec) -> Handle:
        """The created, not yet started container; the existing one if the attempt has one.

        Raises ContainerCreateError, ImageNotFoundError, NetworkError.
        """
        ...

    def start(self, handle: Handle) -> None:
        """Start it (nothing happens if it runs already). Raises ContainerCreateError."""
        ...

    def wait(self, handle: Handle, timeout: float) -> ExitInfo | None:
        """How it ended, or None if it has not within `timeout` seconds. Raises LookupError when it is gone."""
        ...

    def signal(self, handle: Handle, name: str) -> None:
        """Send SIGINT, SIGTERM or SIGKILL to the container's processes; an ended one is left alone."""
        ...

    def find(self, attempt: str) -> Handle | None:
        """The attempt's container, running or not."""
        ...

    def running(self, handle: Handle) -> bool:
        """Whether it runs now."""
        ...

    def memory_limit(self, handle: Handle) -> int:
        """Bytes that the container may use; 0 is no limit."""
        ...

    def stats(self, handle: Handle) -> Usage | None:
        """A sample, None when the container does not run."""
        ...

    def remove(self, handle: Handle) -> None:
        """Take away container, network, rules and anonymous volumes."""
        ...

    def cleanup(self, attempt: str) -> None:
        """`remove` for an attempt whose container may not exist."""
        ...

    def list_attempts(self) -> list[str]:
        """Attempts of this worker of which a container or a network is left, sorted."""
        ...
