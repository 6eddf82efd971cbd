"""What a container uses: the engine's counters and nvidia-smi, as samples."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

from worker_bootstrap.agent.runtime.base import GpuUsage, Usage

MEBIBYTE = 1024 * 1024
GPU_FIELDS = "index,uuid,utilization.gpu,memory.used,memory.total"


def usage_of(raw: dict[str, Any], before: tuple[int, float] | None, now: float) -> tuple[Usage, tuple[int, float]]:
    """A sample from the engine's answer, and (CPU nanoseconds, time) to be given as `before` next time. Pure."""
    used = int(raw.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0))
    cpu = 0.0
    if before is not None and now > before[1]:
        cpu = max(0.0, (used - before[0]) / 1e9 / (now - before[1]))
    memory = raw.get("memory_stats", {})
    read, written = _disk(raw)
    networks = (raw.get("networks") or {}).values()
    sample = Usage(
        cpu=round(cpu, 4),
        memory=_memory(memory),
        memory_limit=int(memory.get("limit", 0)),
        disk_read=read,
        disk_write=written,
        net_rx=sum(int(network.get("rx_bytes", 0)) for network in networks),
        net_tx=sum(int(network.get("tx_bytes", 0)) for network in networks),
        pids=int((raw.get("pids_stats") or {}).get("current", 0)),
    )
    return sample, (used, now)


def parse_gpus(text: str) -> list[tuple[str, GpuUsage]]:
    """(index, usage) of each line of nvidia-smi's CSV. Lines with unknown values are left out. Pure."""
    found = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 5 or not all(field.isdigit() for field in fields[2:]):
            continue
        used, total = int(fields[3]) * MEBIBYTE, int(fields[4]) * MEBIBYTE
        found.append((fields[0], GpuUsage(fields[1], int(fields[2]) / 100, used, total)))
    return found


class Gpus:
    """Asks nvidia-smi, at most once a second."""

    def __init__(self, run: Callable[[], str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run or _nvidia_smi
        self._clock = clock
        self._asked = -1.0
        self._known: list[tuple[str, GpuUsage]] = []

    def usage(self, devices: list[str]) -> tuple[GpuUsage, ...]:
        """The named devices (index or uuid); all of them for `["all"]`."""
        if not devices:
            return ()
        if self._asked < 0 or self._clock() - self._asked >= 1.0:
            self._asked = self._clock()
            self._known = parse_gpus(self._run())
        wanted = set(devices)
        return tuple(gpu for index, gpu in self._known if wanted & {"all", index, gpu.id})


def devices_of(details: dict[str, Any]) -> list[str]:
    """Device ids in an inspected container's GPU requests; `all` where only a number was asked for. Pure."""
    devices: list[str] = []
    for request in details.get("HostConfig", {}).get("DeviceRequests") or []:
        devices.extend(request.get("DeviceIDs") or (["all"] if request.get("Count") else []))
    return devices


def _memory(memory: dict[str, Any]) -> int:
    """In use without the page cache that the kernel would drop first (cgroup v1 and v2 names)."""
    details = memory.get("stats") or {}
    cache = int(details.get("total_inactive_file", details.get("inactive_file", 0)))
    return max(0, int(memory.get("usage", 0)) - cache)


def _disk(raw: dict[str, Any]) -> tuple[int, int]:
    entries = (raw.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    sums = {"read": 0, "write": 0}
    for entry in entries:
        name = str(entry.get("op", "")).lower()
        if name in sums:
            sums[name] += int(entry.get("value", 0))
    return sums["read"], sums["write"]


def _nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        command = [program, f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader,nounits"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
