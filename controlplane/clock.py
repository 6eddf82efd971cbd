"""Time is passed in: pure logic gets a moment, services get a clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def api_time(moment: datetime | None) -> str | None:
    """ISO 8601 with zone and always six digits: `2026-01-02T03:04:05.000006Z`."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event_time(moment: datetime) -> str:
    """The form of `/api/v0/` events: no zone suffix, always six digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
