"""Searching a log: as it is, by expression, in pieces."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import select

from controlplane.db.session import SYSTEM
from controlplane.executions.models import Attempt
from controlplane.logs.search import LogSearch, matcher, parse_cursor
from fixtures.runs import Runs

LINES = ("epoch 1 loss 0.5", "epoch 2 loss 0.25", "Warning: slow", "a+b (x)", "warning: again", "x" * 5000 + "end")


@pytest.fixture
def logged(runs: Runs) -> dict[str, Any]:
    execution = runs.create()
    runs.log(execution["id"], *LINES)
    return execution


def search(runs: Runs, execution: dict[str, Any], q: str, query: str = "", who: str = "ann") -> Any:
    return runs.world.client(who).get(f"/api/v1/executions/{execution['id']}/log-search/?q={quote(q)}&{query}")


def found(runs: Runs, execution: dict[str, Any], q: str, query: str = "") -> list[int]:
    answer = search(runs, execution, q, query)
    assert answer.status_code == 200, answer.text
    return [line["line"] for line in answer.json["lines"]]


def test_what_is_found(runs: Runs, logged: dict[str, Any]) -> None:
    assert found(runs, logged, "epoch") == [1, 2]
    assert found(runs, logged, "warning") == [5] and found(runs, logged, "warning", "any_case=true") == [3, 5]
    assert found(runs, logged, "a+b (x)") == [4] and found(runs, logged, "e.och") == []
    assert found(runs, logged, r"loss 0\.\d+$", "regex=true") == [1, 2]
    assert found(runs, logged, "epoch", "stream=stderr") == [] and found(runs, logged, "epoch", "stream=stdout") == [
        1,
        2,
    ]
    whole = search(runs, logged, "nowhere").json
    assert (whole["read_lines"], whole["cursor"]) == (6, None) and whole["read_bytes"] > 5000


def test_a_long_line_is_cut_around_its_match(runs: Runs, logged: dict[str, Any]) -> None:
    line = search(runs, logged, "end").json["lines"][0]
    assert line["cut"] and len(line["message"]) <= 2000
    assert line["message"][line["start"] : line["end"]] == "end"


def test_it_goes_on_by_cursor(runs: Runs, logged: dict[str, Any]) -> None:
    seen, cursor = [], ""
    while cursor is not None:
        answer = search(runs, logged, "o", f"limit=1&cursor={cursor}").json
        seen += [line["line"] for line in answer["lines"]]
        cursor = answer["cursor"]
    assert seen == [1, 2, 3]


def test_one_piece_is_bounded(runs: Runs, logged: dict[str, Any]) -> None:
    services = runs.world.services
    after, seen = (0, 0), []
    while True:
        with services.db.read(SYSTEM) as session:
            attempts = session.scalars(select(Attempt).where(Attempt.execution_id == logged["id"])).all()
            piece = LogSearch(services.logs, max_lines=2).run(
                session, attempts, matcher("warning", regex=False, any_case=True), after, 100
            )
        assert piece.read_lines <= 2
        seen += [line["line"] for line in piece.lines]
        if piece.cursor is None:
            break
        after = parse_cursor(piece.cursor)
    assert seen == [3, 5]


def test_bad_questions(runs: Runs, logged: dict[str, Any]) -> None:
    for q, query in (("", ""), ("(", "regex=true"), ("a" * 501, ""), (r"(a)\1", "regex=true"), ("(?=a)", "regex=true")):
        answer = search(runs, logged, q, query)
        assert answer.status_code == 400 and "q" in answer.json, q
    for query in ("cursor=x", "cursor=1:x", "limit=0", "stream=all", "regex=perhaps"):
        assert search(runs, logged, "a", query).status_code == 400, query
    assert search(runs, logged, "a", who="eve").status_code == 404
