"""Rates of what workers say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.dispatch.caps import Bucket, PointCap


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 50)), max_size=40))
def test_what_passes_without_waiting_stays_within_the_rate(steps: list[tuple[float, float]]) -> None:
    bucket, now, taken = Bucket(10, 20), 0.0, 0.0
    for passed, amount in steps:
        now += passed
        if bucket.wait(now) == 0:
            bucket.take(amount, now)
            taken += amount
    assert taken <= 20 + 10 * now + 50 + 1e-6


def test_a_bucket_tells_how_long_to_wait() -> None:
    bucket = Bucket(10, 20)
    bucket.take(50, 0.0)
    assert bucket.wait(0.0) == 3.0
    assert bucket.wait(3.0) == 0.0


def points(second: int, count: int) -> list[list[object]]:
    return [[f"2026-03-01T12:00:{second:02}.{i:06}", {"n": i}] for i in range(count)]


def test_points_within_the_rate_are_all_kept() -> None:
    kept, dropped = PointCap(50).thin("a", points(1, 50) + points(2, 50))
    assert (len(kept), dropped) == (100, 0)


def test_above_the_rate_the_newest_of_a_second_stays() -> None:
    cap = PointCap(3)
    kept, dropped = cap.thin("a", points(1, 10))
    assert ([point[1]["n"] for point in kept], dropped) == ([0, 1, 9], 7)
    assert cap.thin("a", points(1, 2)) == ([], 2)
    assert cap.thin("b", points(1, 2))[1] == 0
    assert cap.thin("a", points(2, 2))[1] == 0
