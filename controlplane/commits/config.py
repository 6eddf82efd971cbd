"""A commit's valohai.yaml: parsed and judged once, kept as JSON. Pure.

The text comes from anybody, so its tree is measured from the parser's events before any object is built.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import yaml
from valohai_yaml.excs import ValidationErrors
from valohai_yaml.lint import lint
from valohai_yaml.objs import Config
from valohai_yaml.validation import get_validator
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from controlplane.errors import ValidationError

MAX_DEPTH = 40
MAX_NODES = 50_000
MAX_ALIASES = 100
MAX_NUMBER = 64
MAX_SHOWN = 5
NUMBER_TAGS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
# Tags of plain data; `timestamp`, `binary`, `set` and the rest have no form in JSON.
PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null"))

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def judge(text: bytes, name: str) -> dict[str, Any]:
    """{"steps": {name: step}, "warnings": [sentence]} of a valid file.

    Raises ValidationError (field `data`) with the file's name, line and problem.
    """
    source = _decode(text, name)
    root, data = _load(source, name)
    if not isinstance(data, list):
        raise _bad(name, "line 1: the file must be a list of steps, each beginning with '- step:'")
    _check_schema(data, root, name)
    try:
        result = lint(data, validate_schema=False, ansi_colors=False)  # type: ignore[arg-type]
        problems = [str(found["message"]).strip() for found in result.errors]
        if problems:
            raise _bad(name, "; ".join(problems[:MAX_SHOWN]))
        config = Config.parse(data)
        steps = {step_name: step.serialize() for step_name, step in config.steps.items()}
        kept = {"steps": steps, "warnings": [str(found["message"])[:500] for found in result.warnings][:MAX_SHOWN]}
        return json.loads(_plain_json(kept, name))
    except (ValueError, TypeError, KeyError, AttributeError, ValidationErrors, RecursionError) as error:
        raise _bad(name, f"can't be understood: {str(error)[:300]}") from error


def _decode(text: bytes, name: str) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise _bad(name, f"line {line}: is not UTF-8") from error


def _load(source: str, name: str) -> tuple[Node | None, Any]:
    """Tree with line marks, and the plain data of it."""
    try:
        _measure(source, name)
        root = yaml.compose(source, Loader=_Loader)
        if root is not None:
            _check_nodes(root, name)
            _check_expansion(root, name)
        data = yaml.load(source, Loader=_Loader)  # noqa: S506 (a safe loader; tags were checked above)
        _plain_json(data, name)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _bad(name, f"line {line}: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise _bad(name, str(error)[:300]) from error
    return root, data


def _measure(source: str, name: str) -> None:
    """Depth, size, aliases and tags, read from events: nothing is built yet."""
    depth = aliases = documents = 0
    for nodes, event in enumerate(yaml.parse(source, Loader=_Loader), start=1):
        line = event.start_mark.line + 1
        documents += isinstance(event, yaml.DocumentStartEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in PLAIN_TAGS:
            raise _bad(name, f"line {line}: the tag {str(tag)[:80]!r} is not allowed")
        if depth > MAX_DEPTH:
            raise _bad(name, f"line {line}: nested deeper than {MAX_DEPTH}")
        if aliases > MAX_ALIASES:
            raise _bad(name, f"line {line}: more than {MAX_ALIASES} aliases")
        if nodes > MAX_NODES:
            raise _bad(name, f"line {line}: more than {MAX_NODES} values")
        if documents > 1:
            raise _bad(name, f"line {line}: a second document begins; only one is read")


def _check_nodes(root: Node, name: str) -> None:
    """Keys are plain and stand once in their mapping; no number is so long that reading it takes minutes."""
    stack, visited = [root], set()
    while stack:
        node = stack.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, ScalarNode) and node.tag in NUMBER_TAGS and len(node.value) > MAX_NUMBER:
            raise _bad(name, f"line {node.start_mark.line + 1}: a number of {len(node.value)} characters")
        if not isinstance(node, MappingNode):
            stack.extend(node.value if isinstance(node, CollectionNode) else ())
            continue
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise _bad(name, f"line {line}: a key must be plain text")
            if key.value in seen:
                raise _bad(name, f"line {line}: the key {key.value[:80]!r} stands twice")
            seen.add(key.value)
            stack.extend((key, value))


def _check_expansion(root: Node, name: str) -> None:
    """Aliases and merge keys written out: their size is computed before anything expands them."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if not isinstance(node, CollectionNode):
            return 1
        if id(node) in open_nodes:
            raise _bad(name, f"line {node.start_mark.line + 1}: an alias points into itself")
        open_nodes.add(id(node))
        children = [part for pair in node.value for part in pair] if isinstance(node, MappingNode) else node.value
        total = 1 + sum(size(child) for child in children)
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    if size(root) > MAX_NODES:
        raise _bad(name, f"line 1: its aliases expand to more than {MAX_NODES} values")


def _check_schema(data: list[Any], root: Node | None, name: str) -> None:
    found = []
    for error in get_validator().iter_errors(data):
        path = list(error.absolute_path)
        where = ".".join(str(part) for part in path)
        found.append((_line(root, path), f"{error.message[:300]}{f' ({where})' if where else ''}"))
    if found:
        found.sort()
        raise _bad(name, "; ".join(f"line {line}: {message}" for line, message in found[:MAX_SHOWN]))


def _line(root: Node | None, path: list[Any]) -> int:
    """Line of the deepest node along `path`."""
    node = root
    line = 1
    for part in path:
        if isinstance(node, MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, CollectionNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _plain_json(data: Any, name: str) -> str:
    """JSON of `data`. Raises ValidationError for what JSON, or a container, has no form of."""
    try:
        text = json.dumps(data, allow_nan=False, default=_moment)
    except (TypeError, ValueError) as error:
        raise _bad(name, f"a value has no form in JSON: {error}; write it in quotes") from error
    if "\\u0000" in text or "\\ud8" in text.lower():
        _check_texts(data, name)
    return text


def _moment(value: Any) -> str:
    """A day or moment without quotes is what a command would get of it: its text."""
    if isinstance(value, date):
        return str(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _check_texts(value: Any, name: str) -> None:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in (*children, *(value if isinstance(value, dict) else ())):
        _check_texts(child, name)
    if isinstance(value, str) and ("\0" in value or any(0xD800 <= ord(char) <= 0xDFFF for char in value)):
        raise _bad(name, "a text holds NUL or half a surrogate pair")


def _bad(name: str, what: str) -> ValidationError:
    return ValidationError({"data": (f"{name}: {what.rstrip('.')}.", "bad_yaml")})
