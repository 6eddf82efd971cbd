"""Size and checksums of files."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 20
BESIDE = 1 << 16
_POOL = ThreadPoolExecutor(max(2, os.cpu_count() or 2), "checksums")


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
    """All checksums in one reading. Large pieces are worked on beside the caller, who reads or sends on meanwhile."""

    def __init__(self) -> None:
        self._all = (
            hashlib.md5(usedforsecurity=False),
            hashlib.sha1(usedforsecurity=False),
            hashlib.sha256(),
        )
        self._size = 0
        self._busy: list[Future[None]] = []

    def update(self, data: bytes) -> None:
        """More bytes, which nobody changes any more."""
        self._size += len(data)
        self._wait()
        if len(data) < BESIDE:
            _update(self._all, data)
            return
        # MD5 alone takes as long as the two others, which processors have instructions for.
        md5, *others = self._all
        self._busy = [_POOL.submit(_update, [md5], data), _POOL.submit(_update, others, data)]

    def result(self) -> Digests:
        """Of what came so far."""
        self._wait()
        md5, sha1, sha256 = (one.hexdigest() for one in self._all)
        return Digests(self._size, md5, sha1, sha256)

    def _wait(self) -> None:
        """One piece after the other: the order makes the checksum."""
        for piece in self._busy:
            piece.result()
        self._busy = []


def _update(hashes: Sequence[Any], data: bytes) -> None:
    for one in hashes:
        one.update(data)


def file_digests(path: Path) -> Digests:
    """Checksums of a file. Raises OSError."""
    hasher = Hasher()
    with path.open("rb") as reader:
        while chunk := reader.read(CHUNK):
            hasher.update(chunk)
    return hasher.result()


class Follower:
    """Checksums of a file that comes in parts of `part` bytes in any order: made as far as its beginning is there."""

    def __init__(self, path: Path, part: int, total: int) -> None:
        self._path, self._part, self._total = path, part, total
        self._there: set[int] = set()
        self._changed = threading.Condition()
        self._over = False
        self._found: Digests | None = None
        self._thread = threading.Thread(target=self._follow, name="checksums", daemon=True)
        self._thread.start()

    def came(self, starts: Collection[int]) -> None:
        """The parts that begin here are in the file."""
        with self._changed:
            self._there.update(starts)
            self._changed.notify_all()

    def result(self) -> Digests | None:
        """When every part has come: of the whole file. None if it could not be read."""
        self._thread.join()
        return self._found

    def close(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()

    def _follow(self) -> None:
        hasher = Hasher()
        # Unbuffered: a buffer would hold bytes from behind a part's end, which have not come yet.
        with suppress(OSError), self._path.open("rb", buffering=0) as file:
            for start in range(0, self._total, self._part):
                with self._changed:
                    self._changed.wait_for(lambda start=start: self._over or start in self._there)
                    if start not in self._there:
                        return
                left = min(self._part, self._total - start)
                while left and (chunk := file.read(min(CHUNK, left))):
                    hasher.update(chunk)
                    left -= len(chunk)
            self._found = hasher.result()


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
