"""One agent a folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Who asks whether an agent runs holds the lock for a moment.
PATIENCE = 2.0


class AlreadyRunningError(RuntimeError):
    """Another agent uses the folder."""


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock, which ends with the process. The file names its process. Raises AlreadyRunningError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(handle, path.parent)
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def _take(handle: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise AlreadyRunningError(f"another agent uses {folder}") from error
        time.sleep(0.02)
