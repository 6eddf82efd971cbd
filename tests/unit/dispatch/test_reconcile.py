"""What a worker lists against what it was granted."""

from __future__ import annotations

import pytest

from controlplane.dispatch.reconcile import Missed, Standing, judge


@pytest.mark.parametrize(
    ("standing", "verdict"),
    [
        (None, "stop"),
        (Standing(1, 1, "running", "", "started"), "keep"),
        (Standing(1, 2, "running", "", "started"), "stop"),
        (Standing(1, 1, "ended", "lost", "queued"), "revive"),
        (Standing(1, 2, "ended", "lost", "queued"), "stop"),
        (Standing(1, 1, "ended", "lost", "stopped"), "stop"),
        (Standing(1, 1, "ended", "complete", "complete"), "keep"),
        (Standing(1, 1, "ended", "failed", "queued"), "stop"),
    ],
)
def test_verdicts(standing: Standing | None, verdict: str) -> None:
    assert judge(standing) == verdict


def test_an_attempt_is_forgotten_at_the_second_beat_without_it() -> None:
    missed = Missed()
    assert missed.note("w", ["a", "b"], ["b"]) == []
    assert missed.note("w", ["a", "b"], ["b"]) == ["a"]


def test_a_beat_with_it_or_unheard_words_begin_the_count_anew() -> None:
    missed = Missed()
    missed.note("w", ["a"], [])
    missed.note("w", ["a"], ["a"])
    assert missed.note("w", ["a"], []) == []
    missed.forget("w")
    assert missed.note("w", ["a"], []) == []
