"""The spool on disk: files of JSON lines [seq, time, stream, message], named by their first line's number."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIX = ".jsonl"
GAP = "gap"


@dataclass(frozen=True, order=True)
class Position:
    """A place between two lines: the file's first number and the byte in it."""

    file: int = 0
    offset: int = 0


def spool_path(folder: Path, first: int) -> Path:
    """The file whose first line has this number."""
    return folder / f"{first:020d}{SUFFIX}"


def spool_files(folder: Path) -> list[int]:
    """First numbers of the files there are, in order."""
    names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(SUFFIX)]
    return sorted(int(name.removesuffix(SUFFIX)) for name in names)


def file_size(folder: Path, first: int) -> int:
    """Bytes of a file, 0 when it is gone."""
    try:
        return spool_path(folder, first).stat().st_size
    except FileNotFoundError:
        return 0


def forget_before(folder: Path, position: Position) -> None:
    """Delete the files that end before the position. The newest one always stays: it holds the numbering."""
    for first in spool_files(folder)[:-1]:
        if first < position.file:
            spool_path(folder, first).unlink(missing_ok=True)


def first_seq(raw: bytes) -> int:
    """Number of the first line of a block of whole lines."""
    return int(raw[1 : raw.index(b",")])


def last_seq(raw: bytes) -> int:
    """Number of the last line of a block of whole lines."""
    start = raw.rfind(b"\n", 0, len(raw) - 1) + 1
    return int(raw[start + 1 : raw.index(b",", start)])


def line_time(line: bytes) -> str:
    """Time of a line."""
    return line.split(b'"', 2)[1].decode()


def line_stream(line: bytes) -> str:
    """Stream of a line."""
    return line.split(b'"', 4)[3].decode()


def shown(raw: bytes) -> bytes:
    """The block as it leaves the machine: a gap becomes a status line that says so."""
    if b'"gap"' not in raw:
        return raw
    return b"".join(_shown_line(line) for line in raw.splitlines(keepends=True))


def _shown_line(line: bytes) -> bytes:
    if line_stream(line) != GAP:
        return line
    seq, time, _, reason = json.loads(line)
    return json_line([seq, time, "status", f"Output is missing here: {reason}"])


def json_line(fields: list[Any]) -> bytes:
    """One line as it stands in the spool."""
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"
