"""What every object store must do; one suite over all of them, on real servers.

fake-gcs-server checks neither signatures nor preconditions at signed addresses: it is used for bytes, and its
signatures are compared with published vectors in tests/unit/stores.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.data.stores.base import ObjectStore, SignedUrl, StoreError
from controlplane.data.stores.keys import check_key
from fixtures.store_rigs import Rig, params
from fixtures.stores import code_of

every_store = pytest.mark.parametrize("rig", params(), indirect=True)
checking_stores = pytest.mark.parametrize("rig", [p for p in params() if p.values[0] != "gcs"], indirect=True)
STORED = (200, 201, 204)


@pytest.fixture
def store(rig: Rig) -> ObjectStore:
    return rig.store


@pytest.fixture
def source(tmp_path: Path) -> Callable[[bytes], Path]:
    def make(data: bytes) -> Path:
        path = tmp_path / os.urandom(4).hex()
        path.write_bytes(data)
        return path

    return make


@pytest.fixture(scope="module")
def web() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


def send(web: httpx.Client, signed: SignedUrl, data: bytes = b"", **headers: str) -> httpx.Response:
    return web.request(signed.method, signed.url, content=data, headers={**signed.headers, **headers})


def keys(store: ObjectStore, prefix: str = "", *, deep: bool = True) -> list[str]:
    return [info.key for info in store.list(prefix, deep=deep)]


# ---- bytes -----------------------------------------------------------------------------------------
@every_store
def test_what_was_put_is_read_back(store, source):
    info = store.put_file("p/e/1/model.bin", source(b"0123456789"))
    assert (info.size, info.key) == (10, "p/e/1/model.bin")
    with store.open("p/e/1/model.bin") as reader:
        assert reader.read() == b"0123456789"
    assert store.stat("p/e/1/model.bin") == info
    assert info.etag


@every_store
def test_a_range_is_no_more_than_that_range(store, source):
    store.put_file("a", source(b"0123456789"))
    for start, length, wanted in ((3, 4, b"3456"), (8, None, b"89"), (8, 50, b"89")):
        with store.open("a", start, length) as reader:
            assert reader.read() == wanted


@every_store
def test_an_object_is_never_overwritten(store, source):
    store.put_file("a", source(b"first"))
    store.put_file("a", source(b"first"))
    for other in (b"other", b"longer than the first"):
        assert code_of(store.put_file, "a", source(other)) == "exists"
    with store.open("a") as reader:
        assert reader.read() == b"first"


@every_store
def test_an_empty_object(store, source):
    assert store.put_file("empty", source(b"")).size == 0
    with store.open("empty") as reader:
        assert reader.read() == b""


@every_store
def test_what_is_not_there_is_said_so(store, source):
    store.put_file("folder/a", source(b"x"))
    for key in ("nothing", "folder", "folder/a/b"):
        assert code_of(store.stat, key) == "not_found"
        assert code_of(store.open, key) == "not_found"
        store.delete(key)
    assert keys(store) == ["folder/a"]


@every_store
def test_delete_and_list(store, source):
    for key in ("x/1", "x/.hidden", "x/y/2", "z"):
        store.put_file(key, source(key.encode()))
    assert keys(store, "x/") == ["x/.hidden", "x/1", "x/y/2"]
    assert keys(store, "x/", deep=False) == ["x/.hidden", "x/1"]
    assert keys(store, "x") == ["x/.hidden", "x/1", "x/y/2"]
    assert keys(store, deep=False) == ["z"]
    store.delete("x/1")
    assert keys(store) == ["x/.hidden", "x/y/2", "z"]
    assert [info.size for info in store.list("x/")] == [9, 5]


@every_store
def test_a_list_has_many_pages(store, source, monkeypatch):
    file = source(b"x")
    wanted = [f"many/{number:02d}" for number in range(23)]
    for key in wanted:
        store.put_file(key, file)
    monkeypatch.setattr(store, "_page", 5, raising=False)
    assert keys(store, "many/") == wanted


BAD = ["", "/", "a//b", "../a", "a/../b", "a/.", "a/..", "/etc/passwd", "a\0b", "a\nb", "a\\b", "x/" + "é" * 128]
BAD += ["a/" * 500 + "b", "CON", "x/nul.txt", "COM1", "a\ud800b"]


@pytest.mark.security("N20")
@every_store
def test_bad_names_are_refused(store, source):
    for key in BAD:
        calls = [lambda k=key: store.put_file(k, source(b"x")), lambda k=key: store.stat(k)]
        calls += [lambda k=key: store.delete(k), lambda k=key: store.open(k), lambda k=key: store.sign_get(k)]
        calls += [lambda k=key: store.sign_put(k, 1), lambda k=key: store.begin(k)]
        for call in calls:
            assert code_of(call) == "bad_name", repr(key)


NAMES = ["é" * 127, "a b/ü/日本.txt", ".env", "...", "console.log", "a%2f..", "x?y=1&z#", "a+b", "a=b~c'()!*"]


@every_store
def test_unusual_names_are_kept(rig, store, source, web):
    # fake-gcs-server adds letters to a file's name on its disk.
    names = [key for key in NAMES if rig.kind != "gcs" or len(key.encode()) < 200]
    for key in names:
        store.put_file(key, source(key.encode()))
        assert store.stat(key).size == len(key.encode())
        assert send(web, store.sign_get(key)).content == key.encode()
        signed = store.sign_put(f"put/{key}", 1)
        assert send(web, signed, b"x").status_code in STORED
    assert keys(store) == sorted([*names, *(f"put/{key}" for key in names)])


@pytest.mark.security("N21")
@given(key=st.text(max_size=40))
def test_a_key_never_leads_out(key):
    try:
        check_key(key)
    except StoreError:
        return
    assert os.path.normpath(f"/root/{key}") == f"/root/{key}"


# ---- signed addresses --------------------------------------------------------------------------------
@every_store
def test_a_signed_address_writes_and_reads(store, web):
    assert send(web, store.sign_put("p/ä 1.bin", 10), b"0123456789").status_code in STORED
    read = send(web, store.sign_get("p/ä 1.bin"))
    assert (read.status_code, read.content) == (200, b"0123456789")
    assert read.headers["ETag"]
    part = send(web, store.sign_get("p/ä 1.bin"), Range="bytes=2-4")
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert part.headers["ETag"] == read.headers["ETag"]


@checking_stores
def test_a_browser_saves_it_under_its_name(store, source, web):
    store.put_file("p/1/model.bin", source(b"x"))
    shown = send(web, store.sign_get("p/1/model.bin", filename="modèle 1.bin")).headers["Content-Disposition"]
    assert shown.startswith("attachment")
    assert "mod%C3%A8le%201.bin" in shown


@checking_stores
def test_a_second_put_is_refused_and_changes_nothing(store, web):
    signed = store.sign_put("a", 5)
    assert send(web, signed, b"first").status_code in STORED
    for again in (signed, store.sign_put("a", 5)):
        assert send(web, again, b"other").status_code in (403, 409, 412)
    assert send(web, store.sign_get("a")).content == b"first"


@pytest.mark.parametrize("rig", [p for p in params() if p.values[0] in ("s3", "azure")], indirect=True)
def test_the_signature_itself_forbids_to_overwrite(store, web):
    """A writer that leaves the header out gains nothing."""
    send(web, store.sign_put("a", 5), b"first")
    signed = store.sign_put("a", 5)
    headers = {name: value for name, value in signed.headers.items() if name != "If-None-Match"}
    assert web.put(signed.url, content=b"other", headers=headers).status_code == 403
    assert send(web, store.sign_get("a")).content == b"first"


@pytest.mark.parametrize("rig", [p for p in params() if p.values[0] in ("folder", "s3")], indirect=True)
def test_the_size_is_signed(store, web):
    for data in (b"1234", b"123456"):
        assert send(web, store.sign_put("a", 5), data).status_code in (400, 403)
    assert code_of(store.stat, "a") == "not_found"


@pytest.mark.security("N24")
@checking_stores
def test_forged_addresses_are_refused(rig, store, source, web):
    store.put_file("a", source(b"\x01mine"))
    store.put_file("b", source(b"\x01other"))
    wrong = rig.make(0, True)
    get, put = store.sign_get("a"), store.sign_put("c", 1)
    refused = {
        "wrong key, reading": ("GET", wrong.sign_get("a").url),
        "wrong key, writing": ("PUT", wrong.sign_put("c", 1).url),
        "another object": ("GET", get.url.replace("/a?", "/b?")),
        "no signature": ("GET", get.url.partition("?")[0]),
        "writing by an address for reading": ("PUT", get.url),
        "deleting by an address for reading": ("DELETE", get.url),
        "deleting by an address for writing": ("DELETE", put.url),
        "an address that has expired": ("GET", rig.make(-2, False).sign_get("a").url),
        "writing by an address that has expired": ("PUT", rig.make(-2, False).sign_put("c", 1).url),
    }
    for what, (method, url) in refused.items():
        answer = web.request(method, url, content=b"x" if method == "PUT" else b"", headers=put.headers)
        assert answer.status_code in (401, 403, 405), (what, answer.status_code, answer.text[:200])
        assert b"\x01" not in answer.content, what
    assert keys(store) == ["a", "b"]


@every_store
def test_an_address_says_until_when(rig, store):
    assert (
        890 <= (store.sign_get("a").expires - rig.make(0, False).sign_put("a", 1).expires).total_seconds() + 900 <= 910
    )


# ---- large objects in parts --------------------------------------------------------------------------
def in_parts(web: httpx.Client, store: ObjectStore, key: str, upload: str, parts: list[bytes]) -> list[str]:
    """Marks of parts, sent by addresses that were signed in one batch."""
    batch = [store.sign_part(key, upload, number, len(part)) for number, part in enumerate(parts, 1)]
    answers = [send(web, signed, part) for signed, part in zip(batch, parts, strict=True)]
    assert all(answer.status_code in STORED for answer in answers), [answer.text[:200] for answer in answers]
    return [answer.headers.get("ETag", "") for answer in answers]


def three_parts(rig: Rig) -> list[bytes]:
    return [os.urandom(rig.part), os.urandom(rig.part), b"the end"]


@every_store
def test_an_object_in_parts(rig, store, web):
    parts = three_parts(rig)
    upload = store.begin("p/large.bin")
    marks = in_parts(web, store, "p/large.bin", upload, parts)
    assert code_of(store.stat, "p/large.bin") == "not_found"
    whole = b"".join(parts)
    info = store.complete("p/large.bin", upload, len(whole), marks)
    assert info.size == len(whole)
    with store.open("p/large.bin") as reader:
        assert reader.read() == whole
    assert (
        send(web, store.sign_get("p/large.bin"), Range=f"bytes={rig.part - 2}-{rig.part + 1}").content
        == whole[rig.part - 2 : rig.part + 2]
    )
    assert keys(store) == ["p/large.bin"]
    assert store.complete("p/large.bin", upload, len(whole), marks) == info, "said again: the answer was lost"
    store.delete("p/large.bin")
    assert keys(store) == []


@every_store
def test_parts_never_replace_an_object(rig, store, source, web):
    store.put_file("a", source(b"first"))
    parts = three_parts(rig)
    upload = store.begin("a")
    marks = in_parts(web, store, "a", upload, parts)
    assert code_of(store.complete, "a", upload, sum(map(len, parts)), marks) == "exists"
    store.abort("a", upload)
    with store.open("a") as reader:
        assert reader.read() == b"first"


@every_store
def test_a_resumed_upload_sends_only_what_is_missing(rig, store, web):
    parts = three_parts(rig)
    upload = store.begin("a")
    marks = in_parts(web, store, "a", upload, parts[:2])
    later = rig.make(0, False)
    signed = later.sign_part("a", upload, 3, len(parts[2]))
    marks.append(send(web, signed, parts[2]).headers.get("ETag", ""))
    assert later.complete("a", upload, sum(map(len, parts)), marks).size == sum(map(len, parts))


@every_store
def test_a_part_that_is_missing_makes_no_object(rig, store, web):
    parts = three_parts(rig)
    upload = store.begin("a")
    marks = in_parts(web, store, "a", upload, parts[:2])
    missing = '"00000000000000000000000000000000"'
    assert code_of(store.complete, "a", upload, sum(map(len, parts)), [*marks, missing]) in ("not_found", "denied")
    assert code_of(store.stat, "a") == "not_found"


@every_store
def test_parts_of_another_size_make_no_object(rig, store, web):
    parts = three_parts(rig)
    upload = store.begin("a")
    marks = in_parts(web, store, "a", upload, parts)
    assert code_of(store.complete, "a", upload, sum(map(len, parts)) + 1, marks) == "bad_size"
    assert code_of(store.stat, "a") == "not_found"


@every_store
def test_an_upload_that_was_aborted_is_gone(rig, store, web):
    upload = store.begin("a")
    marks = in_parts(web, store, "a", upload, three_parts(rig))
    store.abort("a", upload)
    store.abort("a", upload)
    if rig.kind != "azure":  # there nothing removes blocks before their week is over
        assert code_of(store.complete, "a", upload, 2 * rig.part + 7, marks) == "not_found"
    assert keys(store) == []


@every_store
def test_an_upload_is_bound_to_its_object(rig, store, web):
    parts = three_parts(rig)
    upload = store.begin("a")
    marks = in_parts(web, store, "a", upload, parts)
    assert code_of(store.complete, "b", upload, sum(map(len, parts)), marks) == "not_found"
    for odd in ("", "../x", "0" * 31, "x" * 32):
        assert code_of(store.sign_part, "a", odd, 1, 5) == "bad_name"
