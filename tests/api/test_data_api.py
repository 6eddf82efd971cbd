"""Files: lists, what is written on them, purge, aliases with history, lineage."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.runs import Runs

DATA, ALIASES = "/api/v0/data/", "/api/v0/datum-aliases/"


def names(runs: Runs, query: str) -> list[str]:
    answer = runs.world.client("ann").get(f"{DATA}?project={runs.world.project}&{query}")
    assert answer.status_code == 200, answer.text
    return [row["name"] for row in answer.json["results"]]


@pytest.fixture
def files(runs: Runs) -> dict[str, str]:
    """Ids by name; `b_1.csv` is an output of #1."""
    execution = runs.create()
    found = {}
    for name, made_by, tags in (
        ("a.csv", None, ["raw"]), ("b_1.csv", execution["id"], ["raw", "new"]), ("bx1.csv", None, []),
    ):  # fmt: skip
        runs.world.clock.forward(3600)
        found[name] = runs.datum(name, name.encode() * len(found), made_by, tags=tags)
    return {**found, "execution": execution["id"]}


def test_filters(runs: Runs, files: dict[str, str]) -> None:
    everything = ["bx1.csv", "b_1.csv", "a.csv"]
    queries = {
        "limit=100&ordering=-ctime&deleted=false&no_count=true": everything,
        "deleted=True": [],
        "ordering=name": ["a.csv", "b_1.csv", "bx1.csv"],
        "ordering=-size": ["bx1.csv", "b_1.csv", "a.csv"],
        "name=a.csv": ["a.csv"],
        "name=b_1.*": ["b_1.csv"],
        "name=b?1.csv": ["bx1.csv", "b_1.csv"],
        "tag=raw": ["b_1.csv", "a.csv"],
        "tag=raw&tag=new": ["b_1.csv"],
        "store=data": everything,
        "store=moon": [],
        "search=B_1": ["b_1.csv"],
        "created_after=2026-03-01T14:30:00Z": ["bx1.csv"],
        "limit=1&offset=1": ["b_1.csv"],
        f"output_execution={files['execution']}": ["b_1.csv"],
    }
    assert {query: names(runs, query) for query in queries} == queries
    ann = runs.world.client("ann")
    assert ann.get(DATA).json["project"][0]["code"] == "required"
    assert ann.get(f"{DATA}?output_execution={runs.world.project}:1").json["count"] == 1
    bad = f"{DATA}?project={runs.world.project}&ordering=price"
    assert ann.get(bad).status_code == 400


def test_one_file_with_everything(runs: Runs, files: dict[str, str]) -> None:
    shown = runs.world.client("vic").get(f"{DATA}{files['b_1.csv']}/?include=download_url").json
    assert shown["checksums"] == {"sha256": shown["sha256"]} and len(shown["sha256"]) == 64
    assert shown["output_execution"] == {"id": files["execution"], "counter": 1}
    assert shown["tags"] == ["raw", "new"] and shown["download_url"].startswith("http")


def test_tags_and_metadata(runs: Runs, files: dict[str, str]) -> None:
    bob, path = runs.world.client("bob"), f"{DATA}{files['a.csv']}/"
    assert bob.post(f"{path}tags/", json={"tags": ["b", "a"]}).json == {"tags": ["a", "b"]}
    assert bob.call("PUT", f"{path}metadata/", json={"rows": 3, "x": None}).json == {"rows": 3, "x": None}
    assert bob.post(f"{path}metadata/", json={"columns": 2, "x": None}).json == {"rows": 3, "columns": 2}
    named = {"valohai.tags": ["good"], "valohai.alias": "best"}
    assert bob.post(f"{path}metadata/", json=named).status_code == 200
    shown = bob.get(path).json
    assert (shown["tags"], shown["aliases"], shown["metadata"]["rows"]) == (["good"], ["best"], 3)
    assert bob.get(f"{path}metadata/").json == shown["metadata"]
    assert bob.post(f"{path}metadata/", json={"big": "a" * 256_000}).status_code == 409
    assert runs.world.client("vic").post(f"{path}tags/", json={"tags": []}).status_code == 403


def test_purge_removes_bytes_and_keeps_the_row(runs: Runs, files: dict[str, str]) -> None:
    ann, path = runs.world.client("ann"), f"{DATA}{files['a.csv']}/"
    address = ann.get(f"{path}download/").json["url"].removeprefix("http://remora.test:8765")
    assert ann.get(address).status_code == 200
    for _ in range(2):
        assert ann.post(f"{path}purge/").json["purged"] is True
    assert ann.get(address).status_code == 404 and ann.get(f"{path}download/").status_code == 404
    assert ann.get(path).json["sha256"]
    assert "a.csv" not in names(runs, "") and "a.csv" in names(runs, "purged=true")
    body = {"project": runs.world.project, "commit": runs.commit, "step": "train"}
    refused = ann.post("/api/v0/executions/", json={**body, "inputs": {"data": f"datum://{files['a.csv']}"}})
    assert refused.json["inputs.data"][0]["code"] == "purged"


