"""Secrets at rest: AES-256-GCM under a key that stands outside the database."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_PREFIX = "v1:"


class VaultError(RuntimeError):
    """The key file is missing, too short or a sample; or a stored secret does not open with it."""


class Vault:
    """Encrypts short texts; `context` binds a secret to its place (for example `variable:PROJECT:NAME`)."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES or len(set(key)) < 8:
            raise VaultError("the secret key must be 32 random bytes: remove it and run `remora server up` to make one")
        self._box = AESGCM(key)

    @classmethod
    def from_file(cls, path: Path) -> Vault:
        """Key from a file of 32 raw bytes. Raises VaultError."""
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise VaultError(f"secret key {path} can't be read: {error.strerror}") from error

    def encrypt(self, text: str, context: str) -> str:
        """Storable form of `text`."""
        nonce = os.urandom(12)
        return _PREFIX + base64.b64encode(nonce + self._box.encrypt(nonce, text.encode(), context.encode())).decode()

    def decrypt(self, stored: str, context: str) -> str:
        """The text again. Raises VaultError for another key, context or changed bytes."""
        try:
            data = base64.b64decode(stored.removeprefix(_PREFIX), validate=True)
            return self._box.decrypt(data[:12], data[12:], context.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise VaultError("a stored secret does not open with this key") from error
