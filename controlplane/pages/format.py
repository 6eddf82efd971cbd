"""How values read on a page. Pure: a moment is passed in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
MINUTE, HOUR, DAY = 60, 3600, 86400
LONGEST_VALUE = 2000


def clock(seconds: float | None) -> str:
    """For tables: `0:51:08`; `3 d 4:05:06` from a day on; a dash for None."""
    if seconds is None:
        return "–"
    whole = max(0, int(seconds))
    days, rest = divmod(whole, DAY)
    shown = f"{rest // HOUR}:{rest % HOUR // MINUTE:02}:{rest % MINUTE:02}"
    return f"{days} d {shown}" if days else shown


def span(seconds: float) -> str:
    """For sentences: `0.4 s`, `38 s`, `51 min`, `1 h 11 min`, `3 d 4 h`."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    whole = int(seconds)
    if whole < 10 * MINUTE:
        return f"{whole // MINUTE} min {whole % MINUTE} s" if whole % MINUTE else f"{whole // MINUTE} min"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def size(count: float | None) -> str:
    """Bytes with a decimal unit and at most three digits: `812 B`, `8.2 GB`."""
    if count is None:
        return "–"
    value, unit = float(max(0, count)), UNITS[0]
    for larger in UNITS[1:]:
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    if unit == "B":
        return f"{int(value)} B"
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def number(value: int) -> str:
    """A whole number in groups of three: `4,212`."""
    return f"{value:,}"


def ago(at: datetime, now: datetime) -> str:
    """Relative up to a day, then the date."""
    seconds = (now - at).total_seconds()
    if seconds < -1:
        return at.strftime("%-d %b %Y, %H:%M")
    if seconds < MINUTE:
        return "just now"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min ago"
    if seconds < DAY:
        return f"{int(seconds // HOUR)} h ago"
    return at.strftime("%-d %b") if at.year == now.year else at.strftime("%-d %b %Y")


def absolute(at: datetime) -> str:
    """The whole moment: `Thursday 12 March 2026, 13:41:02 UTC`."""
    return at.astimezone(UTC).strftime("%A %-d %B %Y, %H:%M:%S UTC")


def time_of_day(at: datetime) -> str:
    """`13:41:02`, in UTC."""
    return at.astimezone(UTC).strftime("%H:%M:%S")


def iso(at: datetime) -> str:
    """For attributes that scripts read."""
    return at.astimezone(UTC).isoformat()


def value(shown: Any) -> str:
    """A parameter or metadata value as text: floats short, lists by commas, the rest as JSON."""
    if isinstance(shown, bool):
        return "on" if shown else "off"
    if isinstance(shown, float):
        return f"{shown:.6g}"
    if isinstance(shown, list) and all(isinstance(part, (str, int, float)) for part in shown):
        return _cut(", ".join(value(part) for part in shown))
    if isinstance(shown, str):
        return _cut(shown)
    return _cut(json.dumps(shown, ensure_ascii=False, default=str))


def money(micros: int | None, currency: str) -> str:
    """A price by the hour with three digits; unknown is said."""
    if micros is None:
        return "unknown"
    sign = {"USD": "$", "EUR": "€", "GBP": "£"}.get(currency)
    amount = f"{micros / 1_000_000:.3f}"
    return f"{sign}{amount}/h" if sign else f"{amount} {currency}/h"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
