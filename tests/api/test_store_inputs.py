"""Files of stores that people added as inputs: taken in as they are, named by wildcards, refused with a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.db.session import SYSTEM
from controlplane.executions.models import Execution
from controlplane.settings import Settings
from fixtures.added_stores import add, code, keep, run
from fixtures.runs import Runs
from fixtures.store_rigs import HERE, s3_bucket
from fixtures.store_servers import Server
from fixtures.web import FakeClock

pytestmark = pytest.mark.needs("versitygw")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"allowed_networks": HERE})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock.of_today()


@pytest.fixture
def bucket(versitygw: Server) -> dict[str, Any]:
    return s3_bucket(versitygw)


def test_a_file_is_taken_in_once(world, bucket, tmp_path):
    made = add(world, {**bucket, "prefix": "below"}).json
    keep(world, made["id"], tmp_path, "a/x y.csv")
    ann, url = world.client("ann"), f"s3://{bucket['bucket']}/below/a/x y.csv"
    path = f"/api/v0/stores/{made['id']}/adopt/"
    first = ann.post(path, json={"url": url, "project": world.project})
    assert first.status_code == 200, first.text
    datum = first.json["created"][url]
    assert first.json == {"ok": True, "created": {url: datum}}
    assert ann.post(path, json={"url": url, "project": world.project}).json["created"] == {url: datum}
    shown = ann.get(f"/api/v0/data/{datum}/").json
    assert (shown["name"], shown["size"], shown["storage_uri"]) == ("x y.csv", 9, url)
    execution = run(world, code(world), data=url).json
    assert execution["inputs"][0]["urls"] == [f"datum://{datum}"], "and is that datum from now on"


def test_what_can_not_be_taken_in(world, bucket, tmp_path):
    made = add(world, bucket).json
    keep(world, made["id"], tmp_path, f"{world.foreign}/execution/1/theirs.bin", "x.csv")
    ann, path = world.client("ann"), f"/api/v0/stores/{made['id']}/adopt/"
    for url in ("nothing.csv", "*.csv", f"{world.foreign}/execution/1/theirs.bin", "a/../x.csv", ""):
        answer = ann.post(path, json={"url": made["uri_prefix"] + url, "project": world.project})
        assert answer.status_code == 400, (url, answer.text)
        assert answer.json["url"][0]["code"] == "adoptable_file_not_found", url
    elsewhere = ann.post(path, json={"url": "s3://other/x.csv", "project": world.project})
    assert elsewhere.json["url"][0]["code"] == "adoptable_file_not_found"


# ---- inputs ------------------------------------------------------------------------------------------
def test_wildcards_are_expanded_when_it_is_accepted(world, bucket, tmp_path):
    made = add(world, bucket).json
    names = ["set/a.csv", "set/b.csv", "set/c.txt", "set/deep/d.csv", "set/deep/er/e.csv", f"{world.foreign}/x/1/f.csv"]
    keep(world, made["id"], tmp_path, *names)
    commit, root = code(world), made["uri_prefix"]
    for pattern, wanted in (
        ("set/*.csv", names[:2]),
        ("set/*", names[:3]),
        ("set/**", names[:5]),
        ("set/**/*.csv", [*names[:2], *names[3:5]]),
        ("**/*.csv", [*names[:2], *names[3:5]]),
        ("s*/deep/*", [names[3]]),
    ):
        answer = run(world, commit, data=root + pattern)
        assert answer.status_code == 201, (pattern, answer.text)
        assert answer.json["inputs"][0]["urls"] == [root + pattern]
        with world.services.db.read(SYSTEM) as session:
            files = session.get_one(Execution, answer.json["id"]).options["files"][root + pattern]
        assert [entry[0] for entry in files] == [root + name for name in wanted], pattern


def test_lineage_holds_what_a_wildcard_stood_for(world, bucket, tmp_path):
    made = add(world, bucket).json
    keep(world, made["id"], tmp_path, "set/a.csv", "set/b.csv", "set/plain.csv", "other/c.csv")
    ann, root = world.client("ann"), made["uri_prefix"]

    def adopted(name: str) -> str:
        body = {"url": root + name, "project": world.project}
        return ann.post(f"/api/v0/stores/{made['id']}/adopt/", json=body).json["created"][root + name]

    first, second, other = adopted("set/a.csv"), adopted("set/b.csv"), adopted("other/c.csv")
    execution = run(world, code(world), data=[f"{root}set/*.csv", f"datum://{first}"]).json["id"]
    later = adopted("set/plain.csv")
    copy = ann.post(f"/api/v0/executions/{execution}/copy/", json={}).json["id"]

    def uses(datum: str) -> set[tuple[str, str]]:
        edges = ann.get(f"/api/v1/data/{datum}/lineage/").json["edges"]
        return {(edge["to"], edge["input"]) for edge in edges if edge["from"] == datum}

    assert uses(first) == uses(second) == {(execution, "data"), (copy, "data")}
    assert uses(later) == {(copy, "data")}, "what came later is no input of the first"
    assert uses(other) == set()
    output = Runs(world, code(world)).datum("out.bin", b"1", execution)
    edges = ann.get(f"/api/v1/data/{output}/lineage/").json["edges"]
    sources = {edge["from"] for edge in edges if edge["to"] == execution}
    assert sources == {first, second}, "and the other way round"


def test_a_copy_keeps_the_wildcard(world, bucket, tmp_path):
    made = add(world, bucket).json
    keep(world, made["id"], tmp_path, "a.csv")
    pattern = made["uri_prefix"] + "*.csv"
    first = run(world, code(world), data=pattern).json
    keep(world, made["id"], tmp_path, "b.csv")
    answer = world.client("ann").post(f"/api/v0/executions/{first['id']}/copy/", json={})
    assert answer.status_code == 201, answer.text
    with world.services.db.read(SYSTEM) as session:
        options = session.get_one(Execution, answer.json["id"]).options
    assert [entry[0][-5:] for entry in options["files"][pattern]] == ["a.csv", "b.csv"]


def test_inputs_that_can_not_be_had(world, bucket, versitygw, tmp_path):
    made = add(world, bucket, allow_write=False).json
    keep(world, made["id"], tmp_path, "a.csv", f"{world.foreign}/x/1/f.csv")
    commit, root = code(world), made["uri_prefix"]
    for uri, part in (
        ("s3://unknown-bucket/a.csv", f"it has: data ({root}). Add one under Stores."),
        ("gs://b/x", "No store of this project holds"),
        (root, "names no object"),
        (f"{root}a/../b", "names no object"),
        (f"{root}{world.foreign}/x/1/f.csv", "another project's output"),
        (f"{root}*.txt", "Nothing in the store data is"),
        (f"{root}{world.foreign}/**", "Nothing in the store data is"),
        ("s3://unknown-bucket/*.csv", "No store of this project holds"),
        ("ftp://x/y", "can't be read"),
    ):
        answer = run(world, commit, data=uri)
        assert answer.status_code == 400, (uri, answer.text)
        assert part in answer.text.replace("\\u2019", "'"), (uri, answer.text)
    wrong = add(world, {**s3_bucket(versitygw), "secret_access_key": "wrong"}, name="wrong").json
    answer = run(world, commit, data=f"{wrong['uri_prefix']}*.csv")
    assert "can't be listed in the store wrong" in answer.text
    assert "SignatureDoesNotMatch" in answer.text


def test_a_store_for_writing_only_is_no_place_for_inputs(world, bucket):
    made = add(world, bucket, allow_read=False).json
    assert "No store of this project holds" in run(world, code(world), data=f"{made['uri_prefix']}a").text


@pytest.mark.security("N39")
def test_a_wildcard_of_a_thousand_stars_takes_no_time(world, bucket, tmp_path):
    made = add(world, bucket).json
    keep(world, made["id"], tmp_path, "a" * 200)
    answer = run(world, code(world), data=made["uri_prefix"] + "**/" * 300 + "*a" * 300 + "b")
    assert "Nothing in the store" in answer.text


# ---- outputs -----------------------------------------------------------------------------------------
