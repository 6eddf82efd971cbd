"""REMORA_HOME/config.toml: people's own lines stay, generated ones are kept right."""

from __future__ import annotations

import json
import re
from pathlib import Path

from controlplane.embedded.files import write_private

HEAD = """\
# Settings of this control plane; `remora server config` lists all of them with their source.
# Environment variables (REMORA_…) win over this file. Lines marked "generated" are rewritten by `remora server up`.
"""
MARK = "  # generated"
_LINE = re.compile(r"^(\w+)\s*=.*$")


def with_values(text: str, values: dict[str, str | int]) -> str:
    """`text` with these generated top-level keys. Pure; a key that a person set without the mark is left alone."""
    wanted = {name: f"{name} = {json.dumps(value)}{MARK}" for name, value in values.items()}
    lines = (text or HEAD).splitlines()
    tables = [number for number, line in enumerate(lines) if line.startswith("[")]
    end = tables[0] if tables else len(lines)
    for number, line in enumerate(lines[:end]):
        found = _LINE.match(line)
        if found and (name := found.group(1)) in wanted:
            generated = wanted.pop(name)
            lines[number] = generated if line.endswith(MARK) else line
    return "\n".join([*lines[:end], *wanted.values(), *lines[end:]]) + "\n"


def keep_values(path: Path, values: dict[str, str | int]) -> None:
    """Write these generated keys into the file, if they are not there already."""
    text = path.read_text() if path.exists() else ""
    changed = with_values(text, values)
    if changed != text:
        write_private(path, changed)
