"""What only the folder store does: its own signatures, one disk, names of files."""

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from controlplane.data.stores.folder import INCOMING, FolderStore
from fixtures.stores import code_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def folder_store(root: Path) -> FolderStore:
    return FolderStore("0190f3a0-0000-7000-8000-000000000001", root, "http://remora.test", b"k" * 32, 900, lambda: NOW)


@pytest.fixture
def source(tmp_path: Path) -> Callable[[bytes], Path]:
    def make(data: bytes) -> Path:
        path = tmp_path / os.urandom(4).hex()
        path.write_bytes(data)
        return path

    return make


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


@pytest.mark.security("N24")
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


@pytest.mark.security("N22")
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
