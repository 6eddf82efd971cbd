"""Looking at the outputs folder while hostile code may change it: by descriptors, never through a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_DEPTH = 64


@dataclass(frozen=True)
class Found:
    """A thing in the folder. `kind`: file, link, other. `finished`: nobody may write to it."""

    name: str
    kind: str
    size: int
    finished: bool


def scan(folder: Path) -> Iterator[Found]:
    """Everything below `folder` but folders, by name; empty when it is gone."""
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        yield from _scan(root, "", 0)
    finally:
        os.close(root)


def _scan(handle: int, prefix: str, depth: int) -> Iterator[Found]:
    with os.scandir(handle) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        try:
            info = os.stat(entry.name, dir_fd=handle, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                if depth >= MAX_DEPTH:
                    yield Found(name, "other", 0, finished=False)
                    continue
                inner = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
                try:
                    yield from _scan(inner, name + "/", depth + 1)
                finally:
                    os.close(inner)
                continue
        except OSError:
            continue  # removed or replaced while we looked
        yield Found(name, _kind(info.st_mode), info.st_size, finished=not info.st_mode & 0o222)


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    return "link" if stat.S_ISLNK(mode) else "other"


def open_output(folder: Path, name: str) -> BinaryIO | None:
    """The regular file `name` for reading, reached without following a link; None when it is no such thing (now)."""
    parts = name.split("/")
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = inner
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
    except (FileNotFoundError, NotADirectoryError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        return None
    finally:
        os.close(handle)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return None
    return os.fdopen(file, "rb")
