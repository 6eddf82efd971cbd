"""Each route of the application, as generated from its own map: closed to nobody known, to strangers, and by role."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import select
from werkzeug.routing import Rule

from controlplane.commits.models import Commit
from controlplane.data.models import Datum, DatumAlias
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM
from controlplane.environments.models import Store
from controlplane.permissions import TABLE, Actor, can
from controlplane.web.context import PUBLIC_ENDPOINTS
from fixtures.web import Caller, World, make_archive

PUBLIC = {
    "static",
    "accounts_api.get_token",
    "accounts_api.server",
    "accounts_pages.login_form",
    "accounts_pages.login",
    "accounts_pages.link_form",
    "accounts_pages.use_link",
    "health.live",
    "health.ready",
    "store.object_route",
    "stream_api.follow",
}
PEOPLE = ("ann", "adm", "bob", "vic", "pam", "pat", "ped", "eve", "ops")
SKIPPED = {"HEAD", "OPTIONS"}
# Routes that speak of no one thing: whoever is signed in may call them.
FOR_ANYBODY = {action for action, roles in TABLE.items() if roles & {"user"}}


def rules(world: World) -> list[tuple[Rule, str]]:
    return [
        (rule, method)
        for rule in sorted(world.app.url_map.iter_rules(), key=lambda rule: rule.rule)
        for method in sorted((rule.methods or set()) - SKIPPED)
    ]


def removals_last(found: list[tuple[Rule, str]]) -> list[tuple[Rule, str]]:
    """What is removed can't be asked for afterwards: parts of a thing go before the thing."""
    return sorted(found, key=lambda entry: (entry[1] == "DELETE", -len(entry[0].rule) if entry[1] == "DELETE" else 0))


def address(world: World, rule: Rule, values: dict[str, Any]) -> str:
    with world.app.test_request_context(headers={"Host": "remora.test:8765"}):
        adapter = world.app.url_map.bind("remora.test:8765")
        return adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments}, method=None)


def absent(rule: Rule) -> dict[str, Any]:
    return {name: 999_999 if name in ("counter", "number") else str(uuid.uuid4()) for name in rule.arguments}


@pytest.fixture
def things(world: World) -> dict[str, Any]:
    """Ids of things in ann's project, by the argument that names them."""
    ann = world.client("ann")
    uploaded = ann.upload(world.project, make_archive())
    assert uploaded.status_code == 201, uploaded.text
    body = {"project": world.project, "commit": uploaded.json["identifier"], "step": "train"}
    execution = ann.post("/api/v0/executions/", json=body)
    assert execution.status_code == 201, execution.text
    # Another one waits, so that the project can't be deleted by the way.
    assert ann.post("/api/v0/executions/", json=body).status_code == 201
    organization = world.organization_of("ann")
    comment = ann.post(f"/api/v0/executions/{execution.json['id']}/comments/", json={"text": "well"})
    url = "ssh://git@git.example/a.git"
    assert ann.post(f"/api/v1/projects/{world.project}/repository/", json={"url": url}).status_code == 201
    group = ann.post(f"/api/v1/organizations/{organization}/variable-groups/", json={"name": "shared"})
    with world.services.db.begin(SYSTEM) as session:
        store = session.scalars(select(Store).where(Store.purpose == "data")).one()
        commit = session.scalars(select(Commit).where(Commit.project_id == world.project)).one()
        datum = Datum(
            id=uuid7(),
            organization_id=commit.organization_id,
            project_id=world.project,
            store_id=store.id,
            name="model.bin",
            key="a/b/1/model.bin",
            uri="folder://x",
            size=3,
            created_at=world.clock.now,
        )
        session.add(datum)
        session.flush()
        alias = DatumAlias(
            id=uuid7(),
            organization_id=commit.organization_id,
            project_id=world.project,
            name="best",
            datum_id=datum.id,
            changed_at=world.clock.now,
        )
        session.add(alias)
    upload = ann.post(
        "/api/v1/uploads/", json={"project": world.project, "name": "x.bin", "size": 5, "sha256": "0" * 64}
    )
    credential = ann.post(
        "/api/v0/registry-credentials/",
        json={
            "type": "docker",
            "image_pattern": "127.0.0.1:1/team/*",
            "configuration": {"username": "u", "password": "p"},
            "project": world.project,
        },
    )
    configuration = {"bucket": "bucket", "endpoint_url": "http://127.0.0.1:1"}
    added = ann.post(
        "/api/v0/stores/",
        json={"name": "mine", "type": "s3", "configuration": configuration, "project": world.project},
    )
    assert added.status_code == 201, added.text
    team = ann.post("/api/v0/teams/", json={"name": "crew", "organization": organization, "members": ["ann"]})
    assert team.status_code == 201, team.text
    return {
        "organization_id": organization,
        "team_id": team.json["id"],
        "store_id": added.json["id"],
        "credential_id": credential.json["id"],
        "user_id": world.users["ann"],
        "comment_id": comment.json["id"],
        "group_id": group.json["id"],
        "alias_id": alias.id,
        "upload_id": upload.json["id"],
        "number": 1,
        "name": "SOME_NAME",
        "project_id": world.project,
        "identifier": commit.identifier,
        "key": execution.json["id"],
        "execution_id": execution.json["id"],
        "counter": execution.json["counter"],
        "datum_id": datum.id,
        "rest": "x/",
    }


