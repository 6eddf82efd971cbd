"""Writes docs/reference/never-run.md from the tests' markers; with `--check` only says whether it is up to date.

A test that stands in for something that can't run where the tests run says so:
`@pytest.mark.never_real("the real thing", "what is asserted instead")`.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from generated import keep

ROOT = Path(__file__).resolve().parents[1]
MARK = "pytest.mark.never_real"


def marked(source: str) -> list[tuple[str, str]]:
    """(the real thing, what is asserted instead) of every marker in a test file's text."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    found = []
    for call in calls:
        if ast.unparse(call.func) == MARK:
            thing, instead = (ast.literal_eval(argument) for argument in call.args)
            found.append((thing, instead))
    return found


def render() -> str:
    """The page."""
    rows = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for thing, instead in marked(file.read_text()):
            rows[thing] = f"| {thing} | {instead} | `{file.relative_to(ROOT)}` |"
    parts = [
        "# Never run on the real thing",
        "What no test has run on the real part yet, and what is asserted instead. Tell us when you have run it.",
        "This page is generated from the tests.",
        "\n".join(
            [
                "| The real thing | What is asserted instead | Where |",
                "| --- | --- | --- |",
                *map(rows.get, sorted(rows)),
            ]
        ),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(keep("never-run.md", render(), "gen_never_run.py"))
