"""Bodies of requests: JSON or form, within caps, into typed models."""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

from flask import g, request
from pydantic import BaseModel
from pydantic import ValidationError as ModelError

from controlplane.errors import ValidationError

Model = TypeVar("Model", bound=BaseModel)
MAX_DEPTH = 40
MAX_INTEGER = 1 << 63


def read_object() -> dict[str, Any]:
    """The body as an object: JSON, or a form whose fields are text. Raises ValidationError."""
    if request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data"):
        form = {name: value for name, value in request.form.items() if name != "csrf"}
        _check_form(form)
        return form
    raw = request.get_data(cache=True)
    if not raw:
        return {}
    if request.mimetype != "application/json":
        raise ValidationError(
            {"non_field_errors": ("Send JSON (Content-Type: application/json) or a form.", "invalid")}
        )
    try:
        data = json.loads(raw, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
        _check_values(data, MAX_DEPTH)
    except (ValueError, RecursionError) as error:
        raise ValidationError({"non_field_errors": (f"The body is no valid JSON: {error}", "parse_error")}) from error
    if not isinstance(data, dict):
        raise ValidationError({"non_field_errors": ("The body must be a JSON object.", "invalid")})
    return data


def parse(model: type[Model], data: dict[str, Any] | None = None) -> Model:
    """The body as `model`. Raises ValidationError.

    Unknown fields are never assigned: under `/api/v1/` they are refused, elsewhere named in a header of the answer.
    """
    values = read_object() if data is None else data
    known = set(model.model_fields) | {f.alias for f in model.model_fields.values() if f.alias}
    ignored = sorted(set(values) - known)
    if ignored and request.path.startswith("/api/v1/"):
        raise ValidationError(
            {name[:100]: ("This field is not known here; leave it out.", "unknown") for name in ignored}
        )
    if ignored:
        g.ignored_fields = ignored
    try:
        return model.model_validate({name: value for name, value in values.items() if name in known})
    except ModelError as error:
        raise ValidationError(_fields(error)) from error


def _fields(error: ModelError) -> dict[str, Any]:
    fields: dict[str, list[tuple[str, str]]] = {}
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(str(part) for part in entry["loc"]) or "non_field_errors"
        code = "required" if entry["type"] == "missing" else "invalid"
        fields.setdefault(path, []).append((f"{entry['msg']}.", code))
    return fields


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _check_values(value: Any, left: int) -> None:
    """Depth, and texts that a database or a container can't hold."""
    if left < 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
        raise ValueError("a whole number is larger than 64 bits")
    elif isinstance(value, list):
        for child in value:
            _check_values(child, left - 1)
    elif isinstance(value, dict):
        for key, child in value.items():
            check_text(key)
            _check_values(child, left - 1)


def _check_form(form: dict[str, str]) -> None:
    for name, value in form.items():
        try:
            check_text(name)
            check_text(value)
        except ValueError as error:
            raise ValidationError(
                {"non_field_errors": (f"A field of the form can't be read: {error}.", "invalid")}
            ) from error


def check_text(text: str) -> None:
    """Raise ValueError for NUL and for halves of surrogate pairs."""
    if "\0" in text:
        raise ValueError("a text holds NUL")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("a text holds half a surrogate pair")
