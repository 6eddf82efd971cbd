"""The profile that every container gets: what it may do and how much of the machine it may take. Pure."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from docker.types import DeviceRequest, HostConfig, LogConfig, Mount, Ulimit

from worker_bootstrap.agent.runtime.base import ContainerCreateError, ContainerSpec

# What apt-get and pip need as a step's command, and nothing more.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "KILL")
UNLIMITED = -1
ULIMITS = {"core": (0, 0), "nofile": (65_536, 1_048_576)}
# Pinned memory, and deep stacks of the compilers that frameworks carry.
GPU_ULIMITS = {"memlock": (UNLIMITED, UNLIMITED), "stack": (67_108_864, UNLIMITED)}
CAP_SYS_RESOURCE = 24
# The init process passes a signal to the whole process group: `sh -c "a; b"` would keep it to itself.
GROUP_SIGNALS = {"TINI_KILL_PROCESS_GROUP": "1"}
INIT_PLACES = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/libexec/docker", "/usr/local/libexec/docker")


def host_config(spec: ContainerSpec, *, network: str, init: bool, api_version: str, machine_memory: int) -> HostConfig:
    """The engine's host configuration for a container. Raises ContainerCreateError for GPU ids that are empty."""
    limits = _clamp({**ULIMITS, **(GPU_ULIMITS if spec.gpus else {}), **spec.ulimits})
    return HostConfig(
        version=api_version,
        network_mode="host" if spec.host_network else network,
        cap_drop=["ALL"],
        cap_add=list(CAPABILITIES),
        security_opt=["no-new-privileges"],
        privileged=False,
        pids_limit=spec.pids or None,
        nano_cpus=int(spec.cpu * 1e9) or None,
        mem_limit=spec.memory or None,
        memswap_limit=spec.memory or None,
        shm_size=spec.shm or (spec.memory or machine_memory) // 2,
        ipc_mode="private",
        log_config=LogConfig(type="none"),
        init=True if init else None,
        restart_policy={"Name": "no", "MaximumRetryCount": 0},
        ulimits=[Ulimit(name=name, soft=soft, hard=hard) for name, (soft, hard) in sorted(limits.items())],
        mounts=[
            Mount(target=bind.container, source=bind.host, type="bind", read_only=bind.readonly) for bind in spec.binds
        ],
        device_requests=_gpus(spec.gpus),
        dns=list(spec.dns) or None,
    )


def check_binds(sources: Sequence[str], engine_socket: str) -> None:
    """Raise ContainerCreateError for a folder that holds the engine's socket: it would be the whole machine."""
    socket = Path(engine_socket)
    forbidden = {socket, *socket.parents, socket.resolve(), *socket.resolve().parents}
    for source in sources:
        if not PurePosixPath(source).is_absolute():
            raise ContainerCreateError(f"mount {source}: an absolute path is needed")
        if Path(source).resolve() in forbidden:
            raise ContainerCreateError(f"mount {source}: it holds the engine's socket and is never mounted")


def has_init() -> bool:
    """Whether the engine of this machine can put its init process first (Debian ships it in a package of its own)."""
    places = [*os.environ.get("PATH", "").split(":"), *INIT_PLACES]
    return any(os.access(Path(place) / "docker-init", os.X_OK) for place in places if place)


def labels_of(spec: ContainerSpec) -> dict[str, str]:
    """Labels that name the attempt."""
    return {
        "remora.execution": spec.execution,
        "remora.attempt": spec.attempt,
        "remora.number": str(spec.number),
    }


def machine_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def clamp_limit(wanted: tuple[int, int], most: int) -> tuple[int, int]:
    """(soft, hard) not above `most`; -1 is unlimited. Pure."""
    if most == UNLIMITED:
        return wanted
    soft, hard = (most if value == UNLIMITED else min(value, most) for value in wanted)
    return soft, hard


def _clamp(limits: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Where root itself may not raise limits (a machine that is a container), asking for more fails the start."""
    if _may_raise_limits():
        return limits
    numbers = {name: getattr(resource, f"RLIMIT_{name.upper()}", None) for name in limits}
    return {
        name: clamp_limit(pair, resource.getrlimit(number)[1]) if (number := numbers[name]) is not None else pair
        for name, pair in limits.items()
    }


def _may_raise_limits() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)
    return True


def _gpus(wanted: Sequence[str] | int) -> list[Any] | None:
    if not wanted:
        return None
    if isinstance(wanted, int):
        return [DeviceRequest(count=wanted, capabilities=[["gpu"]])]
    return [DeviceRequest(device_ids=list(wanted), capabilities=[["gpu"]])]
