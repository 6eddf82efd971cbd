"""Repositories by https: what a fetch makes known, and what runs from it."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import func, select

from controlplane.chores.models import Chore
from controlplane.chores.registry import KINDS
from controlplane.chores.service import ChoreService
from controlplane.db.session import SYSTEM
from controlplane.git.chores import Work
from controlplane.git.models import Repository as RepositoryRow
from controlplane.git.models import RepositoryRef
from controlplane.git.preparing import MOST_WAITING
from fixtures.git_server import HttpsGit, Repository, git
from fixtures.web import YAML, World, make_archive
from git.rig import FILES, Rig


def test_a_fetch_makes_branches_tags_and_commits_known(rig: Rig, repository: Repository) -> None:
    first = repository.commit(FILES, message="first\n\nwith a body")
    second = repository.commit({**FILES, "more.py": b""}, message="second")
    repository.tag("v1", first)
    repository.tag("v2", second, "the second release")
    rig.connect(rig.address(repository))
    assert rig.fetched() == {"main": second, "v1": first, "v2": second}
    shown = rig.commits()
    assert [(row["identifier"], row["ref"], row["description"]) for row in shown] == [
        (second, "main", "second"),
        (first, "v1", "first"),
    ]
    assert shown[0]["author"] == "Ada Author <ada@example.org>" and not shown[0]["adhoc"]
    assert shown[0]["repository"] == rig.shown()["id"]
    assert shown[0]["commit_time"] > shown[1]["commit_time"]


def test_a_second_fetch_tells_only_what_moved(rig: Rig, repository: Repository) -> None:
    repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    assert rig.fetched() == {}
    newer = repository.commit({**FILES, "a": b"a"}, "feature")
    assert rig.fetched() == {"feature": newer}


def test_executions_run_by_hash_short_hash_branch_and_tag(rig: Rig, repository: Repository) -> None:
    old = repository.commit(FILES)
    new = repository.commit({**FILES, "train.py": b"print('new')\n"})
    repository.tag("v1", old, "first release")
    rig.connect(rig.address(repository))
    rig.fetched()
    assert rig.ran(old) == rig.ran(old[:8]) == rig.ran("v1") == old
    assert rig.ran("main") == rig.ran(new) == new
    assert rig.archive(old)["train.py"] == FILES["train.py"] and rig.archive(new)["train.py"] == b"print('new')\n"
    assert rig.archive(old)["lib/tools.py"] == b"x = 1\n"


def test_a_branch_means_what_the_last_fetch_saw(rig: Rig, repository: Repository) -> None:
    old = repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    new = repository.commit({**FILES, "a": b"1"})
    assert rig.ran("main") == old
    rig.fetched()
    assert rig.ran("main") == new


def test_what_is_not_there_is_named_with_the_remedy(rig: Rig, repository: Repository) -> None:
    repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    assert "no commit, branch or tag 'nothing'; fetch first" in rig.why_not("nothing")
    assert "The repository has no commit 1234567890" in rig.why_not("1234567890")
    assert rig.why_not("--upload-pack=x").startswith("The project has no commit")


def test_a_beginning_that_several_have_is_refused(rig: Rig, repository: Repository) -> None:
    whole = repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    assert rig.ran(whole[:7]) == whole
    assert rig.why_not(whole[:6]).startswith("The project has no commit")


def test_a_forced_push_replaces_the_branch_and_keeps_what_ran(rig: Rig, repository: Repository) -> None:
    repository.commit(FILES, message="root")
    lost = repository.commit({**FILES, "secret": b"oops"}, message="lost")
    rig.connect(rig.address(repository))
    rig.fetched()
    assert rig.ran("main") == lost
    git(repository.folder, "update-ref", "-d", "refs/heads/main")
    kept = repository.commit({**FILES, "a": b"other history"}, anew=True, message="rewritten")
    assert rig.fetched() == {"main": kept}
    assert [row["description"] for row in rig.commits()] == ["rewritten"]
    assert rig.ran("main") == kept
    assert rig.ran(lost) == lost  # its code is in the store


def test_a_deleted_branch_runs_no_more(rig: Rig, repository: Repository) -> None:
    repository.commit(FILES)
    side = repository.commit({**FILES, "side": b""}, "feature/side", anew=True)
    rig.connect(rig.address(repository))
    rig.fetched()
    assert rig.ran("feature/side") == side
    repository.remove_branch("feature/side")
    rig.fetched()
    assert "no commit, branch or tag 'feature/side'" in rig.why_not("feature/side")
    assert {row["ref"] for row in rig.commits()} == {"main"}
    assert [ref["name"] for ref in rig.shown()["refs"]] == ["main"]


def test_the_same_commit_is_archived_once_and_to_the_same_bytes(rig: Rig, repository: Repository) -> None:
    commit = repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    rig.ran(commit)
    before = rig.row(commit).archive_sha256
    with rig.world.services.db.begin(None) as session:
        session.connection().exec_driver_sql("UPDATE \"commit\" SET archive_key = '', config = NULL")
    rig.ran(commit)
    assert rig.row(commit).archive_sha256 == before


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"train.py": b""}, "The archive has no file valohai.yaml"),
        ({"valohai.yaml": b"- step:\n    name: [\n"}, "valohai.yaml: line"),
        ({"valohai.yaml": b"- step:\n    name: x\n"}, "valohai.yaml: line"),
    ],
)
def test_a_commit_that_nothing_runs_from_says_why(
    rig: Rig, repository: Repository, files: dict[str, bytes], word: str
) -> None:
    commit = repository.commit(files)
    rig.connect(rig.address(repository))
    rig.fetched()
    assert word in rig.why_not("main")
    assert word in rig.why_not(commit)  # without another look
    assert rig.row(commit).archive_key == ""


def test_another_path_of_valohai_yaml_is_looked_at_again(rig: Rig, repository: Repository) -> None:
    repository.commit({"train.py": b"", "ml/valohai.yaml": YAML})
    rig.connect(rig.address(repository))
    rig.fetched()
    assert "no file valohai.yaml" in rig.why_not("main")
    changed = rig.ann.call("PUT", f"/api/v0/projects/{rig.world.project}/", json={"yaml_path": "ml/valohai.yaml"})
    assert changed.status_code == 200
    assert rig.run("main").status_code == 201


def test_a_wrong_path_of_valohai_yaml_takes_no_code_from_executions_that_wait(rig: Rig, repository: Repository) -> None:
    commit = repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    rig.ran("main")
    path = f"/api/v0/projects/{rig.world.project}/"
    assert rig.ann.call("PUT", path, json={"yaml_path": "nowhere.yaml"}).status_code == 200
    assert "no file nowhere.yaml" in rig.why_not("main")
    assert rig.archive(commit)["train.py"] == FILES["train.py"]


def test_the_text_of_valohai_yaml_is_read_from_the_commit(rig: Rig, repository: Repository) -> None:
    commit = repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    query = {"project": rig.world.project, "include": "config"}
    shown = rig.ann.get(f"/api/v0/commits/{commit}/", query_string=query)
    assert shown.status_code == 200 and shown.json["config"].encode() == YAML


def test_a_commit_that_is_too_old_for_the_list_runs_by_its_hash(
    rig: Rig, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = repository.commit(FILES)
    for number in range(3):
        repository.commit({**FILES, "n": str(number).encode()})
    rig.connect(rig.address(repository))
    object.__setattr__(rig.world.services.settings, "git_commits", 2)
    rig.fetched()
    assert len(rig.commits()) == 2
    assert rig.ran(old) == old
    assert len(rig.commits()) == 2


def test_adhoc_code_goes_on_beside_a_repository(rig: Rig, repository: Repository) -> None:
    repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    sent = rig.ann.upload(rig.world.project, make_archive()).json["identifier"]
    assert rig.ran(sent) == sent
    query = {"project": rig.world.project, "limit": 9000}
    listed = [rig.ann.get("/api/v0/commits/", query_string={**query, "adhoc": a}).json for a in ("false", "true")]
    assert [len(page["results"]) for page in listed] == [1, 1]
    assert listed[1]["results"][0]["identifier"] == sent


# ---- who may read the repository -----------------------------------------------------------------------
def private(servers: HttpsGit, name: str) -> Repository:
    return Repository(servers.root / "private" / f"{name}.git")


def test_a_private_repository_by_token(rig: Rig, servers: HttpsGit) -> None:
    repository = private(servers, "by-token")
    commit = repository.commit(FILES)
    shown = rig.connect(rig.address(repository), token=servers.token)
    assert shown["auth"] == "token" and servers.token not in str(shown)
    assert rig.fetched() == {"main": commit}
    assert rig.leftovers() == []
    files = [path for path in rig.home.rglob("*") if path.is_file()]
    assert files and not any(servers.token.encode() in path.read_bytes() for path in files)
    with rig.world.services.db.read(None) as session:
        stored = session.connection().exec_driver_sql("SELECT secret FROM repository").scalar()
    assert servers.token not in str(stored)


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_missing_or_wrong_token_is_told(rig: Rig, servers: HttpsGit, token: str) -> None:
    repository = private(servers, f"no-{token}-token")
    repository.commit(FILES)
    rig.connect(rig.address(repository), **({"token": token} if token else {}))
    sentence, reason = rig.refused()
    assert reason == "git_auth_failed" and "refuses these credentials" in sentence
    assert not token or token not in sentence


def test_another_server_gets_no_credentials_of_the_first(rig: Rig, servers: HttpsGit) -> None:
    repository = private(servers, "moving")
    repository.commit(FILES)
    rig.connect(rig.address(repository), token=servers.token)
    assert rig.change(ref="main")["auth"] == "token"
    assert rig.change(url="https://thief.example/x.git")["auth"] == "none"


def test_what_is_not_there_and_what_moved_are_told(rig: Rig, servers: HttpsGit, repository: Repository) -> None:
    repository.commit(FILES)
    rig.connect(servers.url("nothing-here"))
    assert rig.refused()[1] == "git_not_found"
    rig.change(url=rig.address(repository).replace(str(servers.port), f"{servers.port}/moved"))
    sentence, reason = rig.refused()
    assert reason == "git_redirected" and "Set the address that the repository has now" in sentence


def test_a_certificate_that_is_not_trusted_is_told(rig: Rig, repository: Repository) -> None:
    repository.commit(FILES)
    object.__setattr__(rig.world.services.settings, "ca_bundle", None)
    rig.connect(rig.address(repository))
    assert rig.refused()[1] == "git_tls"


# ---- waiting -------------------------------------------------------------------------------------------
def test_a_fetch_that_takes_longer_says_that_it_goes_on(world: World, servers: HttpsGit) -> None:
    """Nobody runs chores here."""
    object.__setattr__(world.services.preparing, "_wait_seconds", 0.1)
    rig = Rig(world, servers)
    rig.connect(servers.url("x"))
    answer = rig.fetch()
    assert answer["commits"] == [] and "goes on by itself" in answer["errors"][0]
    assert rig.shown()["fetch"]["state"] == "queued"


def test_an_execution_whose_code_takes_longer_says_so(rig: Rig, world: World, repository: Repository) -> None:
    repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    object.__setattr__(world.services.preparing, "_wait_seconds", 0.0)
    answer = rig.run("main")
    assert answer.status_code == 503 and "is being prepared" in answer.json["message"]


def test_an_address_that_was_changed_while_it_was_fetched_brings_nothing(
    rig: Rig, world: World, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit(FILES)
    rig.connect(rig.address(repository))
    bring, other = Work.bring, rig.servers.url("other")

    def slowly(work: Work) -> None:
        bring(work)
        rig.change(url=other)

    monkeypatch.setattr(Work, "bring", slowly)
    assert rig.fetch() == {"commits": [], "errors": ["The repository's address was changed meanwhile; fetch again."]}
    assert (rig.shown()["url"], rig.shown()["refs"], rig.commits()) == (other, [], [])


def test_a_made_up_hash_costs_a_viewers_project_no_fetch(world: World, servers: HttpsGit) -> None:
    """Nobody runs chores here: what is asked for stays in line."""
    object.__setattr__(world.services.preparing, "_wait_seconds", 0.0)
    rig = Rig(world, servers)
    rig.connect(servers.url("x"))
    body = {"project": world.project, "commit": "0123456789", "step": "train"}
    assert world.client("vic").post("/api/v0/executions/", json=body).status_code == 403
    assert waiting(world) == 0
    answers = [rig.run(f"{number:010x}") for number in range(MOST_WAITING + 1)]
    assert [answer.status_code for answer in answers] == [503] * MOST_WAITING + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert waiting(world) == MOST_WAITING


def waiting(world: World) -> int:
    with world.services.db.read(SYSTEM) as session:
        return session.scalar(select(func.count()).select_from(Chore).where(Chore.kind == "git-snapshot")) or 0


def test_without_a_repository_a_fetch_says_what_to_do(rig: Rig) -> None:
    answer = rig.ann.post(f"/api/v0/projects/{rig.world.project}/fetch/")
    assert answer.status_code == 409 and "has no repository" in answer.json["message"]


def test_a_removed_repository_leaves_executions_their_code(rig: Rig, repository: Repository) -> None:
    commit = repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    rig.ran("main")
    assert rig.ann.delete(rig.settings_url).status_code == 204
    assert rig.ann.get(rig.settings_url).status_code == 404
    assert rig.commits() == [] and rig.archive(commit)["train.py"] == FILES["train.py"]
    assert rig.why_not("main").startswith("The project has no commit 'main'; send the code first")


def test_repositories_are_listed_with_their_project(rig: Rig, repository: Repository) -> None:
    rig.connect(rig.address(repository))
    mine = rig.ann.get("/api/v0/repositories/", query_string={"limit": 100}).json["results"]
    assert [row["project"]["id"] for row in mine] == [rig.world.project]
    assert rig.world.client("eve").get("/api/v0/repositories/").json["results"] == []


def test_a_deleted_project_leaves_no_copy_and_no_secret(rig: Rig, repository: Repository) -> None:
    commit = repository.commit(FILES)
    rig.connect(rig.address(repository), token="a-token-that-nobody-needs")
    rig.fetched()
    assert rig.ran(commit) == commit
    execution = rig.ann.get(f"/api/v0/executions/{rig.world.project}:latest/").json["id"]
    rig.ann.post(f"/api/v0/executions/{execution}/stop/")
    assert list(rig.home.glob("*/mirror.git"))
    assert rig.ann.delete(f"/api/v0/projects/{rig.world.project}/").status_code == 204
    with rig.world.services.db.read(SYSTEM) as session:
        assert session.scalars(select(RepositoryRow)).all() == []
        assert session.scalars(select(RepositoryRef)).all() == []
        forgetting = session.scalars(select(Chore).where(Chore.kind == "git-forget")).one().id
    ended(rig.world, forgetting)
    assert not list(rig.home.glob("*/mirror.git"))
    assert rig.archive(commit)["train.py"] == FILES["train.py"], "what ran is kept"


def test_forgetting_twice_is_no_failure(rig: Rig, repository: Repository) -> None:
    repository.commit(FILES)
    rig.connect(rig.address(repository))
    rig.fetched()
    gone = rig.shown()["id"]
    assert rig.ann.delete(f"/api/v0/projects/{rig.world.project}/").status_code == 204
    for _ in range(2):
        with rig.world.services.db.begin(SYSTEM) as session:
            again = ChoreService(KINDS).enqueue(session, "git-forget", {"repository": gone})
        assert ended(rig.world, again) == "done"


def ended(world: World, chore: str) -> str:
    """How a chore ended."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with world.services.db.read(SYSTEM) as session:
            state = session.get_one(Chore, chore).state
        if state in ("done", "failed"):
            return state
        time.sleep(0.02)
    raise AssertionError(f"the chore {chore} is still {state}")
