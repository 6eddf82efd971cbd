"""Secrets never reach the log, however they are written and wherever the stream is cut."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_bootstrap.agent.logs.masking import MIN_SECRET, MaskedStream, Masker, forms

SECRET = 'p@ss/word+"ä 1%'


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        re.sub("%..", lambda escape: escape[0].lower(), quote(SECRET, safe="")),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
    ],
)
def test_every_spelling_is_hidden(shown: str) -> None:
    assert Masker([SECRET]).hide(f"before {shown} behind".encode()) == b"before *** behind"


@pytest.mark.parametrize("prefix", ["", "x", "xy", "xyz", "user:"])
@pytest.mark.parametrize("suffix", ["", "1", "12", "\n"])
def test_base64_of_a_longer_text_does_not_give_the_secret_away(prefix: str, suffix: str) -> None:
    encoded = base64.b64encode(f"{prefix}{SECRET}{suffix}".encode())

    hidden = Masker([SECRET]).hide(b"Authorization: Basic " + encoded)

    assert b"***" in hidden
    rest = hidden.partition(b"Basic ")[2].replace(b"***", b"")
    assert len(rest) <= len(base64.b64encode((prefix + suffix).encode())) + 4


def test_each_line_of_a_key_is_hidden() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort\nkqhkiG9w0BAQEF\n-----END KEY-----"

    hidden = Masker([key]).hide(b"a MIIEvQIBADANBg\r\nb kqhkiG9w0BAQEF\nshort")

    assert hidden == b"a ***\r\nb ***\nshort"


def test_short_values_are_left_alone() -> None:
    assert forms("a" * (MIN_SECRET - 1)) == set()
    assert Masker(["true", "1234567"]).hide(b"true 1234567") == b"true 1234567"


def test_secrets_that_overlap_are_hidden_together() -> None:
    masker = Masker(["abcdefgh1234", "1234ijklmnop"])

    assert masker.hide(b"<abcdefgh1234ijklmnop>") == b"<***>"


@given(st.lists(st.binary(max_size=6), max_size=8), st.integers(1, 7))
def test_a_stream_cut_anywhere_shows_what_the_whole_shows(noise: list[bytes], step: int) -> None:
    secrets = ["topsecretvalue", "secretvaluetop"]
    data = b"topsecretvalue ".join([*noise, b"secretvaluetopsecretvalue", b"end"])
    masker = Masker(secrets)
    stream = MaskedStream(masker)

    shown = b"".join(stream.feed(data[i : i + step]) for i in range(0, len(data), step)) + stream.flush()

    assert shown == masker.hide(data)
    assert not any(secret.encode() in shown for secret in secrets)


def test_a_finished_line_waits_for_nothing() -> None:
    stream = MaskedStream(Masker(["topsecretvalue"]))

    assert stream.feed(b"a line that ends in top\n") == b"a line that ends in top\n"
    assert stream.feed(b"tops") == b""
    assert stream.feed(b"ail\n") == b"topsail\n"


def test_secrets_that_come_later_are_hidden_from_then_on() -> None:
    masker = Masker()
    stream = MaskedStream(masker)
    assert stream.feed(b"topsecretvalue\n") == b"topsecretvalue\n"

    masker.add(["topsecretvalue"])

    assert stream.feed(b"topsecretvalue\n") == b"***\n"
