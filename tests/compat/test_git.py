"""A project with a Git repository, as the client works with it: fetch, run by commit, branch and tag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compat.sample_code import LINES, YAML
from fixtures.git_server import Repository, SshGit, git
from fixtures.inputs import FileServer
from fixtures.stack import Stack
from fixtures.work import Work, counter_of, new_work

pytestmark = [pytest.mark.needs("sshd"), pytest.mark.needs("image")]


@dataclass
class GitWork:
    """A working tree that is linked to a project, and the repository that both know."""

    work: Work
    remote: Repository
    first: str
    second: str

    def git(self, *arguments: str) -> str:
        return git(self.work.vh.folder, *arguments)

    def commit(self, name: str, text: str) -> str:
        (self.work.vh.folder / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"change {name}")
        return self.git("rev-parse", "HEAD")

    def push(self, *names: str) -> None:
        self.git("push", "--quiet", "--force", str(self.remote.folder), *names)

    def ended(self, counter: str) -> tuple[str, list[str]]:
        """(commit, lines) of an execution that has run."""
        shown = self.work.finish(counter)
        return commit_of(shown), [event["message"] for event in self.work.stack.log(shown["id"])]


def commit_of(execution: dict[str, Any]) -> str:
    found = execution["commit"]
    return found if isinstance(found, str) else found["identifier"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshGit]:
    made = SshGit(tmp_path_factory.mktemp("compat-git") / "sshd")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def code(stack: Stack, served: FileServer, server: SshGit, new_folder: Callable[[], Path]) -> GitWork:
    """Two commits, the first one tagged v1."""
    folder = new_folder()
    remote = Repository(folder / "shown.git")
    work = new_work(stack, folder, "with-git", served, valohai_yaml=YAML, lines_py="print('the first code')\n")
    made = GitWork(work, remote, "", "")
    made.git("init", "--quiet", "--initial-branch=main")
    made.first = made.commit("note.txt", "first")
    made.git("tag", "v1")
    made.second = made.commit("lines.py", LINES)
    made.push("main", "v1")
    with stack.api() as api:
        url = f"{stack.url}/api/v1/projects/{work.project}/repository/"
        body = {"url": server.url(remote, "127.0.0.1"), "host_key": server.host_key}
        connected = api.post(url, json=body)
        assert connected.status_code == 201, connected.text
    server.allow(connected.json()["public_key"])
    return made


@pytest.fixture(scope="module")
def fetched(code: GitWork) -> str:
    """What `vh project fetch` said at first."""
    return code.work.vh("project", "fetch").text


def test_fetch_names_what_is_new_and_then_nothing(code: GitWork, fetched: str) -> None:
    assert f"Fetched: main ({code.second})" in fetched and f"Fetched: v1 ({code.first})" in fetched
    assert "2 new commits were fetched!" in fetched
    assert code.work.vh("project", "fetch").text == ""  # the client says nothing of nothing


def test_commits_are_listed_with_the_current_one_marked(code: GitWork, fetched: str) -> None:
    shown = code.work.vh("project", "commits").text
    assert f"{code.second} (current)" in shown and code.first in shown


def test_run_without_adhoc_runs_the_commit_of_the_folder(code: GitWork, fetched: str) -> None:
    (code.work.vh.folder / "lines.py").write_text("print('never sent')\n")
    done = code.work.vh("exec", "run", "lines", "--count", "2")
    code.git("checkout", "--quiet", "lines.py")
    commit, lines = code.ended(counter_of(done))
    assert commit == code.second
    assert "line 000001" in lines and "never sent" not in lines


def test_run_by_the_beginning_of_a_commit(code: GitWork, fetched: str) -> None:
    done = code.work.vh("exec", "run", "--commit", code.first[:10], "lines")
    commit, lines = code.ended(counter_of(done))
    assert commit == code.first and "the first code" in lines


def test_a_branch_that_is_not_known_yet_is_fetched_by_the_client(code: GitWork, fetched: str) -> None:
    code.git("checkout", "--quiet", "-b", "feature")
    newest = code.commit("lines.py", "print('on a branch')\n")
    code.push("feature")
    done = code.work.vh("exec", "run", "lines", stdin="y\n")
    code.git("checkout", "--quiet", "main")
    assert f"Fetched: feature ({newest})" in done.text
    commit, lines = code.ended(counter_of(done))
    assert commit == newest and "on a branch" in lines


def test_run_at_a_tag(code: GitWork, fetched: str) -> None:
    code.git("checkout", "--quiet", "v1")
    done = code.work.vh("exec", "run", "lines")
    code.git("checkout", "--quiet", "main")
    commit, _ = code.ended(counter_of(done))
    assert commit == code.first


def test_without_a_folder_the_newest_commit_runs(code: GitWork, fetched: str, tmp_path: Path) -> None:
    elsewhere = code.work.vh.at(tmp_path / "empty")
    with code.work.stack.api() as api:
        query = {"project": code.work.project, "adhoc": "false", "limit": 9000}
        newest = api.get("commits/", params=query).json()["results"][0]["identifier"]
    remote = ("--project", code.work.project, "--project-mode", "remote", "--project-root", str(elsewhere.folder))
    done = elsewhere(*remote, "exec", "run", "lines")
    assert f"newest commit {newest}" in done.text
    assert commit_of(code.work.finish(counter_of(done))) == newest


@pytest.mark.parametrize("name", ["main", "v1"])
def test_programs_name_branch_or_tag(code: GitWork, fetched: str, name: str) -> None:
    body = {"project": code.work.project, "commit": name, "step": "lines"}
    with code.work.stack.api() as api:
        made = api.post("executions/", json=body)
    assert made.status_code == 201, made.text
    assert commit_of(made.json()) == {"main": code.second, "v1": code.first}[name]


def test_what_can_not_be_fetched_is_a_warning_with_its_reason(code: GitWork, server: SshGit) -> None:
    allowed = server.authorized.read_text()
    server.authorized.write_text("")
    done = code.work.vh("project", "fetch")
    server.authorized.write_text(allowed)
    assert "Fetched" not in done.text
    assert "server refuses these credentials" in done.text
