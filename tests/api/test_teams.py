"""Teams: who makes and changes them, who is in them, and what a membership opens."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from controlplane.audit.models import AuditEvent
from controlplane.db.session import SYSTEM
from fixtures.web import World

TEAMS = "/api/v0/teams/"


def made(world: World, name: str = "vision", **body: Any) -> dict[str, Any]:
    answer = world.client("ann").post(TEAMS, json={"name": name, **body})
    assert answer.status_code == 201, answer.text
    return answer.json


def members(team: dict[str, Any]) -> list[str]:
    return [member["username"] for member in team["members"]]


def test_made_renamed_and_removed(world: World) -> None:
    ann, organization = world.client("ann"), world.organization_of("ann")
    team = made(world, members=["bob", world.users["vic"]])
    assert (team["organization"], members(team)) == (organization, ["bob", "vic"])
    path = f"{TEAMS}{team['id']}/"
    assert ann.get(path).json == team
    assert ann.call("PATCH", path, json={"name": "speech"}).json == {**team, "name": "speech"}
    assert members(ann.call("PUT", path, json={"name": "speech", "members": ["adm", "bob"]}).json) == ["adm", "bob"]
    assert members(ann.post(f"{path}members/", json={"user": "vic"}).json) == ["adm", "bob", "vic"]
    assert members(ann.post(f"{path}members/", json={"user": "vic"}).json) == ["adm", "bob", "vic"], "once is enough"
    assert ann.delete(f"{path}members/{world.users['adm']}/").status_code == 204
    assert ann.delete(f"{path}members/{world.users['adm']}/").status_code == 404
    assert [members(row) for row in ann.get(TEAMS).json["results"]] == [["bob", "vic"]]
    assert ann.delete(path).status_code == 204
    assert ann.get(path).status_code == 404 and ann.get(TEAMS).json["count"] == 0
    with world.services.db.read(SYSTEM) as session:
        noted = session.scalars(select(AuditEvent).where(AuditEvent.subject == team["id"]).order_by(AuditEvent.id))
        actions = [(event.action, event.actor) for event in noted]
    assert [action for action, _ in actions] == [
        "team.created", "team.member_added", "team.member_added", "team.renamed", "team.member_removed",
        "team.member_added", "team.member_added", "team.member_removed", "team.deleted",
    ]  # fmt: skip
    assert {actor for _, actor in actions} == {world.users["ann"]}


def test_who_may(world: World) -> None:
    team, organization = made(world), world.organization_of("ann")
    path = f"{TEAMS}{team['id']}/"
    for name, status in (("adm", 200), ("bob", 403), ("vic", 403), ("pam", 404), ("eve", 404), ("ops", 404)):
        assert world.client(name).call("PATCH", path, json={"name": "vision"}).status_code == status, name
        new = world.client(name).post(TEAMS, json={"name": f"of {name}", "organization": organization})
        assert new.status_code == (201 if status == 200 else status), (name, new.text)
    assert world.client("bob").get(path).status_code == 200
    # Somebody with one organisation of their own need not name it; with several, one has to be said.
    assert world.client("bob").post(TEAMS, json={"name": "mine"}).json["organization"] == world.organization_of("bob")
    several = world.client("adm").post(TEAMS, json={"name": "which"})
    assert several.status_code == 400 and several.json["organization"][0]["code"] == "required"


def test_bad_teams(world: World) -> None:
    ann, team = world.client("ann"), made(world)
    for body, field in (
        ({"name": "vision"}, "name"),
        ({"name": " "}, "name"),
        ({"name": "a:b"}, "name"),
        ({"name": "a" * 65}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x", "members": ["eve"]}, "members"),
        ({"name": "x", "members": [world.users["eve"]]}, "members"),
    ):
        answer = ann.post(TEAMS, json=body)
        assert answer.status_code == 400 and field in answer.json, (body, answer.text)
    assert "has no member 'eve'" in ann.post(f"{TEAMS}{team['id']}/members/", json={"user": "eve"}).text
    assert ann.get(TEAMS).json["count"] == 1, "a refused one is not there"


def test_a_membership_opens_the_teams_projects(world: World) -> None:
    ann, team = world.client("ann"), made(world)
    project = ann.post("/api/v0/projects/", data={"name": "theirs", "owner": "ann:vision"}).json["id"]
    body = {"name": "SECRET_NAME", "value": "1"}
    assert "ann:vision" in ann.get("/api/v0/projects/ownership_options/").json
    vic, upload = world.client("vic"), {"project": project, "name": "a", "size": 1, "sha256": "0" * 64}
    assert vic.post("/api/v1/uploads/", json=upload).status_code == 403
    ann.post(f"{TEAMS}{team['id']}/members/", json={"user": "vic"})
    assert vic.post("/api/v1/uploads/", json=upload).status_code == 201
    assert vic.post(f"/api/v0/projects/{project}/environment_variable/", json=body).status_code == 403
    kept = ann.delete(f"{TEAMS}{team['id']}/")
    assert kept.status_code == 409 and "owns projects (theirs)" in kept.json["message"]
    ann.delete(f"{TEAMS}{team['id']}/members/{world.users['vic']}/")
    assert vic.post("/api/v1/uploads/", json=upload).status_code == 403, "at once"
    assert ann.delete(f"/api/v0/projects/{project}/").status_code == 204
    assert ann.delete(f"{TEAMS}{team['id']}/").status_code == 204
