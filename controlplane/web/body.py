"""Bodies of requests: JSON or form, within caps, into typed models."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from flask import g, request
from pydantic import BaseModel
from pydantic import ValidationError as ModelError

from controlplane.errors import ValidationError

Model = TypeVar("Model", bound=BaseModel)
MAX_DEPTH = 40


def read_object() -> dict[str, Any]:
    """The body as an object: JSON, or a form whose fields are text. Raises ValidationError."""
    if request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return {name: value for name, value in request.form.items() if name != "csrf"}
    raw = request.get_data(cache=True)
    if not raw:
        return {}
    if request.mimetype != "application/json":
        raise ValidationError(
            {"non_field_errors": ("Send JSON (Content-Type: application/json) or a form.", "invalid")}
        )
    try:
        data = json.loads(raw, parse_constant=_refuse, object_pairs_hook=_unique)
        _check_depth(data, MAX_DEPTH)
    except (ValueError, RecursionError) as error:
        raise ValidationError({"non_field_errors": (f"The body is no valid JSON: {error}", "parse_error")}) from error
    if not isinstance(data, dict):
        raise ValidationError({"non_field_errors": ("The body must be a JSON object.", "invalid")})
    return data


def parse(model: type[Model], data: dict[str, Any] | None = None) -> Model:
    """The body as `model`. Unknown fields are not assigned, and named in a header. Raises ValidationError."""
    values = read_object() if data is None else data
    known = set(model.model_fields) | {f.alias for f in model.model_fields.values() if f.alias}
    ignored = sorted(set(values) - known)
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


def _check_depth(value: Any, left: int) -> None:
    if left < 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        _check_depth(child, left - 1)
