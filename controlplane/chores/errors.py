"""Why a chore ends other than well."""

from __future__ import annotations

from controlplane.dispatch.errors import QueueError


class ChoreFailedError(RuntimeError):
    """A handler gives up: trying again would not help. The message is a sentence for people."""

    def __init__(self, sentence: str, reason: str = "failed") -> None:
        super().__init__(sentence)
        self.reason = reason


class ChoreLostError(RuntimeError):
    """Another process may have the chore now: nothing was written."""


class ChoreStoppedError(RuntimeError):
    """The process is asked to end: the chore goes back to the others that wait."""


class ChoreQueueError(QueueError):
    """The chores' Redis does not answer now."""


class JobRefusedError(RuntimeError):
    """A job in Redis names something else than the one function that chores have."""
