"""Releases: a signed manifest that names the agent's file for each architecture, and its checks.

It may also name files that put the control plane onto a host, one for each version of Python and architecture.

A manifest travels as an envelope (DSSE): its exact bytes in base64 and one signature a key, so that during a
rotation both keys sign and a machine that trusts either accepts. Every refusal is a ReleaseError with a code.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from worker_bootstrap.protocol import crypto, typed
from worker_bootstrap.protocol.errors import BadSignatureError, ProtocolError

NAME = "remora-agent"
PAYLOAD_TYPE = "application/vnd.remora.release+json"
ARCHITECTURES = ("x86_64", "aarch64")
# In the file of the control plane: what is installed, beside the folder of wheels.
SERVER_WANTED = "wanted.txt"
MAX_MANIFEST = 64 * 1024
MAX_DEPTH = 8
MAX_FILE = 100_000_000
SKEW = timedelta(minutes=5)
CHUNK = 1 << 20
_SERVER = re.compile(rf"server-cp3\d{{1,2}}-({'|'.join(ARCHITECTURES)})")
_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ReleaseError(RuntimeError):
    """A release is refused. `code` names the check, the message says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class ReleaseFile:
    """A file: its name beside the manifest, hex SHA-256 and bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What is signed. Times are ISO 8601 in UTC. `files`: by architecture, those of the control plane by `server_part`.

    `minimum_version`: the oldest agent that may still be installed. `keys`: base64 public keys that sign releases
    from now on; a machine that accepts this manifest trusts them instead of those it knew.
    """

    name: str
    version: str
    minimum_version: str
    created: str
    expires: str
    files: dict[str, ReleaseFile]
    keys: list[str] = field(default_factory=list)


def server_part(architecture: str, minor: int) -> str:
    """How a manifest names the control plane's file for this architecture and Python 3.`minor`."""
    return f"server-cp3{minor}-{architecture}"


def server_file(part: str) -> str:
    """Name of the control plane's file."""
    return f"remora-{part}.zip"


def server_parts(manifest: Manifest) -> list[str]:
    """For which machines a release carries the control plane."""
    return sorted(name for name in manifest.files if _SERVER.fullmatch(name))


def version_key(version: str) -> tuple[int, int, int]:
    """For comparing versions MAJOR.MINOR.PATCH. Raises ReleaseError."""
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ReleaseError("bad_manifest", f"{version[:40]!r} is no version: MAJOR.MINOR.PATCH is expected.")
    major, minor, patch = (int(part) for part in found.groups())
    return major, minor, patch


def trusted_keys(keys: Sequence[str]) -> dict[str, bytes]:
    """Key id to key, of base64 public keys. Raises ProtocolError."""
    raw = [crypto.unb64(key) for key in keys]
    return {crypto.key_id(key): key for key in raw}


def sign_manifest(manifest: Manifest, keys: Sequence[crypto.SigningKey]) -> bytes:
    """The envelope, signed by each of `keys`."""
    payload = typed.dumps(manifest)
    signed = _signed_bytes(payload)
    signatures = [{"keyid": key.id, "sig": crypto.b64(key.sign(signed))} for key in keys]
    envelope = {"payloadType": PAYLOAD_TYPE, "payload": crypto.b64(payload), "signatures": signatures}
    return json.dumps(envelope, indent=1).encode() + b"\n"


def open_manifest(raw: bytes, trusted: Mapping[str, bytes], now: datetime) -> Manifest:
    """The manifest, once a trusted key has signed it and it has not expired. Raises ReleaseError."""
    payload, signatures = _unwrap(raw)
    _verify(payload, signatures, trusted)
    try:
        manifest = typed.load(Manifest, typed.parse(payload, MAX_MANIFEST, MAX_DEPTH))
    except ProtocolError as error:
        raise ReleaseError("bad_manifest", f"The release's manifest can't be read: {error}.") from error
    _check_content(manifest)
    expires = _time(manifest.expires)
    if now - expires > SKEW:
        raise ReleaseError(
            "expired",
            f"The release {manifest.version} expired at {manifest.expires}; here it is {now.isoformat()}. "
            "Fetch a newer manifest, or set this machine's clock.",
        )
    return manifest


