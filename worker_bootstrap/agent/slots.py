"""Places for attempts on this machine, numbered, so that GPUs can belong to them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker_bootstrap.agent.attempt.errors import HaltedError


class Slots:
    """`count` places; thread-safe."""

    def __init__(self, count: int) -> None:
        self._free = set(range(count))
        self._changed = threading.Condition()

    def take(self, wanted: int, halted: Callable[[], bool]) -> int:
        """A place: `wanted` if it is one (it had it before a restart), else the lowest free. Raises HaltedError."""
        with self._changed:
            while not halted():
                if wanted in self._free:
                    self._free.remove(wanted)
                    return wanted
                if wanted < 0 and self._free:
                    lowest = min(self._free)
                    self._free.remove(lowest)
                    return lowest
                self._changed.wait(0.2)
        raise HaltedError

    def give(self, slot: int) -> None:
        """The place is free again."""
        with self._changed:
            self._free.add(slot)
            self._changed.notify_all()
