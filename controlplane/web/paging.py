"""Query strings of lists, as the client tools send them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import current_app, request

from controlplane.errors import ValidationError

MAX_LIMIT = 10_000
MAX_OFFSET = 10_000_000


def integer(name: str, default: int, low: int = 0, high: int = MAX_LIMIT) -> int:
    """A whole number of the query. Raises ValidationError."""
    text = request.args.get(name)
    if text is None or text == "":
        return default
    try:
        value = int(text)
    except ValueError:
        raise ValidationError({name: f"A whole number is expected, not {text[:40]!r}."}) from None
    if not low <= value <= high:
        raise ValidationError({name: f"From {low} to {high}."})
    return value


def boolean(name: str) -> bool | None:
    """true/false in any case, or None when absent. Raises ValidationError."""
    text = request.args.get(name)
    if text is None or text == "":
        return None
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise ValidationError({name: "true or false."})


def names(name: str) -> set[str]:
    """A comma list, blanks around its entries dropped."""
    return {part.strip() for part in request.args.get(name, "").split(",") if part.strip()}


def page(results: list[Any], count: int | None) -> dict[str, Any]:
    """A page of a list in limit/offset form; `count` is that of the whole list, None when this is all of it."""
    offset = 0 if count is None else integer("offset", 0, high=MAX_OFFSET)
    total = len(results) if count is None else count
    following = offset + len(results)
    return {
        "count": total,
        "next": _address(following) if results and following < total else None,
        "previous": _address(max(0, offset - integer("limit", len(results)))) if offset else None,
        "results": results,
    }


def _address(offset: int) -> str:
    """This list's own address at another offset."""
    query = [(name, value) for name, value in request.args.items(multi=True) if name != "offset"]
    base = current_app.extensions["remora"].settings.public_url
    return f"{base}{request.path}?{urlencode([*query, ('offset', str(offset))])}"
