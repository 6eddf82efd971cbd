"""Terraform's schemas and values: blocks, types, their encoding, and the proposal that a plan starts from.

A value is plain Python (str, int, float, bool, list, dict, None) or UNKNOWN. Types are cty's in JSON: `"string"`,
`["list", TYPE]`, `["object", {NAME: TYPE}]`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgpack

SINGLE, LIST, SET, MAP, GROUP = 1, 2, 3, 4, 5
SEQUENCES = (LIST, SET)


class MisfitError(Exception):
    """A value that does not fit its type; `path` is of Terraform's names."""

    def __init__(self, text: str, path: tuple[str | int, ...] = ()):
        super().__init__(f"{'.'.join(map(str, path))}: {text}" if path else text)
        self.text = text
        self.path = path


class Unknown:
    """What is known only after an apply."""

    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN: Final = Unknown()
_PACKED_UNKNOWN = msgpack.ExtType(0, b"\x00")


@dataclass(frozen=True, eq=False)
class Attribute:
    """`element` is the block that each item of a list or set of objects amounts to."""

    type: Any
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False

    @property
    def settable(self) -> bool:
        return self.required or self.optional

    @property
    def is_sequence(self) -> bool:
        return isinstance(self.type, list) and self.type[0] in ("list", "set")

    @cached_property
    def element(self) -> Block | None:
        inner = self.type
        while isinstance(inner, list) and inner[0] in ("list", "set"):
            inner = inner[1]
        if not isinstance(inner, list) or inner[0] != "object":
            return None
        return Block({name: Attribute(kind, optional=True) for name, kind in inner[1].items()}, {})


@dataclass(frozen=True, eq=False)
class Nested:
    """A block inside a block."""

    block: Block
    nesting: int

    @property
    def is_sequence(self) -> bool:
        return self.nesting in SEQUENCES


@dataclass(frozen=True, eq=False)
class Block:
    """Attributes and blocks by Terraform's names."""

    attributes: dict[str, Attribute]
    blocks: dict[str, Nested]

    @classmethod
    def of(cls, message: Any) -> Block:
        """From the message `Schema.Block`."""
        attributes = {
            a.name: Attribute(json.loads(a.type), a.required, a.optional, a.computed, a.sensitive)
            for a in message.attributes
        }
        return cls(attributes, {b.type_name: Nested(cls.of(b.block), b.nesting) for b in message.block_types})

    @cached_property
    def type(self) -> Any:
        fields = {name: attribute.type for name, attribute in self.attributes.items()}
        wrappers = {LIST: "list", SET: "set", MAP: "map"}
        for name, nested in self.blocks.items():
            inner = nested.block.type
            fields[name] = [wrappers[nested.nesting], inner] if nested.nesting in wrappers else inner
        return ["object", fields]


def encode(value: Any, kind: Any) -> bytes:
    """The value in MessagePack as cty writes it. Raises MisfitError."""
    return msgpack.packb(_fit(value, kind)) or b""


def decode(message: Any) -> Any:
    """The value of a message `DynamicValue`."""
    if not message.msgpack:
        return json.loads(message.json or "null")
    return msgpack.unpackb(message.msgpack, ext_hook=lambda code, data: UNKNOWN, strict_map_key=False)


def _fit(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if value is UNKNOWN:
        return _PACKED_UNKNOWN
    if isinstance(kind, str):
        return _fit_scalar(value, kind)
    wrapper, inner = kind
    if wrapper in ("list", "set") and isinstance(value, list):
        return [_fit(item, inner) for item in value]
    if wrapper == "map" and isinstance(value, dict):
        return {key: _fit(item, inner) for key, item in value.items()}
    if wrapper == "object" and isinstance(value, dict):
        return {name: _fit_field(name, value.get(name), field) for name, field in inner.items()}
    raise MisfitError(f"expected {wrapper}, got {type(value).__name__}")


def _fit_field(name: str, value: Any, kind: Any) -> Any:
    try:
        return _fit(value, kind)
    except MisfitError as error:
        raise MisfitError(error.text, (name, *error.path)) from None


def _fit_scalar(value: Any, kind: str) -> Any:
    if isinstance(value, dict | list):
        raise MisfitError(f"expected {kind}, got {type(value).__name__}")
    if kind == "string":
        return json.dumps(value) if isinstance(value, bool) else str(value)
    if kind == "bool":
        words = {"true": True, "false": False}
        if str(value).lower() not in words:
            raise MisfitError(f"expected bool, got {value!r}")
        return words[str(value).lower()]
    if kind == "number" and _is_number(value):
        number = float(value)
        return int(number) if number.is_integer() else number
    raise MisfitError(f"expected {kind}, got {value!r}")


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and re.fullmatch(r"-?[0-9.]+(e[+-]?[0-9]+)?", str(value)) is not None


def complete(block: Block, value: dict[str, Any]) -> dict[str, Any]:
    """A configuration in which every attribute is present, as null, and every block, as an empty list."""
    full = {name: value.get(name) for name in block.attributes}
    for name, nested in block.blocks.items():
        given = value.get(name)
        if given is UNKNOWN:
            full[name] = UNKNOWN
        elif nested.is_sequence:
            full[name] = [item if item is UNKNOWN else complete(nested.block, item) for item in given or []]
        elif nested.nesting == MAP:
            full[name] = {key: complete(nested.block, item) for key, item in (given or {}).items()}
        else:
            full[name] = complete(nested.block, given) if given else None
    return full


def propose(block: Block, config: dict[str, Any], prior: dict[str, Any] | None) -> dict[str, Any]:
    """What Terraform's core proposes: the configuration, with computed values that nobody set taken from before."""
    before = prior or {}
    proposed = dict(config)
    for name, attribute in block.attributes.items():
        if config.get(name) is None and attribute.computed:
            proposed[name] = before.get(name)
    for name, nested in block.blocks.items():
        if config.get(name) not in (None, UNKNOWN):
            proposed[name] = _propose_nested(nested, config[name], before.get(name))
    return proposed


def _propose_nested(nested: Nested, config: Any, prior: Any) -> Any:
    block = nested.block
    if nested.nesting == MAP:
        return {key: propose(block, item, (prior or {}).get(key)) for key, item in config.items()}
    if not nested.is_sequence:
        return propose(block, config, prior)
    left = list(prior or [])
    if nested.nesting == LIST:
        left += [None] * (len(config) - len(left))
        return [item if item is UNKNOWN else propose(block, item, old) for item, old in zip(config, left, strict=False)]
    return [item if item is UNKNOWN else propose(block, item, _take_like(block, item, left)) for item in config]


def _take_like(block: Block, item: dict[str, Any], left: list[Any]) -> Any:
    for index, old in enumerate(left):
        if _is_like(block, item, old):
            return left.pop(index)
    return None


def _is_like(block: Block, item: dict[str, Any], old: dict[str, Any]) -> bool:
    """Whether an element of a set is that of before: what the configuration leaves to the provider does not count."""
    for name, attribute in block.attributes.items():
        if attribute.computed and item.get(name) is None:
            continue
        if item.get(name) != old.get(name):
            return False
    return all(_are_like(nested, item.get(name), old.get(name)) for name, nested in block.blocks.items())


def _are_like(nested: Nested, items: Any, olds: Any) -> bool:
    if not nested.is_sequence:
        return items == olds
    items, olds = items or [], olds or []
    return len(items) == len(olds) and all(
        UNKNOWN not in (item, old) and _is_like(nested.block, item, old) for item, old in zip(items, olds, strict=True)
    )
