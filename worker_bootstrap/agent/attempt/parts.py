"""The parts of a large object: which there are, where each goes, and its bytes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import BinaryIO

from worker_bootstrap.protocol.messages import UrlItem

BATCH = 50
CHUNK = 1 << 20


def part_count(whole: UrlItem) -> int:
    """How many parts the object has: one at least. Pure."""
    return max(1, -(-whole.size // whole.part_bytes))


def part_size(whole: UrlItem, number: int) -> int:
    """Bytes of part `number`, which counts from 1. Pure."""
    return min(whole.part_bytes, whole.size - (number - 1) * whole.part_bytes)


class Addresses:
    """Signed addresses of parts, asked for in batches when they are needed; each is given once. Thread-safe."""

    def __init__(self, whole: UrlItem, ask: Callable[[list[UrlItem]], dict[str, UrlItem]]) -> None:
        self._whole = whole
        self._ask = ask
        self._lock = threading.Lock()
        self._known: dict[int, UrlItem] = {}

    def take(self, number: int) -> UrlItem | None:
        """A fresh address of this part; None when the master gives none."""
        with self._lock:
            if number not in self._known:
                self._fetch(number)
            return self._known.pop(number, None)

    def _fetch(self, number: int) -> None:
        whole = self._whole
        wanted = [
            UrlItem(str(part), "part", whole.name, part_size(whole, part), upload=whole.upload, part=part)
            for part in range(number, min(part_count(whole), number + BATCH - 1) + 1)
            if part not in self._known
        ]
        self._known |= {int(name): item for name, item in self._ask(wanted).items()}


class PartReader:
    """`size` bytes of a file from `start`, as a request's body. Others may read the same file at the same time."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._descriptor = file.fileno()
        self._position = start
        self._end = start + size

    def read(self, most: int = -1) -> bytes:
        """The next bytes."""
        left = self._end - self._position
        wanted = left if most is None or most < 0 else min(most, left)
        data = os.pread(self._descriptor, min(wanted, CHUNK), self._position) if wanted else b""
        self._position += len(data)
        return data
