"""Credentials of registries by the API: who may do what, and that no secret ever comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from controlplane.audit.models import AuditEvent
from controlplane.db.session import SYSTEM
from controlplane.registries.models import RegistryCredential
from fixtures.web import World

BASE = "/api/v0/registry-credentials/"
SECRET = "hunter2-never-shown"
DOCKER = {"type": "docker", "image_pattern": "reg.example/team/*"}
LOGIN = {"username": "alice", "password": SECRET}


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    """One database is enough here: tests/security walks these routes on both."""
    target = tmp_path / "registries.db"
    target.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{target}"


def make(world: World, name: str = "ann", **changes: Any) -> Any:
    return world.client(name).post(BASE, json={**DOCKER, "configuration": LOGIN, **changes})


def test_a_credential_from_its_creation_to_its_end(world: World) -> None:
    ann = world.client("ann")
    made = make(world)
    assert made.status_code == 201, made.text
    shown = {
        "type": "docker",
        "image_pattern": "reg.example/team/*",
        "configuration": {"username": "alice"},
        "secret_keys": ["password"],
        "project": None,
        "owner": {"id": world.organization_of("ann"), "username": "ann"},
        "external_id": None,
    }
    assert made.json == {**made.json, **shown}
    address = f"{BASE}{made.json['id']}/"
    assert ann.get(address).json == made.json
    assert ann.get(BASE).json["results"] == [made.json]
    changed = ann.call("PUT", address, json={"image_pattern": "reg.example/other/*", "project": world.project})
    assert changed.status_code == 200, changed.text
    assert changed.json["image_pattern"] == "reg.example/other/*"
    assert changed.json["project"] == {"id": world.project, "name": "anns work"}
    assert ann.call("PATCH", address, json={"project": ""}).json["project"] is None
    assert ann.delete(address).status_code == 204
    assert ann.get(address).status_code == 404


@pytest.mark.security("N06")
def test_a_secret_is_never_shown_again(world: World) -> None:
    made = make(world)
    address = f"{BASE}{made.json['id']}/"
    ann = world.client("ann")
    answers = [
        made,
        ann.get(BASE),
        ann.get(address),
        ann.call("PUT", address, json={"configuration": LOGIN}),
        ann.post(f"{address}test/", json={}),
        ann.call("PUT", address, json={"configuration": {"password": SECRET}}),
        make(world, type="aws-ecr"),
    ]
    assert [answer.status_code for answer in answers[-2:]] == [400, 400]
    assert not any(SECRET in answer.text for answer in answers)
    with world.services.db.read(SYSTEM) as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.action.like("registry.%"))).all()
        assert {event.action for event in events} == {"registry.created", "registry.updated", "registry.tested"}
        assert not any(SECRET in str(event.payload) for event in events)
        kept = session.execute(text("SELECT * FROM registry_credential")).all()
        assert len(kept) == 1 and SECRET not in str(kept)


@pytest.mark.security("N06")
def test_the_password_does_not_follow_to_another_host(world: World) -> None:
    """Who may change a credential and not read it must not get it by pointing it at a host of their own."""
    made = make(world)
    address = f"{BASE}{made.json['id']}/"
    adm = world.client("adm")
    moved = adm.call("PUT", address, json={"image_pattern": "evil.example/team/*"})
    assert moved.status_code == 400 and set(moved.json) == {"configuration"}, moved.text
    other = adm.call("PUT", address, json={"type": "azure-acr", "image_pattern": "registry.azurecr.io/*"})
    assert other.status_code == 400 and set(other.json) == {"configuration"}, other.text
    assert world.client("ann").get(address).json == made.json
    again = adm.call("PUT", address, json={"image_pattern": "new.example/*", "configuration": LOGIN})
    assert again.status_code == 200 and again.json["image_pattern"] == "new.example/*"


@pytest.mark.security("N05b", "N07")
def test_another_organisation_sees_and_changes_nothing(world: World) -> None:
    address = f"{BASE}{make(world).json['id']}/"
    eve = world.client("eve")
    assert eve.get(BASE).json == {"count": 0, "next": None, "previous": None, "results": []}
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert eve.call(method, address, json={} if method != "GET" else None).status_code == 404, method
    assert eve.post(f"{address}test/", json={}).status_code == 404
    assert make(world, "eve", owner="ann").status_code == 400
    assert make(world, "eve", project=world.project).status_code == 400
    own = make(world, "eve")
    assert own.status_code == 201
    moved = eve.call("PUT", f"{BASE}{own.json['id']}/", json={"project": world.project})
    assert moved.status_code == 400 and set(moved.json) == {"project"}


@pytest.mark.parametrize(
    "name, of_all, of_project",
    [("adm", 201, 201), ("bob", 403, 403), ("vic", 403, 403), ("pam", 400, 201), ("pat", 400, 403), ("ped", 400, 403)],
)
def test_who_may_make_one(world: World, name: str, of_all: int, of_project: int) -> None:
    assert make(world, name, owner="ann").status_code == of_all
    assert make(world, name, project=world.project).status_code == of_project


@pytest.mark.security("N04")
def test_a_projects_admin_has_no_say_beyond_the_project(world: World) -> None:
    of_all, of_project = make(world).json["id"], make(world, project=world.project).json["id"]
    pam = world.client("pam")
    assert [row["id"] for row in pam.get(BASE).json["results"]] == [of_project]
    assert pam.get(f"{BASE}{of_all}/").status_code == 404
    assert pam.call("PUT", f"{BASE}{of_project}/", json={"project": ""}).status_code in (403, 404)
    assert pam.delete(f"{BASE}{of_project}/").status_code == 204


def test_those_that_a_project_may_use(world: World) -> None:
    of_all, of_project = make(world).json["id"], make(world, project=world.project).json["id"]
    make(world, "eve")
    ann = world.client("ann")
    other = ann.post("/api/v0/projects/", json={"name": "other"}).json["id"]
    found = ann.get(BASE, query_string={"project": world.project}).json["results"]
    assert {row["id"] for row in found} == {of_all, of_project}
    assert [row["id"] for row in ann.get(BASE, query_string={"project": other}).json["results"]] == [of_all]


def test_only_an_operator_lends_the_servers_own_identity(world: World) -> None:
    body = {
        "type": "gcp-cr",
        "image_pattern": "europe-docker.pkg.dev/p/*",
        "configuration": {"workload_identity": "puller@p.iam.gserviceaccount.com"},
    }
    refused = world.client("ann").post(BASE, json=body)
    assert refused.status_code == 403 and "operator" in refused.json["detail"]
    made = world.client("ops").post(BASE, json=body)
    assert made.status_code == 201, made.text
    assert made.json["secret_keys"] == []


def test_a_role_shows_the_id_that_it_must_ask_for(world: World) -> None:
    made = make(
        world,
        type="aws_ecr_role",
        image_pattern="123456789012.dkr.ecr.eu-west-1.amazonaws.com/*",
        configuration={"role_name": "puller", "schema_version": "1"},
    )
    assert made.status_code == 201, made.text
    assert made.json["external_id"] == world.organization_of("ann")
    assert made.json["configuration"] == {"role_name": "puller"} and made.json["type"] == "aws-ecr-role"


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"type": "quay"}, "type"),
        ({"image_pattern": "*"}, "image_pattern"),
        ({"image_pattern": "*.example/x"}, "image_pattern"),
        ({"configuration": {"username": "u"}}, "configuration.password"),
        ({"configuration": {"username": "a\nb", "password": "p"}}, "configuration.username"),
        ({"configuration": {"username": ["u"], "password": "p"}}, "configuration.username"),
        ({"owner": "nobody"}, "owner"),
        ({"project": "nothing"}, "project"),
    ],
)
def test_what_is_refused_is_named(world: World, changes: dict[str, Any], field: str) -> None:
    answer = make(world, **changes)
    assert answer.status_code == 400 and set(answer.json) == {field}, answer.text


def test_there_is_a_cap(world: World) -> None:
    world.services.registries._limits._other = {"registry_credentials": 1}  # type: ignore[dict-item]
    assert make(world).status_code == 201
    assert make(world).json["code"] == "limit_reached"


@pytest.mark.security("N30")
def test_a_test_of_an_address_inside_connects_to_nothing(world: World) -> None:
    made = make(world, image_pattern="127.0.0.1:1/team/x")
    found = world.client("ann").post(f"{BASE}{made.json['id']}/test/", json={})
    assert found.status_code == 200
    assert (found.json["ok"], found.json["code"]) == (False, "host")
    assert "REMORA_ALLOWED_NETWORKS" in found.json["message"]


def test_a_key_that_was_lost_is_said(world: World) -> None:
    made = make(world)
    with world.services.db.begin(SYSTEM) as session:
        session.get_one(RegistryCredential, made.json["id"]).secrets = world.services.vault.encrypt("{}", "elsewhere")
    answer = world.client("ann").post(f"{BASE}{made.json['id']}/test/", json={})
    assert answer.status_code == 409 and "type them again" in answer.json["detail"]
