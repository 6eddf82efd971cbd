"""Which lines become metadata points."""

from __future__ import annotations

import json

import pytest

from worker_bootstrap.agent.logs.points import MAX_EVENT_BYTES, batches, candidates, parse_point, sample
from worker_bootstrap.agent.logs.spool_files import first_seq, json_line
from worker_bootstrap.protocol import codec, crypto
from worker_bootstrap.protocol.messages import Envelope


@pytest.mark.parametrize(
    ("message", "point"),
    [
        ('{"loss": 0.5, "epoch": 3}', {"loss": 0.5, "epoch": 3}),
        ('  {"a": {"b": [1]}} ', {"a": {"b": [1]}}),
        ('{"loss": NaN, "up": Infinity, "down": -Infinity}', {"loss": "NaN", "up": "Infinity", "down": "-Infinity"}),
        ('{"x": 1e999}', {"x": "Infinity"}),
        ('{"a\\u0000": "\\ud800b"}', {"a\ufffd": "?b"}),
        ("{}", {}),
        ("[1, 2]", None),
        ("{not json}", None),
        ('{"cut": "in the mid\u2026', None),
        ('{"n": ' + "9" * 5000 + "}", None),
        ('{"a":' * 3000 + "1" + "}" * 3000, None),
    ],
)
def test_a_point_is_a_json_object(message: str, point: object) -> None:
    assert parse_point(message) == point


def test_a_deep_object_travels_as_text() -> None:
    point = parse_point('{"a":' * 40 + "1" + "}" * 40)
    key = crypto.SigningKey.generate()
    envelope = Envelope("1", "event", "i", "w", 0.0, {"kind": "metadata", "data": {"points": [["t", point]]}}, "a")

    entry = {name.encode(): value for name, value in codec.encode(key, [envelope]).items()}

    (received,) = codec.decode({key.id: key.public}, entry, direction="up")
    assert received.body == envelope.body


def test_only_stdout_lines_that_begin_an_object_are_looked_at() -> None:
    lines = [
        json_line([1, "t", "stdout", '{"a": 1}']),
        json_line([2, "t", "stdout", '\t {"b": 1}']),
        json_line([3, "t", "stderr", '{"c": 1}']),
        json_line([4, "t", "status", '{"d": 1}']),
        json_line([5, "t", "stdout", 'x {"e": 1}']),
        json_line([6, "t", "stdout", '"stdout","{']),
    ]

    assert [first_seq(found.line) for found in candidates(b"".join(lines))] == [1, 2]


def test_fifty_points_a_second_are_all_kept() -> None:
    lines = [(f"2026-01-01T00:00:00.{n:06d}", json.dumps({"n": n})) for n in range(50)]

    points, left_out = sample(lines, 50)

    assert [point["n"] for _, point in points] == list(range(50))
    assert left_out == 0


def test_above_that_the_newest_of_each_fiftieth_is_kept() -> None:
    lines = [(f"2026-01-01T00:00:00.{n * 1000:06d}", json.dumps({"n": n})) for n in range(1000)]

    points, left_out = sample(lines, 50)

    assert [point["n"] for _, point in points] == list(range(19, 1000, 20))
    assert left_out == 950


def test_a_line_that_is_none_does_not_take_the_place_of_a_point() -> None:
    lines = [(f"2026-01-01T00:00:00.{n:06d}", '{"n": 1}' if n < 5 else "{oops") for n in range(60)]

    points, left_out = sample(lines, 50)

    assert [time for time, _ in points] == ["2026-01-01T00:00:00.000004"]
    assert left_out == 59


def test_large_points_are_spread_over_several_events() -> None:
    points = [["t", {"x": "y" * 60_000}] for _ in range(50)]

    found = batches(points, sampled=7)

    assert [point for body in found for point in body["points"]] == points
    assert sum(body["sampled"] for body in found) == 7
    assert all(len(json.dumps(body)) < MAX_EVENT_BYTES + 1000 for body in found)