BODIES: dict[str, dict[str, Any]] = {
    "projects_api.create": {"json": {"name": "another"}},
    "projects_api.set_variable": {"json": {"name": "A", "value": "1"}},
    "projects_api.delete_variable": {"json": {"name": "A"}},
    "commits_api.import_package": {"content_type": "multipart/form-data"},
    "executions_api.tags": {"json": {"tags": ["a"]}},
    "git_api.create": {"json": {"url": "https://git.example/a.git"}},
    "git_api.change": {"json": {"ref": "main"}},
    "git_api.accept_host_key": {"json": {"fingerprint": "SHA256:x"}},
    "projects_api.update": {"json": {"description": "told"}},
    "comments_api.create": {"json": {"text": "a"}},
    "comments_api.edit": {"json": {"text": "b"}},
    "variables_api.set_variable": {"json": {"value": "1"}},
    "variables_api.set_in_group": {"json": {"value": "1"}},
    "variables_api.create_group": {"json": {"name": "another"}},
    "teams_api.change": {"json": {"name": "crew"}},
    "teams_api.add_member": {"json": {"user": "ann"}},
    "data_api.tags": {"json": {"tags": ["a"]}},
    "data_api.replace_metadata": {"json": {"a": 1}},
    "data_api.add_metadata": {"json": {"a": 1}},
}
# Routes without a thing in their address, whose body names one.
NAMED_IN_BODY = {
    "executions_api.create": lambda things: {"commit": things["identifier"], "step": "train"},
    "aliases_api.create": lambda things: {"name": "a", "datum": things["datum_id"]},
    "uploads_api.create": lambda things: {"name": "y.bin", "size": 1, "sha256": "0" * 64},
    "stores_api.adopt": lambda things: {"url": "s3://bucket/nothing"},
    "bulk_api.bulk": lambda things: {"action": "stop", "dry_run": True},
}
# Beside the role, only the author of a comment may change it: tests/api/test_comments_api.py.
AUTHORS_ONLY = {"comments_api.edit", "comments_api.delete"}


def send(caller: Caller, method: str, path: str, endpoint: str, things: dict[str, Any], world: World) -> Any:
    kwargs = dict(BODIES.get(endpoint, {}))
    if endpoint in NAMED_IN_BODY:
        kwargs["json"] = {"project": world.project, **NAMED_IN_BODY[endpoint](things)}
    if endpoint == "aliases_api.move":
        kwargs["json"] = {"datum": things["datum_id"]}
    if endpoint == "aliases_api.resolve":
        kwargs["query_string"] = {"project": world.project, "name": "best"}
    if endpoint == "log_search_api.search":
        kwargs["query_string"] = {"q": "a"}
    if endpoint.endswith(".index"):
        kwargs["query_string"] = {"project": world.project}
    return caller.call(method, path, **kwargs)


@pytest.mark.security("N01")
def test_the_public_list_is_short_and_known() -> None:
    assert PUBLIC_ENDPOINTS == PUBLIC


@pytest.mark.security("N01", "N02")
def test_nobody_gets_401_everywhere(world: World) -> None:
    checked = 0
    for rule, method in rules(world):
        if rule.endpoint in PUBLIC:
            continue
        answer = world.client().call(method, address(world, rule, absent(rule)))
        if rule.rule.startswith("/api/"):
            assert answer.status_code == 401, (method, rule.rule, answer.status_code)
            assert answer.json["code"] == "not_authenticated"
        else:
            assert answer.status_code in (303, 302, 401), (method, rule.rule, answer.status_code)
            assert answer.status_code == 401 or "/login" in answer.headers["Location"]
        checked += 1
    assert checked > 60


