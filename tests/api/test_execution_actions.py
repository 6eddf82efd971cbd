"""What is done with executions: copy, tags, pins, comments, bulk, purge of outputs."""

from __future__ import annotations

from sqlalchemy import select

from controlplane.data.models import DatumUse
from controlplane.db.session import SYSTEM
from fixtures.runs import Runs

EXECUTIONS = "/api/v0/executions/"


def test_copy_is_the_same_but_for_the_changes(runs: Runs) -> None:
    ann = runs.world.client("ann")
    first = runs.create(
        title="first", tags=["a"], parameters={"epochs": 7, "label": "x"}, time_limit=60,
        environment_variables={"PLAIN": "1", "KEY": {"value": "hunter2-secret", "secret": True}},
    )  # fmt: skip
    same = ann.post(f"{EXECUTIONS}{first['id']}/copy/")
    assert same.status_code == 201 and same.json["counter"] == 2
    for name in ("title", "tags", "parameters", "time_limit", "environment_variables", "command", "image", "commit"):
        assert same.json[name] == first[name], name
    changes = {"parameters": {"epochs": 9}, "title": "second", "tags": [], "environment_variables": {"PLAIN": "2"}}
    other = ann.post(f"{EXECUTIONS}{first['id']}/copy/", json=changes).json
    assert other["parameters"] == {"epochs": 9, "label": "x"} and (other["title"], other["tags"]) == ("second", [])
    assert other["environment_variables"]["PLAIN"]["value"] == "2"
    assert other["environment_variables"]["KEY"] == {"value": None, "secret": True}
    assert "hunter2" not in same.text


def test_copy_says_what_is_wrong(runs: Runs) -> None:
    ann, first = runs.world.client("ann"), runs.create()
    path = f"{EXECUTIONS}{first['id']}/copy/"
    assert ann.post(path, json={"parameters": {"nothing": 1}}).status_code == 400
    assert "environment" in ann.post(path, json={"environment": "moon"}).json
    assert "commit" in ann.post(path, json={"commit": "0" * 40}).json
    moved = ann.post(path, json={"step": "report", "environment_variables": {"NEEDED": "x"}})
    assert moved.status_code == 400 and "environment_variable_groups" in moved.json  # the step's group is not there


def test_copies_under_one_key_are_one(runs: Runs) -> None:
    ann, first = runs.world.client("ann"), runs.create()
    key = {"Idempotency-Key": "copy-1"}
    made = [ann.post(f"{EXECUTIONS}{first['id']}/copy/", json={}, headers=key).json["counter"] for _ in range(3)]
    assert made == [2, 2, 2]


def test_tags_are_replaced(runs: Runs) -> None:
    ann, first = runs.world.client("ann"), runs.create(tags=["a"])
    path = f"{EXECUTIONS}{first['id']}/tags/"
    assert ann.post(path, json={"tags": ["c", "b", "c"]}).json == {"tags": ["b", "c"]}
    assert ann.get(f"{EXECUTIONS}{first['id']}/").json["tags"] == ["b", "c"]
    assert ann.post(path, json={"tags": ["a\nb"]}).status_code == 400
    assert ann.post(path, json={"tags": [str(n) for n in range(101)]}).status_code == 400


def test_pins(runs: Runs) -> None:
    ann, first = runs.world.client("ann"), runs.create()
    runs.create()
    path = f"{EXECUTIONS}{first['id']}/pin/"
    assert ann.post(path).json == {"is_pinned": True}
    assert ann.post(path).status_code == 200
    assert runs.counters("pinned=true") == [1] and runs.counters("pinned=false") == [2]
    assert ann.get(f"{EXECUTIONS}{first['id']}/").json["is_pinned"] is True
    assert ann.delete(path).status_code == 204
    assert runs.counters("pinned=true") == []


def test_comments_have_an_author_who_alone_changes_them(runs: Runs) -> None:
    ann, bob, vic = (runs.world.client(name) for name in ("ann", "bob", "vic"))
    first = runs.create()
    path = f"{EXECUTIONS}{first['id']}/comments/"
    made = ann.post(path, json={"text": "Too large\na rate"})
    assert made.status_code == 201 and made.json["author"]["username"] == "ann" and made.json["mtime"] is None
    assert bob.post(path, json={"text": "<b>{{ 7 * 7 }} %s"}).json["text"] == "<b>{{ 7 * 7 }} %s"
    shown = vic.get(path).json
    assert [row["text"] for row in shown["results"]] == ["Too large\na rate", "<b>{{ 7 * 7 }} %s"]
    assert ann.get(f"{EXECUTIONS}{first['id']}/").json["n_comments"] == 2
    own = f"{path}{made.json['id']}/"
    assert vic.post(path, json={"text": "a"}).status_code == 403
    for other in ("bob", "adm", "pam"):
        assert runs.world.client(other).call("PUT", own, json={"text": "mine"}).status_code == 403
        assert runs.world.client(other).delete(own).status_code == 403
    runs.world.clock.forward(60)
    edited = ann.call("PUT", own, json={"text": "Too large a rate"}).json
    assert edited["text"] == "Too large a rate" and edited["mtime"] > edited["ctime"]
    assert ann.delete(own).status_code == 204 and ann.delete(own).status_code == 404
    assert ann.get(path).json["count"] == 1
    other = runs.create()
    assert (
        ann.call("PUT", f"{EXECUTIONS}{other['id']}/comments/{made.json['id']}/", json={"text": "a"}).status_code == 404
    )
    for bad in ("", " \n", "a\0b"):
        assert ann.post(path, json={"text": bad}).status_code == 400


