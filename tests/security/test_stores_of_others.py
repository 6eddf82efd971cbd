"""Stores, registries and roles that several people share: nobody gets another's secrets, files or trust by them."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.data.models import Datum
from controlplane.db.session import SYSTEM
from controlplane.projects.models import Project
from controlplane.stores.access import find_writable, store_of_uri
from controlplane.stores.inputs import MAX_PATTERNS
from fixtures.runs import Runs
from fixtures.web import World

KEY = {"access_key_id": "AK", "secret_access_key": "SK-of-somebody"}
S3 = {"bucket": "models", "region": "eu-west-1", **KEY}
SWIFT = {
    "auth_url": "https://keystone.example/v3", "username": "ann", "password": "pw-of-ann", "container": "c",
    "temp_url_key": "k" * 16,
}  # fmt: skip
AZURE = {
    "account_name": "annsaccount", "container_name": "data", "tenant_id": "t", "client_id": "c",
    "client_secret": "secret-of-ann",
}  # fmt: skip


def add(world: World, who: str, kind: str, configuration: dict[str, Any], **more: Any) -> Any:
    body = {"name": "data", "type": kind, "configuration": configuration, "project": world.project, **more}
    return world.client(who).post("/api/v0/stores/", json=body)


def change(world: World, who: str, store: str, **wanted: Any) -> Any:
    return world.client(who).call("PUT", f"/api/v0/stores/{store}/", json=wanted)


@pytest.mark.security("N06")
@pytest.mark.parametrize(
    ("kind", "configuration", "leads", "secrets"),
    [
        ("swift", SWIFT, {"auth_url": "https://evil.example/v3"}, ["password", "temp_url_key"]),
        ("swift", SWIFT, {"auth_version": "1"}, ["password", "temp_url_key"]),
        ("azure", AZURE, {"endpoint_url": "https://evil.example"}, ["client_secret"]),
        ("azure", AZURE, {"tenant_id": "evil"}, ["client_secret"]),
        ("s3", S3, {"endpoint_url": "https://evil.example"}, ["secret_access_key"]),
    ],
)
def test_a_stores_secrets_do_not_follow_to_another_server(
    world: World, kind: str, configuration: dict[str, Any], leads: dict[str, str], secrets: list[str]
) -> None:
    made = add(world, "ann", kind, configuration)
    assert made.status_code == 201, made.text
    store = made.json["id"]
    refused = change(world, "pam", store, configuration=leads)
    assert refused.status_code == 400, refused.text
    assert sorted(refused.json) == [f"configuration.{name}" for name in secrets]
    assert change(world, "pam", store, configuration={"prefix": "below"}).status_code == 200
    own = dict.fromkeys(secrets, "pams-own-secret-1")
    assert change(world, "pam", store, configuration={**leads, **own}).status_code == 200


@pytest.mark.security("N04")
def test_only_an_operator_opens_a_store_to_every_organisation(world: World) -> None:
    refused = add(world, "ann", "s3", S3, access_mode="public", project=None)
    assert refused.status_code == 403 and "store.publish" in refused.json["message"]
    house = add(world, "ann", "s3", S3, access_mode="owner_organization", project=None)
    assert change(world, "ann", house.json["id"], access_mode="public").status_code == 403
    assert add(world, "ops", "s3", S3, access_mode="public", project=None).status_code == 201


@pytest.mark.security("N05b", "N24")
def test_a_public_store_takes_no_address_and_no_name_of_ours(world: World) -> None:
    """It says to be a folder of ann's own bucket, and has the name of her store."""
    mine = add(world, "ann", "s3", S3).json["id"]
    evil = {**S3, "prefix": "weights", "endpoint_url": "https://elsewhere.example", "path_style": True}
    theirs = add(world, "ops", "s3", evil, access_mode="public", project=None).json["id"]
    named = add(world, "ops", "s3", evil, access_mode="public", project=None, name=mine).json["id"]
    with world.services.db.read(SYSTEM) as session:
        project, stranger = session.get_one(Project, world.project), session.get_one(Project, world.foreign)
        found = store_of_uri(session, project, "s3://models/weights/best.bin")
        assert found is not None and (found[0].id, found[1]) == (mine, "weights/best.bin")
        assert find_writable(session, project, "data", "x") == mine == find_writable(session, project, mine, "x")
        assert find_writable(session, project, theirs, "x") == theirs
        other = store_of_uri(session, stranger, "s3://models/weights/best.bin")
        assert other is not None and other[0].id in (theirs, named)
        assert store_of_uri(session, stranger, "s3://models/else") is None