@pytest.mark.security("N01")
@pytest.mark.parametrize("header", ["Token x", "Bearer x", "Token ", "Basic YTpi", "token \xff", "Token " + "a" * 5000])
def test_wrong_credentials_are_as_good_as_none(world: World, header: str) -> None:
    answer = world.client().get("/api/v0/users/me/", headers={"Authorization": header})
    assert answer.status_code == 401


NAMING = {
    "project_id", "identifier", "key", "execution_id", "datum_id", "organization_id", "user_id", "alias_id",
    "upload_id", "credential_id", "store_id", "team_id",
}  # fmt: skip


@pytest.mark.security("N05b")
def test_a_stranger_gets_404_as_for_what_is_not_there(world: World, things: dict[str, Any]) -> None:
    checked = 0
    eve = world.client("eve")
    for rule, method in rules(world):
        named = set(rule.arguments) & NAMING
        if rule.endpoint in PUBLIC or not named or rule.endpoint.startswith(("later.", "environments_")):
            continue
        if method != "GET" and not rule.rule.startswith("/api/"):
            continue  # pages' forms: the same service, tried with a browser in test_sessions
        foreign = send(eve, method, address(world, rule, things), rule.endpoint, things, world)
        missing = send(eve, method, address(world, rule, absent(rule)), rule.endpoint, things, world)
        assert foreign.status_code == missing.status_code == 404, (method, rule.rule, foreign.status_code, foreign.text)
        if rule.rule.startswith("/api/"):
            assert foreign.json == missing.json, (method, rule.rule)
        checked += 1
    assert checked >= 15


@pytest.mark.security("N05b", "N07")
@pytest.mark.parametrize("query", ["project", "output_execution"])
@pytest.mark.parametrize("path", ["/api/v0/executions/", "/api/v0/commits/", "/api/v0/data/", "/api/v0/datum-aliases/"])
def test_a_foreign_id_in_a_query_shows_nothing(world: World, things: dict[str, Any], path: str, query: str) -> None:
    value = things["project_id"] if query == "project" else things["key"]
    answer = world.client("eve").get(path, query_string={query: value})
    assert answer.status_code in (400, 404) or answer.json["results"] == []
    assert things["datum_id"] not in answer.text


@pytest.mark.security("N05b")
def test_a_foreign_id_in_a_body_is_refused(world: World, things: dict[str, Any]) -> None:
    eve = world.client("eve")
    body = {"project": world.project, "commit": things["identifier"], "step": "train"}
    assert eve.post("/api/v0/executions/", json=body).status_code == 404
    own = {**body, "project": world.foreign}
    assert eve.post("/api/v0/executions/", json=own).status_code == 400  # ann's commit is not there
    assert eve.post("/api/v0/projects/", json={"name": "x", "owner": "ann"}).status_code == 400


BAD_IDS = ("x", "..", "%00", "1", "a" * 300, "0" * 36, "%2e%2e", "é", "null", "-1")
PATHS = ("projects/{}/", "projects/{}/commits/", "commits/{}/", "executions/{}/", "executions/{}/events/", "data/{}/")


@pytest.mark.security("N05b")
def test_malformed_ids_are_404(world: World) -> None:
    ann = world.client("ann")
    for bad in BAD_IDS:
        for path in PATHS:
            answer = ann.get("/api/v0/" + path.format(bad))
            assert answer.status_code in (404, 308), (path, bad, answer.status_code, answer.text[:200])
        if "%" not in bad:
            assert ann.get("/api/v0/commits/~abc/", query_string={"project": bad}).status_code == 404


def actor_of(world: World, name: str) -> Actor:
    found = world.services.accounts.actor_of_token(world.tokens[name])
    assert found
    return found


@pytest.mark.security("N04")
def test_roles_are_as_the_table_says(world: World, things: dict[str, Any]) -> None:
    organization = world.organization_of("ann")
    checked = 0
    for rule, method in removals_last(rules(world)):
        if rule.endpoint in PUBLIC | AUTHORS_ONLY or rule.endpoint.startswith("later."):
            continue
        if method != "GET" and not rule.rule.startswith("/api/"):
            continue
        action = world.app.view_functions[rule.endpoint].action  # type: ignore[attr-defined]
        needs_thing = rule.arguments or rule.endpoint in NAMED_IN_BODY
        if action in FOR_ANYBODY or not needs_thing:
            continue
        of_people = {"organization_id", "team_id"} & set(rule.arguments)
        reading = "organization.read" if of_people else "project.read"
        # Those who may not come first: the thing is still there for them.
        for name in sorted(PEOPLE, key=lambda name: can(actor_of(world, name), action, organization, world.project)):
            answer = send(world.client(name), method, address(world, rule, things), rule.endpoint, things, world)
            allowed = can(actor_of(world, name), action, organization, world.project)
            readable = can(actor_of(world, name), reading, organization, world.project)
            shown = (method, rule.rule, action, name, answer.status_code, answer.text[:200])
            if not readable:
                assert answer.status_code == 404, shown
            elif not allowed:
                assert answer.status_code == 403, shown
            else:
                # 404, 409: the thing was used up by somebody before; 503: the queue of this test does not answer.
                assert answer.status_code not in (401, 403) and answer.status_code != 500, shown
            checked += 1
    assert checked > 150


