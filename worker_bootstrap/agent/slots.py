"""Places for attempts on this machine, numbered, so that GPUs can belong to them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker_bootstrap.agent.attempt.errors import HaltedError

NONE = -1


class Slots:
    """`count` places; thread-safe."""

    def __init__(self, count: int) -> None:
        self._places = range(count)
        self._free = set(self._places)
        self._changed = threading.Condition()

    def take(self, wanted: int, halted: Callable[[], bool], given_up: Callable[[], bool]) -> int:
        """A place: `wanted` if there is such a one (it had it before a restart), else the lowest free.

        NONE when it is not wanted any more. Raises HaltedError.
        """
        with self._changed:
            while not halted():
                if given_up():
                    return NONE
                if wanted in self._free or (wanted not in self._places and self._free):
                    place = wanted if wanted in self._free else min(self._free)
                    self._free.remove(place)
                    return place
                self._changed.wait(0.2)
        raise HaltedError

    def give(self, slot: int) -> None:
        """The place is free again."""
        with self._changed:
            self._free.add(slot)
            self._changed.notify_all()
