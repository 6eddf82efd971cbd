"""Events of the live log, and pieces of lines."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.stream.events import PIECE_BYTES, Piece, Position, pieces, read_position, unbroken


def line(seq: int, text: str = "x") -> list[Any]:
    return [seq, "2026-03-01T12:00:00.000001", "stdout", text]


def test_a_place_is_read() -> None:
    assert read_position("2:1200") == Position(2, 1200)
    assert read_position(" 1:0 ") == Position(1, 0)
    for text in ("", "1", ":", "1:", ":1", "a:b", "1:2:3", "-1:2", "1:+2", "١:٢", "1:" + "9" * 19, "1 : 2"):
        assert read_position(text) is None, text


def test_lines_as_an_event() -> None:
    text = Piece.of(3, [line(7, "a\nb\r\u2028ü"), line(8)]).encoded()
    name, place, data, *rest = text.split(b"\n")
    assert (name, place, rest) == (b"event: line", b"id: 3:8", [b"", b""])
    assert json.loads(data.removeprefix(b"data: ")) == [line(7, "a\nb\r\u2028ü"), line(8)]


def test_the_rest_of_a_piece() -> None:
    piece = Piece.of(1, [line(seq) for seq in range(5, 10)])
    assert piece.after(4) is piece
    assert json.loads(piece.after(7).data) == [line(8), line(9)]
    gap = Piece.gap(1, 5, 9, "lost")
    assert gap.after(4) is gap
    assert json.loads(gap.after(6).data) == {"first": 7, "last": 9, "reason": "lost"}
    assert gap.after(6).encoded().startswith(b"event: gap\nid: 1:9\n")


@given(st.sets(st.integers(1, 60)), st.integers(0, 60))
def test_what_is_unbroken_is_exactly_what_follows(numbers: set[int], last: int) -> None:
    found, beyond = unbroken([line(seq) for seq in sorted(numbers)], last)
    expected = last + 1
    for one in found:
        assert one[0] == expected
        expected += 1
    assert expected not in numbers
    later = [seq for seq in numbers if seq > expected]
    assert beyond == (min(later) if later else 0)


@given(st.lists(st.integers(0, PIECE_BYTES), max_size=12))
def test_pieces_hold_every_line_once(sizes: list[int]) -> None:
    lines = [line(seq, "x" * size) for seq, size in enumerate(sizes, 1)]
    found = list(pieces(1, lines))
    assert [one for piece in found for one in json.loads(piece.data)] == lines
    assert all(len(piece.data) < 3 * PIECE_BYTES for piece in found)
