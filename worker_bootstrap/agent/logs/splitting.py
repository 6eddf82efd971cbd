"""Bytes to lines, and the engine's attach stream to bytes. Pure."""

from __future__ import annotations

import struct

MAX_LINE = 64 * 1024
CONTINUED = "\u2026"
STREAMS = {0: "stdout", 1: "stdout", 2: "stderr"}
_HEADER = struct.Struct(">BxxxL")


class FrameError(ValueError):
    """The attach stream is not what the engine sends."""


class Demuxer:
    """Takes the multiplexed stream in any pieces, gives (stream, bytes) pairs; neighbours of one stream are joined."""

    def __init__(self) -> None:
        self._head = b""
        self._stream = ""
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """What the data holds. Raises FrameError."""
        found: list[tuple[str, list[bytes]]] = []
        data, position = self._head + data, 0
        self._head = b""
        while position < len(data):
            if not self._left:
                if len(data) - position < _HEADER.size:
                    self._head = data[position:]
                    break
                kind, self._left = _HEADER.unpack_from(data, position)
                if kind not in STREAMS:
                    raise FrameError(f"stream {kind} is unknown")
                self._stream = STREAMS[kind]
                position += _HEADER.size
                continue
            piece = data[position : position + self._left]
            position += len(piece)
            self._left -= len(piece)
            if found and found[-1][0] == self._stream:
                found[-1][1].append(piece)
            else:
                found.append((self._stream, [piece]))
        return [(stream, b"".join(pieces)) for stream, pieces in found]


class LineSplitter:
    """Cuts one stream at newlines; a carriage return before the newline is dropped, others stay in the line.

    A line above `max_line` bytes comes in pieces; each but the last ends with CONTINUED.
    """

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max = max_line
        self._rest = b""

    @property
    def pending(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """Lines that are complete, and pieces of one that is too long."""
        end = data.rfind(b"\n")
        if end < 0:
            self._rest += data
            return self._cut_rest()
        block, self._rest = self._rest + data[:end], data[end + 1 :]
        messages = block.decode("utf-8", "replace").split("\n")
        if b"\r" in block:
            messages = [message.removesuffix("\r") for message in messages]
        if len(block) > self._max:
            messages = [piece for message in messages for piece in self._pieces(message)]
        return messages + self._cut_rest()

    def flush(self) -> list[str]:
        """The line that has begun."""
        rest, self._rest = self._rest, b""
        return [rest.decode("utf-8", "replace").removesuffix("\r")] if rest else []

    def flush_progress(self) -> list[str]:
        """What stands before the last carriage return of the line that has begun: a progress bar's states."""
        end = self._rest.rfind(b"\r")
        if end < 0:
            return []
        done, self._rest = self._rest[:end], self._rest[end + 1 :]
        return [done.decode("utf-8", "replace")] if done else []

    def _pieces(self, message: str) -> list[str]:
        if len(message) * 4 <= self._max:
            return [message]
        raw = message.encode()
        if len(raw) <= self._max:
            return [message]
        pieces = []
        while len(raw) > self._max:
            cut = _boundary(raw, self._max)
            pieces.append(raw[:cut].decode() + CONTINUED)
            raw = raw[cut:]
        return [*pieces, raw.decode()]

    def _cut_rest(self) -> list[str]:
        pieces, start = [], 0
        while len(self._rest) - start > self._max:
            cut = start + _boundary(self._rest[start : start + self._max + 1], self._max)
            pieces.append(self._rest[start:cut].decode("utf-8", "replace") + CONTINUED)
            start = cut
        if start:
            self._rest = self._rest[start:]
        return pieces


def _boundary(raw: bytes, most: int) -> int:
    """The largest cut at or before `most` that does not break a UTF-8 character (`most` if there is none)."""
    for cut in range(most, max(0, most - 4), -1):
        if raw[cut] & 0xC0 != 0x80:
            return cut
    return most
