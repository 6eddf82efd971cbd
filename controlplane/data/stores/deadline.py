"""How long the stores that a thread asks may take in all, however many requests that is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from controlplane.data.stores.base import StoreError


@dataclass(frozen=True)
class _End:
    at: float
    seconds: float


_end: ContextVar[_End | None] = ContextVar("end", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is asked in this block ends within `seconds`, and within those of the blocks around it."""
    mine = _End(time.monotonic() + seconds, seconds)
    around = _end.get()
    token = _end.set(around if around is not None and around.at < mine.at else mine)
    try:
        yield
    finally:
        _end.reset(token)


def seconds_left(most: float) -> float:
    """For the next request, at most `most`. Raises StoreError `unavailable` when the time is over."""
    end = _end.get()
    if end is None:
        return most
    left = end.at - time.monotonic()
    if left <= 0:
        raise StoreError("unavailable", f"the store took longer than {end.seconds:g} s in all")
    return min(most, left)
