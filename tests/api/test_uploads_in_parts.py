"""Large uploads: in parts of a bucket by addresses that the store signs, and put together by a chore."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from controlplane.chores.models import Chore
from controlplane.chores.registry import KINDS
from controlplane.chores.runner import Runner
from controlplane.data import uploads
from controlplane.data.stores.base import MIB, PartRules
from controlplane.data.stores.s3 import S3Store
from controlplane.db.session import SYSTEM
from controlplane.settings import Settings
from fixtures.store_rigs import HERE, s3_bucket
from fixtures.store_servers import Server
from fixtures.web import FakeClock, World

UPLOADS = "/api/v1/uploads/"
CONTENT = hashlib.shake_256(b"large").digest(11 * MIB + 5)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"allowed_networks": HERE, "upload_part_bytes": 1000})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock.of_today()


@pytest.fixture
def bucket(world: World, versitygw: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The project's default store, a bucket in which 5 MiB are a part; its id."""
    monkeypatch.setattr(S3Store, "parts", PartRules(above=5 * MIB, usual=5 * MIB, largest=1 << 30, most=100))
    ann = world.client("ann")
    body = {"name": "mine", "type": "s3", "configuration": s3_bucket(versitygw), "project": world.project}
    made = ann.post("/api/v0/stores/", json=body)
    assert made.status_code == 201, made.text
    changed = ann.call("PATCH", f"/api/v0/projects/{world.project}/", json={"default_store": "mine"})
    assert changed.status_code == 200, changed.text
    return made.json["id"]


