"""What every part of the configuration has in common: strict fields, and errors that name the key and the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict

_CREDENTIALS = re.compile(r"://[^/\s]*@")
Section = TypeVar("Section", bound="Part")


class ConfigError(Exception):
    """The configuration can't be used. `problems`: key (`private_worker.region`) to a sentence with the remedy."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("\n".join(f"{key}: {sentence}" for key, sentence in self.problems.items()))


class Part(BaseModel):
    """A part of the configuration: nothing unknown is taken, nothing is changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


def read_part(kind: type[Section], values: object, key: str) -> Section:
    """`values` as `kind`. Raises ConfigError with each wrong key below `key`."""
    if values is None:
        values = {}
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        problems: dict[str, str] = {}
        for one in error.errors(include_url=False):
            problems.setdefault(_key(key, one["loc"]), _sentence(kind, one))
        raise ConfigError(problems) from error


def suggest(word: str, known: Iterable[str]) -> str:
    """` Did you mean x?`, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _key(top: str, place: tuple[int | str, ...]) -> str:
    text = top
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


def _sentence(kind: type[Part], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return f"There is no such key.{suggest(str(error['loc'][-1]), _names(kind, error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"A value is needed. {_description(kind, error['loc'])}".rstrip()
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{error['msg']}; {_shown(error['input'])} was given. {_description(kind, error['loc'])}".rstrip()


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(_CREDENTIALS.sub("://…@", value))
    return repr(value) if isinstance(value, int | float | bool) or value is None else type(value).__name__


def _at(kind: type[Part], place: tuple[int | str, ...]) -> type[Part] | None:
    """The part of the configuration that stands at `place`, where it is one."""
    current: Any = kind
    for step in place:
        if isinstance(step, int):
            continue
        field = current.model_fields.get(step) if isinstance(current, type) and issubclass(current, Part) else None
        if field is None:
            return None
        current = _part_in(field.annotation)
    return current if isinstance(current, type) and issubclass(current, Part) else None


def _part_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _part_in(inner)
        if found is not None:
            return found
    return None


def _names(kind: type[Part], place: tuple[int | str, ...]) -> list[str]:
    part = _at(kind, place)
    return list(part.model_fields) if part else []


def _description(kind: type[Part], place: tuple[int | str, ...]) -> str:
    part = _at(kind, place[:-1])
    field = part.model_fields.get(str(place[-1])) if part and place else None
    return f"Expected: {field.description}" if field and field.description else ""
