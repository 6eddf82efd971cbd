"""Stores that people add: the API, who may use them, what is tried and what is taken in."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from controlplane.accounts.models import Team
from controlplane.audit.models import AuditEvent
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM
from controlplane.environments.models import Store
from controlplane.executions.models import Execution
from controlplane.projects.models import Project
from controlplane.settings import Settings
from fixtures.added_stores import add, code, keep, run
from fixtures.store_rigs import HERE, s3_bucket
from fixtures.store_servers import Server
from fixtures.web import FakeClock, World

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


@pytest.mark.security("N06")
def test_a_store_is_added_and_its_secret_never_shown(world, bucket):
    answer = add(world, bucket)
    assert answer.status_code == 201, answer.text
    made = answer.json
    assert (made["type"], made["access_mode"], made["name"]) == ("s3", "single_project", "data")
    assert made["uri_prefix"] == f"s3://{bucket['bucket']}/"
    assert made["project"] == {"id": world.project, "name": "anns work"}
    assert made["owner"]["username"] == "ann"
    assert made["secrets"] == ["secret_access_key"]
    shown = [answer.text, world.client("ann").get(f"/api/v0/stores/{made['id']}/").text]
    shown.append(world.client("ann").get("/api/v0/stores/").text)
    assert not any(bucket["secret_access_key"] in text for text in shown)
    with world.services.db.read(SYSTEM) as session:
        row = session.get_one(Store, made["id"])
        assert bucket["secret_access_key"] not in f"{row.config} {row.secrets}"
        assert row.config["access_key_id"] == bucket["access_key_id"]


def test_fields_are_checked_and_named(world, bucket):
    for more, field, part in (
        ({"type": "ftp"}, "type", "s3, google, azure, swift"),
        ({"name": ""}, "name", "1 to 64 letters"),
        ({"access_mode": "all"}, "access_mode", "public, single_project"),
        ({"project": str(uuid7())}, "project", "no such project"),
        ({"project": None, "access_mode": "single_project"}, "project", "Name the project"),
        ({"access_mode": "teams"}, "teams", "Name the teams"),
        ({"teams": [str(uuid7())]}, "teams", "Ids of teams"),
        ({"owner": "eve"}, "owner", "No owner"),
        ({"configuration": {}}, "configuration.bucket", "needed"),
        ({"configuration": {**bucket, "bucket": "a/../b"}}, "configuration.bucket", "pattern"),
        ({"configuration": {**bucket, "endpoint_url": "ftp://x"}}, "configuration.endpoint_url", "http://"),
        ({"configuration": {**bucket, "endpoint_url": "http://u:p@x"}}, "configuration.endpoint_url", "password"),
        ({"configuration": {**bucket, "prefix": "/a//b"}}, "configuration.prefix", "pattern"),
        ({"configuration": {**bucket, "endpoint_ur": "x"}}, "configuration.endpoint_ur", "This kind of store has"),
    ):
        answer = add(world, **{"configuration": bucket, **more})
        assert answer.status_code == 400, (more, answer.text)
        messages = [entry["message"] for entry in answer.json[field]]
        assert any(part in message for message in messages), (more, answer.json)
    assert add(world, bucket).status_code == 201
    assert add(world, bucket).json["name"][0]["code"] == "unique"


def test_what_other_clients_send_as_well_is_no_error(world, bucket):
    answer = add(
        world, {**bucket, "test_configuration": "false", "multipart_upload_iam_role": "x"}, allow_uri_download=True
    )
    assert answer.status_code == 201
    assert answer.headers["X-Remora-Ignored-Fields"] == "allow_uri_download"


def test_changes_keep_the_secret_that_is_not_named(world, bucket):
    made = add(world, bucket).json
    ann = world.client("ann")
    answer = ann.call(
        "PUT", f"/api/v0/stores/{made['id']}/", json={"name": "other", "configuration": {"region": "us-east-1"}}
    )
    assert (answer.status_code, answer.json["name"]) == (200, "other")
    assert ann.post(f"/api/v0/stores/{made['id']}/test/").json["ok"]
    wrong = {"configuration": {"secret_access_key": "wrong"}}
    assert ann.call("PUT", f"/api/v0/stores/{made['id']}/", json=wrong).status_code == 200
    assert not ann.post(f"/api/v0/stores/{made['id']}/test/").json["ok"], "what is open is opened anew"


def test_removing_it_waits_until_nothing_needs_it(world, bucket, tmp_path):
    made = add(world, bucket).json
    ann = world.client("ann")
    path = f"/api/v0/stores/{made['id']}/"
    assert (
        ann.call("PUT", f"/api/v0/projects/{world.project}/", json={"default_store": "data"}).json["default_store"]
        == made["id"]
    )
    assert "default store of anns work" in ann.delete(path).json["message"]
    commit = code(world)
    execution = run(world, commit).json["id"]
    ann.call("PUT", f"/api/v0/projects/{world.project}/", json={"default_store": ""})
    assert "not over" in ann.delete(path).json["message"]
    ann.post(f"/api/v0/executions/{execution}/stop/")
    keep(world, made["id"], tmp_path, "x.csv")
    adopted = ann.post(f"{path}adopt/", json={"url": f"{made['uri_prefix']}x.csv", "project": world.project})
    assert adopted.status_code == 200, adopted.text
    assert "1 files that Remora knows" in ann.delete(path).json["message"]


def test_a_store_that_nothing_needs_goes(world, bucket):
    made = add(world, bucket).json
    assert world.client("ann").delete(f"/api/v0/stores/{made['id']}/").status_code == 204
    assert world.client("ann").get(f"/api/v0/stores/{made['id']}/").status_code == 404
    assert add(world, bucket).status_code == 201


# ---- who may use it ----------------------------------------------------------------------------------
def usable(world: World, who: str, project: str) -> list[str]:
    found = world.client(who).get("/api/v0/stores/", query_string={"project": project}).json["results"]
    return [row["name"] for row in found if row["owner"]]


def other_project(world: World, name: str = "second") -> str:
    return world.client("ann").post("/api/v0/projects/", data={"name": name}).json["id"]


def test_access_modes(world, bucket):
    second = other_project(world)
    team, organization = uuid7(), world.organization_of("ann")
    with world.services.db.begin(SYSTEM) as session:
        session.add(Team(id=team, organization_id=organization, name="vision"))
        session.flush()
        session.get_one(Project, second).team_id = team
    assert add(world, bucket, name="one", access_mode="single_project").status_code == 201
    assert add(world, bucket, name="team", access_mode="teams", teams=[team], project=None).status_code == 201
    assert add(world, bucket, name="house", access_mode="owner_organization", project=None).status_code == 201
    assert add(world, bucket, "ops", name="world", access_mode="public", project=None).status_code == 201
    assert usable(world, "ann", world.project) == ["house", "one", "world"]
    assert usable(world, "ann", second) == ["house", "team", "world"]
    assert usable(world, "eve", world.foreign) == ["world"]
    shown = world.client("eve").get("/api/v0/stores/", query_string={"project": world.foreign}).text
    assert bucket["access_key_id"] not in shown, "how it is reached is its owner's"


@pytest.mark.security("N04")
def test_who_may_add_one(world, bucket):
    house = {"access_mode": "owner_organization", "owner": "ann", "project": None}
    assert add(world, bucket, "pam", name="pams").status_code == 201, "a project's admin, for the project"
    assert add(world, bucket, "pat").status_code == 403
    assert add(world, bucket, "bob", **house).status_code == 403
    assert add(world, bucket, "pam", **house).status_code == 400, "not of that organisation"
    made = add(world, bucket, "pam", name="more").json
    opened = world.client("pam").call("PUT", f"/api/v0/stores/{made['id']}/", json={"access_mode": "public"})
    assert opened.status_code == 403
    assert add(world, bucket, "adm", name="house", **house).status_code == 201


def test_without_keys_the_machines_own_identity_is_not_lent(world, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket["secret_access_key"])
    bare = {name: bucket[name] for name in ("bucket", "endpoint_url")}
    made = add(world, bare).json
    answer = world.client("ann").post(f"/api/v0/stores/{made['id']}/test/").json
    assert not answer["ok"]
    assert "needs an access key" in answer["steps"][0]["sentence"]


# ---- trying it ---------------------------------------------------------------------------------------
def test_a_store_that_works(world, bucket):
    made = add(world, bucket).json
    answer = world.client("ann").post(f"/api/v0/stores/{made['id']}/test/").json
    assert answer["ok"], answer
    names = ["write", "read", "signed address", "no overwriting", "list", "CORS", "delete"]
    assert [step["name"] for step in answer["steps"]] == names
    assert all(step["ok"] for step in answer["steps"] if step["needed"])
    with world.services.db.read(SYSTEM) as session:
        assert list(world.services.stores.of_row(session.get_one(Store, made["id"])).list("")) == []


@pytest.mark.parametrize(
    ("change", "sentence", "remedy"),
    [
        ({"secret_access_key": "wrong"}, "SignatureDoesNotMatch", "not that of the access key"),
        ({"access_key_id": "nobody"}, "No user exists", "no such access key"),
        ({"bucket": "no-such-bucket"}, "NoSuchBucket", "Make the bucket"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "gave no whole answer", "can reach it"),
        ({"endpoint_url": "http://169.254.169.254"}, "no address that may be used", "REMORA_ALLOWED_NETWORKS"),
        ({"endpoint_url": "http://10.1.2.3:9000"}, "no address that may be used", "REMORA_ALLOWED_NETWORKS"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(world, bucket, change, sentence, remedy):
    made = add(world, {**bucket, **change}).json
    answer = world.client("ann").post(f"/api/v0/stores/{made['id']}/test/").json
    assert not answer["ok"]
    last = answer["steps"][-1]
    assert (last["name"], last["ok"]) == ("write", False)
    assert sentence in last["sentence"], last
    assert remedy in last["remedy"], last


# ---- adoption ----------------------------------------------------------------------------------------
def test_where_outputs_go(world, bucket):
    commit = code(world)
    refused = run(world, commit, "to-the-vault")
    assert refused.status_code == 400
    assert "No store 'vault' for this project; there is: data." in refused.json["upload_store"][0]["message"]
    vault = add(world, bucket, name="vault").json
    default = add(world, bucket, name="default").json
    readonly = add(world, bucket, name="readonly", allow_write=False).json
    ann = world.client("ann")

    def chosen(step: str) -> str | None:
        with world.services.db.read(SYSTEM) as session:
            return session.get_one(Execution, run(world, commit, step).json["id"]).options["store"]

    assert chosen("to-the-vault") == vault["id"]
    assert chosen("train") is None, "the machine's own"
    path = f"/api/v0/projects/{world.project}/"
    answer = ann.call("PUT", path, json={"default_store": readonly["id"]})
    assert "may only be read" in answer.json["default_store"][0]["message"]
    assert ann.call("PUT", path, json={"default_store": "default"}).json["default_store"] == default["id"]
    assert chosen("train") == default["id"]
    assert chosen("to-the-vault") == vault["id"]


def test_what_happens_is_in_the_audit_log(world, bucket):
    made = add(world, bucket).json
    world.client("ann").delete(f"/api/v0/stores/{made['id']}/")
    with world.services.db.read(SYSTEM) as session:
        events = session.scalars(
            select(AuditEvent).where(AuditEvent.subject == made["id"]).order_by(AuditEvent.id)
        ).all()
    assert [event.action for event in events] == ["store.created", "store.deleted"]
    assert bucket["secret_access_key"] not in str([event.payload for event in events])


# ---- an installation's own stores ----------------------------------------------------------------------
def own_stores(world: World, bucket: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation's code and data are in S3, as a document says it, by the machine's own identity."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket["secret_access_key"])
    with world.services.db.begin(SYSTEM) as session:
        for purpose in ("code", "data"):
            row = session.scalars(select(Store).where(Store.purpose == purpose)).one()
            row.kind = "s3"
            row.config = {"location": f"s3://{bucket['bucket']}/{purpose}", "endpoint_url": bucket["endpoint_url"]}


def test_an_installation_keeps_code_in_s3(world, bucket, monkeypatch):
    own_stores(world, bucket, monkeypatch)
    commit = code(world)
    assert run(world, commit).status_code == 201
    with world.services.db.read(SYSTEM) as session:
        _, store = world.services.stores.find(session, session.scalars(select(Store.installation_id)).first(), "code")
    assert [info.size > 0 for info in store.list("")] == [True]


def test_a_shared_store_gives_a_project_its_own_files_only(world, bucket, monkeypatch, tmp_path):
    own_stores(world, bucket, monkeypatch)
    with world.services.db.read(SYSTEM) as session:
        row = session.scalars(select(Store).where(Store.purpose == "data")).one()
    keep(world, row.id, tmp_path, f"{world.project}/e/1/mine.bin", f"{world.foreign}/e/1/theirs.bin", "loose.bin")
    commit, root = code(world), f"s3://{bucket['bucket']}/data/"
    for key in (f"{world.project}/e/1/mine.bin", f"{world.foreign}/e/1/theirs.bin", "loose.bin", "**", "*"):
        answer = run(world, commit, data=root + key)
        assert answer.status_code == 400, key
        assert "is shared by projects" in answer.text, (key, answer.text)
    shown = world.client("ann").get("/api/v0/stores/", query_string={"project": world.project}).json["results"]
    assert [(entry["name"], entry["owner"], entry["configuration"]) for entry in shown] == [("data", None, {})]
