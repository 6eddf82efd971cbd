"""The pages' commands do what they say; pages name what exists."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from fixtures.refusals import refusals
from fixtures.stack import ROOT, Stack, running_stack
from fixtures.typed import play, typed_in

TUTORIAL = ROOT / "docs" / "tutorial" / "first-execution.md"
INSTALL = ROOT / "docs" / "how-to" / "install-a-worker.md"
DEFAULT_URL = "http://127.0.0.1:8765"
# What the page types as root and to systemd, done by this user and without it.
AS_USER = """
sudo() { "$@"; }
systemctl() {
    opt/current run --home "$PWD/agent" > agent.log 2>&1 &
    echo $! > agent.pid
    for _ in $(seq 100); do [ -e agent/identity/worker.json ] && echo active && return; sleep 0.2; done
    cat agent.log; return 1
}
"""


def environment(folder: Path) -> dict[str, str]:
    """What a person's shell has."""
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return {"HOME": str(folder), "PATH": path, "COLUMNS": "400", "LC_ALL": "C.UTF-8"}


def test_tutorial(stack: Stack, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    (tmp_path / ".remora").symlink_to(stack.home)
    typed = typed_in(TUTORIAL)
    assert len(typed) >= 15
    play(typed, lambda text: text.replace(DEFAULT_URL, stack.url), tmp_path, environment(tmp_path))


@pytest.mark.needs("engine", "redis")
def test_install_a_worker(agent_file: Path, tmp_path: Path) -> None:
    """On a control plane of its own: a second machine in the group would get others' executions."""
    file = f"remora-agent-{os.uname().machine}.pex"
    places = f"--root {tmp_path}/opt --home {tmp_path}/agent --units {tmp_path}/units --no-start --without-firewall"
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")

    def here(text: str) -> str:
        text = text.replace("tools/agent_release.py", f"{ROOT}/tools/agent_release.py --out dist/agent")
        text = text.replace("./remora-agent-x86_64.pex install", f"dist/agent/0.1.0/{file} install {places}")
        text = text.replace("/opt/remora-agent", f"{tmp_path}/opt").replace("/etc/systemd/system", f"{tmp_path}/units")
        text = text.replace("current status", f"current status --root {tmp_path}/opt --home {tmp_path}/agent")
        release = f"{tmp_path}/.remora/stores/releases/agent/0.1.0"
        return text.replace("fetch-release release", f"fetch-release --root {tmp_path}/opt {release}")

    with running_stack() as stack:
        (tmp_path / ".remora").symlink_to(stack.home)
        try:
            play(typed_in(INSTALL), here, tmp_path, environment(tmp_path) | {"XDG_CACHE_HOME": cache}, AS_USER)
        finally:
            pid = tmp_path / "agent.pid"
            if pid.exists():
                os.kill(int(pid.read_text()), signal.SIGTERM)


def test_the_page_of_releases_names_every_refusal() -> None:
    code = "".join((ROOT / "worker_bootstrap" / name).read_text() for name in ("release.py", "host/fetching.py"))
    raised = set(re.findall(r"ReleaseError\(\s*\"(\w+)\"", code))
    page = (ROOT / "docs" / "reference" / "agent-release.md").read_text()
    checks = page.partition("## What a machine checks")[2].partition("\n## ")[0]
    assert raised == set(re.findall(r"^\| `(\w+)` \|", checks, re.MULTILINE))


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
