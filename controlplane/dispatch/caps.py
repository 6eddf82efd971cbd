"""How much a worker may say. Pure: the moment is passed in, as seconds of any steady clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Bucket:
    """Lets `rate` units a second through, `burst` of them at once. It may go below zero: then it makes wait."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at: float | None = None

    def take(self, amount: float, now: float) -> None:
        """Count what has come."""
        self._refill(now)
        self._level -= amount

    def wait(self, now: float) -> float:
        """Seconds until more may come; 0 when it may now."""
        self._refill(now)
        return max(0.0, -self._level / self._rate)

    def _refill(self, now: float) -> None:
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._level = min(self._burst, self._level + passed * self._rate)


class PointCap:
    """Keeps at most `rate` metadata points for each second of an attempt's own time; the newest of a second stays."""

    def __init__(self, rate: int) -> None:
        self._rate = max(1, rate)
        self._seen: dict[str, tuple[str, int]] = {}

    def thin(self, attempt: str, points: Sequence[Any]) -> tuple[list[Any], int]:
        """(kept points, how many were dropped). A point is [time, {…}]; malformed ones are left to the reader."""
        second, count = self._seen.get(attempt, ("", 0))
        kept: list[Any] = []
        for point in points:
            moment = str(point[0])[:19] if isinstance(point, list) and point else ""
            second, count = (second, count + 1) if moment == second else (moment, 1)
            if count <= self._rate:
                kept.append(point)
            elif kept:
                kept[-1] = point
        self._seen[attempt] = (second, count)
        return kept, len(points) - len(kept)

    def forget(self, attempt: str) -> None:
        """The attempt is over."""
        self._seen.pop(attempt, None)
