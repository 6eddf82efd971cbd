"""A page of docs/reference/ that is made from the code: written, or only compared."""

from __future__ import annotations

import sys
from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"


def keep(name: str, text: str, tool: str) -> int:
    """Write the page; with `--check` on the command line write nothing and return 1 unless it is this text."""
    target = REFERENCE / name
    if "--check" not in sys.argv[1:]:
        target.write_text(text)
        return 0
    if target.exists() and target.read_text() == text:
        return 0
    sys.stderr.write(f"docs/reference/{name} is not up to date: run tools/{tool}\n")
    return 1
