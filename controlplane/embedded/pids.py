"""Pid files that name a process without doubt: NAME.pid holds its number, NAME.began when the kernel started it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from controlplane.embedded.files import write_private

MARK = ".began"


def start_mark(pid: int) -> str:
    """When the process began, in the kernel's ticks; empty when there is none (or only its remains)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def write_pid(path: Path, pid: int) -> None:
    """Note a running process."""
    write_private(path.with_suffix(MARK), start_mark(pid))
    write_private(path, f"{pid}\n")


def remove_pid(path: Path) -> None:
    """Forget the process."""
    path.unlink(missing_ok=True)
    path.with_suffix(MARK).unlink(missing_ok=True)


def read_pid(path: Path) -> int | None:
    """The process that the file names if it still runs, else None: numbers are used again by others."""
    try:
        pid, mark = path.read_text().strip(), path.with_suffix(MARK).read_text()
    except OSError:
        return None
    return int(pid) if pid.isdigit() and mark and start_mark(int(pid)) == mark else None


def end(path: Path, grace: float) -> bool:
    """End the process of a pid file: SIGTERM, after `grace` seconds SIGKILL. Whether there was one."""
    pid = read_pid(path)
    if pid is None:
        remove_pid(path)
        return False
    os.kill(pid, signal.SIGTERM)
    if not wait_gone(path, grace):
        os.kill(pid, signal.SIGKILL)
        wait_gone(path, grace)
    remove_pid(path)
    return True


def wait_gone(path: Path, timeout: float) -> bool:
    """Whether the file's process is gone within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while read_pid(path) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def memory_of(pid: int) -> int:
    """Proportional memory (PSS) of a process and its children, in bytes; 0 when it can't be read."""
    total = 0
    for one in _family(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        line = next((line for line in text.splitlines() if line.startswith("Pss:")), "Pss: 0 kB")
        total += int(line.split()[1]) * 1024
    return total


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            found.extend(_family(int(child)))
    return found
