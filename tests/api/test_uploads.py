"""Files from people: in parts, resumed, completed by checksum, aborted."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from controlplane.settings import Settings
from fixtures.web import World

UPLOADS = "/api/v1/uploads/"
CONTENT = bytes(range(256)) * 10


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"upload_part_bytes": 1000})


def opened(world: World, content: bytes = CONTENT, **changes: Any) -> dict[str, Any]:
    body = {
        "project": world.project,
        "name": "sub/numbers.bin",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **changes,
    }
    answer = world.client("bob").post(UPLOADS, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json


def send(world: World, upload: dict[str, Any], content: bytes, *numbers: int) -> None:
    """PUT these parts as any client would: no token, only what the address says."""
    parts = world.client("bob").get(f"{UPLOADS}{upload['id']}/parts/").json
    for part in parts:
        if part["number"] in numbers and not part["received"]:
            piece = content[part["offset"] : part["offset"] + part["size"]]
            path = part["url"].removeprefix("http://remora.test:8765")
            answer = world.client().call(part["method"], path, data=piece, headers=part["headers"])
            assert answer.status_code == 201, answer.text


def test_in_parts_with_a_break(world: World) -> None:
    bob = world.client("bob")
    upload = opened(world, tags=["raw"], metadata={"rows": 10, "valohai.alias": "newest"})
    assert (upload["parts"], upload["part_size"], upload["missing"]) == (3, 1000, [1, 2, 3])
    send(world, upload, CONTENT, 1, 3)
    early = bob.post(f"{UPLOADS}{upload['id']}/complete/")
    assert early.status_code == 409 and early.json["code"] == "parts_missing" and "2" in early.json["message"]
    # Somebody comes back with nothing but the id.
    assert bob.get(f"{UPLOADS}{upload['id']}/").json["missing"] == [2]
    parts = bob.get(f"{UPLOADS}{upload['id']}/parts/?first=2&count=2").json
    assert [(part["number"], part["size"], part["received"]) for part in parts] == [(2, 1000, False), (3, 560, True)]
    send(world, upload, CONTENT, 2)
    done = bob.post(f"{UPLOADS}{upload['id']}/complete/")
    assert done.status_code == 200, done.text
    datum = done.json
    assert (datum["name"], datum["size"], datum["tags"]) == ("sub/numbers.bin", 2560, ["raw"])
    assert datum["checksums"]["md5"] == hashlib.md5(CONTENT).hexdigest()
    assert (datum["metadata"]["rows"], datum["creator"], datum["output_execution"]) == (10, world.users["bob"], None)
    address = bob.get(f"/api/v0/data/{datum['id']}/download/").json["url"]
    assert bob.get(address.removeprefix("http://remora.test:8765")).data == CONTENT
    assert bob.post(f"{UPLOADS}{upload['id']}/complete/").json["id"] == datum["id"]
    assert (
        bob.get(f"/api/v0/datum-aliases/resolve/?project={world.project}&name=newest").json["datum"]["id"]
        == datum["id"]
    )
    assert bob.delete(f"{UPLOADS}{upload['id']}/").status_code == 409
    left = [path.name for path in (world.services.settings.stores_dir / "data").rglob("*") if path.is_file()]
    assert left == ["numbers.bin"]


@pytest.mark.parametrize("content", [b"", b"short"])
def test_one_part(world: World, content: bytes) -> None:
    upload = opened(world, content)
    assert upload["parts"] == 1
    send(world, upload, content, 1)
    assert world.client("bob").post(f"{UPLOADS}{upload['id']}/complete/").json["size"] == len(content)


def test_other_bytes_than_were_said(world: World) -> None:
    bob, upload = world.client("bob"), opened(world, sha256="0" * 64)
    send(world, upload, CONTENT, 1, 2, 3)
    refused = bob.post(f"{UPLOADS}{upload['id']}/complete/")
    assert refused.status_code == 409 and refused.json["code"] == "checksum"
    assert bob.get(f"/api/v0/data/?project={world.project}").json["count"] == 0
    assert bob.delete(f"{UPLOADS}{upload['id']}/").status_code == 204
    assert bob.get(f"{UPLOADS}{upload['id']}/").json["state"] == "aborted"
    assert bob.get(f"{UPLOADS}{upload['id']}/parts/").status_code == 409
    assert not [path for path in (world.services.settings.stores_dir / "data").rglob("*") if path.is_file()]


def test_the_same_name_again_is_another_file(world: World) -> None:
    ids = set()
    for content in (b"one", b"two"):
        upload = opened(world, content, name="a.txt")
        send(world, upload, content, 1)
        ids.add(world.client("bob").post(f"{UPLOADS}{upload['id']}/complete/").json["id"])
    assert len(ids) == 2
    assert world.client("bob").get(f"/api/v0/data/?project={world.project}&name=a.txt").json["count"] == 2


def test_bad_uploads(world: World) -> None:
    bad = [
        {"name": "../x"}, {"name": "/etc/passwd"}, {"name": ""}, {"name": "a\\b"}, {"name": "a\nb"}, {"name": "x/../y"},
        {"name": "nul.txt"}, {"name": "a" * 256}, {"size": -1}, {"sha256": "x"}, {"tags": ["a\nb"]}, {"nothing": 1},
    ]  # fmt: skip
    for change in bad:
        body = {"project": world.project, "name": "a", "size": 1, "sha256": "0" * 64, **change}
        assert world.client("bob").post(UPLOADS, json=body).status_code == 400, change
    fine = {"project": world.project, "name": "a", "size": 1, "sha256": "0" * 64}
    assert world.client("vic").post(UPLOADS, json=fine).status_code == 403
    assert world.client("eve").post(UPLOADS, json=fine).status_code == 404
    huge = {**fine, "size": 6 << 40}
    assert world.client("bob").post(UPLOADS, json=huge).json["code"] == "limit_reached"
