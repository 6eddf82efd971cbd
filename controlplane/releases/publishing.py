"""A release of the agent in a folder store: agent/VERSION/ with the files and their signed manifest."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from controlplane.clock import Clock
from controlplane.embedded.errors import SetupError
from controlplane.embedded.files import private_folder, write_private
from controlplane.releases.keys import ReleaseKeys
from worker_bootstrap.release import (
    ARCHITECTURES,
    MAX_FILE,
    NAME,
    SERVER_WANTED,
    Manifest,
    ReleaseError,
    ReleaseFile,
    sign_manifest,
    version_key,
)

SERVERS = "remora-server-cp*.zip"


@dataclass(frozen=True)
class Carried:
    """What a file of a release carries: the member that says its version, and how."""

    name: str
    member: str
    version: re.Pattern[str]


AGENT = Carried(
    "agent", "worker_bootstrap/agent/__init__.py", re.compile(r'^VERSION = "(\d+\.\d+\.\d+)"$', re.MULTILINE)
)
SERVER = Carried("control plane", SERVER_WANTED, re.compile(r"^remora==(\d+\.\d+\.\d+)$", re.MULTILINE))


@dataclass(frozen=True)
class Published:
    """Where a release stands."""

    folder: Path
    manifest: Manifest


class Publisher:
    """Writes releases into the folder of a releases store."""

    def __init__(self, keys: ReleaseKeys, store: Path, clock: Clock) -> None:
        self._keys = keys
        self._store = store
        self._clock = clock

    def publish(self, source: Path, valid: timedelta, minimum_version: str = "") -> Published:
        """Take the files of `source` in and sign their manifest; the same files again get a new manifest.

        Raises SetupError, OSError.
        """
        files = {name: source / f"{NAME}-{name}.pex" for name in ARCHITECTURES}
        present = {name: path for name, path in files.items() if path.is_file()}
        if not present:
            raise SetupError(f"{source} holds no {NAME}-ARCH.pex: `python tools/agent_release.py` makes them.")
        servers = {path.name.removeprefix("remora-").removesuffix(".zip"): path for path in source.glob(SERVERS)}
        version = _common_version(
            [version_of(path, AGENT) for path in present.values()]
            + [version_of(path, SERVER) for path in servers.values()]
        )
        minimum = minimum_version or version
        try:
            if version_key(minimum) > version_key(version):
                raise SetupError(f"the minimum version {minimum} is newer than the release, {version}.")
        except ReleaseError as error:
            raise SetupError(str(error)) from error
        folder = private_folder(self._store / "agent" / version)
        entries = {name: _take(path, folder) for name, path in sorted((present | servers).items())}
        now = self._clock().replace(microsecond=0)
        manifest = Manifest(
            name=NAME,
            version=version,
            minimum_version=minimum,
            created=now.isoformat(),
            expires=(now + valid).isoformat(),
            files=entries,
            keys=self._keys.public(),
        )
        write_private(folder / "manifest.json", sign_manifest(manifest, self._keys.signing()))
        return Published(folder, manifest)


def version_of(file: Path, carried: Carried) -> str:
    """The version of what a file carries. Raises SetupError."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = carried.version.search(archive.read(carried.member).decode())
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise SetupError(f"{file} is no file of the {carried.name}: {error}") from error
    if found is None:
        raise SetupError(f"{file} names no version of the {carried.name}.")
    return found.group(1)


def _common_version(found: list[str]) -> str:
    versions = set(found)
    if len(versions) != 1:
        raise SetupError(f"the files are of different versions: {', '.join(sorted(versions))}.")
    return versions.pop()


def _take(path: Path, folder: Path) -> ReleaseFile:
    """Copy the file into the release; what was released once never changes."""
    size = path.stat().st_size
    if size > MAX_FILE:
        raise SetupError(f"{path} has {size} bytes; machines take at most {MAX_FILE}.")
    target = folder / path.name
    digest = _sha256(path)
    if target.exists():
        if _sha256(target) != digest:
            raise SetupError(f"{target} was released with other bytes: raise the agent's version.")
    else:
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(path, temporary)
        temporary.replace(target)
    return ReleaseFile(path.name, digest, size)


def _sha256(path: Path) -> str:
    with path.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()
