"""What an attempt tells late, or leaves out, and how its end reads."""

from __future__ import annotations

import pytest

from controlplane.data.models import Datum, DatumAlias
from controlplane.executions.models import ExecutionEvent
from controlplane.reasons import sentence
from unit.executions.test_transitions import OUTPUT, Life
from worker_bootstrap.protocol.messages import End


@pytest.fixture
def life(ground) -> Life:
    return Life(ground)


def test_metadata_may_come_after_its_file(life: Life) -> None:
    attempt = life.run()
    life.event(attempt, "output", **{**OUTPUT, "live": True})
    late = {"valohai.tags": ["best"], "valohai.alias": "prod", "n": 1}
    for _ in range(2):
        life.event(attempt, "output", **{**OUTPUT, "metadata": late})
    (datum,) = life.rows(Datum)
    (alias,) = life.rows(DatumAlias)
    assert (datum.user_metadata, datum.tags) == (late, ["best"])
    assert (alias.name, alias.datum_id) == ("prod", datum.id)


def test_metadata_that_came_is_not_taken_away(life: Life) -> None:
    attempt = life.run()
    life.event(attempt, "output", **{**OUTPUT, "metadata": {"n": 1}})
    life.event(attempt, "output", **OUTPUT)
    assert life.rows(Datum)[0].user_metadata == {"n": 1}


def test_sampling_is_said_once(life: Life) -> None:
    attempt = life.run()
    life.event(attempt, "metadata", points=[], sampled=0)
    assert not [row for row in life.rows(ExecutionEvent) if row.reason == "metadata_sampled"]
    for _ in range(3):
        life.event(attempt, "metadata", points=[["2026-03-01T12:00:01.000001", {"n": 1}]], sampled=7)
    (said,) = [row for row in life.rows(ExecutionEvent) if row.reason == "metadata_sampled"]
    assert said.message == "It prints more metadata points a second than are kept; beyond that they are sampled."


def test_the_memory_limit_is_named(life: Life) -> None:
    attempt = life.run()
    life.say(attempt, End("error", "oom_killed", "", exit_code=137, detail="64 MiB"))
    row = life.row
    assert (row.state, sentence(row.reason, row.reason_args)) == (
        "error",
        "It used more memory than its limit of 64 MiB and was killed.",
    )


def test_a_registry_that_does_not_answer_is_tried_again(life: Life) -> None:
    attempt = life.run()
    life.say(attempt, End("failed", "image_pull_failed", "", detail="image:1: connection refused"))
    assert life.row.state == "queued"


def test_an_image_that_is_not_there_is_not(life: Life) -> None:
    attempt = life.run()
    life.say(attempt, End("error", "image_not_found", "", detail="image:1: manifest unknown"))
    assert life.row.state == "error"
