"""Writes docs/reference/settings.md from the settings; with `--check` only says whether it is up to date."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from controlplane import settings as module
from controlplane.settings import Settings
from generated import keep

HEAD = """\
# Settings

Of each setting the environment (`REMORA_NAME`) wins over `REMORA_HOME/config.toml` (`name = …`), and that over the
default. `remora server config` prints them all with their source, secrets masked. Durations are seconds, sizes bytes.

This page is generated from `controlplane/settings.py`."""
# Sections stand in the source as comments: a line of its own, right before the section's first setting.
SECTION = re.compile(r"^    # (?P<title>.+)$")
FIELD = re.compile(r"^    (?P<name>[a-z]\w*): .+? = Field\(")
FIRST = "State"


def sections(source: str) -> dict[str, list[str]]:
    """Names of settings by the section that they stand in. Pure."""
    found: dict[str, list[str]] = {FIRST: []}
    title = FIRST
    for line in source.splitlines():
        if comment := SECTION.match(line):
            title = comment["title"]
        elif field := FIELD.match(line):
            found.setdefault(title, []).append(field["name"])
    return {name: fields for name, fields in found.items() if fields}


def render() -> str:
    """The page. Raises LookupError when a setting stands in no section."""
    fields = Settings.model_fields
    grouped = sections(Path(module.__file__).read_text())
    if missing := set(fields) - {name for names in grouped.values() for name in names}:
        raise LookupError(f"not found in the source: {', '.join(sorted(missing))}")
    parts = [HEAD]
    for title, names in grouped.items():
        rows = [_row(name, fields[name]) for name in names]
        parts.append("\n".join([f"## {title}", "", "| setting | default | what |", "| --- | --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    if not field.description:
        raise LookupError(f"{name} has no description")
    return f"| `REMORA_{name.upper()}` | {_default(field)} | {field.description.replace('|', chr(92) + '|')} |"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`~/.remora`"
    value: Any = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:.0f}`" if value.is_integer() else f"`{value}`"
    return f"`{value}`"


if __name__ == "__main__":
    sys.exit(keep("settings.md", render(), "gen_settings.py"))
