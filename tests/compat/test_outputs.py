"""Outputs: listed, downloaded, found as data, and used as the next execution's input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from fixtures.work import Work


def test_outputs_lists(work: Work, trained: str) -> None:
    text = work.vh("exec", "outputs", trained).out
    assert "model.txt" in text and "reports/table.csv" in text and "datum://" in text
    assert "metadata.json" not in text


def test_outputs_download(work: Work, trained: str, new_folder: Callable[[], Path]) -> None:
    target = new_folder()
    done = work.vh("exec", "outputs", trained, "--download", str(target))
    assert "Downloaded 2 outputs" in done.text
    assert (target / "model.txt").read_text() == "model of two words\n"
    assert (target / "reports" / "table.csv").read_text() == "a,b\n1,2\n"


def test_outputs_download_by_pattern(work: Work, trained: str, new_folder: Callable[[], Path]) -> None:
    target = new_folder()
    work.vh("exec", "outputs", trained, "--download", str(target), "--filter-download", "*.csv")
    assert [file.name for file in target.rglob("*") if file.is_file()] == ["table.csv"]


def test_no_outputs_is_said(work: Work) -> None:
    counter = work.run("lines", "--count", "1")
    work.finish(counter)
    assert "has no outputs" in work.vh("exec", "outputs", counter).text


def test_data_list(work: Work, trained: str) -> None:
    text = work.vh("data", "list").out
    assert "model.txt" in text and f"#{trained}" in text
    rows = json.loads(work.vh("--output-format", "json", "data", "list").out)
    of_trained = [row for row in rows if (row["output_execution"] or {}).get("counter") == int(trained)]
    model = next(row for row in of_trained if row["name"] == "model.txt")
    assert model["size"] == len("model of two words\n")


def test_alias_list(work: Work, trained: str) -> None:
    text = work.vh("alias", "list").out
    assert "best-two words" in text and "model.txt" in text


def test_an_output_is_the_next_input(work: Work, trained: str) -> None:
    found = re.search(r"model\.txt\s+(datum://[0-9a-f-]{36})", work.vh("exec", "outputs", trained).out)
    assert found
    counter = work.run("train", "--data", found.group(1), "--extra", "datum://best-two words", "--label", "second")
    work.finish(counter)
    lines = [event["message"] for event in work.stack.log(f"{work.project}:{counter}")]
    size = len("model of two words\n")
    assert f"input data model.txt {size}" in lines and f"input extra model.txt {size}" in lines
