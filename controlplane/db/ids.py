"""UUID version 7 (RFC 9562): ordered by time, unique everywhere."""

from __future__ import annotations

import os
import time
import uuid


def uuid7(now_ns: int | None = None) -> str:
    """A new id as text; `now_ns` is nanoseconds since the epoch, for tests."""
    ns = time.time_ns() if now_ns is None else now_ns
    milliseconds, rest = divmod(ns, 1_000_000)
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    # 12 bits below the millisecond keep ids of one process in order.
    fraction = (rest << 12) // 1_000_000
    value = (milliseconds & ((1 << 48) - 1)) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random
    return str(uuid.UUID(int=value))


def is_id(text: str) -> bool:
    """Whether `text` is a UUID in its usual form."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
