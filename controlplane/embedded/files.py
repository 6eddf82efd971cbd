"""Small files of the state folder: written whole, readable by this user only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PRIVATE = 0o600


def write_private(path: Path, content: str | bytes) -> None:
    """Replace `path` at once by `content`, mode 0600. Raises OSError."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    with os.fdopen(handle, "wb") as writer:
        writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())
    temporary.replace(path)


def kept_secret(path: Path) -> str:
    """The random text of 256 bits in `path`, made at the first call."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text()


def kept_key(path: Path, size: int = 32) -> bytes:
    """The random bytes in `path`, made at the first call."""
    if not path.exists():
        write_private(path, secrets.token_bytes(size))
    return path.read_bytes()


def private_folder(path: Path) -> Path:
    """The folder, made with its parents; nobody else may look into it."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path
