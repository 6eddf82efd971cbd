"""Growing pauses between tries."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Each pause is up to twice the one before, with jitter so that many agents don't come at once."""

    def __init__(self, first: float, most: float, draw: Callable[[], float] = random.random) -> None:
        self._first = first
        self._most = most
        self._draw = draw
        self._tries = 0

    def next(self) -> float:
        """Seconds to wait before the next try."""
        full = min(self._most, self._first * 2 ** min(self._tries, 30))
        self._tries += 1
        return full * (0.5 + 0.5 * self._draw())

    def reset(self) -> None:
        """It worked: start from the shortest pause again."""
        self._tries = 0
