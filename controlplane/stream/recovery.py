"""Lines that the memory of a channel does not have, taken from the store: without a hole, or the hole is said."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from controlplane.logs.lines import Line
from controlplane.stream.events import Piece, pieces, unbroken
from controlplane.stream.sources import Sources, StoredLines

log = structlog.get_logger()
# How often the store is asked for lines that are on their way there, as a part of the patience.
ASKED = 120

Run = Callable[..., Awaitable[Any]]
"""Calls a blocking function with its arguments in a thread."""


class Missing(Protocol):
    """What is known of the missing lines, as time goes on."""

    def until(self) -> int:
        """The last line that is missing."""
        ...

    def final(self) -> bool:
        """Whether what is not in the store now will never be."""
        ...


class Recovery:
    """Reads an attempt's lines after `last` from the store, piece by piece, up to `missing.until()`.

    A line that is not there yet is waited for as long as `patience`; then a gap stands in its place.
    """

    def __init__(
        self, run: Run, sources: Sources, attempt: tuple[str, int], last: int, missing: Missing, patience: float
    ) -> None:
        self._run = run
        self._sources = sources
        self._attempt, self._number = attempt
        self._missing = missing
        self._patience = patience
        self._lines: StoredLines | None = None
        self._moved = time.monotonic()
        self.last = last
        self.pause = max(0.02, patience / ASKED)

    def skip_to(self, last: int) -> None:
        """Lines up to `last` came from elsewhere."""
        if last > self.last:
            self.last, self._moved = last, time.monotonic()

    async def next(self) -> list[Piece]:
        """The next pieces; empty when nothing new is there: ask again after `pause`."""
        final, is_fresh = self._missing.final(), self._lines is None
        try:
            found, beyond = await self._following()
        except SQLAlchemyError as error:
            log.warning("stream_without_database", error=type(error).__name__)
            return []
        if found:
            return self._take(list(pieces(self._number, found)))
        self._lines = None
        if not is_fresh:
            # What was not there when this reading began may be there now.
            return await self.next()
        if not final and time.monotonic() - self._moved < self._patience:
            return []
        end = min(beyond - 1, self._missing.until()) if beyond else self._missing.until()
        if end <= self.last:
            return []
        reason = "they are not in the store" if final else "they are not in the store yet"
        return self._take([Piece.gap(self._number, self.last + 1, end, reason)])

    async def _following(self) -> tuple[list[Line], int]:
        """See unbroken(); both are empty at the end of what the store has."""
        stored = self._lines
        if stored is None:
            stored = self._lines = await self._run(self._sources.stored, self._attempt, self.last)
        while lines := await self._run(stored.next):
            if lines[-1][0] > self.last:
                return unbroken(lines, self.last)
        return [], 0

    def _take(self, found: list[Piece]) -> list[Piece]:
        self.last = found[-1].last
        self._moved = time.monotonic()
        return found
