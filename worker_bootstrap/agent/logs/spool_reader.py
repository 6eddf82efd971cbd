"""Reading a spool from a position on, while it is written."""

from __future__ import annotations

from pathlib import Path

from worker_bootstrap.agent.logs.spool_files import Position, file_size, spool_files, spool_path


class SpoolReader:
    """A cursor. Several read one spool, each at its own place."""

    def __init__(self, folder: Path, position: Position | None = None) -> None:
        self._folder = folder
        self.position = position or Position()

    def read(self, most: int, until: Position | None = None) -> bytes:
        """The next whole lines, about `most` bytes (one line at least); empty when there is nothing new.

        Lines of one file only, and none behind `until`.
        """
        while True:
            files = spool_files(self._folder)
            self._settle(files)
            block = self._block(most, until)
            if block:
                return block
            later = [first for first in files if first > self.position.file]
            if not later or (until is not None and later[0] > until.file):
                return b""
            # The file was closed before the next one was seen: what it holds now is all.
            block = self._block(most, until)
            if block:
                return block
            self.position = Position(later[0], 0)

    def pending(self) -> int:
        """Bytes behind the position."""
        here = self.position
        total = 0
        for first in spool_files(self._folder):
            if first > here.file:
                total += file_size(self._folder, first)
            elif first == here.file:
                total += max(0, file_size(self._folder, first) - here.offset)
        return total

    def _settle(self, files: list[int]) -> None:
        """Leave a file that was deleted (or the beginning) for the first one there is."""
        if files and self.position.file not in files:
            later = [first for first in files if first > self.position.file]
            if later:
                self.position = Position(later[0], 0)

    def _block(self, most: int, until: Position | None) -> bytes:
        if until is not None and self.position.file == until.file:
            most = min(most, until.offset - self.position.offset)
        if most <= 0 or (until is not None and self.position.file > until.file):
            return b""
        try:
            with spool_path(self._folder, self.position.file).open("rb") as file:
                file.seek(self.position.offset)
                block = file.read(most)
                if block and b"\n" not in block:
                    block += file.readline()
        except FileNotFoundError:
            return b""
        block = block[: block.rfind(b"\n") + 1]
        self.position = Position(self.position.file, self.position.offset + len(block))
        return block
