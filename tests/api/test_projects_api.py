"""Projects as the client tools see them."""

from __future__ import annotations

import pytest

from controlplane.accounts.models import Team, TeamMembership
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM
from fixtures.web import World, make_archive

PROJECTS = "/api/v0/projects/"


def test_everybody_sees_their_own(world: World) -> None:
    for name, names in {
        "ann": ["anns work"],
        "adm": ["anns work"],
        "vic": ["anns work"],
        "ped": ["anns work"],
        "eve": ["eves work"],
        "ops": [],
    }.items():
        answer = world.client(name).get(PROJECTS, query_string={"limit": 9000})
        assert [row["name"] for row in answer.json["results"]] == names, name
        assert answer.json["count"] == len(names)


def test_shape_of_a_project(world: World) -> None:
    project = world.client("ann").get(f"{PROJECTS}{world.project}/").json
    assert project["id"] == world.project
    assert project["owner"]["username"] == "ann"
    assert project["yaml_path"] == "valohai.yaml"
    assert project["urls"]["display"] == f"http://remora.test:8765/projects/{world.project}/"
    assert project["environment_variables"] == {}
    assert project["execution_summary"]["count"] == 0
    assert project["ctime"] == "2026-03-01T12:00:00.123456Z"
    states = ("created", "queued", "started", "stopping", "complete", "error", "crashed", "stopped")
    assert all(project["execution_summary"][f"{state}_count"] == 0 for state in states)


def test_summary_counts_executions(world: World) -> None:
    ann = world.client("ann")
    commit = ann.upload(world.project, make_archive()).json["identifier"]
    for _ in range(3):
        body = {"project": world.project, "commit": commit, "step": "train"}
        assert ann.post("/api/v0/executions/", json=body).status_code == 201
    summary = ann.get(f"{PROJECTS}{world.project}/").json["execution_summary"]
    assert (summary["count"], summary["queued_count"]) == (3, 3)
    assert ann.get(PROJECTS).json["results"][0]["execution_summary"]["count"] == 3


@pytest.mark.parametrize("form", [True, False])
def test_create_by_form_and_by_json(world: World, form: bool) -> None:
    body = {"name": "Kissa-äänet 2", "description": "d", "owner": "ann"}
    answer = world.client("bob").post(PROJECTS, **({"data": body} if form else {"json": body}))
    assert answer.status_code == 201, answer.text
    assert (answer.json["name"], answer.json["owner"]["username"]) == ("Kissa-äänet 2", "ann")


@pytest.mark.parametrize(
    ("name", "field"),
    [("", "name"), ("-x", "name"), ("a/b", "name"), ("..", "name"), ("a" * 128, "name"), ("a\tb", "name")],
)
def test_bad_names_name_the_field(world: World, name: str, field: str) -> None:
    answer = world.client("ann").post(PROJECTS, json={"name": name})
    assert answer.status_code == 400 and answer.json[field][0]["message"]


def test_a_name_stands_once_per_owner(world: World) -> None:
    assert world.client("ann").post(PROJECTS, json={"name": "anns work"}).json["name"][0]["code"] == "unique"
    assert world.client("eve").post(PROJECTS, json={"name": "anns work"}).status_code == 201


@pytest.mark.parametrize(("who", "status"), [("adm", 201), ("bob", 201), ("vic", 403), ("ped", 400), ("eve", 400)])
def test_who_may_create_for_an_organisation(world: World, who: str, status: int) -> None:
    answer = world.client(who).post(PROJECTS, json={"name": "new", "owner": "ann"})
    assert answer.status_code == status, answer.text


def test_ownership_options_and_teams(world: World) -> None:
    team = uuid7()
    with world.services.db.begin(SYSTEM) as session:
        session.add(Team(id=team, organization_id=world.organization_of("ann"), name="vision"))
        session.flush()
        session.add(TeamMembership(team_id=team, user_id=world.users["vic"]))
    assert world.client("bob").get(f"{PROJECTS}ownership_options/").json == ["bob", "ann", "ann:vision"]
    made = world.client("bob").post(PROJECTS, json={"name": "eyes", "owner": "ann:vision"})
    assert made.status_code == 201
    assert world.client("bob").post(PROJECTS, json={"name": "x", "owner": "ann:no"}).json["owner"]
    # A viewer of the organisation works in the project of a team that he is in.
    path = f"{PROJECTS}{made.json['id']}/import-package/"
    assert world.client("vic").upload(made.json["id"], make_archive()).status_code == 201, path
    assert world.client("vic").upload(world.project, make_archive()).status_code == 403


