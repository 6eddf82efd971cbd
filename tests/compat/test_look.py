"""`info`, `summarize`, `list`, `stop`, `delete`."""

from __future__ import annotations

import json
import sqlite3

from fixtures.work import Work


def test_info(work: Work, trained: str) -> None:
    text = work.vh("exec", "info", trained).out
    for wanted in ("complete", "A good run", "compat", "two words", "numbers.csv", "more.csv", "epochs"):
        assert wanted in text


def test_info_as_json(work: Work, trained: str) -> None:
    shown = json.loads(work.vh("--output-format", "json", "exec", "info", trained).out)
    assert shown["status"] == "complete" and shown["step"] == "train"
    assert shown["project"]["name"] == "compat" and shown["environment"]["name"]
    assert "metadata" not in shown and "events" not in shown


def test_info_of_none_such(work: Work) -> None:
    done = work.vh("exec", "info", "9999", code=None)
    assert done.code != 0 and "Execution #9999 does not exist" in done.text


def test_summarize(work: Work, trained: str) -> None:
    said = work.vh("--output-format", "json", "exec", "summarize", trained).out
    rows = json.loads(said[said.index("[\n") :])
    assert rows[0]["epoch"] == 2
    assert rows[0]["loss"] == 0.25 / 3


def test_list_newest_first(work: Work, trained: str) -> None:
    rows = json.loads(work.vh("--output-format", "json", "exec", "list").out)
    counters = [row["counter"] for row in rows]
    assert counters == sorted(counters, reverse=True) and int(trained) in counters
    assert "train" in work.vh("exec", "list").out


def test_list_by_status(work: Work, trained: str) -> None:
    rows = json.loads(work.vh("--output-format", "json", "exec", "list", "--status", "complete").out)
    assert rows and {row["status"] for row in rows} == {"complete"}


def test_list_own(work: Work, trained: str) -> None:
    rows = json.loads(work.vh("--output-format", "json", "exec", "list", "--owned", "--count", "1").out)
    assert len(rows) == 1


def test_stop_stops_the_named_one_only(work: Work) -> None:
    first = work.run("lines", "--count", "300", "--pause", "0.2")
    second = work.run("lines", "--count", "300", "--pause", "0.2")
    work.stack.wait(f"{work.project}:{first}", ("started",))
    done = work.vh("exec", "stop", first)
    assert f"Stopping #{first}" in done.text and "Done." in done.text
    ended = work.finish(first, ("stopped",))
    assert ended["status_detail"] == f"{work.stack.access['user']} stopped it."
    with work.stack.api() as api:
        assert api.get(f"executions/{work.project}:{second}/").json()["status"] in ("queued", "started")
    work.vh("exec", "stop", "--all")
    work.finish(second, ("stopped",))


def test_stop_of_nothing(work: Work, trained: str) -> None:
    work.vh("exec", "stop", trained)
    assert work.finish(trained)["status"] == "complete"
    assert "Nothing to stop" in work.vh("exec", "stop", "--all").text


def test_delete_hides_it(work: Work) -> None:
    counter = work.run("lines", "--count", "1")
    work.finish(counter)
    assert "Deleted 1 executions" in work.vh("exec", "delete", counter).text
    rows = json.loads(work.vh("--output-format", "json", "exec", "list").out)
    assert int(counter) not in [row["counter"] for row in rows]


def test_commits(work: Work, trained: str) -> None:
    """A commit of Git is shown (one is put in the database: repositories come later), ad-hoc code is not."""
    with sqlite3.connect(work.stack.home / "remora.db", timeout=10) as database:
        database.row_factory = sqlite3.Row
        own = 'SELECT * FROM "commit" WHERE adhoc = 1 AND project_id = ? LIMIT 1'
        row = dict(database.execute(own, (work.project.replace("-", ""),)).fetchone())
        row |= {
            "id": "018f3c5e-0000-7000-8000-000000000001",
            "identifier": "c0ffee" * 6 + "0123",
            "ref": "main",
            "adhoc": 0,
        }
        marks = ", ".join(f":{name}" for name in row)
        database.execute(f'INSERT INTO "commit" ({", ".join(row)}) VALUES ({marks})', row)
    text = work.vh("project", "commits").out
    assert "c0ffeec0ffee" in text and "main" in text
    assert "~" not in text
