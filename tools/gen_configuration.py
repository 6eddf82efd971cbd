"""Writes docs/reference/configuration.md from the models; with `--check` only says whether it is up to date.

The JSON Schema of the installation document goes to docs/reference/installation.schema.json beside it.
"""

from __future__ import annotations

import json
import sys
from typing import Any, get_args

from pydantic.fields import FieldInfo

from generated import keep
from infra.installation import InstallationDocument
from stacks.config.base import Part
from stacks.config.choice import FLAVOURS
from stacks.config.common import Advanced

HEAD = """\
# Configuration of an installation

What a file of answers (`remora install --answers FILE`) or a stack (`pulumi config set --path`) holds: `flavour`,
`provider`, one object that is named as the flavour, and `advanced`. Keys that are **needed** have no default. A key
that is not here is refused, with the one that was probably meant.

This page is generated from `stacks/config/`."""


def parts_in(annotation: Any) -> list[type[Part]]:
    """Parts of the configuration that an annotation names. Pure."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Part) else []
    return [part for inner in get_args(annotation) for part in parts_in(inner)]


def rows(kind: type[Part], prefix: str = "") -> list[str]:
    """Rows of the table; those of a part within follow its own. Raises LookupError for a key without description."""
    made = []
    for name, field in kind.model_fields.items():
        inner = parts_in(field.annotation)
        is_list = "list[" in str(field.annotation)
        key = f"{prefix}{name}"
        made.append(f"| `{key}` | {_default(field, bool(inner))} | {_described(key, field, bool(inner))} |")
        for part in inner:
            made += rows(part, f"{key}[]." if is_list else f"{key}.")
    return made


def _described(key: str, field: FieldInfo, has_parts: bool) -> str:
    if not field.description and not has_parts:
        raise LookupError(f"{key} has no description")
    return (field.description or "see below").replace("|", "\\|")


def _default(field: FieldInfo, has_parts: bool) -> str:
    if field.is_required():
        return "**needed**"
    if has_parts:
        return ""
    value = field.get_default(call_default_factory=True)
    return "" if value in ("", [], {}) else f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def _table(title: str, kind: type[Part], text: str = "") -> str:
    head = [f"## {title}", ""] + ([text, ""] if text else [])
    return "\n".join([*head, "| key | default | what |", "| --- | --- | --- |", *rows(kind)])


def render() -> str:
    """The page."""
    sections = [HEAD]
    for flavour, providers in FLAVOURS.items():
        for provider, kind in providers.items():
            if kind is not None:
                sections.append(_table(f"`{flavour}` on `{provider}`", kind, (kind.__doc__ or "").split("\n")[0]))
    later = [f"{flavour} on {provider}" for flavour, all_ in FLAVOURS.items() for provider, k in all_.items() if not k]
    sections.append(_table("`advanced`", Advanced, "For every flavour."))
    sections.append(f"## Not there yet\n\n{', '.join(later)}.")
    return "\n\n".join(sections) + "\n"


def schema() -> str:
    """JSON Schema of the installation document."""
    return json.dumps(InstallationDocument.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    found = keep("configuration.md", render(), "gen_configuration.py")
    sys.exit(keep("installation.schema.json", schema(), "gen_configuration.py") or found)
