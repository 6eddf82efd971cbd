"""Ad-hoc code, as `vh exec run --adhoc` sends it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fixtures.web import YAML, World, make_archive


def code_files(world: World) -> list[Path]:
    return sorted((world.services.settings.stores_dir / "code").rglob("*.tar.gz"))


def test_upload_find_and_read_back(world: World) -> None:
    ann, archive = world.client("ann"), make_archive(**{"train.py": b"print(1)"})
    digest = hashlib.sha256(archive).hexdigest()
    assert ann.get(f"/api/v0/commits/~{digest}/", query_string={"project": world.project}).status_code == 404
    made = ann.upload(world.project, archive, description="heads/master-0-gabc\x1b[31m")
    assert made.status_code == 201, made.text
    assert made.json["identifier"] == f"~{digest}"
    assert (made.json["ref"], made.json["adhoc"], made.json["repository"]) == ("adhoc", True, None)
    assert made.json["ctime"] and made.json["commit_time"]
    found = ann.get(f"/api/v0/commits/~{digest}/", query_string={"project": world.project})
    assert found.status_code == 200 and found.json["adhoc"] is True and "config" not in found.json
    assert "\x1b" not in found.json["description"]
    whole = ann.get(f"{found.json['url'].removeprefix('http://remora.test:8765')}&include=config")
    assert whole.json["config"] == YAML.decode()
    assert [path.read_bytes() for path in code_files(world)] == [archive]
    assert code_files(world)[0].parent.name == world.project


def test_the_same_archive_is_the_same_commit(world: World) -> None:
    ann, archive = world.client("ann"), make_archive()
    first, second = ann.upload(world.project, archive), ann.upload(world.project, archive)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json == second.json
    elsewhere = world.client("eve").upload(world.foreign, archive)
    assert elsewhere.status_code == 201
    assert elsewhere.json["project"] == world.foreign and elsewhere.json["id"] != first.json["id"]
    assert len(ann.get(f"/api/v0/projects/{world.project}/commits/").json) == 1


def test_the_same_archive_at_once(world: World) -> None:
    archive = make_archive()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: world.client("ann").upload(world.project, archive), range(6)))
    assert {answer.status_code for answer in answers} <= {200, 201}, [answer.text for answer in answers]
    assert len({answer.json["id"] for answer in answers}) == 1


def test_lists(world: World) -> None:
    ann = world.client("ann")
    for number in range(3):
        world.clock.forward(1)
        ann.upload(world.project, make_archive(n=b"%d" % number))
    bare = ann.get(f"/api/v0/projects/{world.project}/commits/").json
    assert isinstance(bare, list) and len(bare) == 3
    assert set(bare[0]) >= {"identifier", "ref", "repository", "commit_time", "ctime", "adhoc"}
    assert bare[0]["ctime"] > bare[1]["ctime"] > bare[2]["ctime"]
    query = {"project": world.project, "limit": 9000}
    assert ann.get("/api/v0/commits/", query_string={**query, "adhoc": "False"}).json["results"] == []
    assert ann.get("/api/v0/commits/", query_string={**query, "adhoc": "true"}).json["count"] == 3
    assert ann.get("/api/v0/commits/").json["project"][0]["code"] == "required"


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        (b"- step:\n    name: a\n    image: b\n", "valohai.yaml: line 1: 'command' is a required property"),
        (b"- step:\n\tname: a\n", "line 2:"),
        (b"- a: 1\n  a: 2\n", "line 2: the key 'a' stands twice"),
        (b"- !!python/object/apply:os.system ['id']\n", "is not allowed"),
    ],
)
def test_a_bad_yaml_is_refused_with_line_and_problem(world: World, yaml: bytes, sentence: str) -> None:
    answer = world.client("ann").upload(world.project, make_archive(valohai_yaml=yaml))
    assert answer.status_code == 400
    assert sentence in answer.json["data"][0]["message"] and answer.json["data"][0]["code"] == "bad_yaml"
    assert code_files(world) == []


def test_hostile_archives_are_refused_and_nothing_is_kept(world: World) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("../../evil")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    answer = world.client("ann").upload(world.project, out.getvalue())
    assert answer.status_code == 400 and answer.json["data"][0]["code"] == "bad_archive"
    assert world.client("ann").upload(world.project, b"no archive").status_code == 400
    assert world.client("ann").upload(world.project, b"").json["data"][0]["code"] == "empty"
    assert code_files(world) == []


def test_missing_parts(world: World) -> None:
    path = f"/api/v0/projects/{world.project}/import-package/"
    answer = world.client("ann").post(path, data={"description": "x"}, content_type="multipart/form-data")
    assert answer.status_code == 400 and answer.json["data"][0]["code"] == "required"
    missing = world.client("ann").upload(world.project, make_archive(), yaml_path="other.yaml")
    assert missing.status_code == 400 and "other.yaml" in missing.json["yaml_path"][0]["message"]
    climbing = world.client("ann").upload(world.project, make_archive(), yaml_path="../../etc/passwd")
    assert climbing.status_code == 400


def test_short_hashes_find_their_commit(world: World) -> None:
    ann = world.client("ann")
    identifier = ann.upload(world.project, make_archive()).json["identifier"]
    assert ann.get(f"/api/v0/commits/{identifier[:12]}/").json["identifier"] == identifier
    assert ann.get("/api/v0/commits/~%/").status_code == 404
    assert world.client("eve").get(f"/api/v0/commits/{identifier}/").status_code == 404


def test_a_store_that_fails_is_503_and_leaves_no_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from controlplane.data.stores.base import StoreError
    from controlplane.data.stores.folder import FolderStore

    def full(*_: object) -> None:
        raise StoreError("full", "no space")

    monkeypatch.setattr(FolderStore, "put_file", full)
    answer = world.client("ann").upload(world.project, make_archive())
    assert answer.status_code == 503 and "full" in answer.json["detail"]
    assert world.client("ann").get(f"/api/v0/projects/{world.project}/commits/").json == []
