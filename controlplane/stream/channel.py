"""The newest lines of one attempt, in memory once for all its viewers, in order and without a hole.

```
tail in Redis ──TailReader──▶ take() ──▶ ring ──▶ viewers, each at its own place
store ─────────Recovery─────▶ append() ─┘   what the tail did not have, once for all
```

The ring holds the lines above `begin` up to `last`. Where the tail goes on with a later number (it keeps the newest
2 MiB only, and a Redis that was restarted may have lost some), it is read on once the store gave the lines between.
The ring never runs ahead of its fastest viewer by more than half its size; a slower one that it leaves behind is
closed, and comes again with its `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from controlplane.logs.lines import Line
from controlplane.stream.events import Piece, pieces, unbroken
from controlplane.stream.sources import AttemptNow

PIECE_OVERHEAD = 200


class Watcher(Protocol):
    """A viewer, as a channel sees it."""

    seq: int
    """The last line that it has."""

    def notify(self) -> None:
        """Something is new."""
        ...


class Channel:
    """See above. Used by one event loop only."""

    def __init__(self, attempt: AttemptNow, limit: int) -> None:
        self.id, self.number = attempt.id, attempt.number
        self.now = attempt
        self.settled = False
        """Whether the attempt is over for good: what it has told by now is all."""
        self.begin = self.last = attempt.stored
        self.position = "0-0"
        """Place in the tail up to which it was taken."""
        self.next_in_tail = 0
        """Number with which the tail goes on after a hole; 0: no hole is known."""
        self.ready = False
        """Whether the tail was read once, or could not be."""
        self.closed = False
        """Whether nothing will be added any more."""
        self.viewers: set[Watcher] = set()
        self.changed = asyncio.Event()
        self._limit = limit
        self._pieces: deque[Piece] = deque()
        self._bytes = 0

    def update(self, attempt: AttemptNow, *, settled: bool) -> None:
        """What the database says now."""
        if attempt != self.now or settled != self.settled:
            self.now, self.settled = attempt, settled
            self.changed.set()

    def until(self) -> int:
        """The last line that is known to exist."""
        return max(self.next_in_tail - 1, self.now.known)

    def final(self) -> bool:
        """Whether what is not in the store now will never be."""
        return self.now.complete or self.settled

    @property
    def wants_tail(self) -> bool:
        """Whether reading the tail goes on now."""
        return not (self.closed or self.next_in_tail) and (not self.ready or self.has_room())

    def has_room(self) -> bool:
        """Whether the fastest viewer is near enough to the newest line."""
        lead = max((viewer.seq for viewer in self.viewers), default=self.last)
        ahead = 0
        for piece in reversed(self._pieces):
            if piece.last <= lead:
                break
            ahead += len(piece.data) + PIECE_OVERHEAD
        return ahead * 2 < self._limit

    def take(self, place: str, lines: Iterable[Line]) -> bool:
        """Lines of one entry of the tail, in order. False when some before them are missing: it is read again later."""
        found, beyond = unbroken(lines, self.last)
        self.append(pieces(self.number, found))
        if beyond:
            self.next_in_tail = beyond
            self.changed.set()
            return False
        self.position = place
        return True

    def append(self, found: Iterable[Piece]) -> None:
        """Pieces that go on at `last` or before it; what is there already is left out."""
        for one in found:
            if one.last <= self.last:
                continue
            piece = one.after(self.last)
            self._pieces.append(piece)
            self._bytes += len(piece.data) + PIECE_OVERHEAD
            self.last = piece.last
        while self._bytes > self._limit and len(self._pieces) > 1:
            gone = self._pieces.popleft()
            self._bytes -= len(gone.data) + PIECE_OVERHEAD
            self.begin = gone.last
        if self.next_in_tail and self.last >= self.next_in_tail - 1:
            self.next_in_tail = 0
        self.notify()

    def after(self, seq: int, size: int) -> list[Piece]:
        """Pieces with the lines above `seq` (not below `begin`), about `size` bytes of them."""
        found: list[Piece] = []
        index = bisect_left(self._pieces, seq + 1, key=lambda piece: piece.last)
        while index < len(self._pieces) and size > 0:
            piece = self._pieces[index].after(seq)
            found.append(piece)
            size -= len(piece.data)
            index += 1
        return found

    def mark_ready(self) -> None:
        """The tail was looked at."""
        if not self.ready:
            self.ready = True
            self.notify()

    def close(self) -> None:
        """Nothing more comes."""
        self.closed = self.ready = True
        self.notify()

    def notify(self) -> None:
        """Wake every viewer."""
        for viewer in self.viewers:
            viewer.notify()
