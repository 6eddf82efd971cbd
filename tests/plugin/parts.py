"""Real parts that tests may need. A probe returns why the part is missing, or an empty text."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

from plugin import infra_parts, store_parts

IMAGE = "python:3.11-slim"
ADMINISTRATOR_PATHS = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _program(name: str, package: str = "") -> str:
    if shutil.which(name, path=ADMINISTRATOR_PATHS):
        return ""
    return f"{name} is not installed (apt-get install {package or name})"


def find_program(name: str) -> str:
    """Its path; administrators' commands are not in everybody's."""
    return shutil.which(name, path=ADMINISTRATOR_PATHS) or name


def _registry() -> str:
    return _program("docker-registry") or _program("htpasswd", "apache2-utils")


def _root() -> str:
    return "" if os.geteuid() == 0 else "needs root"


def _redis() -> str:
    return _program("redis-server")


def _engine() -> str:
    if shutil.which("docker") is None:
        return "docker is not installed (apt-get install docker.io)"
    try:
        found = subprocess.run(["docker", "version"], capture_output=True, timeout=20)
    except subprocess.TimeoutExpired:
        return "the Docker engine does not answer"
    return "" if found.returncode == 0 else "no Docker engine answers (tools/engine.sh starts one)"


def _image() -> str:
    missing = probe("engine")
    if missing:
        return missing
    found = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True)
    return "" if found.returncode == 0 else f"the engine has no image {IMAGE} (tools/sample_image.sh makes it)"


def _postgres() -> str:
    if list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb"):
        return ""
    return "PostgreSQL is not installed (apt-get install postgresql)"


def browser() -> str:
    """Path of a Chromium, or empty."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""


def _browser() -> str:
    return "" if browser() else "Chromium is not installed (apt-get install chromium)"


def _debootstrap() -> str:
    return _root() or _program("debootstrap")


def find_python(version: str) -> str:
    """Path of an interpreter of this version (`3.12`) that starts, or empty."""
    found = [shutil.which(f"python{version}") or ""]
    found += [str(path) for path in Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")]
    for path in filter(None, found):
        if subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            return path
    return ""


def _python(version: str) -> str:
    return "" if find_python(version) else f"no Python {version} is installed"


def _other_architecture() -> str:
    """Files of x86-64 on arm64 and the other way round, by the kernel's emulation."""
    other = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    known = Path(f"/proc/sys/fs/binfmt_misc/qemu-{other}").exists()
    return "" if known else f"no {other} machine or emulation here (qemu-user-static and its binfmt)"


def _sshd() -> str:
    return _program("sshd", "openssh-server") or _program("ssh-keyscan", "openssh-client")


PROBES: dict[str, Callable[[], str]] = {
    "browser": _browser,
    "debootstrap": _debootstrap,
    "engine": _engine,
    "image": _image,
    "other-architecture": _other_architecture,
    "postgres": _postgres,
    "python3.11": lambda: _python("3.11"),
    "python3.12": lambda: _python("3.12"),
    "python3.13": lambda: _python("3.13"),
    "redis": _redis,
    "registry": _registry,
    "root": _root,
    "sshd": _sshd,
    **infra_parts.PROBES,
    **store_parts.PROBES,
}


@cache
def probe(part: str) -> str:
    """Why the part can't be had here, or empty. Raises KeyError for a part that nobody knows."""
    return PROBES[part]()
