"""Metadata of outputs, as user code writes it beside them. Pure.

`<file>.metadata.json` holds the object of one file; `valohai.metadata.jsonl` at the top has a line for each
file: {"file": name, "metadata": {…}}.
"""

from __future__ import annotations

import json
from typing import Any

SUFFIX = ".metadata.json"
PROPERTIES = "valohai.metadata.jsonl"
MAX_BYTES = 1_000_000
MAX_PROPERTIES_BYTES = 64_000_000
PREFIX = "/valohai/outputs/"


class BadSidecarError(ValueError):
    """Not what the format says; the message is for the user."""


def subject(name: str, names: set[str]) -> str:
    """The output that the file `name` describes, or empty when it is an output itself."""
    base = name.removesuffix(SUFFIX)
    return base if base != name and base in names else ""


def parse_sidecar(raw: bytes) -> dict[str, Any]:
    """The object of one sidecar. Raises BadSidecarError."""
    if len(raw) > MAX_BYTES:
        raise BadSidecarError(f"it is larger than {MAX_BYTES} bytes")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadSidecarError(f"it is no JSON ({str(error)[:100]})") from error
    if not isinstance(data, dict):
        raise BadSidecarError("it is no JSON object")
    return data


def parse_properties(raw: bytes) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """(metadata by relative name, sentences about lines that can't be used)."""
    found: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for number, line in enumerate(raw.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = parse_sidecar(line)
            name, metadata = entry["file"], entry["metadata"]
            if not isinstance(name, str) or not isinstance(metadata, dict):
                raise BadSidecarError("file and metadata: a name and an object are expected")
        except KeyError as error:
            problems.append(f"line {number}: {error} is missing")
        except BadSidecarError as error:
            problems.append(f"line {number}: {error}")
        else:
            key = name.removeprefix(PREFIX)
            found[key] = {**found.get(key, {}), **metadata}
    return found, problems
