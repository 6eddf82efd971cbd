"""A release of the agent as the installer carries it: its signed manifest is verified before any machine is touched."""

from __future__ import annotations

import hashlib
import io
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urljoin

import urllib3

from worker_bootstrap import release
from worker_bootstrap.protocol import crypto
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.release import Manifest, ReleaseError

MANIFEST = "manifest.json"
STORE_PROGRAM = "versitygw"
HTTP_SECONDS = 60.0


class ReleaseMissingError(Exception):
    """There is no release to install, or it can't be trusted. The message says what to do."""


@dataclass(frozen=True)
class Release:
    """A verified release; `manifest` are its exact bytes, `place` the folder or the address that it came from."""

    place: str
    manifest: bytes
    content: Manifest

    @property
    def version(self) -> str:
        """Of the agent."""
        return self.content.version

    @property
    def architectures(self) -> list[str]:
        """For which it has a file of the agent."""
        return sorted(name for name in self.content.files if name in release.ARCHITECTURES)

    @property
    def servers(self) -> list[str]:
        """For which machines it carries the control plane: `server-cp311-x86_64` and so on."""
        return release.server_parts(self.content)

    def agent(self, machine: str) -> tuple[str, bytes]:
        """Name and bytes of the agent's file, as they were signed. Raises ReleaseMissingError."""
        return self._signed(_spelled(machine))

    def server(self, machine: str, minor: int) -> bytes:
        """What puts the control plane onto a machine with Python 3.`minor`. Raises ReleaseMissingError."""
        return self._signed(release.server_part(_spelled(machine), minor))[1]

    def store_program(self, machine: str) -> bytes:
        """The store's program for an architecture, with the sum beside it compared. Raises ReleaseMissingError."""
        name = f"{STORE_PROGRAM}-{_spelled(machine)}"
        wanted = _read(self.place, f"{name}.sha256").decode(errors="replace").split()
        content = _read(self.place, name)
        if not wanted or hashlib.sha256(content).hexdigest() != wanted[0]:
            raise ReleaseMissingError(f"release: {name} is not the file of {name}.sha256: fetch the release again.")
        return content

    def _signed(self, part: str) -> tuple[str, bytes]:
        try:
            file = release.choose(self.content, part)
            copied = io.BytesIO()
            release.copy_checked(io.BytesIO(_read(self.place, file.name)), copied.write, file)
        except ReleaseError as error:
            raise ReleaseMissingError(f"release: {error}") from error
        return file.name, copied.getvalue()


def open_release(place: str, keys: Sequence[str], now: datetime) -> Release:
    """The release in a folder or at an https address of its manifest's folder. Raises ReleaseMissingError.

    `keys`: base64 public keys of the control plane that leads; `now` in UTC.
    """
    where = place or newest_here()
    raw = _read(where, MANIFEST)
    try:
        content = release.open_manifest(raw, release.trusted_keys(keys), now)
    except ProtocolError as error:
        raise ReleaseMissingError(f"master.release_keys: {error}: take them from `remora server invite`.") from error
    except ReleaseError as error:
        raise ReleaseMissingError(f"release {where}: {error}") from error
    return Release(where, raw, content)


def open_now(place: str, keys: Sequence[str]) -> Release:
    """See open_release."""
    return open_release(place, keys, datetime.now(UTC))


def newest_here() -> str:
    """The newest release in the store of the control plane on this machine. Raises ReleaseMissingError."""
    folders = [path.parent for path in (_home() / "stores" / "releases" / "agent").glob(f"*/{MANIFEST}")]
    if not folders:
        raise ReleaseMissingError(
            "release: no release of the agent is on this machine: name the folder or the https address of one "
            "(`remora server release-agent` makes it)."
        )
    return str(max(folders, key=lambda path: release.version_key(path.name)))


def keys_here() -> list[str]:
    """Public keys (base64) that sign the releases of the control plane here. Raises ReleaseMissingError."""
    file = _home() / "keys" / "release.key"
    if not file.is_file():
        raise ReleaseMissingError(
            "release_keys: no control plane on this machine signs releases: name the public keys of the one that does "
            "(`remora server invite` prints them)."
        )
    return [crypto.b64(crypto.SigningKey(file.read_bytes()).public)]


def _home() -> Path:
    return Path(os.environ.get("REMORA_HOME") or "~/.remora").expanduser()


def _spelled(machine: str) -> str:
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(machine, machine)


def _read(place: str, name: str) -> bytes:
    if "://" not in place:
        try:
            return (Path(place).expanduser() / name).read_bytes()
        except OSError as error:
            raise ReleaseMissingError(f"release: {place}/{name} can't be read ({error.strerror}).") from error
    if not place.startswith("https://"):
        raise ReleaseMissingError(f"release: {place}: an address that begins with https:// or a folder is expected.")
    address = urljoin(place if place.endswith("/") else f"{place}/", name)
    try:
        with urllib3.PoolManager(ssl_context=ssl.create_default_context(), timeout=HTTP_SECONDS) as http:
            answer = http.request("GET", address)
    except urllib3.exceptions.HTTPError as error:
        raise ReleaseMissingError(f"release: {address} can't be read: {error}") from error
    if answer.status != 200:
        raise ReleaseMissingError(f"release: {address} answers {answer.status}.")
    return answer.data
