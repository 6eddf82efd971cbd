"""Writes docs/reference/security-tests.md from the tests' markers; with `--check` only says whether it is up to date.

A test says which codes of tools/security_codes.py it covers: `@pytest.mark.security("N01", "N03")`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from generated import keep
from security_codes import CODES, DEFECTS, NOT_YET

ROOT = Path(__file__).resolve().parents[1]
MARK = "pytest.mark.security"
HEAD = """\
# Security tests

What must not work, and the tests that try it. Code that no test covers says which part is missing.

This page is generated from the tests' markers and `tools/security_codes.py`.

| Code | What holds | Tests |
| --- | --- | --- |"""
DEFECTS_HEAD = """
## Defects of other installers

What public installers of such platforms get wrong, why it can't happen here, and the tests that hold it.

| Code | Elsewhere | Here | Tests |
| --- | --- | --- | --- |"""


def marked(source: str) -> Iterator[tuple[str, str]]:
    """(code, name of the test) of every marker in a test file's text."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == MARK:
                for argument in mark.args:
                    yield ast.literal_eval(argument), node.name


def covered(root: Path = ROOT) -> dict[str, dict[str, list[str]]]:
    """{code: {file: tests}}."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in sorted((root / "tests").rglob("test_*.py")):
        for code, name in marked(file.read_text()):
            found.setdefault(code, {}).setdefault(file.relative_to(root).as_posix(), []).append(name)
    return found


def problems(found: dict[str, dict[str, list[str]]]) -> list[str]:
    """What is wrong with the markers: a sentence each."""
    codes = CODES.keys() | DEFECTS.keys()
    unknown = [f"{code} is no code: {', '.join(found[code])}" for code in sorted(found.keys() - codes)]
    bare = [f"{code} has neither a test nor a reason" for code in codes - found.keys() - NOT_YET.keys()]
    both = [f"{code} has tests, so it does apply" for code in sorted(found.keys() & NOT_YET.keys())]
    lost = [f"{code} does not apply yet, and is no code" for code in sorted(NOT_YET.keys() - codes)]
    return [*unknown, *sorted(bare), *both, *lost]


def render() -> str:
    """The page."""
    found = covered()
    rows = [f"| {code} | {sentence} | {_tests(found.get(code, {}), code)} |" for code, sentence in CODES.items()]
    defects = [
        f"| {code} | {elsewhere} | {here} | {_tests(found.get(code, {}), code)} |"
        for code, (elsewhere, here) in DEFECTS.items()
    ]
    return "\n".join([HEAD, *rows, DEFECTS_HEAD, *defects]) + "\n"


def _tests(files: dict[str, list[str]], code: str) -> str:
    if not files:
        return f"does not apply yet: {NOT_YET.get(code, '')}"
    return "<br>".join(f"`{file}`: {', '.join(sorted(set(names)))}" for file, names in files.items())


if __name__ == "__main__":
    wrong = problems(covered())
    sys.stderr.writelines(f"{sentence}\n" for sentence in wrong)
    sys.exit(1 if wrong else keep("security-tests.md", render(), "gen_security_tests.py"))
