"""Deploy keys and host keys: made, read, named by their fingerprint. Pure but for the making of a key."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from controlplane.errors import ValidationError

MAX_KEY = 20_000
MIN_RSA = 2048
# The strongest first: of a server's keys that one is pinned.
HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)


@dataclass(frozen=True)
class DeployKey:
    """A key pair in OpenSSH's forms."""

    private: str
    public: str


def new_deploy_key(comment: str) -> DeployKey:
    """A fresh Ed25519 key."""
    return _pair(ed25519.Ed25519PrivateKey.generate(), comment)


def read_deploy_key(text: str, comment: str) -> DeployKey:
    """A private key that somebody gives, OpenSSH or PEM, without a passphrase. Raises ValidationError."""
    data = text.strip().encode() + b"\n"
    if len(data) > MAX_KEY:
        raise _bad_key()
    load = serialization.load_ssh_private_key if b"OPENSSH" in data[:40] else serialization.load_pem_private_key
    try:
        key = load(data, None)
    except TypeError as error:
        raise ValidationError(
            {"private_key": ("The key has a passphrase; give one without, made for this project only.", "encrypted")}
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _bad_key() from error
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < MIN_RSA:
        raise ValidationError({"private_key": (f"An RSA key has at least {MIN_RSA} bits.", "weak")})
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise _bad_key()
    return _pair(key, comment)


def read_host_key(text: str) -> str:
    """`TYPE BASE64` of a line of known_hosts, or of a public key. Raises ValidationError."""
    words = text.split()
    for kind, data in zip(words, words[1:], strict=False):
        if kind in HOST_KEY_TYPES and _is_key(kind, data):
            return f"{kind} {data}"
    raise ValidationError(
        {"host_key": ("A line like 'ssh-ed25519 AAAA…' is expected, as ssh-keyscan prints it.", "invalid")}
    )


def strongest(lines: str) -> str:
    """The host key to pin of what ssh-keyscan printed; empty when there is none."""
    found: list[str] = []
    for line in lines.splitlines():
        try:
            found.append(read_host_key(line))
        except ValidationError:
            continue
    return min(found, key=lambda key: HOST_KEY_TYPES.index(key.split()[0]), default="")


def fingerprint(key: str) -> str:
    """`SHA256:…` of `TYPE BASE64`, as ssh shows it; empty for no key."""
    if not key:
        return ""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _pair(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, comment: str) -> DeployKey:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return DeployKey(private.decode(), f"{public.decode()} {comment}")


def _is_key(kind: str, data: str) -> bool:
    """Whether the base64 holds a key of the type that stands before it."""
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    size = int.from_bytes(raw[:4], "big")
    return raw[4 : 4 + size] == kind.encode() and len(raw) < MAX_KEY


def _bad_key() -> ValidationError:
    return ValidationError(
        {"private_key": ("This is no private key; one begins with -----BEGIN OPENSSH PRIVATE KEY-----.", "invalid")}
    )
