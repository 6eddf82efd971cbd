"""Log files of the processes: kept small by size."""

from __future__ import annotations

import shutil
from pathlib import Path


def rotate(path: Path, limit: int, keep: int) -> bool:
    """Move a file above `limit` bytes to `.1`, older ones up to `.keep`. Whether it did.

    The file is copied and cut, not renamed: its process goes on appending to the same handle.
    """
    if not path.exists() or path.stat().st_size <= limit:
        return False
    numbered = [path.with_name(f"{path.name}.{number}") for number in range(1, keep + 1)]
    for older, newer in zip(reversed(numbered[1:]), reversed(numbered[:-1]), strict=True):
        if newer.exists():
            newer.replace(older)
    shutil.copyfile(path, numbered[0])
    with path.open("r+b") as writer:
        writer.truncate(0)
    return True


def last_lines(path: Path, count: int = 8, most: int = 16_384) -> list[str]:
    """The last lines of a file, from its last `most` bytes."""
    if not path.exists():
        return []
    with path.open("rb") as reader:
        reader.seek(max(0, path.stat().st_size - most))
        return reader.read().decode(errors="replace").splitlines()[-count:]
