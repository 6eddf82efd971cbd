"""What `vh exec run` and the API add to an execution: groups and secrets, image, priority, commit, copies."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from fixtures.stack import Stack
from fixtures.work import IMAGE, Work

SECRET = "hunter2-in-a-group"


def own_organization(stack: Stack) -> str:
    with stack.api() as api:
        return next(row["id"] for row in api.get("organizations/").json()["results"] if row["is_personal"])


@pytest.fixture(scope="module")
def group(stack: Stack) -> str:
    """A group with a secret in it, and a variable of the organisation."""
    base = f"{stack.url}/api/v1/organizations/{own_organization(stack)}/"
    with httpx.Client(headers={"Authorization": f"Token {stack.access['token']}"}, trust_env=False) as api:
        made = api.post(f"{base}variable-groups/", json={"name": "compat"}).raise_for_status().json()["id"]
        path = f"{base}variable-groups/{made}/variables/GIVEN/"
        api.put(path, json={"value": SECRET, "secret": True}).raise_for_status()
        api.put(f"{base}variables/FROM_STEP/", json={"value": "organisation", "secret": False}).raise_for_status()
    return made


@pytest.fixture(scope="module")
def ran(work: Work, trained: str, group: str) -> dict[str, Any]:
    """A complete execution with all of these options."""
    counter = work.run(
        "train", "--data", work.files.url("numbers.csv"), "--epochs", "1",
        before=(
            "--environment-variable-groups", group, "--image", IMAGE, "--priority", "3", "--autorestart",
            "--title", "optional",
        ),
    )  # fmt: skip
    return work.finish(counter)


def test_a_secret_of_a_group_arrives_and_is_masked(work: Work, ran: dict[str, Any]) -> None:
    lines = [event["message"] for event in work.stack.log(f"{work.project}:{ran['counter']}")]
    # The step's default stands over the organisation's variable.
    assert "variables step-value ***" in lines
    assert SECRET not in "\n".join(lines) and SECRET not in json.dumps(ran)
    assert SECRET not in work.vh("exec", "logs", str(ran["counter"])).text


def test_the_options_are_kept(ran: dict[str, Any]) -> None:
    assert (ran["image"], ran["priority"], ran["autorestart"]) == (IMAGE, 3, True)
    assert ran["environment_variable_groups"] == ["compat"]


def test_a_copy_runs_with_the_changes(work: Work, ran: dict[str, Any]) -> None:
    changes = {"parameters": {"label": "copied"}, "title": "a copy", "tags": ["copy"]}
    with work.stack.api() as api:
        copied = api.post(f"executions/{ran['id']}/copy/", json=changes).raise_for_status().json()
    work.finish(str(copied["counter"]))
    lines = [event["message"] for event in work.stack.log(copied["id"])]
    assert "label copied shout False" in lines and "variables step-value ***" in lines
    assert "a copy" in work.vh("exec", "info", str(copied["counter"])).out


def test_an_alias_means_what_it_meant_then(work: Work, trained: str) -> None:
    with work.stack.api() as api:
        query = {"project": work.project, "name": "best-two words"}
        alias = api.get("datum-aliases/resolve/", params=query).raise_for_status().json()
        other = api.get("data/", params={"project": work.project, "name": "reports/table.csv"}).json()["results"][0]
        counter = work.run("train", "--data", "datum://best-two words", "--label", "resolved")
        api.put(f"datum-aliases/{alias['id']}/", json={"datum": other["id"]}).raise_for_status()
        assert "table.csv" in work.vh("alias", "list").out
        api.put(f"datum-aliases/{alias['id']}/", json={"datum": alias["datum"]["id"]}).raise_for_status()
    ended = work.finish(counter)
    assert ended["inputs"][0]["urls"] == [f"datum://{alias['datum']['id']}"]
    lines = [event["message"] for event in work.stack.log(ended["id"])]
    assert f"input data model.txt {alias['datum']['size']}" in lines
