"""What a worker says that it runs, against what was granted to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["keep", "stop", "revive"]
FORGET_AFTER = 2
REPORTED = frozenset({"complete", "error", "stopped"})


@dataclass(frozen=True)
class Standing:
    """An attempt that a worker lists, and its execution. `number` and `newest` are attempt numbers."""

    number: int
    newest: int
    state: str
    outcome: str
    execution_state: str


def judge(standing: Standing | None) -> Verdict:
    """What becomes of an attempt that a worker says it runs; None: it was never granted to that worker.

    An attempt that was given up as lost goes on when its execution still waits: no newer one was granted.
    """
    if standing is None or standing.number != standing.newest:
        return "stop"
    if standing.state != "ended":
        return "keep"
    if standing.outcome == "lost" and standing.execution_state == "queued":
        return "revive"
    # It told its end itself and only tidies up.
    return "keep" if standing.outcome in REPORTED else "stop"


class Missed:
    """Counts beats in a row that did not list an attempt which the worker had accepted."""

    def __init__(self) -> None:
        self._beats: dict[str, dict[str, int]] = {}

    def note(self, worker: str, accepted: Iterable[str], listed: Iterable[str]) -> list[str]:
        """Attempts that are missing for the second beat in a row, or longer: the machine knows them no more."""
        before = self._beats.get(worker, {})
        missing = set(accepted) - set(listed)
        now = {attempt: before.get(attempt, 0) + 1 for attempt in missing}
        self._beats[worker] = now
        return sorted(attempt for attempt, beats in now.items() if beats >= FORGET_AFTER)

    def forget(self, worker: str) -> None:
        """Begin to count anew: what the worker said is not all here yet."""
        self._beats.pop(worker, None)
