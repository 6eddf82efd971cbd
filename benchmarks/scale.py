"""A million executions in the database: what the calls that people wait for take then."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import closing

import httpx

from benchmarks.table import Row
from controlplane.db.ids import uuid7
from fixtures.bench import Bench

PROJECTS = 100
PER_PROJECT = 10_000
TRIES = 7
NUMBERS = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {PER_PROJECT})"
COPY_ID = "printf('01a00000%04x70008000%012x', :number, i)"


def scale(bench: Bench) -> list[Row]:
    """Medians of lists and of accepting, with 10,000 executions in each of 100 projects."""
    template = bench.start("true")
    bench.end(template)
    began = time.monotonic()
    project = fill(bench, template)
    filled = time.monotonic() - began
    size = bench.stack.home.joinpath("remora.db").stat().st_size
    lists = {
        "newest 50 of 10,000": {"limit": 50, "ordering": "-counter"},
        "all that vh asks for": {"limit": 9001, "ordering": "-counter", "deleted": "false"},
        "one by its counter": {"counter": 5000},
        "what has not ended": {"status": "incomplete"},
    }
    rows = [Row("a million executions", size / 1e9, "GB", f"SQLite; written in {filled:.0f} s")]
    with bench.stack.api() as api:
        for what, query in lists.items():
            rows.append(
                timed(f"list, {what}", lambda q=query: api.get("executions/", params={"project": project, **q}))
            )
        body = {"project": bench.project, "commit": bench.commit, "step": "any", "command": "true"}
        rows.append(timed("accept, beside a million", lambda: api.post("executions/", json=body)))
    began = time.monotonic()
    bench.run("true")
    rows.append(
        Row("accept to end, beside a million", time.monotonic() - began, "s", "behind what was accepted before")
    )
    return rows


def timed(what: str, call: Callable[[], httpx.Response]) -> Row:
    """Median of some calls."""
    waits = []
    for _ in range(TRIES):
        began = time.perf_counter()
        call().raise_for_status()
        waits.append((time.perf_counter() - began) * 1000)
    return Row(what, statistics.median(waits), "ms", f"median of {TRIES}, worst {max(waits):.0f} ms")


def fill(bench: Bench, template: str) -> str:
    """Copies of an ended execution with its first attempt and event; the id of the last of the new projects."""
    project = ""
    with closing(sqlite3.connect(bench.stack.home / "remora.db", timeout=60, isolation_level=None)) as database:
        for number in range(PROJECTS):
            project = uuid7()
            # SQLite keeps ids as 32 hexadecimal digits.
            ids = {"project": project, "template": template, "former": bench.project}
            values = {"number": number, **{name: value.replace("-", "") for name, value in ids.items()}}
            database.execute("BEGIN IMMEDIATE")
            copy(database, "project", "id = :former", values, id=":project", name="'large ' || :number")
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