def admit(manifest: Manifest, installed: str, floor: str) -> None:
    """Refuse to go back. `installed`, `floor` (the highest minimum seen): versions or empty. Raises ReleaseError."""
    version = version_key(manifest.version)
    if installed and version < version_key(installed):
        raise ReleaseError(
            "older", f"The release {manifest.version} is older than {installed}, which is installed here."
        )
    for minimum in (manifest.minimum_version, floor):
        if minimum and version < version_key(minimum):
            raise ReleaseError("below_minimum", f"The release {manifest.version} is below the minimum, {minimum}.")


def choose(manifest: Manifest, architecture: str) -> ReleaseFile:
    """The file for this machine. Raises ReleaseError."""
    file = manifest.files.get(architecture)
    if file is None:
        raise ReleaseError(
            "unknown_architecture",
            f"The release {manifest.version} has no file for {architecture}; "
            f"it has {', '.join(sorted(manifest.files)) or 'none'}.",
        )
    return file


def copy_checked(reader: BinaryIO, write: Callable[[bytes], Any], file: ReleaseFile, cap: int = MAX_FILE) -> None:
    """Copy while hashing; nothing beyond the signed size is read. Raises ReleaseError, OSError."""
    if file.size > cap:
        raise ReleaseError("too_big", f"{file.name} has {file.size} bytes, more than the limit of {cap}.")
    digest, size = hashlib.sha256(), 0
    while chunk := reader.read(min(CHUNK, file.size - size + 1)):
        size += len(chunk)
        if size > file.size:
            raise ReleaseError("too_big", f"{file.name} is longer than the {file.size} bytes that were signed.")
        digest.update(chunk)
        write(chunk)
    if size < file.size:
        raise ReleaseError("truncated", f"{file.name} ends after {size} of {file.size} bytes: fetch it again.")
    if digest.hexdigest() != file.sha256:
        raise ReleaseError("wrong_sha256", f"{file.name} is not the file that was signed: its SHA-256 differs.")


def _signed_bytes(payload: bytes) -> bytes:
    """DSSE's encoding: the type is signed too, so that no other signed document passes for a release."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _unwrap(raw: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    try:
        envelope = typed.parse(raw, 2 * MAX_MANIFEST, MAX_DEPTH)
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise ReleaseError("bad_manifest", "This is not the manifest of a release of the agent.")
        signatures = [(str(one["keyid"]), crypto.unb64(one["sig"])) for one in envelope["signatures"]]
        return crypto.unb64(envelope["payload"]), signatures
    except ProtocolError as error:
        raise ReleaseError("not_json", f"The release's manifest can't be read: {error}.") from error
    except (KeyError, TypeError) as error:
        raise ReleaseError("bad_manifest", "The release's manifest lacks payload or signatures.") from error


def _verify(payload: bytes, signatures: list[tuple[str, bytes]], trusted: Mapping[str, bytes]) -> None:
    known = [(trusted[key], signature) for key, signature in signatures if key in trusted]
    if not known:
        signers = ", ".join(key[:16] for key, _ in signatures) or "nobody"
        raise ReleaseError(
            "unknown_key", f"The release is signed by {signers}; this machine trusts {', '.join(trusted) or 'nobody'}."
        )
    for public, signature in known:
        try:
            crypto.verify(public, signature, _signed_bytes(payload))
            return
        except BadSignatureError:
            continue
    raise ReleaseError("bad_signature", "The release's manifest was changed after it was signed.")


def _check_content(manifest: Manifest) -> None:
    if manifest.name != NAME:
        raise ReleaseError("bad_manifest", f"This is a release of {manifest.name[:40]!r}, not of {NAME}.")
    for version in (manifest.version, manifest.minimum_version):
        version_key(version)
    for file in manifest.files.values():
        # The name becomes a path on this machine.
        if not _FILE_NAME.fullmatch(file.name) or not _SHA256.fullmatch(file.sha256) or file.size < 1:
            raise ReleaseError("bad_manifest", f"The release's manifest describes {file.name[:40]!r} wrongly.")
    try:
        trusted_keys(manifest.keys)
    except ProtocolError as error:
        raise ReleaseError("bad_manifest", f"The release's manifest lists a key that is none: {error}.") from error


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ReleaseError("bad_manifest", f"{text[:40]!r} is no time.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
