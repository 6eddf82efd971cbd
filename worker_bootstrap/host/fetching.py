"""Take a release from a folder or an address: verified, tried, put beside the present one, switched at once."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import urllib3

from worker_bootstrap import release
from worker_bootstrap.host.errors import HostError
from worker_bootstrap.host.places import Releases, Trust, file_name
from worker_bootstrap.protocol.address import is_loopback
from worker_bootstrap.release import Manifest, ReleaseError, ReleaseFile

MANIFEST = "manifest.json"
TRY_SECONDS = 60
SPARE_BYTES = 50_000_000

Write = Callable[[bytes], Any]
Copy = Callable[[Write], None]


@dataclass(frozen=True)
class Fetched:
    """`changed` is False when this very release was installed already."""

    version: str
    former: str
    changed: bool


class Source:
    """A folder, or an http(s) address of a manifest whose files stand beside it. Raises HostError, OSError."""

    def __init__(self, place: str, ca_bundle: str = "", timeout: float = 60.0) -> None:
        self._is_address = "://" in place
        self._place = place
        if not self._is_address:
            return
        parts = urlsplit(place)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise HostError(f"{place}: an address that begins with https:// or a folder is expected.")
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=min(timeout, 10.0), read=timeout),
            ssl_context=ssl.create_default_context(cafile=ca_bundle or None),
        )

    def manifest(self) -> bytes:
        """Its bytes, at most a little more than a manifest may have."""
        with self._open(MANIFEST) as reader:
            return reader.read(2 * release.MAX_MANIFEST + 1)

    def file(self, name: str) -> Any:
        """Context manager: a reader of the file that stands beside the manifest."""
        return self._open(name)

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        if not self._is_address:
            with (Path(self._place) / name).open("rb") as reader:
                yield reader
            return
        address = self._place if name == MANIFEST else urljoin(self._place, name)
        try:
            answer = self._http.request("GET", address, preload_content=False, headers={"Accept-Encoding": "identity"})
            try:
                if answer.status != 200:
                    raise HostError(f"{address.partition('?')[0]} answers {answer.status}.")
                yield answer  # pyright: ignore[reportReturnType]
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise HostError(f"{address.partition('?')[0]} can't be read: {error}") from error


def fetch(source: Source, releases: Releases, machine: str, now: datetime) -> Fetched:
    """Install the release that `source` offers. Raises ReleaseError, HostError, OSError; then nothing has changed."""
    trust = releases.trust()
    installed = releases.installed()
    manifest = release.open_manifest(source.manifest(), release.trusted_keys(trust.keys), now)
    release.admit(manifest, installed, trust.minimum_version)
    file = release.choose(manifest, machine)
    name = file_name(manifest.version, machine)
    changed = installed != manifest.version or not _is_same(releases.root / name, file)
    if changed:
        _put(source, releases.root, file, name, manifest.version)
        releases.switch(name)
    releases.keep_trust(_trust_after(trust, manifest))
    return Fetched(manifest.version, releases.former(), changed)


def place(file: Path, releases: Releases, machine: str) -> None:
    """Install a file that is on this machine already. Raises ReleaseError when it does not run here, OSError."""
    releases.root.mkdir(parents=True, exist_ok=True)
    incoming = releases.root / f".incoming.{os.getpid()}"

    def copy(write: Write) -> None:
        with file.open("rb") as reader:
            while chunk := reader.read(release.CHUNK):
                write(chunk)

    try:
        _write(incoming, copy)
        name = file_name(_said_version(incoming, "the file"), machine)
        incoming.replace(releases.root / name)
    finally:
        incoming.unlink(missing_ok=True)
    releases.switch(name)


def _trust_after(trust: Trust, manifest: Manifest) -> Trust:
    floors = [version for version in (trust.minimum_version, manifest.minimum_version) if version]
    return Trust(manifest.keys or trust.keys, max(floors, key=release.version_key, default=""))


def _is_same(path: Path, file: ReleaseFile) -> bool:
    try:
        with path.open("rb") as reader:
            release.copy_checked(reader, lambda _: None, file)
    except (FileNotFoundError, ReleaseError):
        return False
    return True


def _put(source: Source, root: Path, file: ReleaseFile, name: str, version: str) -> None:
    free = shutil.disk_usage(root).free
    if free < file.size + SPARE_BYTES:
        raise HostError(f"{root} has {free} bytes free; the release takes {file.size} and {SPARE_BYTES} stay free.")

    def copy(write: Write) -> None:
        with source.file(file.name) as reader:
            release.copy_checked(reader, write, file)

    _write(root / name, copy, lambda path: _try(path, version))


def _write(target: Path, copy: Copy, check: Callable[[Path], None] | None = None) -> None:
    """Fill a file beside the target, check it, and put it in the target's place."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755)
    try:
        with os.fdopen(handle, "wb") as writer:
            copy(writer.write)
            writer.flush()
            os.fsync(writer.fileno())
        temporary.chmod(0o755)
        if check is not None:
            check(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _try(path: Path, version: str) -> None:
    """Start it once: a file that can't run on this machine never becomes the current one."""
    said = _said_version(path, f"the release {version}")
    if said != version:
        raise ReleaseError("does_not_start", f"The release {version} says that it is {said}.")


def _said_version(path: Path, what: str) -> str:
    """What the file says of itself when it is started. Raises ReleaseError."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=TRY_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReleaseError("does_not_start", f"{what.capitalize()} does not start here: {error}.") from error
    name, _, version = done.stdout.strip().partition(" ")
    if done.returncode != 0 or name != release.NAME:
        said = (done.stderr or done.stdout).strip()[-300:] or "it says nothing"
        raise ReleaseError("does_not_start", f"{what.capitalize()} does not start here: {said}")
    release.version_key(version)
    return version
