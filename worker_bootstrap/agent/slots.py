"""Places for attempts on this machine, numbered, so that GPUs can belong to them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker_bootstrap.agent.attempt.errors import HaltedError

NONE = -1


class Slots:
    """`count` places, taken in the order of `enter`; thread-safe."""

    def __init__(self, count: int) -> None:
        self._places = range(count)
        self._free = set(self._places)
        self._line: list[object] = []
        self._changed = threading.Condition()

    def enter(self) -> object:
        """A ticket: stand in line."""
        ticket = object()
        with self._changed:
            self._line.append(ticket)
        return ticket

    def take(self, ticket: object, wanted: int, halted: Callable[[], bool], given_up: Callable[[], bool]) -> int:
        """A place: `wanted` if there is such a one (it had it before a restart), else the lowest free in turn.

        NONE when it is not wanted any more. Raises HaltedError.
        """
        with self._changed:
            try:
                while not halted():
                    if given_up():
                        return NONE
                    place = self._place_for(ticket, wanted)
                    if place != NONE:
                        self._free.remove(place)
                        return place
                    self._changed.wait(0.2)
            finally:
                self.leave(ticket)
        raise HaltedError

    def leave(self, ticket: object) -> None:
        """Stand in line no more; nothing happens to a ticket that was used."""
        with self._changed:
            self._line = [other for other in self._line if other is not ticket]
            self._changed.notify_all()

    def give(self, slot: int) -> None:
        """The place is free again."""
        with self._changed:
            self._free.add(slot)
            self._changed.notify_all()

    def _place_for(self, ticket: object, wanted: int) -> int:
        if wanted in self._places:
            return wanted if wanted in self._free else NONE
        return min(self._free) if self._free and self._line[0] is ticket else NONE
