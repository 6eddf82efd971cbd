"""Dataclasses to JSON objects and back, strictly by their annotations.

Unknown fields are ignored (the other side may be one version ahead); a missing field without a
default or a value of another type raises ProtocolError with the field's path.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from functools import cache
from typing import Any, TypeVar

from worker_bootstrap.protocol.errors import ProtocolError, TooLargeError

T = TypeVar("T")


def dump(value: Any) -> dict[str, Any]:
    """JSON object of a dataclass."""
    return dataclasses.asdict(value)


def dumps(value: Any) -> bytes:
    """Exact bytes of a dataclass: compact JSON, keys in the order of the fields."""
    return json.dumps(dump(value), separators=(",", ":"), allow_nan=False).encode()


def load(kind: type[T], data: Any, path: str = "") -> T:
    """An instance of the dataclass `kind` from a decoded JSON object. Raises ProtocolError."""
    if not isinstance(data, dict):
        raise ProtocolError(f"{path or kind.__name__}: an object is expected")
    values: dict[str, Any] = {}
    for name, annotation, required in _fields(kind):
        here = f"{path}.{name}" if path else name
        if name in data:
            values[name] = _convert(annotation, data[name], here)
        elif required:
            raise ProtocolError(f"{here}: missing")
    return kind(**values)


def parse(raw: bytes, max_bytes: int, max_depth: int) -> Any:
    """Decoded JSON of `raw`. Raises TooLargeError above the caps, ProtocolError when it is no JSON."""
    if len(raw) > max_bytes:
        raise TooLargeError(f"{len(raw)} bytes, the limit is {max_bytes}")
    _check_depth(raw, max_depth)
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from error


def _check_depth(raw: bytes, limit: int) -> None:
    """Count nesting before decoding, so that a deep document costs nothing."""
    depth, in_text, escaped = 0, False, False
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return
    for byte in raw:
        if in_text:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_text = False
        elif byte == 0x22:
            in_text = True
        elif byte in b"[{":
            depth += 1
            if depth > limit:
                raise TooLargeError(f"nested deeper than {limit}")
        elif byte in b"]}":
            depth -= 1


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


@cache
def _fields(kind: type[Any]) -> tuple[tuple[str, Any, bool], ...]:
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return tuple(
        (field.name, hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
    )


def _convert(annotation: Any, value: Any, path: str) -> Any:
    if annotation is Any:
        return value
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(typing.get_args(annotation), value, path)
    if origin is list:
        if not isinstance(value, list):
            raise ProtocolError(f"{path}: a list is expected")
        (item,) = typing.get_args(annotation)
        return [_convert(item, entry, f"{path}[{index}]") for index, entry in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise ProtocolError(f"{path}: an object is expected")
        _, item = typing.get_args(annotation)
        return {key: _convert(item, entry, f"{path}.{key}") for key, entry in value.items()}
    if dataclasses.is_dataclass(annotation):
        return load(typing.cast(type, annotation), value, path)
    return _convert_scalar(annotation, value, path)


def _convert_union(options: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in options:
        return None
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert(option, value, path)
        except ProtocolError:
            continue
    raise ProtocolError(f"{path}: no fitting type")


def _convert_scalar(annotation: Any, value: Any, path: str) -> Any:
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = type(value) is annotation
    if not fits:
        raise ProtocolError(f"{path}: {getattr(annotation, '__name__', annotation)} is expected")
    return value
