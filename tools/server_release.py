"""Builds what puts the control plane onto a host: OUT/VERSION/remora-server-cp311-x86_64.zip, one for each Python.

A file holds the project's wheel, the wheels that requirements.lock names, by hash, and pip itself, so that a host needs
Python and nothing from a network. The same source gives the same bytes. `remora server release-agent` signs them
together with the agent's files.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from packaging.requirements import Requirement

import agent_release
from remora import __version__ as VERSION
from worker_bootstrap.release import ARCHITECTURES, SERVER_WANTED, server_file, server_part

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-server.lock")
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "remora", "infra", "stacks", "controlplane", "worker_bootstrap")
WHEELS = "wheels"
_NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")
_HASHES = re.compile(r"\s*\\\n\s*--hash=\S+")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def locked(text: str) -> list[tuple[Requirement, str]]:
    """Each requirement of a lock file, and its lines with the hashes. Pure."""
    blocks = re.findall(r"^[A-Za-z0-9].*(?:\n[ \t]+--hash.*)*", text, re.MULTILINE)
    return [(Requirement(_HASHES.sub("", block)), block) for block in blocks]


def wanted(text: str, minor: int, architecture: str) -> tuple[str, str]:
    """What to fetch for a host (with hashes, without markers), and what is installed there (the other way). Pure."""
    environment = agent_release.platform_file(minor, architecture)["marker_environment"]
    kept = [(one, block) for one, block in locked(text) if one.marker is None or one.marker.evaluate(environment)]
    fetched = [re.sub(r" ;[^\\\n]*", " ", block, count=1) for _, block in kept]
    return "\n".join(fetched) + "\n", "".join(f"{one}\n" for one, _ in kept)


def build(architecture: str, minor: int, target: Path, cache: Path, root: Path = ROOT) -> None:
    """Make the file, or take it from `cache` when the same one was made before. Raises CalledProcessError, OSError."""
    folder = cache / "server"
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source = Path(name) / "source"
        for part in SOURCES:
            _copy(root / part, source / part)
        kept = folder / f"{_content_hash(architecture, minor, source)}.zip"
        if not kept.exists():
            _pack(architecture, minor, source, Path(name), folder)
            (Path(name) / "made.zip").replace(kept)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copy(kept, temporary)
        temporary.replace(target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=_NOT_SHIPPED)
    else:
        shutil.copy(source, target)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _content_hash(architecture: str, minor: int, source: Path) -> str:
    """Names everything that the file is made from."""
    digest = hashlib.sha256(f"{architecture} {minor}".encode())
    for path in (*(ROOT / name for name in LOCKS), Path(__file__), *_files(source)):
        name = path.relative_to(source) if path.is_relative_to(source) else path.name
        digest.update(f"\n{name} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _pack(architecture: str, minor: int, source: Path, folder: Path, cache: Path) -> None:
    own = folder / "own"
    own.mkdir()
    # Times in a wheel are the files' own, not before 1980.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": agent_release.EPOCH, "PYTHONHASHSEED": "0"}
    words = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(own), str(source)]
    _pip(words, environment)
    (wheel,) = own.glob("remora-*.whl")
    lists = [wanted((ROOT / name).read_text(), minor, architecture) for name in LOCKS]
    wheels = [wheel, *(path for fetched, _ in lists for path in _fetched(fetched, architecture, minor, cache))]
    with zipfile.ZipFile(folder / "made.zip", "w", zipfile.ZIP_STORED) as archive:
        installed = f"{lists[0][1]}remora=={wheel.name.split('-')[1]}\n"
        archive.writestr(zipfile.ZipInfo(SERVER_WANTED, _EPOCH), installed)
        for path in sorted(wheels, key=lambda one: one.name):
            archive.writestr(zipfile.ZipInfo(f"{WHEELS}/{path.name}", _EPOCH), path.read_bytes())


def _fetched(lines: str, architecture: str, minor: int, cache: Path) -> list[Path]:
    """Wheels of these requirements, from the package index once, then from the cache."""
    name = hashlib.sha256(f"{architecture} {minor}\n{lines}".encode()).hexdigest()[:32]
    kept = cache / name
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=cache) as made:
            file = Path(made) / "wanted.txt"
            file.write_text(lines)
            out = Path(made) / "out"
            words = ["download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(out)]
            words += ["--python-version", f"3.{minor}", "--implementation", "cp", "--requirement", str(file)]
            for tag in _platforms(architecture):
                words += ["--platform", tag]
            _pip(words, dict(os.environ))
            # Somebody else may have been faster.
            with suppress(OSError):
                out.rename(kept)
    return list(kept.iterdir())


def _platforms(architecture: str) -> list[str]:
    oldest = agent_release.OLDEST_GLIBC[architecture]
    newest_first = range(agent_release.GLIBC, oldest - 1, -1)
    return [f"manylinux_2_{number}_{architecture}" for number in newest_first] + [f"manylinux2014_{architecture}"]


def _pip(words: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def main() -> None:
    """Build what is asked for; prints a line for each file, as sha256sum does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "agent", help="default: dist/agent")
    parser.add_argument("--cache", type=Path, default=agent_release.CACHE, help=f"default: {agent_release.CACHE}")
    parser.add_argument("--arch", action="append", choices=ARCHITECTURES, help="default: all")
    parser.add_argument("--python", action="append", type=int, choices=agent_release.PYTHONS, help="3.N; default: all")
    options = parser.parse_args()
    for architecture in options.arch or ARCHITECTURES:
        for minor in options.python or agent_release.PYTHONS:
            target = options.out / VERSION / server_file(server_part(architecture, minor))
            build(architecture, minor, target, options.cache)
            print(f"{hashlib.sha256(target.read_bytes()).hexdigest()}  {target}")


if __name__ == "__main__":
    main()
