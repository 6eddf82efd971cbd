"""Query strings of lists, as the client tools send them."""

from __future__ import annotations

from typing import Any

from flask import request

from controlplane.errors import ValidationError

MAX_LIMIT = 10_000


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
    """A page of a list in limit/offset form."""
    return {"count": len(results) if count is None else count, "next": None, "previous": None, "results": results}
