"""Pages that are generated say what the code says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = ("configuration", "limits", "never_run", "permissions", "reasons", "security_tests", "settings")


@pytest.mark.parametrize("name", [f"gen_{page}" for page in PAGES])
def test_the_page_is_current(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / f"{name}.py"), "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_settings_are_grouped_as_the_source_groups_them() -> None:
    source = "\n".join(
        [
            "    home: Path = Field(description=1)",
            "    # Addresses",
            "    bind: str = Field(1)",
            "    # A comment on the next one",
            "    # Caps",
            "    most: int | None = Field(",
            "        # not at this depth",
        ]
    )
    assert _tool("gen_settings").sections(source) == {"State": ["home"], "Addresses": ["bind"], "Caps": ["most"]}


def test_every_setting_stands_on_the_page_once() -> None:
    tool = _tool("gen_settings")
    page = tool.render()
    for name in tool.Settings.model_fields:
        assert page.count(f"| `REMORA_{name.upper()}` |") == 1, name
    assert "| `REMORA_RETENTION_MACHINE_EVENTS` | `7776000` |" in page
    assert "| `REMORA_CHORES` |  |" in page


def test_every_code_of_the_security_tests_has_a_test_or_a_reason() -> None:
    tool = _tool("gen_security_tests")
    assert tool.problems(tool.covered()) == []


def test_what_is_wrong_with_a_marker_is_said() -> None:
    tool = _tool("gen_security_tests")
    source = '@pytest.mark.security("N01", "N99")\n@pytest.mark.security("N15")\ndef test_a(): ...\n'
    found = {code: {"tests/test_a.py": [name]} for code, name in tool.marked(source)}
    said = tool.problems(found)
    assert "N99 is no code: tests/test_a.py" in said
    assert "N15 has tests, so it does apply" in said
    assert "N02 has neither a test nor a reason" in said
    assert not any(sentence.startswith(("N01", "N16")) for sentence in said)


@pytest.mark.security("I10")
def test_no_page_lets_the_whole_world_in() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        assert "0.0.0.0/0" not in page.read_text(), page
