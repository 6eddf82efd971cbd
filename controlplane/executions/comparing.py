"""Conditions on values inside JSON columns, on both databases: `epochs>=3`, `label=plain`. `parse` is pure."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, String, and_, case, cast, exists, false, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

# The longer signs stand first, so that `<=` is not read as `<`.
PATTERN = (
    r"^[^<>=!\u0000]{1,255}((=|!=)[^\n\u0000]{0,1000}|(<=|>=|<|>)-?[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?)$"
)
_WHOLE = re.compile(PATTERN)
_PARTS = re.compile(r"(?P<name>[^<>=!]+)(?P<sign><=|>=|!=|=|<|>)(?P<value>[^\n]*)")
SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EXPECTED = "NAME=VALUE is expected, with one of = != < <= > >= between them, and a number after < and >."


@dataclass(frozen=True)
class Condition:
    """`number` is set when the value reads as one: then numbers are compared, else texts."""

    name: str
    sign: str
    text: str
    number: float | None


def parse(given: str) -> Condition:
    """The condition in a text. Raises ValueError."""
    found = _PARTS.fullmatch(given) if _WHOLE.fullmatch(given) else None
    if found is None:
        raise ValueError(EXPECTED)
    return Condition(found["name"], found["sign"], found["value"], _number(found["value"]))


def matches(session: Session, column: InstrumentedAttribute[Any], condition: Condition) -> ColumnElement[bool]:
    """Rows whose JSON object in `column` has a value that meets the condition; without the name, none does."""
    if '"' in condition.name or "\\" in condition.name:
        # SQLite's paths have no way to write these.
        return false()
    sqlite = session.get_bind().dialect.name == "sqlite"
    compare = SIGNS[condition.sign]
    kind, text = _parts(column, condition.name, sqlite=sqlite)
    if condition.number is not None:
        numbers = ("integer", "real") if sqlite else ("number",)
        # CASE keeps PostgreSQL from casting what is no number.
        value = case((kind.in_(numbers), cast(text, Float)), else_=None)
        as_number = and_(value.is_not(None), compare(value, condition.number))
        if condition.sign not in ("=", "!="):
            return as_number
        same_text = and_(kind.in_(("text", "string")), compare(text, condition.text))
        return as_number | same_text
    return and_(text.is_not(None), compare(text, condition.text))


def has_tag(session: Session, column: InstrumentedAttribute[Any], tag: str) -> ColumnElement[bool]:
    """Rows whose JSON list in `column` has this text."""
    sqlite = session.get_bind().dialect.name == "sqlite"
    expand = func.json_each if sqlite else func.json_array_elements_text
    entries = expand(column).table_valued("value")
    return exists(select(1).select_from(entries).where(entries.c.value == tag))


def _parts(column: InstrumentedAttribute[Any], name: str, *, sqlite: bool) -> tuple[Any, Any]:
    """(type, text) of the value of that name; true and false are these words."""
    if sqlite:
        path = f'$."{name}"'
        kind = func.json_type(column, path)
        text = case((kind.in_(("true", "false")), kind), else_=cast(func.json_extract(column, path), String))
        return kind, text
    value = column.op("->")(name)
    return func.json_typeof(value), column.op("->>")(name)


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
