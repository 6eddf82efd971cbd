"""Bodies and headers that nobody sends by accident; what every answer carries."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from controlplane.audit.models import AuditEvent
from controlplane.audit.service import AuditError
from controlplane.db.session import SYSTEM
from fixtures.web import World, make_archive

PROJECTS = "/api/v0/projects/"


def deep(levels: int) -> str:
    return '{"name":' + "[" * levels + "]" * levels + "}"


BAD_JSON = {
    "deep": deep(10_000),
    "deep by little": deep(60),
    "NaN": '{"name": NaN}',
    "Infinity": '{"name": -Infinity}',
    "huge float": '{"name": 1e999}',
    "huge integer": '{"name": ' + "9" * 5000 + "}",
    "beyond 64 bits": '{"name": "a", "x": 9223372036854775808}',
    "twice": '{"name": "a", "name": "b"}',
    "cut": '{"name": "a"',
    "list": "[]",
    "text": '"a"',
    "NUL": '{"name": "a\\u0000b"}',
    "half a pair": '{"name": "a\\ud800b"}',
    "half a pair as key": '{"name": "a", "\\udfff": 1}',
    "not utf-8": b'{"name": "\xff"}',
    "wrong type": '{"name": {"a": 1}}',
    "number": '{"name": 7}',
    "missing": "{}",
    "null": '{"name": null}',
    "long": json.dumps({"name": "a" * 201}),
}


@pytest.mark.security("N38")
def test_bad_json_is_400_with_a_sentence(world: World) -> None:
    for case, body in BAD_JSON.items():
        answer = world.client("ann").post(PROJECTS, data=body, content_type="application/json")
        assert answer.status_code == 400, (case, answer.text)
        entries = next(iter(answer.json.values()))
        assert entries[0]["message"] and entries[0]["code"], case


@pytest.mark.security("N12")
@pytest.mark.parametrize("kind", ["text/plain", "application/xml", ""])
def test_json_under_another_name_is_refused(world: World, kind: str) -> None:
    answer = world.client("ann").post(PROJECTS, data='{"name": "a"}', content_type=kind)
    assert answer.status_code == 400


@pytest.mark.security("N38")
def test_large_bodies_are_413(world: World) -> None:
    big = b'{"name": "' + b"a" * 400_000 + b'"}'
    assert world.client("ann").post(PROJECTS, data=big, content_type="application/json").status_code == 413
    form = {"name": "a", "description": "b" * 400_000}
    assert world.client("ann").post(PROJECTS, data=form).status_code == 413
    archive = make_archive(**{"noise.bin": __import__("os").urandom(4_100_000)})
    answer = world.client("ann").upload(world.project, archive)
    assert answer.status_code == 413 and answer.json["code"]


def test_form_values_that_no_database_holds(world: World) -> None:
    assert world.client("ann").post(PROJECTS, data={"name": "a\0b"}).status_code == 400
    assert world.client("ann").get(PROJECTS + "?limit=1%00").status_code == 400
    assert world.client("ann").get("/api/v0/commits/?project=%ED%A0%80").status_code in (400, 404)


def test_bad_limits_name_the_field(world: World) -> None:
    for query in ("limit=-1", "limit=x", "limit=99999999999999999999", "offset=-1", "limit=1e3", "limit=²"):
        answer = world.client("ann").get(f"{PROJECTS}?{query}")
        assert answer.status_code == 400, query
        assert query.partition("=")[0] in answer.json


STRICT = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}


ANSWERS = [
    ("GET", "/login", 200),
    ("GET", "/api/v0/server/", 200),
    ("GET", "/api/v0/users/me/", 401),
    ("GET", "/api/v0/nothing/", 404),
    ("GET", "/nothing", 404),
    ("DELETE", "/api/v0/users/me/", 405),
    ("GET", "/healthz", 200),
    ("GET", "/static/remora.css", 200),
    ("OPTIONS", "/api/v0/users/me/", 401),
    ("TRACE", "/api/v0/users/me/", 405),
]


def test_every_answer_carries_strict_headers(world: World) -> None:
    for method, path, status in ANSWERS:
        answer = world.client().call(method, path)
        assert answer.status_code == status, (method, path)
        for name, value in STRICT.items():
            assert answer.headers[name] == value, (path, name)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
        assert len(answer.headers["X-Request-Id"]) == 36
        assert "Strict-Transport-Security" not in answer.headers
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_https_is_remembered(world: World) -> None:
    answer = world.client().get("/api/v0/server/", base_url="https://remora.test:8765")
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")


def test_a_defect_shows_an_id_and_no_trace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail /etc/passwd")

    monkeypatch.setattr(type(world.services.projects), "list", broken)
    answer = world.client("ann").get(PROJECTS)
    assert answer.status_code == 500
    assert "secret detail" not in answer.text and "Traceback" not in answer.text
    assert answer.headers["X-Request-Id"] in answer.json["detail"]


def test_a_database_that_is_away_is_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def away(*_: object) -> None:
        raise OperationalError("SELECT secret", {}, Exception("locked"))

    monkeypatch.setattr(type(world.services.projects), "list", away)
    answer = world.client("ann").get(PROJECTS)
    assert answer.status_code == 503 and answer.headers["Retry-After"] and "SELECT" not in answer.text


@pytest.mark.security("N02")
def test_no_console_and_no_debug_routes(world: World) -> None:
    assert not world.app.debug
    for path in ("/console", "/?__debugger__=yes&cmd=resource&f=debugger.js", "/debug", "/metrics", "/api/v0/docs"):
        answer = world.client().get(path)
        assert answer.status_code in (302, 303, 404), path
        assert "Werkzeug" not in answer.text and "EVALEX" not in answer.text


def test_405_names_what_is_allowed(world: World) -> None:
    answer = world.client("ann").call("PATCH", PROJECTS)
    assert answer.status_code == 405
    assert {"GET", "POST"} <= set(answer.headers["Allow"].replace(" ", "").split(","))


def dump(world: World) -> str:
    """Every value of every table."""
    with world.services.db.engine.connect() as connection:
        from controlplane.db.models import Base

        return "\n".join(
            str(row)
            for table in Base.metadata.sorted_tables
            for row in connection.execute(text(f'SELECT * FROM "{table.name}"'))
        )


@pytest.mark.security("N06")
def test_secrets_are_never_answered_and_lie_encrypted(world: World) -> None:
    ann = world.client("ann")
    path = f"/api/v0/projects/{world.project}/environment_variable/"
    made = ann.post(path, json={"name": "KEY", "value": "hunter2-very-secret", "secret": True})
    assert made.status_code == 200 and "hunter2" not in made.text
    ann.post(path, json={"name": "PLAIN", "value": "seen", "secret": False})
    for name in ("ann", "ped", "vic"):
        answer = world.client(name).get(f"/api/v0/projects/{world.project}/")
        assert answer.json["environment_variables"]["KEY"] == {"value": None, "secret": True}
        assert answer.json["environment_variables"]["PLAIN"] == {"value": "seen", "secret": False}
        assert "hunter2" not in answer.text
    everything = dump(world)
    assert "hunter2" not in everything
    for token in world.tokens.values():
        assert token not in everything
    assert "correct horse" not in everything


@pytest.mark.security("N06")
def test_security_events_are_written_without_secrets(world: World) -> None:
    ann = world.client("ann")
    ann.post("/api/v0/get-token/", data={"username": "ann\r\nadmin", "password": "hunter2"})
    ann.post(
        f"/api/v0/projects/{world.project}/environment_variable/", json={"name": "A", "value": "b", "secret": True}
    )
    with world.services.db.read(SYSTEM) as session:
        events = session.query(AuditEvent).all()
    actions = {event.action for event in events}
    assert {"user.created", "token.created", "project.created", "variable.set", "login.tried"} <= actions
    tried = next(event for event in events if event.action == "login.tried")
    assert "\n" not in tried.payload["username"] and tried.address == "127.0.0.1"
    assert all("hunter2" not in str(event.payload) for event in events)
    changed = next(event for event in events if event.action == "variable.set")
    assert changed.actor == world.users["ann"] and changed.address == "127.0.0.1"


def test_audit_events_are_append_only(world: World) -> None:
    for change in ("update", "delete"):
        with pytest.raises(AuditError), world.services.db.begin(SYSTEM) as session:
            row = session.query(AuditEvent).first()
            assert row
            if change == "delete":
                session.delete(row)
            else:
                row.actor = "somebody else"
    with pytest.raises(AuditError), world.services.db.begin(SYSTEM) as session:
        world.services.audit.record(session, "x", password="y")
