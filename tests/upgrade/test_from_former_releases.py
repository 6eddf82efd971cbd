"""What former releases left is taken over: database, installation document, and agents that nobody has upgraded yet."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.script import ScriptDirectory

from controlplane.db.migrate import alembic_config
from dispatch.rig import PASSWORDS, RedisServer
from fixtures.bench import YAML, archive
from fixtures.stack import REMORA, Stack, wait_until
from remora import __version__
from worker.rig import QUICK, AgentProcess

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name for path in FOLDER.glob("v*.*.*"))
SECRET = "join-secret-of-own-machines"
pytestmark = pytest.mark.needs("redis", "engine", "image")


class Former:
    """A control plane of today on what a release left."""

    def __init__(self, version: str, home: Path) -> None:
        self.version = version.removeprefix("v")
        self.kept = FOLDER / version
        self.home = home
        self.expected: list[dict[str, Any]] = json.loads((self.kept / "expected.json").read_text())
        self.stack = Stack(home)

    def restore(self) -> None:
        """Its state folder, as it was when that release ended."""
        with tarfile.open(self.kept / "home.tar.xz") as tar:
            tar.extractall(self.home, filter="data")
        sql = (self.kept / "database.sql").read_text().replace("@HOME@", str(self.home))
        with closing(sqlite3.connect(self.home / "remora.db")) as database:
            database.executescript(sql)

    def document(self, queue: RedisServer) -> Path:
        """Its installation document, with this test's queue and secrets."""
        (self.home / "join-of-own-machines").write_text(SECRET)
        (self.home / "master-of-own-machines").write_text(PASSWORDS["master"])
        text = (self.kept / "installation.json").read_text()
        path = self.home / "installation.json"
        path.write_text(text.replace("@HOME@", str(self.home)).replace("@QUEUE_PORT@", str(queue.port)))
        return path


@pytest.fixture(scope="module", params=VERSIONS)
def former(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Former]:
    made = Former(request.param, tmp_path_factory.mktemp(request.param) / "home")
    made.home.mkdir(mode=0o700)
    made.restore()
    try:
        made.stack.start()
        yield made
    finally:
        made.stack.stop()
        shutil.rmtree(made.home, ignore_errors=True)


def test_the_version_of_this_tree_has_its_folder() -> None:
    assert f"v{__version__}" in VERSIONS, f"run `python tools/upgrade_fixture.py tests/upgrade/v{__version__}`"


def test_the_database_is_brought_to_the_newest_revision(former: Former) -> None:
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert former.stack.query("SELECT version_num FROM alembic_version") == [(head,)]


def test_executions_are_shown_as_they_were(former: Former) -> None:
    states = [one["status"] for one in former.expected]
    assert states == ["complete", "error"]
    with former.stack.api() as api:
        for wanted in former.expected:
            shown = api.get(f"executions/{wanted['id']}/").json()
            same = [name for name in wanted if name not in ("log", "outputs", "metadata")]
            assert {name: shown[name] for name in same} == {name: wanted[name] for name in same}
            log = [[one["stream"], one["message"]] for one in former.stack.log(wanted["id"])]
            assert [line for line in log if line[0] in ("stdout", "stderr")] == wanted["log"]
            assert api.get(f"executions/{wanted['id']}/metadata/").json() == wanted["metadata"]


def test_outputs_can_still_be_downloaded(former: Former) -> None:
    outputs = [output for one in former.expected for output in one["outputs"]]
    assert outputs
    with former.stack.api() as api:
        for output in outputs:
            address = api.get(f"data/{output['id']}/download/").json()["url"]
            assert httpx.get(address, trust_env=False).text == output["text"]


def test_people_sign_in_as_before(former: Former) -> None:
    login = {"username": former.stack.access["user"], "password": former.stack.access["password"]}
    answer = httpx.post(f"{former.stack.url}/api/v0/get-token/", data=login, trust_env=False)
    assert answer.status_code == 200, answer.text


def test_its_document_is_imported_and_its_agent_still_works(former: Former, tmp_path: Path) -> None:
    queue = RedisServer(tmp_path / "redis")
    queue.start()
    settings = {"queue_url": queue.address, "join_password": PASSWORDS["join"], "join_secret": SECRET}
    settings |= {"group": "own-machines", "name": "old", "allow_without_firewall": True, **QUICK}
    agent = AgentProcess(tmp_path / "agent", settings)
    agent.command = [sys.executable, str(former.kept / "agent.zip"), "run"]
    try:
        environment = {**os.environ, "REMORA_HOME": str(former.home)}
        words = [REMORA, "server", "import-installation", str(former.document(queue))]
        imported = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert imported.returncode == 0, imported.stderr
        agent.start()
        execution = _start(former.stack, "echo from an old agent; echo kept > /valohai/outputs/kept.txt")
        assert former.stack.wait(execution, timeout=90)["status"] == "complete", agent.log
        lines = [one["message"] for one in former.stack.log(execution) if one["stream"] == "stdout"]
        assert lines == ["from an old agent"]
        with former.stack.api() as api:
            assert [one["name"] for one in api.get(f"executions/{execution}/outputs/").json()] == ["kept.txt"]
        assert former.stack.query("SELECT version FROM worker WHERE name = 'old'") == [(former.version,)]
    finally:
        agent.stop()
        queue.stop()


def _start(stack: Stack, command: str) -> str:
    """An execution in the old agent's group."""
    with stack.api() as api:

        def found() -> Any:
            shown = api.get("environments/").json()["results"]
            return [one["id"] for one in shown if one["slug"].endswith("own-machines")]

        environment = wait_until(found, 20, "the environment")[0]
        project = api.post("projects/", data={"name": "of the old agent"}).json()["id"]
        sent = api.post(
            f"projects/{project}/import-package/",
            files={"data": ("data.tgz", archive({"valohai.yaml": YAML.encode()}), "application/gzip")},
            data={"description": "", "yaml_path": "valohai.yaml"},
        )
        body = {"project": project, "commit": sent.json()["identifier"], "step": "any", "environment": environment}
        created = api.post("executions/", json={**body, "command": command})
        assert created.status_code == 201, created.text
        return created.json()["id"]