@pytest.mark.security("N11")
def test_changed_roles_count_at_once(world: World) -> None:
    pat = world.client("pat")
    assert pat.get(f"/api/v0/projects/{world.project}/").status_code == 200
    with world.services.db.begin(SYSTEM) as session:
        from controlplane.projects.models import ProjectMembership

        session.query(ProjectMembership).filter_by(user_id=world.users["pat"]).delete()
    assert pat.get(f"/api/v0/projects/{world.project}/").status_code == 404


EVIL = {
    "id": "00000000-0000-7000-8000-000000000000",
    "project_id": "x",
    "organization_id": "x",
    "owner_id": "x",
    "creator_id": "x",
    "role": "owner",
    "is_admin": True,
    "is_operator": True,
    "status": "complete",
    "state": "complete",
    "created_at": "2000-01-01",
    "ctime": "2000-01-01",
    "next_counter": 77,
    "weight": 99,
    "price": 1,
    "attempt_number": 9,
}


@pytest.mark.security("N09")
def test_unknown_fields_are_not_assigned_and_named(world: World, things: dict[str, Any]) -> None:
    ann = world.client("ann")
    made = ann.post("/api/v0/projects/", json={"name": "fresh", **EVIL})
    assert made.status_code == 201
    assert set(EVIL) == set(made.headers["X-Remora-Ignored-Fields"].split(", "))
    assert made.json["id"] != EVIL["id"] and not made.json["ctime"].startswith("2000")
    body = {"project": world.project, "commit": things["identifier"], "step": "train", **EVIL}
    execution = ann.post("/api/v0/executions/", json=body)
    assert execution.status_code == 201, execution.text
    assert (execution.json["counter"], execution.json["status"]) == (things["counter"] + 2, "queued")
    assert execution.json["id"] != EVIL["id"]
    strange = ann.post("/api/v0/projects/", json={"name": "other", "a\r\nSet-Cookie: x": 1, "ä": 2})
    assert strange.status_code == 201 and "Set-Cookie" not in strange.headers


PLAIN = "/api/v0/users/me/"
TRICKS: list[tuple[str, dict[str, str]]] = [
    ("//api/v0/users/me/", {}),
    ("/api/v0/./users/me/", {}),
    ("/api/v0/users/me/;x=1", {}),
    ("/api/v0/users/%6de/", {}),
    ("/api/v0/users/me/%00", {}),
    ("/api/v0/x/../users/me/", {}),
    ("/static/../api/v0/users/me/", {}),
    ("/login/../api/v0/users/me/", {}),
    (PLAIN, {"X-Original-URL": "/api/v0/server/"}),
    (PLAIN, {"X-Rewrite-URL": "/api/v0/server/"}),
    (PLAIN, {"X-HTTP-Method-Override": "OPTIONS"}),
    (PLAIN, {"X-Forwarded-Host": "localhost"}),
    (PLAIN, {"X-Forwarded-For": "127.0.0.1"}),
    (PLAIN, {"X-Forwarded-User": "ann", "Remote-User": "ann"}),
]


@pytest.mark.security("N03")
def test_path_tricks_open_nothing(world: World) -> None:
    for path, headers in TRICKS:
        answer = world.client().get(path, headers=headers)
        assert answer.status_code in (401, 404, 308), (path, answer.status_code)
        assert "ann" not in answer.text


@pytest.mark.security("N03")
@pytest.mark.parametrize(
    "host", ["evil.example", "remora.test.evil.example", "evil.example:8765", "remora.test@evil", "", "["]
)
def test_another_host_is_refused(world: World, host: str) -> None:
    answer = world.client("ann").get(PLAIN, headers={"Host": host})
    assert answer.status_code == 400
    assert "email" not in answer.text


def test_known_hosts_are_answered(world: World) -> None:
    for host in ("remora.test:8765", "REMORA.test", "localhost:8765", "127.0.0.1:8765", "[::1]:8765"):
        assert world.client("ann").get(PLAIN, headers={"Host": host}).status_code == 200, host
    assert world.client().get("/healthz", headers={"Host": "10.0.0.7"}).status_code == 200
