"""Several files read as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO


class Chained:
    """Reads one after the other; whoever opened them closes them."""

    def __init__(self, readers: Sequence[BinaryIO]) -> None:
        self._left = list(readers)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`; of a negative size: all of the file that is being read."""
        while self._left:
            if chunk := self._left[0].read(size):
                return chunk
            self._left.pop(0)
        return b""
