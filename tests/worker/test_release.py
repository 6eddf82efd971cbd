"""The agent as it ships: one file, built, signed, fetched, started, killed and started again."""

from __future__ import annotations

import base64
import json
import os
import platform
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.agent_file import build_agent
from fixtures.stack import REMORA
from plugin.parts import find_python
from worker.rig import Rig
from worker_bootstrap.agent import VERSION

ARCHITECTURES = ("x86_64", "aarch64")
COUNT = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.1; done"


@pytest.fixture(scope="module")
def pex_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the file unpacks itself."""
    return tmp_path_factory.mktemp("pex-root")


@pytest.fixture(scope="module")
def shipped(agent_file: Path, pex_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A rig whose agent is the file, not the source."""
    rig = Rig(tmp_path_factory.mktemp("shipped"), slots=2)
    rig.agent.command = [str(agent_file), "run"]
    rig.agent.environment = {"PEX_ROOT": str(pex_root), "PYTHONPATH": ""}
    try:
        rig.agent.start()
        yield rig
    finally:
        rig.close()


def keeper_of(rig: Rig, attempt: str) -> int:
    return int((rig.agent.home / "work" / attempt / "log" / "keeper.lock").read_text())


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    return dict(pair.split("=", 1) for pair in pairs)


# ---- the file ---------------------------------------------------------------------------------------
def test_both_architectures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    """The second build shares nothing with the first: another cache, other folders of its user, another umask."""
    first = build_agent(tmp_path / "one")
    before = os.umask(0o077)
    try:
        second = build_agent(tmp_path / "two", HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    finally:
        os.umask(before)
    assert [Path(path).name for path in first] == [f"remora-agent-{name}.pex" for name in ARCHITECTURES]
    assert list(first.values()) == list(second.values())


def test_each_file_carries_what_every_python_of_its_architecture_needs(tmp_path: Path) -> None:
    for path in build_agent(tmp_path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        architecture = Path(path).stem.removeprefix("remora-agent-")
        wheels = {name.split("/")[1] for name in names if name.startswith(".deps/") and name.count("/") > 1}
        compiled = [wheel for wheel in wheels if not wheel.endswith("-any.whl")]
        assert all(architecture in wheel for wheel in compiled), compiled
        for python in ("cp311", "cp312", "cp313"):
            assert any(wheel.startswith("cffi-") and python in wheel for wheel in wheels), sorted(wheels)
        assert not [
            name for name in names if name.endswith(".pyc") or "typer" in name or name.startswith("controlplane")
        ]


@pytest.mark.parametrize(
    "version", [pytest.param(one, marks=pytest.mark.needs(f"python{one}")) for one in ("3.11", "3.12", "3.13")]
)
def test_the_file_starts_with_each_python(agent_file: Path, tmp_path: Path, version: str) -> None:
    """`status` loads the agent's libraries too."""
    environment = {**os.environ, "PEX_ROOT": str(tmp_path / "pex")}
    command = [find_python(version), agent_file, "status", "--home", tmp_path / "none"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"remora-agent: There is no {tmp_path}/none: `remora-agent join` makes it.\n"


def test_nothing_but_the_locked_dependencies_is_in_it(agent_file: Path) -> None:
    lock = (Path(__file__).parents[2] / "requirements-agent.lock").read_text()
    whole = (Path(__file__).parents[2] / "requirements.lock").read_text()
    pins = {line.split(" ")[0] for line in lock.splitlines() if "==" in line}
    assert {pin for pin in pins if not pin.startswith("pywin32")} <= {line.split(" ")[0] for line in whole.splitlines()}
    with zipfile.ZipFile(agent_file) as archive:
        carried = json.loads(archive.read("PEX-INFO"))["distributions"]
    for wheel in carried:
        name, version = wheel.split("-")[:2]
        assert f"{name.replace('_', '-').lower()}=={version}" in pins


# ---- signed, fetched, installed ---------------------------------------------------------------------
def test_a_release_of_the_control_plane_is_fetched_and_installed(agent_file: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "REMORA_HOME": str(tmp_path / "home"), "PEX_ROOT": str(tmp_path / "pex")}

    def remora(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([REMORA, *words], env=environment, capture_output=True, text=True, timeout=60)

    done = remora("server", "release-agent", str(agent_file.parent))
    assert done.returncode == 0, done.stderr
    store = tmp_path / "home" / "stores" / "releases" / "agent" / VERSION
    assert done.stdout.startswith(f"Release {VERSION} until ") and str(store) in done.stdout
    key = tmp_path / "home" / "keys" / "release.key"
    assert key.stat().st_mode & 0o777 == 0o600 and key.stat().st_size == 32
    root = tmp_path / "root"
    root.mkdir()
    payload = json.loads((store / "manifest.json").read_text())["payload"]
    keys = json.loads(base64.b64decode(payload))["keys"]
    (root / "trust.json").write_text(json.dumps({"keys": keys}))
    fetched = subprocess.run(
        [agent_file, "fetch-release", "--root", root, store],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stdout.startswith(f"Installed release {VERSION}")
    assert (root / "current").resolve().read_bytes() == agent_file.read_bytes()
    shown = subprocess.run([root / "current", "--version"], env=environment, capture_output=True, text=True)
    assert shown.stdout == f"remora-agent {VERSION}\n"

    changed = tmp_path / "changed"
    changed.mkdir()
    with (changed / agent_file.name).open("wb") as file:
        file.write(agent_file.read_bytes())
    with zipfile.ZipFile(changed / agent_file.name, "a") as archive:
        archive.writestr("more.txt", "more")
    again = remora("server", "release-agent", str(changed))
    assert again.returncode == 1
    assert "was released with other bytes: raise the agent's version" in again.stderr


# ---- at work ----------------------------------------------------------------------------------------
@pytest.mark.needs("engine", "redis", "image")
def test_the_file_runs_an_execution_to_its_end(shipped: Rig) -> None:
    record = shipped.run("echo from the file; echo out > /valohai/outputs/model.txt")
    end = record.ends[0]
    assert (end.outcome, end.exit_code) == ("complete", 0), end
    assert shipped.lines(record, "stdout") == ["from the file"]
    assert shipped.store.objects[record.outputs["model.txt"]["key"]] == b"out\n"


@pytest.mark.needs("engine", "redis", "image")
def test_killed_and_started_again_it_finds_its_container(shipped: Rig, pex_root: Path) -> None:
    record = shipped.master.grant(shipped.job(COUNT))
    shipped.master.wait(lambda: any("line 5" in line for line in shipped.master.tail(record)), "its fifth line")
    keeper = keeper_of(shipped, record.job.attempt)
    assert Path(environment_of(keeper)["PYTHONPATH"]).is_relative_to(pex_root)
    assert b"worker_bootstrap.agent.logs.keeper" in Path(f"/proc/{keeper}/cmdline").read_bytes()
    shipped.agent.kill()
    time.sleep(1.0)
    assert Path(f"/proc/{keeper}").exists()
    shipped.agent.start()
    end = shipped.master.ended(record)
    assert (end.outcome, end.exit_code) == ("complete", 0), end
    assert shipped.lines(record, "stdout") == [f"line {number}" for number in range(1, 61)]


@pytest.mark.needs("engine", "redis", "image")
def test_status_tells_what_the_machine_is(shipped: Rig, agent_file: Path, pex_root: Path) -> None:
    worker = shipped.master.worker
    done = subprocess.run(
        [agent_file, "status", "--home", shipped.agent.home],
        env={**os.environ, "PEX_ROOT": str(pex_root)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    shown = json.loads(done.stdout)
    assert (shown["running"], shown["joined"], shown["worker"]) == (True, True, worker)
    assert shown["installation"] == "installation-of-the-test"


def test_unusable_settings_end_it_for_good(agent_file: Path, pex_root: Path, make_rig: Callable[..., Rig]) -> None:
    """Exit code 78: the service is not started again and again."""
    rig = make_rig(queue_url="redis://queue.example.test:6379")
    rig.agent.command = [str(agent_file), "run"]
    rig.agent.environment = {"PEX_ROOT": str(pex_root)}
    rig.agent.start()
    assert rig.agent.wait(20) == 78
    assert "without TLS: use rediss://" in rig.agent.log


@pytest.mark.never_real("The agent on arm64", "its file is built with every wheel that it needs, and not started")
@pytest.mark.needs("other-architecture")
def test_the_other_architecture_starts(tmp_path: Path) -> None:
    other = ARCHITECTURES[platform.machine() == "x86_64"]
    (made,) = build_agent(tmp_path, "--arch", other)
    assert subprocess.run([made, "--version"], capture_output=True, text=True).stdout == f"remora-agent {VERSION}\n"
