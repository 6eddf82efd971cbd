"""This machine: its distribution, packages, files and services."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from worker_bootstrap.startup.boot.steps import StepError, command

SETTINGS = Path("/opt/remora-start/settings.json")
UNITS = Path("/etc/systemd/system")
START = "remora-start.service"
LOCK_SECONDS = 300
_SPELLINGS = {"arm64": "aarch64", "amd64": "x86_64"}


def settings() -> dict[str, Any]:
    """What the start-up script was told."""
    return json.loads(SETTINGS.read_text())


def architecture() -> str:
    """In the spelling of releases."""
    machine = platform.machine().lower()
    return _SPELLINGS.get(machine, machine)


def write(path: Path, text: str, mode: int = 0o644) -> bool:
    """Put a file in its place at once, never readable by more than `mode`; False when it stood there already."""
    if path.is_file() and path.read_text() == text:
        path.chmod(mode)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as writer:
        os.fchmod(writer.fileno(), mode)
        writer.write(text)
    temporary.replace(path)
    return True


def install(*packages: str) -> None:
    """Packages of the distribution; what the image has is not fetched. Raises StepError."""
    missing = [name for name in packages if not _has(name)]
    if not missing:
        return
    lock = f"-oDPkg::Lock::Timeout={LOCK_SECONDS}"
    command("apt-get", lock, "update", "-qq")
    command("apt-get", lock, "install", "-qq", "--yes", "--no-install-recommends", *missing)


def _has(package: str) -> bool:
    try:
        return command("dpkg-query", "--show", "--showformat=${db:Status-Status}", package) == "installed"
    except StepError:
        return False


def ssh(is_wanted: bool) -> None:
    """Without it nothing listens for people. Raises StepError."""
    if is_wanted:
        return
    for unit in ("ssh.socket", "ssh.service"):
        if (Path("/lib/systemd/system") / unit).exists():
            command("systemctl", "mask", "--now", unit)


def finish() -> None:
    """The work of the start-up script is done, at later boots too."""
    command("systemctl", "disable", "--quiet", START)
