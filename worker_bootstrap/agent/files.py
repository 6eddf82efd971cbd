"""Small files that must be whole after a crash."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

# What the system says of a write that the disk, or its owner's share of it, has no room for.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def write_json(path: Path, value: Any, mode: int = 0o600) -> None:
    """Write so that a reader finds the old content or the new one, never a part; kept through a power cut."""
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w") as writer:
        json.dump(value, writer, separators=(",", ":"))
        writer.flush()
        os.fsync(writer.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_json(path: Path, default: Any = None) -> Any:
    """The content, or `default` when there is no such file. Raises ValueError when it is no JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default
