"""Size and checksums of files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20


@dataclass(frozen=True)
class Digests:
    """Bytes, and hex checksums."""

    size: int
    md5: str
    sha1: str
    sha256: str

    def checksums(self) -> dict[str, str]:
        """By name."""
        return {"md5": self.md5, "sha1": self.sha1, "sha256": self.sha256}


class Hasher:
    """All checksums in one reading."""

    def __init__(self) -> None:
        self._all = (
            hashlib.md5(usedforsecurity=False),
            hashlib.sha1(usedforsecurity=False),
            hashlib.sha256(),
        )
        self._size = 0

    def update(self, data: bytes) -> None:
        """More bytes."""
        self._size += len(data)
        for one in self._all:
            one.update(data)

    def result(self) -> Digests:
        """Of what came so far."""
        md5, sha1, sha256 = (one.hexdigest() for one in self._all)
        return Digests(self._size, md5, sha1, sha256)


def file_digests(path: Path) -> Digests:
    """Checksums of a file. Raises OSError."""
    hasher = Hasher()
    with path.open("rb") as reader:
        while chunk := reader.read(CHUNK):
            hasher.update(chunk)
    return hasher.result()


class HashingReader:
    """A file as a request's body: at most `size` bytes of it, their checksums made on the way."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size
        self.hasher = Hasher()
        file.seek(0)

    def read(self, most: int = -1) -> bytes:
        """The next bytes."""
        wanted = self._left if most is None or most < 0 else min(most, self._left)
        data = self._file.read(min(wanted, CHUNK)) if wanted else b""
        self._left -= len(data)
        self.hasher.update(data)
        return data
