"""Signed addresses of folder stores, as workers and browsers use them."""

from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from controlplane.data.stores.base import StoreError
from controlplane.db.session import SYSTEM
from controlplane.environments.models import Store

KEY = "project/execution/1/deep/modèle 1.bin"


@pytest.fixture
def store(world):
    with world.services.db.read(SYSTEM) as session:
        row = session.scalar(select(Store).where(Store.purpose == "data"))
        return world.services.stores.of_row(row)


def path(signed) -> str:
    parts = urlsplit(signed.url)
    return f"{parts.path}?{parts.query}"


def put(world, store, data: bytes = b"0123456789", key: str = KEY):
    signed = store.sign_put(key, len(data))
    return world.client().call("PUT", path(signed), data=data, headers=signed.headers)


def test_put_then_get(world, store):
    answer = put(world, store)
    assert answer.status_code == 201
    assert answer.headers["ETag"]
    answer = world.client().get(path(store.sign_get(KEY, filename="modèle 1.bin")))
    assert answer.status_code == 200
    assert answer.data == b"0123456789"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename")
    assert "mod%C3%A8le%201.bin" in answer.headers["Content-Disposition"]
    assert answer.headers["Content-Security-Policy"].startswith("sandbox")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("asked", "status", "data", "told"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=5-500", 206, b"56789", "bytes 5-9/10"),
    ],
)
def test_ranges(world, store, asked, status, data, told):
    put(world, store)
    answer = world.client().get(path(store.sign_get(KEY)), headers={"Range": asked})
    assert (answer.status_code, answer.data, answer.headers["Content-Range"]) == (status, data, told)
    assert answer.headers["Content-Length"] == str(len(data))


def test_a_range_beyond_the_end(world, store):
    put(world, store)
    answer = world.client().get(path(store.sign_get(KEY)), headers={"Range": "bytes=10-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */10"


def test_unchanged_object(world, store):
    etag = put(world, store).headers["ETag"]
    answer = world.client().get(path(store.sign_get(KEY)), headers={"If-None-Match": etag})
    assert (answer.status_code, answer.data) == (304, b"")


def test_head_says_size_and_etag_by_either_address(world, store):
    etag = put(world, store).headers["ETag"]
    for signed in (store.sign_get(KEY), store.sign_put(KEY, 10)):
        answer = world.client().call("HEAD", path(signed))
        assert answer.status_code == 200
        assert (answer.headers["ETag"], answer.headers["Content-Length"], answer.data) == (etag, "10", b"")


def test_a_second_put_changes_nothing(world, store):
    etag = put(world, store).headers["ETag"]
    for data in (b"0123456789", b"9876543210"):
        answer = put(world, store, data)
        assert answer.status_code == 412
        assert answer.json["code"] == "exists"
        assert answer.headers["ETag"] == etag
    assert world.client().get(path(store.sign_get(KEY))).data == b"0123456789"


@pytest.mark.security("N24")
def test_refusals_name_their_reason(world, store):
    put(world, store)
    client, signed = world.client(), path(store.sign_get(KEY))
    for address, code in (
        (signed.replace("expires=1", "expires=2"), "forged"),
        (signed.split("&sig")[0], "forged"),
        (path(store.sign_put(KEY, 10)), "wrong_method"),
    ):
        answer = client.get(address)
        assert (answer.status_code, answer.json["code"]) == (403, code), address
        assert answer.json["message"].endswith("Ask for a new one.")
    world.clock.forward(world.services.settings.signed_url_ttl + 1)
    answer = client.get(signed)
    assert (answer.status_code, answer.json["code"]) == (403, "expired")
    assert client.get(f"/store/{world.project}/a?sig=x").status_code == 404
    assert client.get("/store/nonsense/a").status_code == 404
    assert client.post(signed).status_code == 405


def test_a_missing_object(world, store):
    answer = world.client().get(path(store.sign_get("nothing")))
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_the_signed_size_is_the_cap_whatever_the_cap_of_code_is(world, store):
    data = b"x" * (world.services.settings.max_package_bytes + 2_000_000)
    assert put(world, store, data).status_code == 201
    assert store.stat(KEY).size == len(data)


@pytest.mark.parametrize("sent", [b"123", b"12345678901", b""])
def test_another_size_than_the_signed_one(world, store, sent):
    signed = store.sign_put(KEY, 10)
    answer = world.client().call("PUT", path(signed), data=sent)
    assert (answer.status_code, answer.json["code"]) == (400, "bad_size")
    with pytest.raises(StoreError):
        store.stat(KEY)


def test_full_disk(world, store, monkeypatch):
    def full(*_):
        raise StoreError("full", "the disk of the folder store is full")

    monkeypatch.setattr(store, "put_stream", full)
    answer = put(world, store)
    assert (answer.status_code, answer.json["code"]) == (507, "full")


@pytest.mark.security("N20", "N24")
def test_a_path_out_of_the_store(world, store):
    for key in ("..%2f..%2fetc%2fpasswd", "a/..%2f..%2fx", "%00"):
        answer = world.client().get(f"/store/{store._id}/{key}?sig=x")
        assert answer.status_code in (400, 404), key
