"""The agent's release: its manifest's signature is verified here, before anything of it is run.

Ed25519 is the distribution's openssl, since nothing else is installed yet. The agent's own file then checks the release
once more by itself, and keeps whom it trusts. Format: docs/reference/agent-release.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from worker_bootstrap.startup.boot.steps import StepError, command

NAME = "remora-agent"
PAYLOAD_TYPE = "application/vnd.remora.release+json"
MOST_MANIFEST = 128 * 1024
MOST_FILE = 100_000_000
SKEW = timedelta(minutes=5)
# What stands before the 32 bytes of an Ed25519 key in its ASN.1 form (RFC 8410).
ASN1 = bytes.fromhex("302a300506032b6570032100")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Write = Callable[[bytes], Any]
Read = Callable[[str, Write, int], None]


def fetch(
    read: Read, manifest: str, folder: Path, trusted: Sequence[str], minimum: str, parts: Mapping[str, str]
) -> list[Path]:
    """Manifest and files in `folder`, verified; the files of `parts`: part to what it is for, in words.

    `read(name, write, most)`. Raises StepError, OSError.
    """
    raw = bytearray()
    read(manifest, raw.extend, MOST_MANIFEST)
    release = admitted(verified(bytes(raw), trusted), minimum, datetime.now(UTC))
    files = [_named(release, part, what) for part, what in parts.items()]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    (folder / "manifest.json").write_bytes(raw)
    return [_fetched(read, PurePosixPath(manifest), folder, file) for file in files]


def _named(release: Mapping[str, Any], part: str, what: str) -> Mapping[str, Any]:
    file = release["files"].get(part)
    if file is None:
        raise StepError(f"The release {release['version']} has no file for {what}.")
    if not _FILE.fullmatch(str(file["name"])):
        raise StepError("The release's manifest names a file that could leave its folder.")
    return file


def _fetched(read: Read, manifest: PurePosixPath, folder: Path, file: Mapping[str, Any]) -> Path:
    target, digest = folder / file["name"], hashlib.sha256()
    with target.open("wb") as writer:

        def write(chunk: bytes) -> None:
            digest.update(chunk)
            writer.write(chunk)

        read(str(manifest.with_name(file["name"])), write, min(MOST_FILE, int(file["size"])))
    if digest.hexdigest() != file["sha256"]:
        raise StepError(f"{file['name']} is not the file that was signed: put the release there again.")
    target.chmod(0o755)
    return target


def verified(raw: bytes, trusted: Sequence[str]) -> bytes:
    """The payload of a manifest that one of the `trusted` keys (base64) has signed. Raises StepError."""
    keys = {hashlib.sha256(key).hexdigest()[:16]: key for key in map(base64.b64decode, trusted)}
    try:
        envelope = json.loads(raw)
        kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"])
        signatures = [(str(one["keyid"]), base64.b64decode(one["sig"])) for one in envelope["signatures"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StepError("The release's manifest can't be read: put the release there again.") from error
    if kind != PAYLOAD_TYPE:
        raise StepError("This is not the manifest of a release of the agent.")
    known = [(keys[name], signature) for name, signature in signatures if name in keys]
    if not known:
        signers = ", ".join(name[:16] for name, _ in signatures) or "nobody"
        raise StepError(
            f"The release is signed by {signers}; this machine trusts {', '.join(keys)}. "
            "Put a release of yours there, or name its key in the configuration and run `pulumi up`."
        )
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    if not any(_is_signed(key, signature, signed) for key, signature in known):
        raise StepError("The release's manifest was changed after it was signed: put the release there again.")
    return payload


def _is_signed(key: bytes, signature: bytes, text: bytes) -> bool:
    with tempfile.TemporaryDirectory() as name:
        files = {part: str(Path(name) / part) for part in ("key", "signature", "text")}
        for part, content in (("key", ASN1 + key), ("signature", signature), ("text", text)):
            Path(files[part]).write_bytes(content)
        words = ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", files["key"], "-rawin"]
        try:
            command("openssl", *words, "-in", files["text"], "-sigfile", files["signature"])
        except StepError:
            return False
        return True


def admitted(payload: bytes, minimum: str, now: datetime) -> Mapping[str, Any]:
    """What was signed, when it is the agent's, in date, and not too old. Raises StepError."""
    try:
        release = json.loads(payload)
        version, floors = release["version"], [release["minimum_version"], minimum]
        expires = datetime.fromisoformat(release["expires"])
        numbers = [_version(text) for text in (version, *filter(None, floors))]
    except (ValueError, KeyError, TypeError) as error:
        raise StepError("The release's manifest lacks a field: put the release there again.") from error
    if release["name"] != NAME:
        raise StepError(f"This is a release of {release['name']!r}, not of {NAME}.")
    if now - expires > SKEW:
        raise StepError(
            f"The release {version} expired at {release['expires']}; here it is {now:%Y-%m-%dT%H:%M}Z. "
            "Sign it anew (`remora server release-agent`), or set this machine's clock."
        )
    if numbers[0] < max(numbers):
        raise StepError(
            f"The release {version} is older than the oldest that is taken here, {max(filter(None, floors))}."
        )
    return release


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
