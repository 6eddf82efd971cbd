"""Conditions on tags, parameters and metadata: `epochs>=3`, `label=plain`. `parse` is pure."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select

from controlplane.executions.facts import ExecutionFact, digest_of
from controlplane.executions.models import Execution

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


def matches(project_id: str, kind: str, condition: Condition) -> ColumnElement[bool]:
    """Executions whose value of that name and kind meets the condition; without the name, none does."""
    compare = SIGNS[condition.sign]
    if condition.number is None:
        return _have(project_id, kind, condition.name, compare(ExecutionFact.digest, digest_of(condition.text)))
    as_number = _have(project_id, kind, condition.name, compare(ExecutionFact.number, condition.number))
    if condition.sign not in ("=", "!="):
        return as_number
    same_text = compare(ExecutionFact.digest, digest_of(condition.text))
    return as_number | _have(project_id, kind, condition.name, ExecutionFact.number.is_(None), same_text)


def has_tag(project_id: str, tag: str) -> ColumnElement[bool]:
    """Executions with this tag."""
    return _have(project_id, "tag", tag)


def _have(project_id: str, kind: str, name: str, *more: ColumnElement[bool]) -> ColumnElement[bool]:
    of = (ExecutionFact.project_id == project_id, ExecutionFact.kind == kind, ExecutionFact.name == name)
    return Execution.id.in_(select(ExecutionFact.execution_id).where(*of, *more))


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
