"""What a worker may put into the database: every value measured and cleaned first. Pure.

All raise ProtocolError: the message is dropped and counted, the ones after it are applied.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from worker_bootstrap.protocol.errors import ProtocolError

MAX_BIGINT = 2**62
_HEX = re.compile(r"[0-9a-f]*")


def text(value: Any, limit: int) -> str:
    """At most `limit` characters that every database can keep."""
    if not isinstance(value, (str, int, float)):
        raise ProtocolError("a text is expected")
    return str(value)[:limit].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def whole(value: Any, low: int = 0, high: int = MAX_BIGINT) -> int:
    """A whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ProtocolError(f"a whole number from {low} to {high} is expected")
    return value


def digest(value: Any, length: int) -> str:
    """A hex checksum of that length, or empty."""
    found = text(value or "", length + 1)
    if len(found) not in (0, length) or not _HEX.fullmatch(found):
        raise ProtocolError(f"a checksum of {length} hex digits is expected")
    return found


def moment(value: Any) -> datetime:
    """A moment in UTC from ISO text; without a zone it is UTC already."""
    try:
        found = datetime.fromisoformat(text(value, 40))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"no moment: {error}") from error


def table(value: Any, limit: int) -> dict[str, Any]:
    """An object whose JSON has at most `limit` bytes; numbers that JSON has no form for become text."""
    if not isinstance(value, dict):
        raise ProtocolError("an object is expected")
    found: dict[str, Any] = clean(value)
    if len(json.dumps(found)) > limit:
        raise ProtocolError(f"an object above {limit} bytes")
    return found


def rows(value: Any, most: int) -> list[Any]:
    """A list of at most `most` entries."""
    if not isinstance(value, list) or len(value) > most:
        raise ProtocolError(f"a list of at most {most} entries is expected")
    return value


def pair(value: Any) -> tuple[Any, Any]:
    """[first, second]."""
    if not isinstance(value, list) or len(value) != 2:
        raise ProtocolError("a pair is expected")
    return value[0], value[1]


def clean(value: Any) -> Any:
    """Decoded JSON without NUL, half surrogate pairs or numbers beyond what JSON can say."""
    if isinstance(value, str):
        return text(value, len(value))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [clean(entry) for entry in value]
    if isinstance(value, dict):
        return {text(key, 255): clean(entry) for key, entry in value.items()}
    return value


def texts(value: Any, most: int, limit: int) -> list[str]:
    """One text or a list of them, as a list; what is empty or no text is left out."""
    entries = value if isinstance(value, list) else [value]
    return [text(entry, limit) for entry in entries[:most] if isinstance(entry, str) and entry.strip()]
