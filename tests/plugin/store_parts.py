"""Where tools/store-servers/build.sh puts the servers that stand in for clouds."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "remora"
BUILD = "tools/store-servers/build.sh"


def place(name: str, *files: str) -> Path:
    """The folder that belongs to the content of these files below tools/."""
    content = b"".join((TOOLS / file).read_bytes() for file in files)
    return CACHE / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"


VERSITYGW = place("versitygw", "versitygw/go.mod", "versitygw/go.sum") / "versitygw"
AZURITE = place("azurite", "store-servers/package.json", "store-servers/package-lock.json")
AZURITE = AZURITE / "node_modules" / ".bin" / "azurite-blob"
IAM_SIMULATE = place("iam-simulate", "iam-simulate/package.json", "iam-simulate/package-lock.json") / "node_modules"
PYTHON_SERVERS = place("store-servers", "store-servers/requirements.lock")
SERVERS_PYTHON = PYTHON_SERVERS / "bin" / "python"
ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "amd64"


def _fake_gcs() -> Path:
    pattern = f"lib/python3*/site-packages/*/vendor/fake-gcs-server/bin/fake-gcs-server-linux-{ARCHITECTURE}"
    return next(iter(PYTHON_SERVERS.glob(pattern)), PYTHON_SERVERS / "fake-gcs-server")


FAKE_GCS = _fake_gcs()


def missing(path: Path, needs: str, build: str = BUILD) -> str:
    """Why this server can't be had, or empty."""
    return "" if path.exists() else f"{path.name} is not there ({needs}{build} makes it)"


PROBES: dict[str, Callable[[], str]] = {
    "versitygw": lambda: missing(VERSITYGW, "needs Go; "),
    "azurite": lambda: missing(AZURITE, "needs npm; "),
    "iam-simulate": lambda: missing(IAM_SIMULATE, "needs npm; ", "tools/iam-simulate/build.sh"),
    "swift": lambda: missing(PYTHON_SERVERS / "whole", ""),
    "moto": lambda: missing(PYTHON_SERVERS / "whole", ""),
    "fake-gcs-server": lambda: missing(FAKE_GCS, ""),
}
