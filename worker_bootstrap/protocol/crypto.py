"""Ed25519 signatures and X25519 seals, on exact bytes.

A seal is: ephemeral public key (32 bytes) | nonce (12) | ChaCha20-Poly1305 box. The box's key is
HKDF-SHA256 over the shared secret with both public keys as salt (RFC 7748, RFC 5869, RFC 8439).
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker_bootstrap.protocol.errors import BadSignatureError, ProtocolError

_SEAL_INFO = b"remora seal v1"


def b64(data: bytes) -> str:
    """Standard base64 text of `data`."""
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    """Bytes of a base64 text. Raises ProtocolError."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ProtocolError(f"not base64: {error}") from error


def key_id(public: bytes) -> str:
    """Short name of a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def password_hash(password: str) -> str:
    """What Redis ACL calls `#hash`: hex SHA-256. Only for generated passwords of full entropy."""
    return hashlib.sha256(password.encode()).hexdigest()


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 private key (32 raw bytes)."""

    raw: bytes

    @classmethod
    def generate(cls) -> SigningKey:
        """A new random key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def public(self) -> bytes:
        """The 32 bytes that verifiers need."""
        return Ed25519PrivateKey.from_private_bytes(self.raw).public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        """Name of this key."""
        return key_id(self.public)

    def sign(self, data: bytes) -> bytes:
        """64 bytes of signature over `data`."""
        return Ed25519PrivateKey.from_private_bytes(self.raw).sign(data)


def verify(public: bytes, signature: bytes, data: bytes) -> None:
    """Raise BadSignatureError unless `signature` over `data` was made by the key of `public`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError) as error:
        raise BadSignatureError("signature does not match") from error


@dataclass(frozen=True)
class SealKey:
    """An X25519 private key (32 raw bytes): what is sealed to its public half, only it opens."""

    raw: bytes

    @classmethod
    def generate(cls) -> SealKey:
        """A new random key."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @property
    def public(self) -> bytes:
        """The 32 bytes that sealers need."""
        return X25519PrivateKey.from_private_bytes(self.raw).public_key().public_bytes_raw()

    def open(self, sealed: bytes, context: bytes = b"") -> bytes:
        """The sealed bytes. Raises ProtocolError for another key, changed bytes or another `context`."""
        if len(sealed) < 32 + 12 + 16:
            raise ProtocolError("sealed box is too short")
        ephemeral, nonce, box = sealed[:32], sealed[32:44], sealed[44:]
        own = X25519PrivateKey.from_private_bytes(self.raw)
        try:
            shared = own.exchange(X25519PublicKey.from_public_bytes(ephemeral))
            return ChaCha20Poly1305(_box_key(shared, ephemeral + self.public)).decrypt(nonce, box, context)
        except (InvalidTag, ValueError) as error:
            raise ProtocolError("sealed box does not open with this key") from error


def seal(public: bytes, data: bytes, context: bytes = b"") -> bytes:
    """`data` so that only the owner of `public` reads it, bound to `context`."""
    ephemeral = X25519PrivateKey.generate()
    ephemeral_public = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    nonce = os.urandom(12)
    box = ChaCha20Poly1305(_box_key(shared, ephemeral_public + public)).encrypt(nonce, data, context)
    return ephemeral_public + nonce + box


def _box_key(shared: bytes, salt: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=_SEAL_INFO).derive(shared)
