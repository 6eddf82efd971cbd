"""Environment variables of organisation, project, group and execution: who wins, what is never shown."""

from __future__ import annotations

from controlplane.db.session import SYSTEM
from controlplane.executions.models import Execution
from controlplane.variables.layers import layered
from fixtures.runs import Runs
from fixtures.web import World


def put(world: World, path: str, value: str, *, secret: bool = False, who: str = "ann") -> int:
    base = f"/api/v1/organizations/{world.organization_of('ann')}/"
    return world.client(who).call("PUT", base + path, json={"value": value, "secret": secret}).status_code


def group(world: World, name: str) -> str:
    path = f"/api/v1/organizations/{world.organization_of('ann')}/variable-groups/"
    answer = world.client("ann").post(path, json={"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json["id"]


def seen(runs: Runs, execution_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """(plain, secret) as the container gets them."""
    with runs.world.services.db.read(SYSTEM) as session:
        execution = session.get_one(Execution, execution_id)
        return layered(session, runs.world.services.vault, execution)


def test_the_nearer_one_wins(runs: Runs) -> None:
    world = runs.world
    cloud, other = group(world, "cloud"), group(world, "other")
    for name in ("A", "B", "C", "D", "E"):
        assert put(world, f"variables/{name}/", "organisation") == 200
    path = f"/api/v0/projects/{world.project}/environment_variable/"
    for name in ("B", "C", "D", "E"):
        assert world.client("ann").post(path, json={"name": name, "value": "project"}).status_code == 200
    for name in ("C", "D", "E"):
        assert put(world, f"variable-groups/{cloud}/variables/{name}/", "cloud") == 200
    for name in ("D", "E"):
        assert put(world, f"variable-groups/{other}/variables/{name}/", "other") == 200
    both = runs.create(environment_variable_groups=["cloud", other], environment_variables={"E": "own"})
    assert seen(runs, both["id"])[0] == {"A": "organisation", "B": "project", "C": "cloud", "D": "other", "E": "own"}
    assert both["environment_variable_groups"] == ["cloud", "other"]
    turned = runs.create(environment_variable_groups=["other", "cloud"])
    assert seen(runs, turned["id"])[0]["D"] == "cloud"
    alone = runs.create(inherit_environment_variables=False, environment_variables={"E": "own"})
    assert seen(runs, alone["id"])[0] == {"E": "own"}
    copied = world.client("ann").post(f"/api/v0/executions/{both['id']}/copy/").json
    assert seen(runs, copied["id"])[0] == seen(runs, both["id"])[0]


def test_secrets_stay_secret_on_every_level(runs: Runs) -> None:
    world, cloud = runs.world, group(runs.world, "cloud")
    assert put(world, "variables/A/", "hunter2-organisation", secret=True) == 200
    assert put(world, f"variable-groups/{cloud}/variables/B/", "hunter2-group", secret=True) == 200
    secret = {"C": {"value": "hunter2-own", "secret": True}}
    execution = runs.create(environment_variable_groups=["cloud"], environment_variables=secret)
    plain, hidden = seen(runs, execution["id"])
    assert plain == {} and hidden == {"A": "hunter2-organisation", "B": "hunter2-group", "C": "hunter2-own"}
    # A plain one over a secret one is plain, and the other way round.
    plain, hidden = seen(runs, runs.create(environment_variables={"A": "x"})["id"])
    assert (plain, hidden) == ({"A": "x"}, {})
    base = f"/api/v1/organizations/{world.organization_of('ann')}/"
    for who in ("ann", "vic"):
        for path in ("variables/", "variable-groups/"):
            answer = world.client(who).get(base + path)
            assert answer.status_code == 200 and "hunter2" not in answer.text and '"secret":true' in answer.text
    answer = world.client("ann").get(f"/api/v0/executions/{execution['id']}/")
    assert "hunter2" not in answer.text


def test_a_step_names_its_groups_and_what_it_needs(runs: Runs) -> None:
    ann = runs.world.client("ann")
    body = {"project": runs.world.project, "commit": runs.commit, "step": "report"}
    missing = ann.post("/api/v0/executions/", json=body)
    assert "cloud" in missing.json["environment_variable_groups"][0]["message"]
    cloud = group(runs.world, "cloud")
    needed = ann.post("/api/v0/executions/", json=body)
    assert needed.json["environment_variables.NEEDED"][0]["code"] == "required"
    assert put(runs.world, f"variable-groups/{cloud}/variables/NEEDED/", "x") == 200
    assert ann.post("/api/v0/executions/", json=body).status_code == 201


def test_who_may_write_them(runs: Runs) -> None:
    world, cloud = runs.world, group(runs.world, "cloud")
    assert [put(world, "variables/A/", "x", who=who) for who in ("adm", "bob", "vic", "pam", "eve")] == [
        200, 403, 403, 404, 404,
    ]  # fmt: skip
    for bad in ("1A", "A-B", "A B", "a" * 256):
        assert put(world, f"variables/{bad}/", "x") in (400, 404)
    base = f"/api/v1/organizations/{world.organization_of('ann')}/"
    ann = world.client("ann")
    assert ann.delete(f"{base}variables/A/").status_code == 204 and ann.delete(f"{base}variables/A/").status_code == 404
    assert put(world, f"variable-groups/{cloud}/variables/A/", "x") == 200
    assert ann.delete(f"{base}variable-groups/{cloud}/variables/A/").status_code == 204
    assert ann.delete(f"{base}variable-groups/{cloud}/").status_code == 204
    assert ann.post(f"{base}variable-groups/", json={"name": "cloud"}).status_code == 201
    assert ann.post(f"{base}variable-groups/", json={"name": "cloud"}).status_code == 400


def test_a_group_that_is_gone_is_left_out_at_the_start(runs: Runs) -> None:
    cloud = group(runs.world, "cloud")
    assert put(runs.world, f"variable-groups/{cloud}/variables/A/", "x") == 200
    execution = runs.create(environment_variable_groups=["cloud"])
    base = f"/api/v1/organizations/{runs.world.organization_of('ann')}/"
    assert runs.world.client("ann").delete(f"{base}variable-groups/{cloud}/").status_code == 204
    assert seen(runs, execution["id"]) == ({}, {})
