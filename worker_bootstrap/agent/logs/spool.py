"""An attempt's log on the worker's disk: JSON lines [seq, time, stream, message], one writer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Line = list[Any]


class SpoolWriter:
    """Appends stamped lines; numbering goes on after what is there, a torn last line is cut off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.last_seq, self._last_time = self._recover()
        self._file = path.open("ab", buffering=0)

    def write(self, lines: list[tuple[str, str]]) -> None:
        """Stamp and append (stream, message) pairs, in one write."""
        parts: list[str] = []
        now = datetime.now(UTC)
        for stream, message in lines:
            moment = max(now, self._last_time + timedelta(microseconds=1))
            self._last_time = moment
            self.last_seq += 1
            stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%f")
            parts.append(json.dumps([self.last_seq, stamp, stream, message], separators=(",", ":")))
        parts.append("")
        data = "\n".join(parts).encode()
        while data:
            data = data[self._file.write(data) :]

    def _recover(self) -> tuple[int, datetime]:
        oldest = datetime.fromtimestamp(0, UTC)
        if not self._path.exists():
            return 0, oldest
        with self._path.open("rb+") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 4_000_000))
            block = file.read()
            end = block.rfind(b"\n") + 1
            file.truncate(size - len(block) + end)
            lines = block[:end].splitlines()
        if not lines:
            return 0, oldest
        last = json.loads(lines[-1])
        return last[0], datetime.fromisoformat(last[1]).replace(tzinfo=UTC)


class SpoolReader:
    """Reads whole lines from an offset on."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self.offset = offset

    def read(self, most: int = 1 << 20) -> bytes:
        """The next whole lines, at most about `most` bytes (one line at least); empty when there is nothing new."""
        try:
            with self._path.open("rb") as file:
                file.seek(self.offset)
                block = file.read(most)
                if block and b"\n" not in block:
                    block += file.readline()
        except FileNotFoundError:
            return b""
        block = block[: block.rfind(b"\n") + 1]
        self.offset += len(block)
        return block


def parse(block: bytes) -> Iterator[Line]:
    """Lines of a block."""
    for raw in block.splitlines():
        yield json.loads(raw)
