"""The tutorial's commands do what it says; pages name what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from fixtures.refusals import refusals
from fixtures.stack import ROOT, Stack

TUTORIAL = ROOT / "docs" / "tutorial" / "first-execution.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEFAULT_URL = "http://127.0.0.1:8765"


@dataclass
class Typed:
    """A command and the lines that must be seen after it, in order."""

    command: str
    seen: list[str] = field(default_factory=list)


def commands() -> list[Typed]:
    """What the tutorial types."""
    found: list[Typed] = []
    for block in BLOCK.findall(TUTORIAL.read_text()):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Typed(line[2:]))
            elif line:
                found[-1].seen.append(line)
    return found


def script(typed: list[Typed], url: str) -> str:
    """One shell for all of it, a mark before each command's output."""
    lines = ["exec 2>&1"]
    for number, one in enumerate(typed):
        lines.append(f"printf '\\n@@ {number}\\n'")
        lines.append(one.command.replace(DEFAULT_URL, url) + f" || {{ echo '@@ failed {number}'; exit 1; }}")
    return "\n".join(lines)


def test_tutorial(stack: Stack, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    (tmp_path / ".remora").symlink_to(stack.home)
    typed = commands()
    assert len(typed) >= 15
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "COLUMNS": "400",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        ["bash", "-c", script(typed, stack.url)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert "@@ failed" not in done.stdout, done.stdout[-4000:]
    parts = re.split(r"^@@ \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert len(parts) == len(typed), done.stdout[-4000:]
    for one, said in zip(typed, parts, strict=True):
        lines = [line.replace(DEFAULT_URL, stack.url) for line in one.seen]
        pattern = ".*?".join(".*?".join(re.escape(part) for part in line.split("…")) for line in lines)
        assert re.search(pattern, said, re.DOTALL), f"$ {one.command}\nexpected {one.seen}\ngot {said}"


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_refusal_of_the_page_is_run_by_a_test() -> None:
    code = "\n".join(file.read_text() for file in (ROOT / "tests" / "e2e").glob("test_*.py"))
    elsewhere = {"line of 10 MB", "bytes that are no text"}
    for what in refusals():
        assert f'"{what}"' in code or what in elsewhere, f"no test of {what!r}"
