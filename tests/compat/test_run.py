"""`vh exec run --adhoc` and what it asks for."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.stack import FINAL
from fixtures.work import Work, counter_of


@pytest.fixture(scope="module")
def shown(work: Work, trained: str) -> dict[str, Any]:
    """The execution as the API tells it."""
    return work.stack.wait(f"{work.project}:{trained}")


@pytest.fixture(scope="module")
def lines(work: Work, trained: str) -> list[str]:
    """What it printed, and what was said of it."""
    return [event["message"] for event in work.stack.log(f"{work.project}:{trained}")]


def test_adhoc_prints_counter_and_address(work: Work) -> None:
    done = work.vh("exec", "run", "--adhoc", "lines", "--count", "1")
    counter = counter_of(done)
    assert "Uploaded ad-hoc code ~" in done.text or "already uploaded" in done.text
    assert f"{work.stack.url}/" in done.text
    work.finish(counter)


def test_the_same_code_is_sent_once(work: Work, trained: str) -> None:
    done = work.vh("exec", "run", "--adhoc", "lines", "--count", "1")
    assert "already uploaded" in done.text
    work.finish(counter_of(done))


def test_parameters_reach_the_command(shown: dict[str, Any], lines: list[str]) -> None:
    assert shown["parameters"] == {"epochs": 3, "rate": 0.25, "label": "two words", "shout": True}
    assert "label two words shout True" in lines


def test_inputs_are_there(lines: list[str]) -> None:
    assert "input data numbers.csv 6" in lines
    assert "input data more.csv 8" in lines
    assert not any(line.startswith("input extra") for line in lines)


def test_tags(shown: dict[str, Any]) -> None:
    assert shown["tags"] == ["compat", "nightly"]


def test_environment_variables(lines: list[str]) -> None:
    assert "variables step-value given value" in lines


def test_title(shown: dict[str, Any]) -> None:
    assert shown["title"] == "A good run"


def test_time_limit_is_kept(shown: dict[str, Any]) -> None:
    assert shown["time_limit"] == 3600


def test_time_limit_ends_it_and_says_so(work: Work) -> None:
    counter = work.run("lines", "--count", "60", "--pause", "1", before=("--time-limit", "2"))
    ended = work.finish(counter, ("error", "stopped", "crashed"))
    assert "longer than its time limit of 2 s" in ended["status_detail"]
    assert ended["duration"] < 20


def test_watch_shows_it_and_ends_by_ctrl_c_only(work: Work) -> None:
    done = work.vh.until(
        lambda text: "Status: complete" in text and "line 000003" in text,
        "exec", "run", "--adhoc", "--watch", "lines", "--count", "4",
    )  # fmt: skip
    assert done.code == 0
    assert "Traceback" not in done.out


def test_missing_required_input_is_named_by_the_client(work: Work) -> None:
    done = work.vh("exec", "run", "--adhoc", "train", code=None)
    assert done.code != 0 and "--data" in done.text


def test_unknown_environment_has_the_hint(work: Work) -> None:
    done = work.vh("exec", "run", "--adhoc", "--environment", "moon", "lines", code=None)
    assert done.code != 0
    assert "No environment 'moon'" in done.text
    assert "vh environments" in done.text


def test_failing_command_is_error(work: Work, trained: str) -> None:
    counter = work.run("train", "--rate", "0.5", "--data", work.files.url("absent.csv"))
    ended = work.finish(counter, ("error",))
    assert ended["status"] in FINAL
    assert "absent.csv" in ended["status_detail"]
