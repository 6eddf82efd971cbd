"""What every object store must do; one suite over all of them."""

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.data.stores.base import ObjectStore, StoreError
from controlplane.data.stores.folder import INCOMING, FolderStore
from controlplane.data.stores.keys import check_key

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def folder_store(root: Path) -> FolderStore:
    return FolderStore("0190f3a0-0000-7000-8000-000000000001", root, "http://remora.test", b"k" * 32, 900, lambda: NOW)


STORES: dict[str, Callable[[Path], ObjectStore]] = {"folder": folder_store}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return STORES[request.param](tmp_path / "objects")


@pytest.fixture
def source(tmp_path: Path) -> Callable[[bytes], Path]:
    def make(data: bytes) -> Path:
        path = tmp_path / os.urandom(4).hex()
        path.write_bytes(data)
        return path

    return make


def code_of(function: Callable[..., object], *args: object, **options: object) -> str:
    with pytest.raises(StoreError) as caught:
        function(*args, **options)
    return caught.value.code


def test_what_was_put_is_read_back(store, source):
    info = store.put_file("p/e/1/model.bin", source(b"0123456789"))
    assert (info.size, info.key) == (10, "p/e/1/model.bin")
    with store.open("p/e/1/model.bin") as reader:
        assert reader.read() == b"0123456789"
    assert store.stat("p/e/1/model.bin").etag == info.etag


def test_a_range_is_no_more_than_that_range(store, source):
    store.put_file("a", source(b"0123456789"))
    with store.open("a", 3, 4) as reader:
        assert reader.read() == b"3456"
    with store.open("a", 8) as reader:
        assert reader.read() == b"89"
    with store.open("a", 8, 50) as reader:
        assert reader.read() == b"89"


def test_an_object_is_never_overwritten(store, source):
    store.put_file("a", source(b"first"))
    store.put_file("a", source(b"first"))
    assert code_of(store.put_file, "a", source(b"other")) == "exists"
    with store.open("a") as reader:
        assert reader.read() == b"first"


def test_what_is_not_there_is_said_so(store, source):
    store.put_file("folder/a", source(b"x"))
    for key in ("nothing", "folder", "folder/a/b"):
        assert code_of(store.stat, key) == "not_found"
        assert code_of(store.open, key) == "not_found"
        store.delete(key)


def test_delete_and_list(store, source):
    for key in ("x/1", "x/.hidden", "x/y/2", "z"):
        store.put_file(key, source(key.encode()))
    assert [info.key for info in store.list("x/")] == ["x/.hidden", "x/1", "x/y/2"]
    store.delete("x/1")
    assert [info.key for info in store.list("")] == ["x/.hidden", "x/y/2", "z"]


BAD = ["", "/", "a//b", "../a", "a/../b", "a/.", "a/..", "/etc/passwd", "a\0b", "a\nb", "a\\b", "x/" + "é" * 128]
BAD += ["a/" * 500 + "b", "CON", "x/nul.txt", "COM1", "a\ud800b"]


@pytest.mark.parametrize("key", BAD)
def test_bad_names_are_refused(store, source, key):
    calls = [lambda: store.put_file(key, source(b"x")), lambda: store.stat(key), lambda: store.delete(key)]
    for call in [*calls, lambda: store.open(key), lambda: store.sign_get(key), lambda: store.sign_put(key, 1)]:
        assert code_of(call) == "bad_name"


@pytest.mark.parametrize("key", ["é" * 127, "a b/ü/日本.txt", ".env", "...", "console.log", "a%2f..", "x?y=1&z#"])
def test_unusual_names_are_kept(store, source, key):
    store.put_file(key, source(b"x"))
    assert store.stat(key).size == 1
    assert [info.key for info in store.list("")] == [key]


@given(key=st.text(max_size=40))
def test_a_key_never_leads_out(key):
    try:
        check_key(key)
    except StoreError:
        return
    assert os.path.normpath(f"/root/{key}") == f"/root/{key}"


# ---- the folder store's own
@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return folder_store(tmp_path / "objects")


def query_of(url: str) -> dict[str, str]:
    from urllib.parse import parse_qsl, urlsplit

    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def test_a_stream_must_have_the_announced_size(folder):
    assert code_of(folder.put_stream, "a", BytesIO(b"12345"), 4) == "bad_size"
    assert code_of(folder.put_stream, "a", BytesIO(b"12345"), 6) == "bad_size"
    assert code_of(folder.stat, "a") == "not_found"
    assert list((folder._root / INCOMING).iterdir()) == []


def test_signature_is_for_one_method_key_and_time(tmp_path):
    moment = [NOW]
    store = FolderStore("s", tmp_path, "http://x", b"k" * 32, 60, lambda: moment[0])
    put, get = query_of(store.sign_put("a/b", 7).url), query_of(store.sign_get("a/b", filename="c&d.txt").url)
    assert store.check("PUT", "a/b", put) == ""
    assert store.check("GET", "a/b", get) == ""
    assert store.check("HEAD", "a/b", get) == store.check("HEAD", "a/b", put) == ""
    assert store.check("GET", "a/b", put) == "wrong_method"
    assert store.check("PUT", "a/c", put) == "forged"
    assert store.check("PUT", "a/b", {**put, "size": "8"}) == "forged"
    assert store.check("PUT", "a/b", {**put, "expires": "99999999999"}) == "forged"
    assert store.check("GET", "a/b", {**get, "name": "x"}) == "forged"
    assert store.check("GET", "a/b", {**get, "more": "x"}) == "forged"
    assert store.check("GET", "a/b", {}) == "forged"
    other = FolderStore("s", tmp_path, "http://x", b"j" * 32, 60, lambda: moment[0])
    assert other.check("PUT", "a/b", put) == "forged"
    moment[0] = NOW + timedelta(seconds=61)
    assert store.check("PUT", "a/b", put) == "expired"


def test_the_reserved_folder_is_no_key(folder, source):
    assert code_of(folder.put_file, f"{INCOMING}/x", source(b"x")) == "bad_name"


def test_a_link_in_the_store_is_no_object(folder, source):
    folder.put_file("a/b", source(b"x"))
    (folder._root / "a" / "link").symlink_to("/etc/passwd")
    assert code_of(folder.stat, "a/link") == code_of(folder.open, "a/link") == "not_found"


def test_a_name_below_an_object_is_taken(folder, source):
    folder.put_file("a", source(b"x"))
    assert code_of(folder.put_file, "a/b", source(b"y")) == "exists"
    folder.put_file("d/e", source(b"x"))
    assert code_of(folder.put_file, "d", source(b"y")) == "exists"


def test_leftovers_of_killed_writers_go_after_a_day(folder):
    incoming = folder._root / INCOMING
    incoming.mkdir(parents=True)
    for name, age in (("old", 90_000), ("new", 10)):
        (incoming / name).touch()
        os.utime(incoming / name, (NOW.timestamp() - age,) * 2)
    folder.remove_leftovers()
    assert [path.name for path in incoming.iterdir()] == ["new"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "tiny"
    mount.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], capture_output=True
        ).returncode
    ):
        pytest.skip("NOT RUN: mounting a small disk needs root")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.needs("root")
def test_a_full_disk_is_said_and_leaves_nothing(tiny_disk):
    store = folder_store(tiny_disk)
    assert code_of(store.put_stream, "big", BytesIO(b"x" * 600_000), 600_000) == "full"
    assert code_of(store.stat, "big") == "not_found"
    assert store.put_stream("small", BytesIO(b"x"), 1).size == 1
