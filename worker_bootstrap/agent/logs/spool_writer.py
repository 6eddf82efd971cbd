"""The one writer of a spool: numbers and stamps lines, and goes on after a crash where it stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, count
from json.encoder import encode_basestring_ascii
from pathlib import Path

from worker_bootstrap.agent.files import FULL
from worker_bootstrap.agent.logs.spool_files import Position, file_size, spool_files, spool_path

FILE_BYTES = 8 * 1024 * 1024
RECOVER_BLOCK = 1024 * 1024
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROS = 1_000_000

Entry = tuple[str, Sequence[str]]
"""A stream's name and its messages, in order."""


class SpoolFullError(OSError):
    """The disk takes no more; nothing of the batch was written."""


class SpoolWriter:
    """Appends batches. `limit` is for `full`: the caller stops taking output, nothing is ever dropped here."""

    def __init__(
        self,
        folder: Path,
        limit: int,
        first: int = 1,
        file_bytes: int = FILE_BYTES,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._file_bytes = file_bytes
        self._clock = clock
        self._recover(first)

    def write(self, entries: Sequence[Entry]) -> None:
        """Number, stamp and append, in one write. Raises SpoolFullError."""
        seq, micros = self.last_seq, max(self._last_micros, self._clock() // 1000 - 1)
        parts: list[str] = []
        for stream, messages in entries:
            parts += _stamped(seq + 1, micros + 1, stream, messages)
            seq, micros = seq + len(messages), micros + len(messages)
        if not parts:
            return
        self._append("".join(parts).encode())
        self.last_seq, self._last_micros = seq, micros
        if self._size >= self._file_bytes:
            self._rotate()

    def full(self) -> bool:
        """Whether the files that nobody has shipped yet reach the limit."""
        if self._older + self._size < self._limit:
            return False
        self._older = sum(file_size(self._folder, first) for first in spool_files(self._folder) if first != self._first)
        return self._older + self._size >= self._limit

    def allow(self, more: int) -> None:
        """Raise the limit so that this many bytes fit beside what is there."""
        self._limit = max(self._limit, self._older + self._size + more)

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        os.close(self._descriptor)

    def _append(self, data: bytes) -> None:
        view, written = memoryview(data), 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, view[written:])
        except OSError as error:
            os.ftruncate(self._descriptor, self._size)
            if error.errno in FULL:
                raise SpoolFullError(error.errno, "the disk is full") from error
            raise
        self._size += written

    def _rotate(self) -> None:
        os.fdatasync(self._descriptor)
        os.close(self._descriptor)
        self._older += self._size
        self._open(self.last_seq + 1)

    def _open(self, first: int) -> None:
        path = spool_path(self._folder, first)
        self._first = first
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = path.stat().st_size

    def _recover(self, first: int) -> None:
        """Cut off a torn last line; numbers and times go on behind the last whole one."""
        files = spool_files(self._folder)
        self.last_seq, self._last_micros = first - 1, 0
        self._older = sum(file_size(self._folder, number) for number in files[:-1])
        if not files:
            self._open(first)
            return
        self.last_seq = files[-1] - 1
        for number in reversed(files[-2:]):
            found = _last_whole_line(spool_path(self._folder, number), cut=number == files[-1])
            if found is not None:
                self.last_seq, self._last_micros = max(self.last_seq, found[0]), _micros(found[1])
                break
        self._open(files[-1])


def _stamped(seq: int, micros: int, stream: str, messages: Sequence[str]) -> Iterator[str]:
    """The lines, numbered from `seq` and stamped from `micros` on, in one piece for each second."""
    start = 0
    while start < len(messages):
        second, fraction = divmod(micros + start, MICROS)
        run = messages[start : start + MICROS - fraction]
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        fields = zip(count(seq + start), count(fraction), map(encode_basestring_ascii, run), strict=False)
        # One formatting of many lines: a third less time than line by line.
        yield f'[%d,"{moment}.%06d","{stream}",%s]\n' * len(run) % tuple(chain.from_iterable(fields))
        start += len(run)


def end_of(folder: Path) -> Position:
    """The place behind the last line of a spool that nobody writes any more."""
    files = spool_files(folder)
    return Position(files[-1], file_size(folder, files[-1])) if files else Position()


def _last_whole_line(path: Path, *, cut: bool) -> tuple[int, str] | None:
    """Number and time of the last line that is whole; what stands behind it is cut off."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - RECOVER_BLOCK)
            file.seek(start)
            block = file.read(end - start)
            stop = block.rfind(b"\n") + 1
            if not stop:
                end = start
                continue
            begin = block.rfind(b"\n", 0, stop - 1) + 1
            found = _parse(block[begin:stop])
            if found is not None:
                if cut:
                    file.truncate(start + stop)
                return found
            end = start + begin
        if cut:
            file.truncate(0)
    return None


def _parse(line: bytes) -> tuple[int, str] | None:
    try:
        seq, moment, _, _ = json.loads(line)
        return int(seq), str(moment)
    except (ValueError, TypeError):
        return None


def _micros(moment: str) -> int:
    delta = datetime.fromisoformat(moment).replace(tzinfo=UTC) - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
