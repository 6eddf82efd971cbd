"""When a worker counts as silent, and when as lost. Pure: every moment is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

State = Literal["alive", "silent", "lost"]


@dataclass(frozen=True)
class Sight:
    """What the master could see of a queue.

    `blind_until`: the last moment at which it could not read, None if it always could; silence before it proves
    nothing, so every period begins anew there. `blind`: it cannot read now.
    """

    blind: bool
    blind_until: datetime | None


class Watch:
    """Follows whether the master reads a queue; until it has seen a reading, it is blind."""

    def __init__(self, patience: timedelta) -> None:
        self._patience = patience
        self._blind_until: datetime | None = None
        self._started = False

    def look(self, now: datetime, last_read: datetime | None) -> Sight:
        """`last_read`: when the master last read the queue, by the same clock as `now`."""
        blind = last_read is None or now - last_read > self._patience
        if blind or not self._started:
            # What waited while no master ran must have its time to be read before silence counts.
            self._blind_until = now
            self._started = True
        return Sight(blind, self._blind_until)


def judge(now: datetime, last_heard: datetime, sight: Sight, silent_after: timedelta, lost_after: timedelta) -> State:
    """What a worker is that was last heard at `last_heard`; while the master is blind nobody falls silent."""
    if sight.blind:
        return "alive"
    since = last_heard if sight.blind_until is None else max(last_heard, sight.blind_until)
    silence = now - since
    if silence >= max(lost_after, silent_after):
        return "lost"
    return "silent" if silence >= silent_after else "alive"
