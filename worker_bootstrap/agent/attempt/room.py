"""Room on the disk for the agent's own small files: without it the agent could not even say that the disk is full."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


def has_room(folder: Path, floor: int, coming: int = 0) -> bool:
    """Whether `floor` bytes stay free on the folder's disk when `coming` bytes more are written."""
    return shutil.disk_usage(folder).free - coming >= floor


def check_room(folder: Path, floor: int, coming: int = 0) -> None:
    """Raise OSError (ENOSPC) unless there is room."""
    if not has_room(folder, floor, coming):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Reserve:
    """A file of `size` bytes that is given up when something small must be written on a full disk."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def keep(self) -> None:
        """Take the bytes, again after they were given up, once the disk has twice as many."""
        if self._path.exists() or not has_room(self._path.parent, 2 * self._size):
            return
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError:
            self.give_up()

    def give_up(self) -> None:
        """Give them back to the disk."""
        self._path.unlink(missing_ok=True)
