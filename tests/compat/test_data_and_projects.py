"""Data and projects by the client beyond the first look: purge, sync, deleted ones, uploads, lineage, search."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from fixtures.work import Work


@pytest.fixture
def v1(work: Work) -> httpx.Client:
    """Remora's own calls, signed in."""
    headers = {"Authorization": f"Token {work.stack.access['token']}"}
    return httpx.Client(base_url=f"{work.stack.url}/api/v1/", headers=headers, trust_env=False, timeout=30)


def test_outputs_sync_ends_with_the_execution(work: Work, trained: str, new_folder: Callable[[], Path]) -> None:
    target = new_folder()
    done = work.vh("exec", "outputs", trained, "--sync", "--download", str(target))
    assert "Execution has finished" in done.text
    assert (target / "model.txt").read_text() == "model of two words\n"


def test_delete_with_its_outputs(work: Work, trained: str) -> None:
    counter = work.run("train", "--data", work.files.url("numbers.csv"), "--label", "gone", "--epochs", "1")
    ended = work.finish(counter)
    assert "Deleted 1 executions" in work.vh("exec", "delete", "--purge-outputs", counter).text
    with work.stack.api() as api:
        left = api.get("data/", params={"output_execution": ended["id"], "purged": "true"}).json()["results"]
    assert {row["name"] for row in left} == {"model.txt", "reports/table.csv"}
    assert all(row["purged"] for row in left)
    rows = json.loads(work.vh("--output-format", "json", "exec", "list", "--deleted").out)
    assert int(counter) in [row["counter"] for row in rows]
    assert "model.txt" not in [
        row["name"] for row in json.loads(work.vh("--output-format", "json", "data", "list").out)
        if row["output_execution"] and row["output_execution"]["counter"] == int(counter)
    ]  # fmt: skip


def test_delete_of_none_such(work: Work) -> None:
    done = work.vh("exec", "delete", "9999", code=None)
    assert done.code != 0 and "Nothing was deleted" in done.text


def test_an_upload_is_the_next_input(work: Work, trained: str, v1: httpx.Client) -> None:
    content = b"1,2,3,4\n" * 100
    body = {
        "project": work.project, "name": "uploaded.csv", "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(), "metadata": {"valohai.alias": "uploaded"},
    }  # fmt: skip
    upload = v1.post("uploads/", json=body).raise_for_status().json()
    for part in v1.get(f"uploads/{upload['id']}/parts/").raise_for_status().json():
        piece = content[part["offset"] : part["offset"] + part["size"]]
        httpx.put(part["url"], content=piece, headers=part["headers"], trust_env=False).raise_for_status()
    v1.post(f"uploads/{upload['id']}/complete/").raise_for_status()
    assert "uploaded.csv" in work.vh("data", "list").out and "uploaded" in work.vh("alias", "list").out
    counter = work.run("train", "--data", "datum://uploaded", "--epochs", "1", "--label", "from upload")
    work.finish(counter)
    lines = [event["message"] for event in work.stack.log(f"{work.project}:{counter}")]
    assert f"input data uploaded.csv {len(content)}" in lines


def test_lineage_of_an_output(work: Work, trained: str, v1: httpx.Client) -> None:
    with work.stack.api() as api:
        query = {"project": work.project, "name": "best-two words"}
        datum = api.get("datum-aliases/resolve/", params=query).json()["datum"]["id"]
    found = v1.get(f"data/{datum}/lineage/").raise_for_status().json()
    counters = {node["counter"] for node in found["nodes"] if node["kind"] == "execution"}
    assert int(trained) in counters


def test_a_log_is_searched(work: Work, trained: str, v1: httpx.Client) -> None:
    path = f"executions/{work.project}:{trained}/log-search/"
    found = v1.get(path, params={"q": "label two words"}).raise_for_status().json()
    assert [line["message"] for line in found["lines"]] == ["label two words shout True"]
    assert found["cursor"] is None and found["read_lines"] > 5


def test_filters_on_what_has_run(work: Work, trained: str) -> None:
    with work.stack.api() as api:
        query = {"project": work.project, "metadata": ["epoch=2", "loss<0.1"], "parameter": "label=two words"}
        rows = api.get("executions/", params={**query, "tag": "nightly", "status": "complete"}).json()["results"]
    assert [row["counter"] for row in rows] == [int(trained)]


def test_comments_and_pins(work: Work, trained: str) -> None:
    with work.stack.api() as api:
        path = f"executions/{work.project}:{trained}/"
        api.post(f"{path}comments/", json={"text": "the best so far"}).raise_for_status()
        api.post(f"{path}pin/").raise_for_status()
        shown = api.get(path).json()
        assert (shown["n_comments"], shown["is_pinned"]) == (1, True)


def test_rename_and_delete_a_project(work: Work, new_folder: Callable[[], Path]) -> None:
    vh = work.vh.at(new_folder())
    vh("project", "create", "--name", "to-rename", "--yes")
    with work.stack.api() as api:
        rows = api.get("projects/", params={"limit": 1000}).json()["results"]
        project = next(row["id"] for row in rows if row["name"] == "to-rename")
        api.put(f"projects/{project}/", json={"name": "renamed", "description": "told"}).raise_for_status()
        assert "renamed" in vh("project", "list").out and "to-rename" not in vh("project", "list").out
        api.delete(f"projects/{project}/").raise_for_status()
    assert "renamed" not in work.vh("project", "list").out
    assert vh("project", "status", code=None).code != 0
    vh("project", "unlink", "--yes")
    vh("project", "create", "--name", "renamed", "--no-link", "--yes")
