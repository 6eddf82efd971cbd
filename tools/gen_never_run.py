"""Writes docs/reference/never-run.md from the tests' markers; with `--check` only says whether it is up to date.

A test that stands in for something that can't run where the tests run says so:
`@pytest.mark.never_real("the real thing", "what is asserted instead")`.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "reference" / "never-run.md"
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


def main() -> int:
    """0 when the page is as it should be."""
    text = render()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text)
        return 0
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    sys.stderr.write("docs/reference/never-run.md is not up to date: run tools/gen_never_run.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
