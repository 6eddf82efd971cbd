"""Checksums that are made beside reading, sending and downloading are those of the bytes."""

from __future__ import annotations

import hashlib
import io
import random
import threading
from pathlib import Path

import pytest

from worker_bootstrap.agent.attempt.digest import Digests, Follower, Hasher, HashingReader, file_digests

DATA = random.Random(7).randbytes(3_000_017)
EXPECTED = Digests(
    len(DATA), hashlib.md5(DATA).hexdigest(), hashlib.sha1(DATA).hexdigest(), hashlib.sha256(DATA).hexdigest()
)


@pytest.mark.parametrize("pieces", [[1 << 20], [100], [1 << 20, 10, 1 << 16, 3, (1 << 16) - 1]])
def test_large_and_small_pieces_in_any_turn(pieces: list[int]) -> None:
    hasher, place, turn = Hasher(), 0, 0
    while place < len(DATA):
        hasher.update(DATA[place : place + pieces[turn % len(pieces)]])
        place += pieces[turn % len(pieces)]
        turn += 1

    assert hasher.result() == EXPECTED


def test_of_a_file_and_of_what_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    reader = HashingReader(io.BytesIO(DATA), len(DATA))
    while reader.read(1 << 18):
        pass

    assert file_digests(tmp_path / "file") == reader.hasher.result() == EXPECTED


def test_parts_in_any_order(tmp_path: Path) -> None:
    """The beginning is read while the rest is missing, and nothing before it is there."""
    part, path = 400_000, tmp_path / "file"
    path.write_bytes(bytes(len(DATA)))
    starts = list(range(0, len(DATA), part))
    random.Random(3).shuffle(starts)
    follower = Follower(path, part, len(DATA))
    for start in starts:
        with path.open("r+b") as file:
            file.seek(start)
            file.write(DATA[start : start + part])
        follower.came({start})

    assert follower.result() == EXPECTED
    follower.close()


def test_a_download_that_is_given_up_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    before = set(threading.enumerate())
    follower = Follower(tmp_path / "file", 1_000_000, len(DATA))
    follower.came({0, 2_000_000})

    follower.close()

    assert follower.result() is None
    assert {thread for thread in threading.enumerate() if thread.name == "checksums"} <= before
