"""Short-lived proofs under keys that are derived from the one secret key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets


def derive(secret: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose."""
    return hmac.new(secret, b"remora:" + purpose.encode(), hashlib.sha256).digest()


def sign(key: bytes, text: str) -> str:
    """URL-safe HMAC-SHA256 of `text`."""
    return base64.urlsafe_b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode().rstrip("=")


def matches(key: bytes, text: str, signature: str) -> bool:
    """Whether `signature` is that of `text`, in constant time."""
    return hmac.compare_digest(sign(key, text).encode(), signature.encode())


def new_token() -> str:
    """A random token of 256 bits."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is kept of a random token: hex SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()
