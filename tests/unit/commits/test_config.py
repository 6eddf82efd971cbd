"""valohai.yaml from anybody: judged fast, refused with its line."""

from __future__ import annotations

import time

import pytest

from controlplane.commits.config import judge
from controlplane.errors import ValidationError

GOOD = b"""
- step:
    name: train
    image: python:3.11
    command: [python train.py]
    parameters:
      - {name: epochs, type: integer, default: 5}
    inputs:
      - {name: data, default: s3://bucket/x.csv}
"""


def doubled(first: bytes, each: bytes) -> bytes:
    lines = [first] + [
        each.replace(b"NEW", b"b%d" % n).replace(b"OLD", b"b%d" % (n - 1) if n else b"a") for n in range(45)
    ]
    return b"\n".join(lines)


STEP = b"- step:\n    name: a\n    image: b\n    command: c\n"
STEP += b"    parameters:\n    - name: p\n      type: string\n      default: "

BAD = {
    "no command": (b"- step:\n    name: a\n    image: b\n", "line 1: 'command' is a required property"),
    "wrong type": (b"- step:\n    name: a\n    image: b\n    command: x\n    inputs: 3\n", "line 5: 3 is not of type"),
    "tab": (b"- step:\n\tname: a\n", "line 2: found character"),
    "twice": (b"- step:\n    name: a\n    name: b\n", "line 3: the key 'name' stands twice"),
    "python tag": (b"- !!python/object/apply:os.system ['id']\n", "line 1: the tag"),
    "own tag": (b"- !evil x\n", "line 1: the tag '!evil'"),
    "deep": (b"[" * 500_000, "nested deeper than 40"),
    "deep block": (b"\n".join(b" " * n + b"a:" for n in range(500)), "nested deeper than 40"),
    "alias bomb": (doubled(b"a: &a [x, x]", b"NEW: &NEW [*OLD, *OLD]"), "expand to more"),
    "merge bomb": (doubled(b"a: &a {x: 1}", b"NEW: &NEW {<<: [*OLD, *OLD]}"), "expand to more"),
    "many aliases": (b"- &a x\n" + b"- *a\n" * 200, "more than 100 aliases"),
    "itself": (b"- &a [*a]\n", "points into itself"),
    "not a number": (STEP + b".nan", "write it in quotes"),
    "NUL": (STEP + b'"x\\0"', "NUL"),
    "many": (b"- a\n" * 250_000, "more than 50000 values"),
    "long number": (b"- " + b"9" * 900_000, "a number of 900000 characters"),
    "base 60": (b"- " + b":".join([b"1"] * 400_000), "a number of"),
    "two documents": (b"[]\n---\n[]\n", "second document"),
    "latin-1": (b"- step:\n    name: \xe4\n", "line 2: is not UTF-8"),
    "empty": (b"", "must be a list of steps"),
    "a word": (b"hello", "must be a list of steps"),
    "mapping key": (b"- {[a]: b}\n", "a key must be plain text"),
}


def test_good_file() -> None:
    config = judge(GOOD, "valohai.yaml")
    assert config["steps"]["train"]["parameters"][0]["default"] == 5
    assert config["warnings"] == []


@pytest.mark.security("N37")
@pytest.mark.parametrize("case", BAD)
def test_bad_files_name_file_line_and_problem(case: str) -> None:
    text, sentence = BAD[case]
    started = time.monotonic()
    with pytest.raises(ValidationError) as caught:
        judge(text, "valohai.yaml")
    message, code = caught.value.fields["data"][0]
    assert message.startswith("valohai.yaml: ") and sentence in message
    assert code == "bad_yaml"
    assert time.monotonic() - started < 2


def test_a_day_without_quotes_is_its_text_and_a_warning() -> None:
    config = judge(STEP + b"2020-01-01", "valohai.yaml")
    assert config["steps"]["a"]["parameters"][0]["default"] == "2020-01-01"
    assert len(config["warnings"]) == 1 and "p" in config["warnings"][0]


def test_duplicate_step_is_a_warning() -> None:
    assert judge(GOOD + GOOD, "valohai.yaml")["warnings"] == ["Duplicate step name: train."]