def test_delete_hides_and_needs_an_end(runs: Runs) -> None:
    ann, first = runs.world.client("ann"), runs.create()
    path = f"{EXECUTIONS}{first['id']}/"
    refused = ann.delete(path)
    assert refused.status_code == 409 and "stop it first" in refused.json["message"]
    runs.change(first["id"], state="stopping")
    refused = ann.delete(path)
    assert refused.status_code == 409 and "once it has stopped" in refused.json["message"]
    runs.change(first["id"], state="complete")
    assert ann.delete(path).status_code == 204
    assert runs.counters() == [] and runs.counters("deleted=true") == [1]


def test_outputs_and_their_purge(runs: Runs) -> None:
    ann, first = runs.world.client("ann"), runs.create()
    kept, gone = runs.datum("kept.txt", b"kept"), runs.datum("gone.txt", b"12345", first["id"])
    path = f"{EXECUTIONS}{first['id']}/outputs/"
    plain, signed = ann.get(path).json, ann.get(f"{path}?include=download_url").json
    assert [row["name"] for row in plain] == ["gone.txt"] and "download_url" not in plain[0]
    address = signed[0]["download_url"].removeprefix("http://remora.test:8765")
    assert ann.get(address).data == b"12345"
    purged = ann.post(f"{EXECUTIONS}{first['id']}/purge-outputs/").json
    assert purged == {"purged": 1, "bytes": 5, "left": 0}
    assert ann.get(address).status_code == 404
    assert ann.get(f"/api/v0/data/{gone}/").json["purged"] is True
    assert ann.get(f"/api/v0/data/{gone}/download/").status_code == 404
    assert ann.get(f"/api/v0/data/{kept}/").json["purged"] is False
    assert ann.post(f"{EXECUTIONS}{first['id']}/purge-outputs/").json == {"purged": 0, "bytes": 0, "left": 0}


def test_metadata_is_a_bare_list(runs: Runs) -> None:
    assert runs.world.client("ann").get(f"{EXECUTIONS}{runs.create()['id']}/metadata/").json == []


def test_bulk_by_query(runs: Runs) -> None:
    ann, path = runs.world.client("ann"), "/api/v1/executions/bulk/"
    made = [runs.create(tags=["old"] if number < 2 else []) for number in range(3)]
    body = {"project": runs.world.project, "action": "stop", "query": {"tag": "old"}}
    assert ann.post(path, json={**body, "dry_run": True}).json == {
        "found": 2, "done": 0, "left": 0, "counters": [1, 2],
    }  # fmt: skip
    assert runs.counters("status=stopped") == []
    assert ann.post(path, json=body).json["done"] == 2
    assert runs.counters("status=stopped") == [2, 1]
    tagged = {**body, "action": "tag", "query": {"counter": [1, 3]}, "tags": ["new"]}
    assert ann.post(path, json=tagged).json["counters"] == [1, 3]
    assert runs.counters("tag=new") == [3, 1] and runs.counters("tag=old&tag=new") == [1]
    assert ann.post(path, json={**tagged, "action": "untag"}).json["done"] == 2
    assert runs.counters("tag=new") == []
    assert ann.post(path, json={**body, "action": "delete", "query": {}}).json["counters"] == [1, 2]  # not #3: it waits
    assert runs.counters() == [3]
    for wrong in (
        {"query": {"nothing": 1}},
        {"query": {"project": "x"}},
        {"query": {"status": "x"}},
        {"action": "tag"},
    ):
        assert ann.post(path, json={**body, **wrong}).status_code == 400, wrong
    assert len(made) == 3


def test_lineage_rows_are_those_of_the_inputs(runs: Runs) -> None:
    datum = runs.datum("numbers.csv", b"1")
    first = runs.create(inputs={"data": [f"datum://{datum}", "https://example.org/x.csv"]})
    with runs.world.services.db.read(SYSTEM) as session:
        rows = session.scalars(select(DatumUse)).all()
    assert [(row.execution_id, row.datum_id, row.input) for row in rows] == [(first["id"], datum, "data")]
