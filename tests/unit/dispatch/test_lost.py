"""Silence counts only while the master can hear."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controlplane.dispatch.lost import Sight, Watch, judge

START = datetime(2026, 3, 1, tzinfo=UTC)
SILENT, LOST = timedelta(seconds=60), timedelta(seconds=300)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def state(now: float, heard: float, blind_until: float | None = None, blind: bool = False) -> str:
    sight = Sight(blind, None if blind_until is None else at(blind_until))
    return judge(at(now), at(heard), sight, SILENT, LOST)


def test_a_worker_falls_silent_and_is_lost_in_time() -> None:
    assert [state(s, 0) for s in (59, 60, 299, 300)] == ["alive", "silent", "silent", "lost"]


def test_nobody_is_silent_while_the_master_is_blind_nor_a_full_period_after() -> None:
    assert state(1000, 0, blind_until=1000, blind=True) == "alive"
    assert [state(s, 0, blind_until=1000) for s in (1059, 1060, 1299, 1300)] == ["alive", "silent", "silent", "lost"]


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=80))
def test_a_worker_is_lost_only_after_lost_after_of_uninterrupted_sight(steps: list[tuple[int, bool]]) -> None:
    """Whatever the queue did: from the last moment without a reading on, the whole period has passed."""
    watch, now, last_read, blind_at = Watch(timedelta(seconds=20)), 0, None, 0
    for passed, reads in steps:
        now += passed
        if reads:
            last_read = now
        sight = watch.look(at(now), None if last_read is None else at(last_read))
        if last_read is None or now - last_read > 20:
            blind_at = now
        found = judge(at(now), at(0), sight, SILENT, LOST)
        if found == "lost":
            assert now - blind_at >= 300
        if found == "silent":
            assert now - blind_at >= 60


def test_a_master_that_starts_gives_everybody_a_full_period() -> None:
    sight = Watch(timedelta(seconds=20)).look(at(5000), at(4999))
    assert not sight.blind
    assert judge(at(5000), at(0), sight, SILENT, LOST) == "alive"