def test_aliases_move_and_remember(runs: Runs, files: dict[str, str]) -> None:
    ann, project = runs.world.client("ann"), runs.world.project
    made = ann.post(ALIASES, json={"project": project, "name": "best", "datum": files["a.csv"]})
    assert made.status_code == 201 and made.json["datum"]["name"] == "a.csv"
    assert ann.post(ALIASES, json={"project": project, "name": "best", "datum": files["b_1.csv"]}).status_code == 409
    execution = runs.create(inputs={"data": "datum://best"})
    path = f"{ALIASES}{made.json['id']}/"
    runs.world.clock.forward(60)
    moved = ann.call("PUT", path, json={"datum": f"datum://{files['b_1.csv']}"})
    assert moved.json["datum"]["name"] == "b_1.csv"
    # What was created before keeps what the alias meant then.
    kept = ann.get(f"/api/v0/executions/{execution['id']}/").json
    assert kept["inputs"] == [{"name": "data", "urls": [f"datum://{files['a.csv']}"]}]
    resolved = ann.get(f"{ALIASES}resolve/?project={project}&name=best").json
    assert resolved["datum"]["id"] == files["b_1.csv"] and resolved["datum"]["checksums"]["sha256"]
    history = ann.get(f"{path}history/").json
    assert [(row["datum"]["name"], row["by"]) for row in history["results"]] == [("b_1.csv", "ann"), ("a.csv", "ann")]
    listed = ann.get(f"{ALIASES}?limit=100&ordering=-ctime&deleted=false&no_count=true&project={project}").json
    assert [row["name"] for row in listed["results"]] == ["best"]
    assert ann.get(f"{ALIASES}?project={project}&search=worst").json["results"] == []
    assert ann.delete(path).status_code == 204 and ann.get(path).status_code == 404
    assert ann.get(f"{ALIASES}resolve/?project={project}&name=best").status_code == 404
    again = ann.post(ALIASES, json={"project": project, "name": "best", "datum": files["a.csv"]}).json
    rows = ann.get(f"{ALIASES}{again['id']}/history/").json["results"]
    assert [row["datum"] and row["datum"]["name"] for row in rows] == ["a.csv", None, "b_1.csv", "a.csv"]


def test_bad_aliases(runs: Runs, files: dict[str, str]) -> None:
    ann, project = runs.world.client("ann"), runs.world.project
    bad: list[dict[str, Any]] = [
        {"name": ""}, {"name": "a/b"}, {"name": "a\nb"}, {"name": files["a.csv"]}, {"name": "a" * 129},
        {"datum": "nothing"}, {"datum": runs.world.project},
    ]  # fmt: skip
    for change in bad:
        body = {"project": project, "name": "fine", "datum": files["a.csv"], **change}
        assert ann.post(ALIASES, json=body).status_code == 400, change
    eve = runs.world.client("eve")
    theirs = eve.post(ALIASES, json={"project": runs.world.foreign, "name": "x", "datum": files["a.csv"]})
    assert theirs.status_code == 400 and theirs.json["datum"][0]["code"] == "does_not_exist"


def test_lineage_leads_both_ways(runs: Runs) -> None:
    raw = runs.datum("raw.csv", b"1")
    first = runs.create(inputs={"data": f"datum://{raw}"})
    model = runs.datum("model.bin", b"2", first["id"])
    second = runs.create(inputs={"data": f"datum://{model}"})
    report = runs.datum("report.html", b"3", second["id"])
    ann, path = runs.world.client("ann"), "/api/v1/data/{}/lineage/"
    middle = ann.get(path.format(model)).json
    edges = {(edge["from"], edge["to"], edge["input"]) for edge in middle["edges"]}
    assert edges == {
        (raw, first["id"], "data"), (first["id"], model, None), (model, second["id"], "data"),
        (second["id"], report, None),
    }  # fmt: skip
    named = {node.get("name") or node["counter"] for node in middle["nodes"]}
    assert named == {"raw.csv", "model.bin", "report.html", 1, 2} and middle["truncated"] is False
    near = ann.get(path.format(report) + "?depth=1").json
    assert {node.get("name") or node["counter"] for node in near["nodes"]} == {"report.html", 2, "model.bin"}
    assert near["truncated"] is True and "depth" in near["why"]
    assert ann.get(path.format(report) + "?depth=11").status_code == 400
    assert runs.world.client("eve").get(path.format(raw)).status_code == 404


def test_a_later_attempt_hides_the_outputs_of_the_former(runs: Runs, files: dict[str, str]) -> None:
    runs.log(files["execution"], "one line")
    old = runs.attempts(files["execution"])[0]
    runs.datum("old.txt", b"1", files["execution"], output_attempt_id=old)
    new = runs.attempt(files["execution"], 2)
    runs.datum("new.txt", b"1", files["execution"], output_attempt_id=new)
    shown = runs.world.client("ann").get(f"{DATA}?output_execution={files['execution']}&name=*.txt").json["results"]
    assert [row["name"] for row in shown] == ["new.txt"]
