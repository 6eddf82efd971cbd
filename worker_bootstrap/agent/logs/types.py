"""What the log parts take from the agent, and what they raise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class KeeperError(Exception):
    """The line keeper does not answer or refused; it may have died."""


class UploadError(Exception):
    """An object could not be uploaded now. The shipper waits and tries again, for ever."""


Upload = Callable[[str, bytes], str]
"""Takes an object's name (`00000000000000000001.gz`) and its bytes; returns the store's key.

Raises UploadError. "Already there" (HTTP 412) is success: the same name always has the same bytes.
"""


class TailAwayError(Exception):
    """The queue takes no lines now. The shipper waits and tries again."""


class Tail(Protocol):
    """The live tail of one attempt."""

    def push(self, last_seq: int, raw: bytes, keep_from: int) -> None:
        """Append whole JSON lines that end with number `last_seq`, once however often it is called.

        Entries that end before line `keep_from` are taken away. Raises TailAwayError.
        """
        ...


class Emit(Protocol):
    """Appends an event durably to the outbox before it returns."""

    def __call__(self, kind: str, data: dict[str, Any], key: str) -> None:
        """`key` names the event within its attempt: the same key again (after a crash) is the same event."""
        ...


@dataclass(frozen=True)
class LogPolicy:
    """Sizes in bytes, times in seconds."""

    tail_bytes: int = 2 * 1024 * 1024
    tail_batch_bytes: int = 256 * 1024
    tail_interval: float = 0.08
    tail_patience: float = 2.0
    segment_bytes: int = 8 * 1024 * 1024
    segment_early_bytes: int = 1536 * 1024
    segment_early_interval: float = 2.0
    segment_small_bytes: int = 256 * 1024
    segment_small_age: float = 30.0
    segment_poll: float = 0.5
    index_every: int = 1000
    metadata_per_second: int = 50
    metadata_interval: float = 1.0
    retry_first: float = 0.5
    retry_most: float = 30.0


@dataclass(frozen=True)
class Shipped:
    """What left the machine: the last line's number and how many lines there were."""

    last_seq: int
    lines: int
