"""Checks of the machine that the installer runs on."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from stacks.wizard.checks import Check, Outcome, ProbeError, failed, passed, warned

PULUMI_FROM = (3, 200, 0)
DISK_BYTES = 2_000_000_000
CONNECT_SECONDS = 5.0
SDKS = {"aws": ("pulumi-aws", "boto3"), "ssh": ("asyncssh",)}


@dataclass(frozen=True)
class Host:
    """This machine, and what it is to install. `dashboard`: the control plane's address, or empty."""

    home: Path
    provider: str
    dashboard: str


def _python(host: Host) -> Outcome:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return passed(found) if sys.version_info >= (3, 11) else failed(found)


def _pulumi(host: Host) -> Outcome:
    program = shutil.which("pulumi")
    if program is None:
        return failed("not found")
    try:
        said = subprocess.run([program, "version"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ProbeError(f"{program} does not answer: {error}") from error
    numbers = tuple(int(part) for part in re.findall(r"\d+", said)[:3])
    return passed(said.strip()) if numbers >= PULUMI_FROM else failed(said.strip())


def _sdks(host: Host) -> Outcome:
    found, missing = [], []
    for name in ("pulumi", *SDKS.get(host.provider, ())):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return failed(f"missing: {', '.join(missing)}") if missing else passed(", ".join(found))


def _disk(host: Host) -> Outcome:
    place = host.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    said = f"{free / 1e9:.1f} GB free at {place}"
    return passed(said) if free >= DISK_BYTES else failed(said)


def _dashboard(host: Host) -> Outcome:
    if not host.dashboard:
        return passed("made by this installation")
    parts = urlsplit(host.dashboard)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except OSError as error:
        return warned(f"{host.dashboard} does not answer from here: {error}")
    return passed(f"{host.dashboard} answers")


HOST_CHECKS: tuple[Check[Host], ...] = (
    Check("host.python", "Python 3.11 or newer", _python, "Install Python 3.11 or newer and Remora in it."),
    Check("host.pulumi", "Pulumi's command line", _pulumi, "Install it: https://www.pulumi.com/docs/install/"),
    Check("host.sdks", "the installer's packages", _sdks, "Install them: pip install 'remora[installer]'"),
    Check("host.disk", "2 GB free for state and plugins", _disk, "Make room, or set REMORA_HOME to a larger disk."),
    Check(
        "host.dashboard",
        "the control plane that leads it",
        _dashboard,
        "Only the control plane's machines must reach the queue; from here it is needed to import the result.",
    ),
)
