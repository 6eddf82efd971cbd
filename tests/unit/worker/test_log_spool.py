"""The spool survives everything but the loss of its disk."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from worker_bootstrap.agent.logs.cursor import Cursor
from worker_bootstrap.agent.logs.spool_files import (
    Position,
    first_seq,
    forget_before,
    last_seq,
    shown,
    spool_files,
    spool_path,
)
from worker_bootstrap.agent.logs.spool_reader import SpoolReader
from worker_bootstrap.agent.logs.spool_writer import SpoolFullError, SpoolWriter

LIMIT = 1 << 30


def everything(folder: Path, most: int = 1 << 20) -> list[list[object]]:
    reader, lines = SpoolReader(folder), []
    while block := reader.read(most):
        lines += [json.loads(line) for line in block.splitlines()]
    return lines


def test_lines_are_numbered_and_their_times_grow(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, LIMIT, clock=lambda: 1_700_000_000_999_998_000)

    writer.write([("stdout", ["a", 'b\u2028"\\']), ("stderr", ["c"])])
    writer.write([("status", ["d"])])

    assert everything(tmp_path) == [
        [1, "2023-11-14T22:13:20.999998", "stdout", "a"],
        [2, "2023-11-14T22:13:20.999999", "stdout", 'b\u2028"\\'],
        [3, "2023-11-14T22:13:21.000000", "stderr", "c"],
        [4, "2023-11-14T22:13:21.000001", "status", "d"],
    ]


@pytest.mark.parametrize("torn", [b"", b"[5", b'[5,"2023-11-14T22:13:21.000002","stdout","x', b"\0\0\0\0\n\0\0"])
def test_a_torn_line_is_cut_off_and_numbering_goes_on(tmp_path: Path, torn: bytes) -> None:
    writer = SpoolWriter(tmp_path, LIMIT, first=3, clock=lambda: 1_700_000_000_000_000_000)
    writer.write([("stdout", ["a", "b"])])
    with spool_path(tmp_path, 3).open("ab") as file:
        file.write(torn)

    # The clock was set back in between.
    again = SpoolWriter(tmp_path, LIMIT, first=3, clock=lambda: 1_600_000_000_000_000_000)
    again.write([("stdout", ["c"])])

    lines = everything(tmp_path)
    assert [line[0] for line in lines] == [3, 4, 5]
    assert [line[3] for line in lines] == ["a", "b", "c"]
    assert str(lines[1][1]) < str(lines[2][1])


def test_files_change_by_size_and_old_ones_may_go(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, LIMIT, file_bytes=200)
    for number in range(20):
        writer.write([("stdout", [f"line {number}"])])

    files = spool_files(tmp_path)
    assert len(files) > 4
    assert [line[0] for line in everything(tmp_path, most=10)] == list(range(1, 21))

    forget_before(tmp_path, Position(files[2], 10))
    assert spool_files(tmp_path) == files[2:]
    forget_before(tmp_path, Position(1 << 60, 0))
    assert spool_files(tmp_path) == files[-1:]
    assert SpoolWriter(tmp_path, LIMIT, file_bytes=200).last_seq == 20


def test_an_empty_last_file_still_holds_the_numbering(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, LIMIT, file_bytes=10)
    writer.write([("stdout", ["a"])])
    assert len(spool_files(tmp_path)) == 2

    forget_before(tmp_path, Position(2, 0))

    assert SpoolWriter(tmp_path, LIMIT).last_seq == 1


def test_a_reader_goes_on_at_its_position_and_stops_where_told(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, LIMIT, file_bytes=300)
    writer.write([("stdout", [f"{n}" for n in range(5)])])
    reader = SpoolReader(tmp_path)
    first = reader.read(1)
    middle = reader.position
    writer.write([("stdout", ["x"])])
    again = SpoolReader(tmp_path, middle)
    rest = b""
    while block := again.read(100):
        rest += block

    assert (first_seq(first), last_seq(first)) == (1, 1)
    assert (first_seq(rest), last_seq(rest)) == (2, 6)
    assert again.pending() == 0

    bounded, blocks = SpoolReader(tmp_path), b""
    while block := bounded.read(1 << 20, until=middle):
        blocks += block
    assert blocks == first


def test_a_half_written_line_is_not_read(tmp_path: Path) -> None:
    spool_path(tmp_path, 1).write_bytes(b'[1,"t","stdout","a"]\n[2,"t","std')

    reader = SpoolReader(tmp_path)

    assert reader.read(1000) == b'[1,"t","stdout","a"]\n'
    assert reader.read(1000) == b""


def test_a_full_disk_writes_nothing_and_the_batch_can_be_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path, LIMIT)
    writer.write([("stdout", ["a"])])
    real, calls = os.write, iter([4])

    def short_then_full(descriptor: int, data: bytes) -> int:
        size = next(calls, None)
        if size is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, bytes(data)[:size])

    monkeypatch.setattr(os, "write", short_then_full)
    with pytest.raises(SpoolFullError):
        writer.write([("stdout", ["b"])])
    monkeypatch.undo()
    writer.write([("stdout", ["b"])])

    assert [(line[0], line[3]) for line in everything(tmp_path)] == [(1, "a"), (2, "b")]


def test_the_limit_counts_what_is_not_deleted(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, limit=500, file_bytes=100)
    assert not writer.full()
    for _ in range(12):
        writer.write([("stdout", ["x" * 20])])
    assert writer.full()

    forget_before(tmp_path, Position(1 << 60, 0))

    assert not writer.full()


def test_a_gap_leaves_as_a_status_line() -> None:
    raw = b'[1,"t","stdout","say \\"gap\\""]\n[2,"t","gap","the keeper died."]\n'

    assert (
        shown(raw) == b'[1,"t","stdout","say \\"gap\\""]\n[2,"t","status","Output is missing here: the keeper died."]\n'
    )


def test_a_cursor_comes_back_with_its_intent(tmp_path: Path) -> None:
    path = tmp_path / "cursor.json"
    cursor = Cursor.load(path, durable=True)
    assert cursor.done == Position()
    cursor.commit(Position(1, 20), lines=3)
    cursor.begin(Position(9, 5))

    again = Cursor.load(path)

    assert (again.done, again.intent, again.notes) == (Position(1, 20), Position(9, 5), {"lines": 3})
