"""Builds the agent's file (a PEX) for each architecture: OUT/VERSION/remora-agent-ARCH.pex, the same bytes each time.

Runs on any Linux: wheels of the other architecture are only packed. What the file carries is locked, with hashes, in
requirements-agent.lock. `remora server release-agent` signs what this makes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from packaging import tags

from worker_bootstrap.agent import VERSION
from worker_bootstrap.release import ARCHITECTURES, NAME

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements-agent.lock"
SOURCE = ROOT / "worker_bootstrap"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "remora"
PYTHONS = (11, 12, 13)
# Debian 12 has glibc 2.36, Ubuntu 24.04 has 2.39; manylinux counts down from the older one.
GLIBC = 36
OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17}
EPOCH = "315532800"  # the oldest time that a zip file can hold: 1 January 1980
NOT_SHIPPED = ("__pycache__", "*.pyc", "cli.py")


def platform_file(minor: int, architecture: str) -> dict[str, Any]:
    """What pex must know of an interpreter that is not here: its markers and the wheels that it takes."""
    newest_first = range(GLIBC, OLDEST_GLIBC[architecture] - 1, -1)
    platforms = [f"manylinux_2_{number}_{architecture}" for number in newest_first]
    platforms.insert(GLIBC - 17 + 1, f"manylinux2014_{architecture}")
    platforms.append(f"linux_{architecture}")
    python, abi = (3, minor), f"cp3{minor}"
    found = [*tags.cpython_tags(python, [abi], platforms), *tags.compatible_tags(python, abi, platforms)]
    return {
        "marker_environment": {
            "implementation_name": "cpython",
            "implementation_version": f"3.{minor}.0",
            "os_name": "posix",
            "platform_machine": architecture,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"3.{minor}.0",
            "python_version": f"3.{minor}",
            "sys_platform": "linux",
        },
        "compatible_tags": [str(tag) for tag in found],
    }


def content_hash(architecture: str, source: Path) -> str:
    """Names everything that the file is made from."""
    digest = hashlib.sha256(f"{architecture} pex {version('pex')} packaging {version('packaging')}".encode())
    for path in (LOCK, Path(__file__), *sorted(source.rglob("*"))):
        if path.is_file():
            digest.update(f"\n{path.name} {path.parent.name} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def build(architecture: str, target: Path, cache: Path) -> None:
    """Make the file, or take it from `cache` when the same one was made before. Raises CalledProcessError, OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    (cache / "agent").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache / "agent") as name:
        folder = Path(name)
        source = folder / "source"
        shutil.copytree(SOURCE, source / SOURCE.name, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
        kept = cache / "agent" / f"{content_hash(architecture, source)}.pex"
        if not kept.exists():
            _pack(architecture, source, folder / "made.pex", cache / "pex")
            (folder / "made.pex").replace(kept)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy(kept, temporary)
    temporary.chmod(0o755)
    temporary.replace(target)


def _pack(architecture: str, source: Path, made: Path, pex_root: Path) -> None:
    command = [sys.executable, "-m", "pex", "--requirement", str(LOCK), "--no-build", "--no-compile"]
    command += ["--sources-directory", str(source), "--entry-point", f"{SOURCE.name}.__main__:main"]
    command += [
        "--python-shebang",
        "/usr/bin/env python3",
        "--runtime-pex-root",
        "~/.cache/pex",
        "--pex-root",
        str(pex_root),
        "--use-pip-config",
    ]
    for minor in PYTHONS:
        file = source.parent / f"cp3{minor}.json"
        file.write_text(json.dumps(platform_file(minor, architecture)))
        command += ["--complete-platform", str(file)]
    # The builder's own folders and settings of pex would stand in the file.
    leaks = ("XDG_", "PEX_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(leaks)}
    environment = {**kept, "SOURCE_DATE_EPOCH": EPOCH, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, "--output-file", str(made)], check=True, env=environment, stdout=subprocess.DEVNULL)


def main() -> None:
    """Build what is asked for; prints a line for each file, as sha256sum does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "agent", help="default: dist/agent")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"default: {CACHE}")
    parser.add_argument("--arch", action="append", choices=ARCHITECTURES, help="default: all")
    options = parser.parse_args()
    for architecture in options.arch or ARCHITECTURES:
        target = options.out / VERSION / f"{NAME}-{architecture}.pex"
        build(architecture, target, options.cache)
        print(f"{hashlib.sha256(target.read_bytes()).hexdigest()}  {target}")


if __name__ == "__main__":
    main()
