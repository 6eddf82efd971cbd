"""Fields of query strings, declared once: read from requests by what the OpenAPI document says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask import request

from controlplane.errors import ValidationError
from controlplane.web.paging import MAX_LIMIT, MAX_OFFSET

MAX_REPEATED = 1_000
NO_NUL = "^[^\\u0000]*$"
Schema = dict[str, Any]


@dataclass(frozen=True)
class QueryField:
    """One field. `read` gives the value of a text or raises ValueError with what is expected; `many`: it repeats."""

    sentence: str
    schema: Schema
    read: Callable[[str], Any]
    many: bool = False
    default: Any = None
    required: bool = False

    def described(self, name: str) -> Schema:
        """The parameter as OpenAPI writes it."""
        schema = {"type": "array", "items": self.schema, "maxItems": MAX_REPEATED} if self.many else self.schema
        if self.default is not None and not self.many:
            schema = {**schema, "default": self.default}
        return {"name": name, "in": "query", "required": self.required, "description": self.sentence, "schema": schema}


def text(sentence: str, most: int = 255, *, many: bool = False, required: bool = False) -> QueryField:
    """Any text of at most `most` characters."""

    def read(given: str) -> str:
        if len(given) > most:
            raise ValueError(f"At most {most} characters.")
        return given

    return QueryField(sentence, {"type": "string", "maxLength": most, "pattern": NO_NUL}, read, many, required=required)


def ident(sentence: str, *, required: bool = False) -> QueryField:
    """An id; one that nothing can have is looked for all the same, and not found."""
    return text(sentence, 1_000, required=required)


def whole(sentence: str, low: int, high: int, default: int | None = None, *, many: bool = False) -> QueryField:
    """A whole number."""

    def read(given: str) -> int:
        if not (given.isascii() and given.removeprefix("-").isdigit()):
            raise ValueError(f"A whole number is expected, not {given[:40]!r}.")
        # A number of thousands of digits takes long to read, and is too large anyway.
        if len(given) > 20 or not low <= int(given) <= high:
            raise ValueError(f"From {low} to {high}.")
        return int(given)

    return QueryField(sentence, {"type": "integer", "minimum": low, "maximum": high}, read, many, default)


def flag(sentence: str) -> QueryField:
    """true or false, in any case."""

    def read(given: str) -> bool:
        found = {"true": True, "1": True, "false": False, "0": False}.get(given.lower())
        if found is None:
            raise ValueError("true or false.")
        return found

    # Python's own words come from the client tools.
    words: Schema = {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["True", "False", "1", "0"]}]}
    return QueryField(sentence, words, read)


def choice(sentence: str, values: tuple[str, ...], *, many: bool = False) -> QueryField:
    """One of these words."""

    def read(given: str) -> str:
        if given not in values:
            raise ValueError(f"{given[:40]!r} is none of {', '.join(values)}.")
        return given

    return QueryField(sentence, {"type": "string", "enum": list(values)}, read, many)


def moment(sentence: str) -> QueryField:
    """A moment as ISO 8601; without a zone it is UTC."""

    def read(given: str) -> datetime:
        try:
            found = datetime.fromisoformat(given)
        except ValueError:
            raise ValueError("A moment is expected, like 2026-01-31T12:00:00Z.") from None
        try:
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except OverflowError:
            # The first or last day there is, in a zone that lies beyond it.
            return found.replace(tzinfo=UTC)

    return QueryField(sentence, {"type": "string", "format": "date-time"}, read)


def words(sentence: str) -> QueryField:
    """A comma list; blanks around its entries are dropped."""
    return QueryField(
        sentence,
        {"type": "string", "pattern": NO_NUL},
        lambda given: {w.strip() for w in given.split(",") if w.strip()},
    )


def pages(limit: int = 100) -> dict[str, QueryField]:
    """`limit` and `offset` of a list."""
    return {
        "limit": whole("At most so many.", 0, MAX_LIMIT, limit),
        "offset": whole("Leave out the first ones.", 0, MAX_OFFSET, 0),
    }


@dataclass(frozen=True)
class Given:
    """What the request's query says: declared fields by name."""

    values: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def read(fields: Mapping[str, QueryField], source: Any = None) -> Given:
    """Every declared field of this request. Raises ValidationError naming every bad one."""
    found: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    for name, declared in fields.items():
        given = (source or request.args).getlist(name)
        try:
            if len(given) > MAX_REPEATED:
                raise ValueError(f"At most {MAX_REPEATED} times.")
            values = [declared.read(one) for one in given]
            if declared.required and not any(given):
                errors[name] = ("Say this: it is needed.", "required")
        except ValueError as error:
            errors[name] = str(error)
            continue
        found[name] = values if declared.many else values[-1] if values else declared.default
    if errors:
        raise ValidationError(errors)
    return Given(found)
