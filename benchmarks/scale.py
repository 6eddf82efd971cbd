"""A million executions in the database: what the calls that people wait for take then."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import closing

import httpx

from benchmarks.table import Row, at_most
from controlplane.db.ids import uuid7
from fixtures.bench import Bench

SMALL, LARGE = 10_000, 1_000_000
AT_ONCE = 10_000
TRIES = 7
PAIRS = 40
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)"
COPY_ID = "printf('01a00000%04x70008000%012x', :number, i)"


def scale(bench: Bench) -> list[Row]:
    """Lists and accepting, in a project of ten thousand executions and in one of a million."""
    template = bench.start("true")
    bench.end(template)
    began = time.monotonic()
    small, large = fill(bench, template, 1, SMALL), fill(bench, template, 2, LARGE)
    filled = time.monotonic() - began
    size = bench.stack.home.joinpath("remora.db").stat().st_size
    others = {
        "all that vh asks for of 10,000": {"project": small, "limit": 9001, "ordering": "-counter", "deleted": "false"},
        "one of a million by its counter": {"project": large, "counter": 5000},
        "what has not ended of a million": {"project": large, "status": "incomplete"},
    }
    rows = [Row("a million executions", size / 1e9, "GB", f"SQLite; written in {filled:.0f} s")]
    with bench.stack.api() as api:
        rows += newest(api, small, large)
        rows += [
            timed(f"list, {what}", lambda q=query: api.get("executions/", params=q)) for what, query in others.items()
        ]
        body = {"project": bench.project, "commit": bench.commit, "step": "any", "command": "true"}
        rows.append(timed("accept, beside a million", lambda: api.post("executions/", json=body)))
    began = time.monotonic()
    bench.run("true")
    rows.append(
        Row("accept to end, beside a million", time.monotonic() - began, "s", "behind what was accepted before")
    )
    return rows


def newest(api: httpx.Client, small: str, large: str) -> list[Row]:
    """Medians of the newest hundred, asked for in turn, so that the machine's noise is the same for both."""
    waits: dict[str, list[float]] = {small: [], large: []}
    for _ in range(PAIRS):
        for project in (small, large):
            began = time.perf_counter()
            answer = api.get("executions/", params={"project": project, "limit": 100}).raise_for_status()
            waits[project].append((time.perf_counter() - began) * 1000)
            assert len(answer.json()["results"]) == 100
    of_small, of_large = statistics.median(waits[small]), statistics.median(waits[large])
    how = f"median of {PAIRS}, worst {{:.0f}} ms"
    return [
        Row("list, 100 of 10,000", of_small, "ms", how.format(max(waits[small])), target=at_most(30)),
        Row("list, 100 of 1,000,000", of_large, "ms", how.format(max(waits[large]))),
        Row("the same, against 10,000", of_large / of_small, "times", "the two medians", target=at_most(1.5)),
    ]


def timed(what: str, call: Callable[[], httpx.Response]) -> Row:
    """Median of some calls."""
    waits = []
    for _ in range(TRIES):
        began = time.perf_counter()
        call().raise_for_status()
        waits.append((time.perf_counter() - began) * 1000)
    return Row(what, statistics.median(waits), "ms", f"median of {TRIES}, worst {max(waits):.0f} ms")


def fill(bench: Bench, template: str, number: int, count: int) -> str:
    """A new project with `count` copies of an ended execution, its first attempt and event; the project's id."""
    project = uuid7()
    # SQLite keeps ids as 32 hexadecimal digits.
    ids = {"project": project, "template": template, "former": bench.project}
    values = {"number": number, "next": count + 1, **{name: value.replace("-", "") for name, value in ids.items()}}
    renamed = {"id": ":project", "name": "'large ' || :number", "next_counter": ":next"}
    with closing(sqlite3.connect(bench.stack.home / "remora.db", timeout=60, isolation_level=None)) as database:
        copy(database, "project", "id = :former", values, **renamed)
        for first in range(1, count + 1, AT_ONCE):
            values |= {"first": first, "last": first + AT_ONCE - 1}
            database.execute("BEGIN IMMEDIATE")
            copy(database, "execution", "id = :template", values, id=COPY_ID, project_id=":project", counter="i")
            for table in ("attempt", "execution_event"):
                copy(database, table, "execution_id = :template", values, id=COPY_ID, execution_id=COPY_ID)
            database.execute("COMMIT")
    return project


def copy(database: sqlite3.Connection, table: str, where: str, values: dict[str, object], **changes: str) -> None:
    """The first row of a table again: once, or as often as there are numbers where a change names `i`."""
    columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
    picked = ", ".join(changes.get(column, f't."{column}"') for column in columns)
    many = COPY_ID in changes.values()
    source = f'(SELECT * FROM "{table}" WHERE {where} LIMIT 1) t'
    numbers, rows = (NUMBERS, f"n, {source}") if many else ("", source)
    database.execute(f'INSERT INTO "{table}" {numbers} SELECT {picked} FROM {rows}', values)
