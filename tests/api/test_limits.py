"""The caps, one after another: up to each it works, above it the answer is the cap's sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controlplane.limits import LIMITS, METADATA_KEYS, OUTPUTS, POINTS, sentence
from controlplane.settings import Settings
from fixtures.runs import Runs
from fixtures.web import PASSWORD

FEW = 2
WALKED = dict.fromkeys(LIMITS, FEW) | {"comment_length": 5, "metadata_bytes": 30, "upload_bytes": 100, "tokens": 4}
Step = Callable[[Runs, str, int], Any]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    # Projects and uploads of other tests' kind must fit: each walk has a world of its own.
    return settings.model_copy(update={"limits": WALKED})


def _project(runs: Runs, execution: str, number: int) -> Any:
    return runs.world.client("ann").post("/api/v0/projects/", json={"name": f"p{number}"})


def _tags(runs: Runs, execution: str, number: int) -> Any:
    datum = runs.datum(f"{number}.txt", b"1")
    return runs.world.client("ann").post(f"/api/v0/data/{datum}/tags/", json={"tags": [str(n) for n in range(number)]})


def _comment(runs: Runs, execution: str, number: int) -> Any:
    return runs.world.client("ann").post(f"/api/v0/executions/{execution}/comments/", json={"text": "a"})


def _comment_length(runs: Runs, execution: str, number: int) -> Any:
    text = "a" * (3 + number)
    return runs.world.client("ann").post(f"/api/v0/executions/{execution}/comments/", json={"text": text})


def _pin(runs: Runs, execution: str, number: int) -> Any:
    return runs.world.client("ann").post(f"/api/v0/executions/{runs.create()['id']}/pin/")


def _variable(runs: Runs, execution: str, number: int) -> Any:
    path = f"/api/v0/projects/{runs.world.project}/environment_variable/"
    return runs.world.client("ann").post(path, json={"name": f"V{number}", "value": "1"})


def _organization_variable(runs: Runs, execution: str, number: int) -> Any:
    path = f"/api/v1/organizations/{runs.world.organization_of('ann')}/variables/V{number}/"
    return runs.world.client("ann").call("PUT", path, json={"value": "1"})


def _group(runs: Runs, execution: str, number: int) -> Any:
    path = f"/api/v1/organizations/{runs.world.organization_of('ann')}/variable-groups/"
    return runs.world.client("ann").post(path, json={"name": f"g{number}"})


def _alias(runs: Runs, execution: str, number: int) -> Any:
    body = {"project": runs.world.project, "name": f"a{number}", "datum": runs.datum("x", b"1")}
    return runs.world.client("ann").post("/api/v0/datum-aliases/", json=body)


def _alias_by_metadata(runs: Runs, execution: str, number: int) -> Any:
    path = f"/api/v0/data/{runs.datum('x', b'1')}/metadata/"
    return runs.world.client("ann").call("PUT", path, json={"valohai.alias": f"a{number}"})


def _metadata(runs: Runs, execution: str, number: int) -> Any:
    path = f"/api/v0/data/{runs.datum('x', b'1')}/metadata/"
    return runs.world.client("ann").call("PUT", path, json={"a": "b" * 10 * number})


def _upload(runs: Runs, execution: str, number: int, size: int = 1) -> Any:
    body = {"project": runs.world.project, "name": f"{number}.bin", "size": size, "sha256": "0" * 64}
    return runs.world.client("ann").post("/api/v1/uploads/", json=body)


def _upload_bytes(runs: Runs, execution: str, number: int) -> Any:
    return _upload(runs, execution, number, 99 if number < 3 else 101)


def _store(runs: Runs, execution: str, number: int) -> Any:
    keys = {"access_key_id": "AK", "secret_access_key": "SK"}
    configuration = {"bucket": f"bucket-{number}", "region": "eu-west-1", **keys}
    body = {"name": f"s{number}", "type": "s3", "configuration": configuration, "project": runs.world.project}
    return runs.world.client("ann").post("/api/v0/stores/", json=body)


def _registry_credential(runs: Runs, execution: str, number: int) -> Any:
    configuration = {"username": "ann", "password": "pass"}
    body = {"type": "docker", "image_pattern": f"r{number}.example.org/*", "configuration": configuration}
    return runs.world.client("ann").post("/api/v0/registry-credentials/", json=body)


def _team(runs: Runs, execution: str, number: int) -> Any:
    return runs.world.client("ann").post("/api/v0/teams/", json={"name": f"team {number}"})


def _team_member(runs: Runs, execution: str, number: int) -> Any:
    ann = runs.world.client("ann")
    teams = ann.get("/api/v0/teams/").json["results"]
    team = teams[0] if teams else ann.post("/api/v0/teams/", json={"name": "crew"}).json
    user = ("adm", "ann", "bob", "vic")[number % 4]
    return ann.post(f"/api/v0/teams/{team['id']}/members/", json={"user": user})


WALKS: dict[str, tuple[str, Step, int]] = {
    # name: (cap, step, how many are there before)
    "projects": ("projects", _project, 1),
    "tags": ("tags", _tags, 0),
    "comments": ("comments", _comment, 0),
    "length of a comment": ("comment_length", _comment_length, 0),
    "pins": ("pins", _pin, 0),
    "variables of a project": ("variables", _variable, 0),
    "variables of an organisation": ("variables", _organization_variable, 0),
    "groups": ("variable_groups", _group, 0),
    "aliases": ("aliases", _alias, 0),
    "aliases by metadata": ("aliases", _alias_by_metadata, 0),
    "metadata of a file": ("metadata_bytes", _metadata, 0),
    "stores": ("stores", _store, 0),
    "credentials of registries": ("registry_credentials", _registry_credential, 0),
    "teams": ("teams", _team, 0),
    "members of a team": ("team_members", _team_member, 0),
    "uploads": ("uploads", _upload, 0),
    "bytes of an upload": ("upload_bytes", _upload_bytes, 0),
}
# These do not refuse: tests below.
OTHERWISE = {"tokens", "bulk"}


def test_every_cap_is_walked() -> None:
    assert {walk[0] for walk in WALKS.values()} | OTHERWISE == set(LIMITS)


@pytest.mark.parametrize("walk", WALKS)
def test_up_to_the_cap_and_not_above(runs: Runs, walk: str) -> None:
    cap, step, before = WALKS[walk]
    execution = runs.create()["id"]
    for number in range(before + 1, FEW + 1):
        answer = step(runs, execution, number)
        assert answer.status_code in (200, 201), answer.text
    for number in (FEW + 1, FEW + 2):
        refused = step(runs, execution, number)
        assert (refused.status_code, refused.json["code"]) == (409, "limit_reached"), refused.text
        assert refused.json["message"].startswith(sentence(LIMITS[cap], WALKED[cap]))
        assert refused.json["message"].endswith(f"; {LIMITS[cap].remedy}.")


def test_logins_beyond_the_cap_end_the_oldest_login(runs: Runs) -> None:
    client = runs.world.client()
    body = {"username": "ann", "password": PASSWORD}
    tokens = [client.post("/api/v0/get-token/", data=body).json["token"] for _ in range(4)]
    works = [
        client.get("/api/v0/users/me/", headers={"Authorization": f"Token {token}"}).status_code == 200
        for token in (runs.world.tokens["ann"], *tokens)
    ]
    assert works == [True, False, True, True, True]


def test_several_at_once_are_done_in_pieces(runs: Runs) -> None:
    for _ in range(3):
        runs.create()
    body = {"project": runs.world.project, "action": "stop"}
    counts = [runs.world.client("ann").post("/api/v1/executions/bulk/", json=body).json for _ in range(2)]
    assert [(count["done"], count["left"]) for count in counts] == [(2, 1), (1, 0)]


def test_executions_that_wait(runs: Runs, settings: Settings) -> None:
    object.__setattr__(settings, "max_queued_per_project", 1)
    runs.create()
    body = {"project": runs.world.project, "commit": runs.commit, "step": "train"}
    refused = runs.world.client("ann").post("/api/v0/executions/", json=body)
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0


BODIES: dict[str, dict[str, Any]] = {
    "tags": {"tags": [str(n) for n in range(101)]},
    "a tag's length": {"tags": ["a" * 256]},
    "title": {"title": "a" * 256},
    "image": {"image": "a" * 513},
    "addresses of an input": {"inputs": {"data": ["https://example.org/x"] * 10_001}},
    "length of an address": {"inputs": {"data": ["https://example.org/" + "x" * 4096]}},
    "variables": {"environment_variables": {f"V{n}": "1" for n in range(501)}},
    "length of a variable": {"environment_variables": {"V": "1" * 64_001}},
    "groups": {"environment_variable_groups": ["a"] * 21},
    "length of a parameter": {"parameters": {"label": "a" * 100_001}},
    "values of a parameter": {"parameters": {"label": ["a"] * 10_001}},
    "command": {"command": "a" * 120_001},
    "time limit": {"time_limit": 10**10},
    "priority": {"priority": 101},
}


def test_what_one_execution_may_have(runs: Runs) -> None:
    for name, body in BODIES.items():
        wanted = {"project": runs.world.project, "commit": runs.commit, "step": "train", **body}
        answer = runs.world.client("ann").post("/api/v0/executions/", json=wanted)
        assert answer.status_code in (400, 413), (name, answer.status_code)


def test_caps_of_what_workers_send_have_a_sentence() -> None:
    for limit in (POINTS, OUTPUTS, METADATA_KEYS):
        assert sentence(limit, limit.most).endswith(limit.what) and limit.remedy
