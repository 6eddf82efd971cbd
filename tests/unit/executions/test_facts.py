"""What lists of executions compare: values by their number, or by their text."""

from __future__ import annotations

import pytest

from controlplane.executions.facts import Fact, digest_of, facts_of


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        (3, 3.0, "3"),
        (0.5, 0.5, "0.5"),
        ("12", None, "12"),
        (True, None, "true"),
        ([1, "a"], None, '[1,"a"]'),
        (10**400, None, str(10**400)),
        (float("inf"), None, "Infinity"),
        ("", None, ""),
    ],
)
def test_values(value: object, number: float | None, text: str) -> None:
    assert facts_of({"x": value}) == {"x": Fact(number, digest_of(text))}


def test_what_nobody_can_ask_for_is_left_out() -> None:
    assert facts_of({"null": None, "n" * 256: 1}) == {}
    assert facts_of(["a", "t" * 256]) == {"a": Fact(None, "")}
    assert facts_of(None) == {}


def test_texts_of_any_length_and_with_any_character_have_a_digest() -> None:
    assert digest_of("a" * 100_000) != digest_of("a" * 99_999)
    assert len(digest_of("\ud800")) == 32