def test_environment_variables(world: World) -> None:
    ann, path = world.client("ann"), f"{PROJECTS}{world.project}/environment_variable/"
    for value in ("1", "2"):
        assert ann.post(path, json={"name": "A", "value": value, "secret": False}).status_code == 200
    shown = ann.get(f"{PROJECTS}{world.project}/").json["environment_variables"]
    assert shown == {"A": {"value": "2", "secret": False}}
    assert ann.delete(path, json={"name": "A"}).status_code == 204
    assert ann.delete(path, json={"name": "A"}).status_code == 404
    assert ann.get(f"{PROJECTS}{world.project}/").json["environment_variables"] == {}


@pytest.mark.parametrize(
    "body",
    [
        {"name": "1A"},
        {"name": "A=B"},
        {"name": "A B"},
        {"name": "A", "value": "x" * 65_000},
        {"name": "A", "value": None},
    ],
)
def test_bad_variables(world: World, body: dict[str, object]) -> None:
    answer = world.client("ann").post(f"{PROJECTS}{world.project}/environment_variable/", json=body)
    assert answer.status_code == 400


def test_pages_of_a_list_lead_on(world: World) -> None:
    ann = world.client("ann")
    for number in range(4):
        ann.post(PROJECTS, json={"name": f"p{number}"})
    seen, path = [], f"{PROJECTS}?limit=2"
    while path:
        answer = ann.get(path).json
        seen += [row["name"] for row in answer["results"]]
        path = (answer["next"] or "").removeprefix("http://remora.test:8765")
    assert seen == ["anns work", "p0", "p1", "p2", "p3"]
    assert ann.get(f"{PROJECTS}?limit=2&offset=2").json["previous"].endswith("limit=2&offset=0")


def test_idempotency_key_makes_one(world: World) -> None:
    ann, key = world.client("ann"), {"Idempotency-Key": "abc-1"}
    first = ann.post(PROJECTS, json={"name": "once"}, headers=key)
    again = ann.post(PROJECTS, json={"name": "once"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json == again.json and again.headers["Idempotency-Replayed"] == "true"
    assert ann.post(PROJECTS, json={"name": "other"}, headers=key).status_code == 409
    # Another person's key is another key; a refused request leaves none.
    assert world.client("bob").post(PROJECTS, json={"name": "once"}, headers=key).status_code == 201
    bad = {"Idempotency-Key": "abc-2"}
    assert ann.post(PROJECTS, json={"name": ""}, headers=bad).status_code == 400
    assert ann.post(PROJECTS, json={"name": "fine"}, headers=bad).status_code == 201
    assert ann.post(PROJECTS, json={"name": "x"}, headers={"Idempotency-Key": "a" * 129}).status_code == 400
    world.clock.forward(25 * 3600)
    assert ann.post(PROJECTS, json={"name": "once"}, headers=key).status_code == 400  # forgotten: the name is taken


def test_idempotent_executions_get_one_counter(world: World) -> None:
    ann = world.client("ann")
    commit = ann.upload(world.project, make_archive()).json["identifier"]
    body = {"project": world.project, "commit": commit, "step": "train"}
    answers = [ann.post("/api/v0/executions/", json=body, headers={"Idempotency-Key": "run-1"}) for _ in range(3)]
    assert {answer.json["counter"] for answer in answers} == {1}
    assert ann.get(f"{PROJECTS}{world.project}/").json["execution_summary"]["count"] == 1


LATER = [
    ("GET", "pipelines/"),
    ("POST", "pipelines/"),
    ("GET", "pipelines/x:latest/"),
    ("POST", "tasks/"),
    ("GET", "deployments/"),
    ("GET", "deployments/x/suggest_version_name/"),
    ("POST", "deployment-versions/"),
    ("POST", "notebook-executions/"),
    ("GET", "models/"),
    ("GET", "model-versions/1/source-data/"),
]


def test_what_comes_later_says_so(world: World) -> None:
    for method, path in LATER:
        answer = world.client("ann").call(method, f"/api/v0/{path}")
        assert answer.status_code == 501, path
        assert answer.json["code"] == "not_implemented" and answer.json["message"].endswith(".")
        assert world.client().call(method, f"/api/v0/{path}").status_code == 401
