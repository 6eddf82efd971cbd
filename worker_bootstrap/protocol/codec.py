"""Batches on a stream: encode and sign, check and decode.

A stream entry has the fields `batch` (exact bytes), `sig` (64 bytes) and `key` (the signer's key id).
Log tails use the same entry with `batch` = JSON lines [seq, time, stream, message].
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from worker_bootstrap.protocol import MAX_BATCH_BYTES, MAX_DEPTH, OLDEST_PROTOCOL, PROTOCOL, crypto
from worker_bootstrap.protocol.errors import BadSignatureError, ProtocolError, TooLargeError
from worker_bootstrap.protocol.messages import Batch, Envelope, JoinRequest, check_kind
from worker_bootstrap.protocol.typed import dumps, load, parse

T = TypeVar("T")
Entry = dict[bytes, bytes]


def sign_entry(key: crypto.SigningKey, raw: bytes) -> dict[str, bytes]:
    """Fields of a stream entry for exact bytes. Raises TooLargeError above MAX_BATCH_BYTES."""
    if len(raw) > MAX_BATCH_BYTES:
        raise TooLargeError(f"{len(raw)} bytes in a batch, the limit is {MAX_BATCH_BYTES}")
    return {"batch": raw, "sig": key.sign(raw), "key": key.id.encode()}


def open_entry(keys: Mapping[str, bytes], entry: Mapping[bytes, bytes]) -> bytes:
    """The exact bytes of an entry, if one of `keys` (id -> public key) signed them. Raises ProtocolError."""
    try:
        raw, signature, name = entry[b"batch"], entry[b"sig"], entry[b"key"].decode("ascii")
    except (KeyError, UnicodeDecodeError) as error:
        raise ProtocolError("entry lacks batch, sig or key") from error
    if len(raw) > MAX_BATCH_BYTES:
        raise TooLargeError(f"{len(raw)} bytes in a batch, the limit is {MAX_BATCH_BYTES}")
    public = keys.get(name)
    if public is None:
        raise BadSignatureError(f"unknown key {name}")
    crypto.verify(public, signature, raw)
    return raw


def encode(key: crypto.SigningKey, messages: Sequence[Envelope]) -> dict[str, bytes]:
    """Fields of a stream entry for messages, under one signature."""
    return sign_entry(key, dumps(Batch(list(messages))))


def decode(keys: Mapping[str, bytes], entry: Mapping[bytes, bytes], *, direction: str) -> list[Envelope]:
    """Messages of an entry, signature, caps, version and direction checked. Raises ProtocolError."""
    raw = open_entry(keys, entry)
    batch = load(Batch, parse(raw, MAX_BATCH_BYTES, MAX_DEPTH))
    for message in batch.messages:
        if not OLDEST_PROTOCOL <= message.protocol <= PROTOCOL:
            older = "this side" if message.protocol > PROTOCOL else "the other side"
            raise ProtocolError(
                f"protocol {message.protocol} is not spoken here, only {OLDEST_PROTOCOL} to {PROTOCOL}: "
                f"{older} needs a newer release"
            )
        check_kind(message, direction=direction)
    return batch.messages


def body(kind: type[T], envelope: Envelope) -> T:
    """The envelope's body as the dataclass `kind`. Raises ProtocolError."""
    return load(kind, envelope.body)


def encode_lines(lines: Sequence[Sequence[Any]]) -> bytes:
    """Log lines [seq, time, stream, message] as JSON lines."""
    return b"".join(json.dumps(list(line), separators=(",", ":")).encode() + b"\n" for line in lines)


def decode_lines(raw: bytes) -> list[list[Any]]:
    """Lines of `encode_lines`. Raises ProtocolError."""
    try:
        return [json.loads(line) for line in raw.splitlines() if line]
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"log lines: {error}") from error


def join_proof(secret: str, request: JoinRequest) -> str:
    """The `proof` of a request to join: hex HMAC-SHA256 with the group's join secret."""
    text = "|".join((request.machine, request.group, request.signing_key, request.seal_key, request.nonce))
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
