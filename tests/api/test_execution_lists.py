"""Lists of executions: every filter, order, page and part."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from alembic import command

from controlplane.db.migrate import alembic_config
from fixtures.runs import Runs


@pytest.fixture
def four(runs: Runs) -> Runs:
    """#1 to #4 with different everything."""
    bodies: list[dict[str, Any]] = [
        {"title": "First of all", "tags": ["a", "b"], "parameters": {"epochs": 1}},
        {"tags": ["b"], "parameters": {"epochs": 10, "label": "x"}},
        {"title": "Third", "parameters": {"epochs": 3, "label": 'a "quoted" one'}},
        {"tags": ["a_b"], "parameters": {"epochs": 4}},
    ]
    made = []
    for number, body in enumerate(bodies, start=1):
        runs.world.clock.forward(3600)
        made.append(runs.create("bob" if number == 4 else "ann", **body))
    runs.change(made[0]["id"], state="complete", cumulative_metadata={"loss": 0.5, "best": True, "name": "one"})
    runs.change(made[1]["id"], state="error", cumulative_metadata={"loss": 12, "name": "12"})
    runs.change(made[2]["id"], state="started", cumulative_metadata={"loss": "high"})
    return runs


FILTERS = {
    "": [4, 3, 2, 1],
    "ordering=counter": [1, 2, 3, 4],
    "ordering=-ctime": [4, 3, 2, 1],
    "status=complete": [1],
    "status=complete&status=error": [2, 1],
    "status=incomplete": [4, 3],
    "counter=2&counter=4": [4, 2],
    "counter=99": [],
    "step=train": [4, 3, 2, 1],
    "step=report": [],
    "tag=a": [1],
    "tag=b": [2, 1],
    "tag=b&tag=a": [1],
    "tag=a_b": [4],
    "tag=%25": [],
    "environment=here": [4, 3, 2, 1],
    "environment=moon": [],
    "search=FIRST": [1],
    "search=train": [4, 3, 2, 1],
    "search=%25": [],
    "parameter=epochs%3D10": [2],
    "parameter=epochs>=3": [4, 3, 2],
    "parameter=epochs>=3&parameter=epochs<10": [4, 3],
    "parameter=label=x": [2],
    "parameter=label!=x": [4, 3, 1],
    "parameter=label=a%20%22quoted%22%20one": [3],
    "parameter=nothing=1": [],
    "metadata=loss<1": [1],
    "metadata=loss>1": [2],
    "metadata=loss=high": [3],
    "metadata=name=12": [2],
    "metadata=best=true": [1],
    "created_after=2026-03-01T14:30:00Z": [4, 3],
    "created_before=2026-03-01T14:30:00Z": [2, 1],
    "created_after=2026-03-01T15:30:00%2B01:00&created_before=2026-03-01T16:00:00": [3],
    "pinned=true": [],
    "pinned=False": [4, 3, 2, 1],
    "deleted=True": [],
    "adhoc=true": [4, 3, 2, 1],
    "adhoc=false": [],
    "task=018f3c5e-0000-7000-8000-000000000001": [],
    "limit=2": [4, 3],
    "limit=2&offset=3": [1],
    "limit=9001&deleted=false&no_count=true": [4, 3, 2, 1],
    "creator=018f3c5e-0000-7000-8000-000000000001": [],
    "creator=nobody": [],
    "id=nothing": [],
    "commit=nothing": [],
}


def test_filters(four: Runs) -> None:
    wrong = {query: found for query, wanted in FILTERS.items() if (found := four.counters(query)) != wanted}
    assert wrong == {}
    assert four.counters(f"creator={four.world.users['bob']}") == [4]
    assert four.counters(f"commit={quote(four.commit)}&counter=1") == [1]


def test_what_was_there_before_the_index_is_found_as_well(four: Runs) -> None:
    """Rows of an older schema are taken over; those of the newest one follow every change."""
    datum = four.datum("a.csv", b"1", tags=["raw", "x"])
    config = alembic_config()
    with four.world.services.db.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
        command.upgrade(config, "head")
    assert {query: four.counters(query) for query in FILTERS} == FILTERS
    ann, project = four.world.client("ann"), four.world.project
    found = ann.get(f"/api/v0/data/?project={project}&tag=raw&tag=x").json["results"]
    assert [row["id"] for row in found] == [datum]


def test_what_is_found_follows_every_change(four: Runs) -> None:
    execution = four.world.client("ann").get(f"/api/v0/executions/{four.world.project}:1/").json["id"]
    four.world.client("ann").post(f"/api/v0/executions/{execution}/tags/", json={"tags": ["b", "new"]})
    assert (four.counters("tag=a"), four.counters("tag=new"), four.counters("tag=b")) == ([], [1], [2, 1])
    four.change(execution, cumulative_metadata={"loss": 0.25, "name": "one", "text": "x" * 5000})
    assert (four.counters("metadata=loss=0.25"), four.counters("metadata=best=true")) == ([1], [])
    assert four.counters("metadata=name=one") == [1]
    four.change(execution, cumulative_metadata={})
    assert four.counters("metadata=name=one") == []


BAD = (
    "status=well", "counter=x", "counter=-1", "ordering=price", "limit=-1", "limit=", "pinned=perhaps",
    "parameter=epochs", "metadata=loss<low", "metadata==1", "created_after=yesterday", f"search={'a' * 256}",
    "limit=10001",
)  # fmt: skip


def test_bad_queries_name_the_field(four: Runs) -> None:
    for query in BAD:
        answer = four.world.client("ann").get(f"/api/v0/executions/?project={four.world.project}&{query}")
        assert answer.status_code == 400, query
        assert query.partition("=")[0] in answer.json, query


def test_the_project_is_needed(four: Runs) -> None:
    answer = four.world.client("ann").get("/api/v0/executions/")
    assert answer.status_code == 400 and answer.json["project"][0]["code"] == "required"


def test_pages_lead_to_each_other(four: Runs) -> None:
    ann = four.world.client("ann")
    seen, address = [], f"/api/v0/executions/?project={four.world.project}&limit=2&status=incomplete&status=complete"
    while address:
        answer = ann.get(address.removeprefix("http://remora.test:8765")).json
        seen += [row["counter"] for row in answer["results"]]
        assert answer["count"] == 3
        address = answer["next"]
    assert seen == [4, 3, 1]


def test_parts_of_a_list(four: Runs) -> None:
    path = f"/api/v0/executions/?project={four.world.project}&counter=1"
    ann = four.world.client("ann")
    plain = ann.get(path).json["results"][0]
    assert "parameters" not in plain and plain["status"] == "complete"
    more = ann.get(f"{path}&include=parameters, commit,nothing&exclude=urls, tags").json["results"][0]
    assert more["parameters"]["epochs"] == 1 and more["commit"]["identifier"] == four.commit
    assert "urls" not in more and "tags" not in more