@pytest.mark.security("N04")
def test_a_role_of_the_organisation_is_not_a_projects_to_take_on(world: World) -> None:
    role = {"bucket": "models", "role_arn": "arn:aws:iam::123456789012:role/of-another-project"}
    assert add(world, "pam", "s3", role).status_code == 403
    own = add(world, "pam", "s3", S3).json["id"]
    assert change(world, "pam", own, configuration={"role_arn": role["role_arn"]}).status_code == 403
    assert add(world, "adm", "s3", role, name="by role").status_code == 201
    body = {
        "type": "aws-ecr-role", "image_pattern": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/*",
        "configuration": {"role_name": "of-another-project"}, "project": world.project,
    }  # fmt: skip
    assert world.client("pam").post("/api/v0/registry-credentials/", json=body).status_code == 403
    assert world.client("adm").post("/api/v0/registry-credentials/", json=body).status_code == 201


@pytest.mark.security("N04")
def test_a_store_that_was_opened_to_all_is_no_longer_its_projects_to_change(world: World) -> None:
    store = add(world, "pam", "s3", S3).json["id"]
    assert change(world, "pam", store, allow_write=False).status_code == 200
    assert change(world, "adm", store, access_mode="owner_organization").status_code == 200
    assert change(world, "pam", store, allow_write=True).status_code == 404
    assert world.client("pam").delete(f"/api/v0/stores/{store}/").status_code == 404
    (shown,) = (
        row
        for row in world.client("pam").get(f"/api/v0/stores/?project={world.project}").json["results"]
        if row["id"] == store
    )
    assert (shown["configuration"], shown["secrets"]) == ({}, [])
    assert change(world, "adm", store, access_mode="single_project").status_code == 200
    assert change(world, "pam", store, allow_write=True).status_code == 200


def test_a_file_that_was_there_before_is_forgotten_and_not_removed(runs: Runs) -> None:
    datum = runs.datum("theirs.csv", b"1")
    root = runs.world.services.settings.stores_dir / "data"
    with runs.world.services.db.begin(SYSTEM) as session:
        row = session.get_one(Datum, datum)
        (root / "of-the-house").mkdir()
        (root / row.key).rename(root / "of-the-house" / "theirs.csv")
        row.key = "of-the-house/theirs.csv"
    answer = runs.world.client("pat").post(f"/api/v0/data/{datum}/purge/")
    assert answer.status_code == 200, answer.text
    assert runs.world.client("ann").get(f"/api/v0/data/{datum}/").json["purged"]
    assert (root / "of-the-house" / "theirs.csv").read_bytes() == b"1"


@pytest.mark.security("N39")
def test_wildcards_of_one_execution_are_counted_before_a_store_is_asked(runs: Runs) -> None:
    """Each would be a list of a store that may be slow."""
    added = add(runs.world, "ann", "s3", {**S3, "endpoint_url": "http://127.0.0.1:1"})
    assert added.status_code == 201
    body = {"project": runs.world.project, "commit": runs.commit, "step": "train"}
    for count, sentence in ((MAX_PATTERNS + 1, f"at most {MAX_PATTERNS}"), (1, "can't be listed in the store")):
        inputs = {"data": [f"s3://models/{number}/*" for number in range(count)]}
        answer = runs.world.client("ann").post("/api/v0/executions/", json={**body, "inputs": inputs})
        assert answer.status_code == 400 and sentence in answer.text.replace("\\u2019", "'"), answer.text


def test_a_projects_id_of_any_length_is_not_found_by_the_form_either(world: World) -> None:
    browser = world.browser("ann")
    for project in ("x" * 65, "x" * 3000):
        form = {"csrf": browser.csrf, "kind": "s3", "name": "data", "bucket": "models"}
        answer = browser.post(f"/projects/{project}/stores", data=form, headers={"Accept": "text/html"})
        assert answer.status_code == 404, answer.text
