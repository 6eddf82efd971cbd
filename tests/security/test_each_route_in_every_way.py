"""Every route once more, from the application's own map: odd paths, forms of pages by role, reading, values."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from controlplane.audit.models import AuditEvent
from controlplane.db.models import Base
from controlplane.db.session import SYSTEM
from controlplane.permissions import can
from fixtures.web import PASSWORD, World
from security.test_data_and_executions import INJECTIONS
from security.test_every_route_is_guarded import (
    FOR_ANYBODY,
    PEOPLE,
    PUBLIC,
    absent,
    actor_of,
    address,
    rules,
    send,
    things,
)

__all__ = ["things"]
TRICKS = (
    "/{path}", "/.{path}", "{path};x=1", "{path}/", "{path}//", "{path}%00", "{path}%2e", "{path}/%2e", "/%2e{path}",
    "/static/..{path}", "/static/%2e%2e{path}", "{path}?x=/login", "{path}#/login", "{path}%23", "/healthz/..{path}",
)  # fmt: skip
HEADERS = (
    {"X-Original-URL": "/healthz"}, {"X-Rewrite-URL": "/login"}, {"X-HTTP-Method-Override": "OPTIONS"},
    {"X-Forwarded-Prefix": "/static"}, {"X-Forwarded-Host": "localhost"}, {"X-Forwarded-User": "ann"},
)  # fmt: skip


@pytest.mark.security("N03")
def test_no_odd_path_or_header_opens_a_route(world: World, things: dict[str, Any]) -> None:
    caller, tried = world.client(), 0
    for rule, method in rules(world):
        if rule.endpoint in PUBLIC or method in ("PUT", "PATCH"):
            continue
        path = address(world, rule, {**absent(rule), **things})
        odd = [(trick.format(path=path), {}) for trick in TRICKS] + [(path, headers) for headers in HEADERS]
        for where, headers in odd:
            answer = caller.call(method, where, headers=headers)
            assert answer.status_code in (302, 303, 308, 400, 401, 404, 405), (method, where, headers, answer.status)
            assert "secret" not in answer.text and things["key"] not in answer.text.replace(path, ""), where
            tried += 1
    assert tried > 1500


@pytest.mark.security("N04")
def test_forms_of_pages_take_what_the_table_lets_each_role_do(world: World, things: dict[str, Any]) -> None:
    organization, checked = world.organization_of("ann"), 0
    for rule, method in sorted(rules(world), key=lambda entry: entry[0].rule.endswith("/remove")):
        if method == "GET" or rule.rule.startswith("/api/") or rule.endpoint in PUBLIC or not rule.arguments:
            continue
        action = world.app.view_functions[rule.endpoint].action  # type: ignore[attr-defined]
        if action in FOR_ANYBODY:
            continue
        for name in sorted(PEOPLE, key=lambda name: can(actor_of(world, name), action, organization, world.project)):
            browser, actor = world.browser(name), actor_of(world, name)
            answer = browser.call(method, address(world, rule, things), data={"csrf": browser.csrf})
            shown = (rule.rule, action, name, answer.status_code)
            if not can(actor, "project.read", organization, world.project):
                assert answer.status_code == 404, shown
            elif not can(actor, action, organization, world.project):
                assert answer.status_code == 403, shown
            else:
                # What is removed by one is not there for the next.
                assert answer.status_code not in (401, 403, 500), shown
            checked += 1
    assert checked >= 90


def contents(world: World) -> dict[str, list[str]]:
    with world.services.db.engine.connect() as connection:
        return {
            table.name: sorted(str(row) for row in connection.execute(text(f'SELECT * FROM "{table.name}"')))
            for table in Base.metadata.sorted_tables
        }


@pytest.mark.security("N12")
def test_reading_changes_nothing(world: World, things: dict[str, Any]) -> None:
    ann, before, read = world.client("ann"), contents(world), 0
    for rule, method in rules(world):
        if method == "GET":
            answer = send(ann, method, address(world, rule, {**absent(rule), **things}), rule.endpoint, things, world)
            read += answer.status_code == 200
    assert read > 40
    after = contents(world)
    assert {name for name in before if before[name] != after[name]} == set()


@pytest.mark.security("N3B")
def test_no_value_of_any_query_is_read_as_sql(world: World, things: dict[str, Any]) -> None:
    """Each parameter of each route, as the document of the API lists them."""
    ann, tried = world.client("ann"), 0
    document = ann.get("/api/v0/openapi.json").json
    values = {name: str(value) for name, value in things.items()}
    for path, methods in document["paths"].items():
        for parameter in methods.get("get", {}).get("parameters", []):
            if parameter["in"] != "query":
                continue
            for value in INJECTIONS:
                query = {"project": world.project, parameter["name"]: value}
                answer = ann.get(path.format_map(values), query_string=query)
                assert answer.status_code in (200, 400, 404, 503), (path, parameter["name"], value, answer.text)
                assert not any(word in answer.text for word in ("sqlite", "psycopg", "OperationalError")), path
                tried += 1
    assert tried > 500


@pytest.mark.security("N3B", "N05b")
def test_no_id_in_a_path_is_read_as_sql(world: World, things: dict[str, Any]) -> None:
    ann = world.client("ann")
    for rule, method in rules(world):
        if method != "GET" or not rule.arguments or rule.endpoint in PUBLIC or rule.endpoint.startswith("later."):
            continue
        for value in ("' OR 1=1 --", "%", "_", "\\", "1) OR (1=1"):
            names = {name: 1 if name == "counter" else value for name in rule.arguments}
            answer = ann.get(address(world, rule, {**absent(rule), **names}))
            assert answer.status_code in (400, 404), (rule.rule, value, answer.status_code)


@pytest.mark.security("N1C")
def test_a_forged_forwarding_header_is_not_the_address_of_the_audit_log(world: World) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    world.client().post("/api/v0/get-token/", data={"username": "ann", "password": PASSWORD}, headers=headers)
    world.client("ann").post("/api/v0/projects/", json={"name": "by way"}, headers=headers)
    with world.services.db.read(SYSTEM) as session:
        assert {event.address for event in session.query(AuditEvent).all()} <= {"127.0.0.1", ""}