def opened(world: World, content: bytes, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    body = {"project": world.project, "name": "large.bin", "size": len(content), "sha256": digest, **more}
    answer = world.client("bob").post(UPLOADS, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json


def run_chores(world: World) -> None:
    """What the process `chores` does."""
    with world.services.db.read(SYSTEM) as session:
        waiting = session.scalars(select(Chore.id).where(Chore.state == "queued")).all()
    for chore in waiting:
        Runner(world.services.db, world.services.settings, KINDS).run(chore)


def put_parts(world: World, upload: dict[str, Any], content: bytes, *numbers: int) -> None:
    """PUT them to the store past Remora, and tell of each."""
    bob = world.client("bob")
    for part in bob.get(f"{UPLOADS}{upload['id']}/parts/").json:
        if part["number"] in numbers:
            piece = content[part["offset"] : part["offset"] + part["size"]]
            answer = httpx.put(part["url"], content=piece, headers=part["headers"], trust_env=False)
            assert answer.status_code == 200, answer.text
            told = bob.post(f"{UPLOADS}{upload['id']}/parts/{part['number']}/", json={"mark": answer.headers["ETag"]})
            assert told.status_code == 204, told.text


@pytest.mark.needs("versitygw")
def test_into_a_bucket_with_a_break(world: World, bucket: str) -> None:
    bob = world.client("bob")
    upload = opened(world, CONTENT, tags=["raw"], metadata={"rows": 3, "valohai.alias": "newest"})
    assert (upload["parts"], upload["part_size"], upload["missing"]) == (3, 5 * MIB, [1, 2, 3])
    put_parts(world, upload, CONTENT, 1, 3)
    path = f"{UPLOADS}{upload['id']}/"
    early = bob.post(f"{path}complete/")
    assert early.status_code == 409 and early.json["code"] == "parts_missing" and "2" in early.json["message"]
    assert bob.get(path).json["missing"] == [2], "somebody comes back with nothing but the id"
    assert [part["received"] for part in bob.get(f"{path}parts/").json] == [True, False, True]
    put_parts(world, upload, CONTENT, 2)
    accepted = bob.post(f"{path}complete/")
    assert (accepted.status_code, accepted.json["state"]) == (202, "completing"), accepted.text
    assert bob.post(f"{path}complete/").status_code == 202, "asking again does no harm"
    assert bob.delete(path).status_code == 409
    run_chores(world)
    done = bob.get(path).json
    assert done["state"] == "complete", done
    datum = bob.get(f"/api/v0/data/{done['datum']}/").json
    assert (datum["store"], datum["size"]) == (bucket, len(CONTENT))
    assert (datum["tags"], datum["aliases"], datum["metadata"]["rows"]) == (["raw"], ["newest"], 3)
    address = bob.get(f"/api/v0/data/{datum['id']}/download/").json["url"]
    assert httpx.get(address, trust_env=False).content == CONTENT
    assert bob.post(f"{path}complete/").json["id"] == datum["id"]


@pytest.mark.needs("versitygw")
def test_what_the_store_refuses_opens_it_again(world: World, bucket: str) -> None:
    bob, upload = world.client("bob"), opened(world, CONTENT)
    path = f"{UPLOADS}{upload['id']}/"
    put_parts(world, upload, CONTENT, 1, 2, 3)
    mark = '"00000000000000000000000000000000"'
    assert bob.post(f"{path}parts/2/", json={"mark": mark}).status_code == 204
    assert bob.post(f"{path}complete/").status_code == 202
    run_chores(world)
    shown = bob.get(path).json
    assert shown["state"] == "open" and shown["error"], shown
    assert bob.get(f"/api/v0/data/?project={world.project}").json["count"] == 0
    assert bob.delete(path).status_code == 204
    assert bob.get(path).json["state"] == "aborted"


@pytest.mark.needs("versitygw")
def test_a_small_one_is_one_part_and_done_at_once(world: World, bucket: str) -> None:
    upload = opened(world, b"small")
    (part,) = world.client("bob").get(f"{UPLOADS}{upload['id']}/parts/").json
    assert httpx.put(part["url"], content=b"small", headers=part["headers"], trust_env=False).status_code == 200
    done = world.client("bob").post(f"{UPLOADS}{upload['id']}/complete/")
    assert (done.status_code, done.json["store"]) == (200, bucket)


@pytest.fixture
def send(world: World) -> Callable[[dict[str, Any], bytes], None]:
    """All parts into the folder store."""

    def put(upload: dict[str, Any], content: bytes) -> None:
        for part in world.client("bob").get(f"{UPLOADS}{upload['id']}/parts/").json:
            piece = content[part["offset"] : part["offset"] + part["size"]]
            path = part["url"].removeprefix("http://remora.test:8765")
            answer = world.client().call(part["method"], path, data=piece, headers=part["headers"])
            assert answer.status_code == 201, answer.text

    return put


@pytest.mark.parametrize("right", [True, False])
def test_a_folder_store_by_a_chore(world: World, send: Any, monkeypatch: pytest.MonkeyPatch, right: bool) -> None:
    monkeypatch.setattr(uploads, "INLINE", 0)
    content, bob = bytes(range(256)) * 10, world.client("bob")
    upload = opened(world, content) if right else opened(world, content, sha256="0" * 64)
    path = f"{UPLOADS}{upload['id']}/"
    send(upload, content)
    assert bob.post(f"{path}complete/").status_code == 202
    run_chores(world)
    shown = bob.get(path).json
    if right:
        address = bob.get(f"/api/v0/data/{shown['datum']}/download/").json["url"]
        assert bob.get(address.removeprefix("http://remora.test:8765")).data == content
        assert bob.get(f"/api/v0/data/{shown['datum']}/").json["checksums"]["md5"] == hashlib.md5(content).hexdigest()
    else:
        assert shown["state"] == "open" and "another SHA-256" in shown["error"]
        assert bob.delete(path).status_code == 204
        assert not [one for one in (world.services.settings.stores_dir / "data").rglob("*") if one.is_file()]


def test_parts_that_there_are_not(world: World) -> None:
    upload = opened(world, b"x" * 1500)
    for number in (0, 3):
        answer = world.client("bob").post(f"{UPLOADS}{upload['id']}/parts/{number}/", json={"mark": "x"})
        assert answer.status_code == 400 and "parts 1 to 2" in answer.text, number
    assert world.client("vic").post(f"{UPLOADS}{upload['id']}/parts/1/", json={"mark": "x"}).status_code == 403
