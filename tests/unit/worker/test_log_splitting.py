"""Bytes of a container become lines: any frames, any bytes, any length."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_bootstrap.agent.logs.masking import Masker
from worker_bootstrap.agent.logs.output import Output
from worker_bootstrap.agent.logs.splitting import CONTINUED, Demuxer, FrameError, LineSplitter


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=10), st.integers(1, 9))
def test_frames_in_any_pieces(frames: list[tuple[int, bytes]], step: int) -> None:
    raw = b"".join(frame(stream, data) for stream, data in frames)
    demuxer = Demuxer()
    found: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    for start in range(0, len(raw), step):
        for stream, data in demuxer.feed(raw[start : start + step]):
            found[stream] += data

    assert found["stdout"] == b"".join(data for stream, data in frames if stream == 1)
    assert found["stderr"] == b"".join(data for stream, data in frames if stream == 2)


def test_the_order_of_the_streams_is_kept() -> None:
    raw = frame(1, b"a") + frame(1, b"b") + frame(2, b"c") + frame(1, b"d")

    assert Demuxer().feed(raw) == [("stdout", b"ab"), ("stderr", b"c"), ("stdout", b"d")]


def test_something_else_than_frames_is_refused() -> None:
    with pytest.raises(FrameError):
        Demuxer().feed(b"HTTP/1.1 500 Internal")


@given(st.lists(st.text(alphabet="ab\u00e4\U0001f600\r", max_size=8), max_size=6), st.integers(1, 5))
def test_lines_in_any_pieces(texts: list[str], step: int) -> None:
    raw = "".join(text + "\n" for text in texts).encode()
    splitter = LineSplitter()

    lines = [line for start in range(0, len(raw), step) for line in splitter.feed(raw[start : start + step])]

    assert lines == [text.removesuffix("\r") for text in texts]
    assert splitter.flush() == []


@pytest.mark.parametrize("chunk", [7, 1000, 1 << 20])
def test_a_long_line_comes_in_pieces_that_join_to_it(chunk: int) -> None:
    text = "ä€😀x" * 500
    raw = b"first\n" + text.encode() + b"\nlast\n"
    splitter = LineSplitter(max_line=64)

    lines = [line for start in range(0, len(raw), chunk) for line in splitter.feed(raw[start : start + chunk])]

    assert (lines[0], lines[-1]) == ("first", "last")
    pieces = lines[1:-1]
    assert all(piece.endswith(CONTINUED) for piece in pieces[:-1])
    assert all(len(piece.removesuffix(CONTINUED).encode()) <= 64 for piece in pieces)
    assert "".join(piece.removesuffix(CONTINUED) for piece in pieces) == text


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert LineSplitter().feed(b"a\xff\xfeb\x00c\xe2\x82\nd\n") == ["a\ufffd\ufffdb\x00c\ufffd", "d"]


def test_a_line_of_continuation_bytes_only_is_cut_all_the_same() -> None:
    lines = LineSplitter(max_line=16).feed(b"\x80" * 100)

    assert len(lines) >= 5


def test_a_line_without_end_is_shown_after_a_while() -> None:
    output = Output(Masker(), idle=1.0)

    assert output.feed(frame(1, b"Password: "), now=10.0) == []
    assert output.idle(now=10.5) == []
    assert output.idle(now=11.0) == [("stdout", ["Password: "])]
    assert output.idle(now=20.0) == []


def test_a_line_that_we_ourselves_hold_up_is_not_cut() -> None:
    output = Output(Masker(), idle=1.0)
    output.feed(frame(1, b"one li"), now=10.0)
    output.hold(now=15.0)

    assert output.idle(now=15.5) == []
    assert output.feed(frame(1, b"ne\n"), now=15.6) == [("stdout", ["one line"])]


def test_a_progress_bar_shows_about_every_second() -> None:
    output = Output(Masker(), idle=1.0)
    shown: list[str] = []
    for step in range(30):
        moment = step / 10
        output.feed(frame(2, b"\r%d%%" % step), now=moment)
        shown += [message for _, messages in output.idle(moment) for message in messages]
    shown += [message for _, messages in output.finish() for message in messages]

    assert len(shown) == 3
    assert "\r".join(shown) == "\r" + "\r".join(f"{step}%" for step in range(30))


def test_the_end_shows_what_was_held_back() -> None:
    output = Output(Masker(["topsecret"]), idle=1.0)

    assert output.feed(frame(1, b"no newline tops"), now=0.0) == []
    assert output.finish() == [("stdout", ["no newline tops"])]
