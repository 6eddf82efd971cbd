"""Hostile input to the calls of executions and data; each test names its code of the list of negative tests."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valohai_yaml.objs import Step

from controlplane.audit.models import AuditEvent
from controlplane.db.session import SYSTEM
from controlplane.executions.events import EventBook, output_key
from controlplane.executions.models import Attempt, Execution
from controlplane.executions.request import NewExecution, resolve
from fixtures.runs import Runs
from fixtures.web import make_archive
from security.test_every_route_is_guarded import SKIPPED, absent, address
from security.test_hostile_requests import BAD_JSON
from worker_bootstrap.protocol.errors import ProtocolError

SECRET = "hunter2-never-shown"


def _foreign(runs: Runs) -> dict[str, str]:
    """Ids of things in ann's project, that eve's calls are filled with."""
    ann, datum = runs.world.client("ann"), runs.datum("secret-plans.csv", b"1")
    organization = runs.world.organization_of("ann")
    execution = runs.create(title="secret-title", tags=["secret-tag"])["id"]
    body = {"project": runs.world.project, "name": "secret-alias", "datum": datum}
    group = ann.post(f"/api/v1/organizations/{organization}/variable-groups/", json={"name": "secret-group"}).json["id"]
    return {
        "datum": datum,
        "execution": execution,
        "alias": ann.post("/api/v0/datum-aliases/", json=body).json["id"],
        "group": group,
        "organization": organization,
    }


@pytest.mark.security("N05b")
def test_n05b_foreign_ids_in_bodies_are_as_good_as_none(runs: Runs) -> None:
    eve, theirs, nothing = runs.world.client("eve"), _foreign(runs), "018f3c5e-0000-7000-8000-000000000001"
    commit = eve.upload(runs.world.foreign, make_archive()).json["identifier"]
    own = {"project": runs.world.foreign, "commit": commit, "step": "train"}
    mine = eve.post("/api/v0/executions/", json=own).json["id"]
    alias = {"project": runs.world.foreign, "name": "x"}
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/api/v0/executions/", lambda i: {**own, "inputs": {"data": f"datum://{i['datum']}"}}),
        ("POST", "/api/v0/executions/", lambda i: {**own, "environment_variable_groups": [i["group"]]}),
        ("POST", f"/api/v0/executions/{mine}/copy/", lambda i: {"inputs": {"data": f"datum://{i['datum']}"}}),
        ("POST", "/api/v0/datum-aliases/", lambda i: {**alias, "datum": i["datum"]}),
    ]
    for method, path, body in calls:
        foreign = eve.call(method, path, json=body(theirs))
        missing = eve.call(method, path, json=body(dict.fromkeys(theirs, nothing)))
        assert foreign.status_code == missing.status_code == 400, (path, foreign.text)
        assert foreign.text.replace(theirs["datum"], nothing).replace(theirs["group"], nothing) == missing.text, path
    projects = (
        ("/api/v0/datum-aliases/", {"name": "x", "datum": theirs["datum"]}),
        ("/api/v1/uploads/", {"name": "x", "size": 1, "sha256": "0" * 64}),
        ("/api/v1/executions/bulk/", {"action": "stop"}),
    )
    for path, body in projects:
        answers = [eve.post(path, json={"project": i, **body}) for i in (runs.world.project, nothing)]
        assert answers[0].status_code == 404 and answers[0].json == answers[1].json, path


@pytest.mark.security("N05b")
def test_n05b_foreign_names_resolve_to_nothing(runs: Runs) -> None:
    _foreign(runs)
    eve = runs.world.client("eve")
    path = f"/api/v0/datum-aliases/resolve/?project={runs.world.foreign}&name=secret-alias"
    assert eve.get(path).status_code == 404
    assert eve.get(path.replace(runs.world.foreign, runs.world.project)).status_code == 404


@pytest.mark.security("N06")
def test_n06_no_answer_holds_a_secret(runs: Runs) -> None:
    """Every GET of the API, for owner and viewer, with secrets on every level."""
    world, ann = runs.world, runs.world.client("ann")
    theirs = _foreign(runs)
    secret = {"value": SECRET, "secret": True}
    base = f"/api/v1/organizations/{theirs['organization']}/"
    assert ann.call("PUT", f"{base}variables/A/", json=secret).status_code == 200
    assert ann.call("PUT", f"{base}variable-groups/{theirs['group']}/variables/B/", json=secret).status_code == 200
    path = f"/api/v0/projects/{world.project}/environment_variable/"
    assert ann.post(path, json={"name": "C", **secret}).status_code == 200
    execution = runs.create(environment_variables={"D": secret}, environment_variable_groups=["secret-group"])
    store = ann.post("/api/v0/stores/", json={"name": "s", "type": "s3", "project": world.project, "configuration": {
        "bucket": "bucket", "access_key_id": "AK", "secret_access_key": SECRET}})  # fmt: skip
    credential = ann.post("/api/v0/registry-credentials/", json={
        "type": "docker", "image_pattern": "r.example/*", "project": world.project,
        "configuration": {"username": "ann", "password": SECRET}})  # fmt: skip
    repository = ann.post(
        f"/api/v1/projects/{world.project}/repository/", json={"url": "https://git.example/a.git", "token": SECRET}
    )
    for made in (store, credential, repository):
        assert made.status_code == 201 and SECRET not in made.text, made.text
    values = {
        "store_id": store.json["id"], "credential_id": credential.json["id"],
        "project_id": world.project, "key": execution["id"], "execution_id": execution["id"], "identifier": runs.commit,
        "datum_id": theirs["datum"], "alias_id": theirs["alias"], "organization_id": theirs["organization"],
        "user_id": world.users["ann"], "counter": 1,
    }  # fmt: skip
    answered = 0
    for rule in world.app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint == "static" or "log_text" in rule.endpoint:
            continue
        path = address(world, rule, {**absent(rule), **{n: v for n, v in values.items() if n in rule.arguments}})
        for who in ("ann", "vic"):
            answer = world.client(who).get(path, query_string={"project": world.project, "q": "a", "name": "x"})
            assert SECRET not in answer.text, rule.rule
            answered += answer.status_code == 200
    assert answered > 40
    with world.services.db.read(SYSTEM) as session:
        assert SECRET not in str([event.payload for event in session.query(AuditEvent).all()])


@pytest.mark.security("N07")
def test_n07_lists_counts_and_searches_leak_nothing(runs: Runs) -> None:
    _foreign(runs)
    eve, ann = runs.world.client("eve"), runs.world.client("ann")
    configuration = {"bucket": "secret-bucket", "access_key_id": "AK", "secret_access_key": "x"}
    store = {"name": "secret-store", "type": "s3", "configuration": configuration, "project": runs.world.project}
    login = {"username": "ann", "password": "x"}
    credential = {"type": "docker", "image_pattern": "secret.example/*", "configuration": login, "owner": "ann"}
    assert ann.post("/api/v0/stores/", json=store).status_code == 201
    assert ann.post("/api/v0/registry-credentials/", json=credential).status_code == 201
    repository = f"/api/v1/projects/{runs.world.project}/repository/"
    assert ann.post(repository, json={"url": "https://secret.example/a.git"}).status_code == 201
    for path in (
        "users/", "organizations/", "teams/", "projects/", "users/?search=ann", "projects/?search=ann",
        f"executions/?project={runs.world.foreign}&search=secret", f"data/?project={runs.world.foreign}&search=secret",
        f"executions/?project={runs.world.foreign}&tag=secret-tag", f"datum-aliases/?project={runs.world.foreign}",
        f"executions/?project={runs.world.foreign}&creator={runs.world.users['ann']}",
        "stores/", f"stores/?project={runs.world.foreign}", "registry-credentials/", "repositories/",
        f"registry-credentials/?project={runs.world.foreign}",
    ):  # fmt: skip
        answer = eve.get(f"/api/v0/{path}")
        assert answer.status_code == 200, path
        assert "secret-" not in answer.text and "secret." not in answer.text and '"ann"' not in answer.text, path
        assert answer.json["count"] <= 1, path


EVIL = {
    "id": "00000000-0000-7000-8000-000000000000", "organization_id": "x", "author_id": "x", "creator_id": "x",
    "created_at": "2000-01-01", "datum_id": "x", "state": "complete", "purged_at": "2000-01-01", "store_id": "x",
    "key": "../x", "uri": "x", "next_counter": 9, "pinned_at": "2000-01-01", "price": 1, "role": "owner",
}  # fmt: skip


@pytest.mark.security("N09")
def test_n09_unknown_fields_are_not_assigned(runs: Runs) -> None:
    ann, execution = runs.world.client("ann"), runs.create()
    datum = runs.datum("a.csv", b"1")
    path = f"/api/v0/executions/{execution['id']}/"
    comment = ann.post(f"{path}comments/", json={"text": "a", **EVIL})
    assert comment.json["author"]["username"] == "ann" and comment.json["id"] != EVIL["id"]
    copied = ann.post(f"{path}copy/", json=EVIL)
    assert copied.json["counter"] == 2 and copied.json["status"] == "queued" and not copied.json["is_pinned"]
    alias = ann.post(
        "/api/v0/datum-aliases/", json={**EVIL, "project": runs.world.project, "name": "x", "datum": datum}
    )
    assert alias.json["id"] != EVIL["id"] and alias.json["datum"]["id"] == datum
    changed = ann.call("PUT", f"/api/v0/projects/{runs.world.project}/", json={"description": "d", **EVIL})
    assert changed.json["id"] == runs.world.project and "X-Remora-Ignored-Fields" in changed.headers
    tagged = ann.post(f"/api/v0/data/{datum}/tags/", json={"tags": [], **EVIL})
    assert tagged.status_code == 200 and ann.get(f"/api/v0/data/{datum}/").json["purged"] is False
    upload = {"project": runs.world.project, "name": "a", "size": 1, "sha256": "0" * 64}
    assert ann.post("/api/v1/uploads/", json={**upload, **EVIL}).status_code == 400
    store = {"name": "mine", "type": "s3", "configuration": {"bucket": "bucket"}, "project": runs.world.project}
    made = ann.post("/api/v0/stores/", json={**EVIL, "purpose": "logs", "installation_id": "x", **store}).json
    assert made["id"] != EVIL["id"] and made["owner"]["username"] == "ann" and not made["ctime"].startswith("2000")
    credential = {"type": "docker", "image_pattern": "r.example/*", "configuration": {"username": "u", "password": "p"}}
    kept = ann.post("/api/v0/registry-credentials/", json={**EVIL, "version": 9, **credential}).json
    assert kept["id"] != EVIL["id"] and kept["owner"]["username"] == "ann"
    path = f"/api/v1/projects/{runs.world.project}/repository/"
    assert ann.post(path, json={"url": "https://git.example/a.git", **EVIL}).status_code == 400
    assert ann.post(path, json={"url": "https://git.example/a.git"}).json["project"]["id"] == runs.world.project


NAMES = (
    "../../etc/passwd", "/etc/passwd", "a/../../b", "..\\x", "a\0b", "a\r\nb", ".", "..", "", "a//b", "x" * 256, "nul",
    "a/./b", "con.txt", "\ud800",
)  # fmt: skip
KEPT = ("%2e%2e/x", "%252e", "a;/b", "a#b", "a?b", "-rf", "\u202eexe.txt", "\uff0e\uff0e/x", "a b", "ü.bin")


def _attempt(runs: Runs) -> tuple[str, str]:
    execution = runs.create()
    runs.log(execution["id"], "one")
    return execution["id"], runs.attempts(execution["id"])[0]


@pytest.mark.security("N20")
@pytest.mark.parametrize("name", NAMES)
def test_n20_names_that_lead_elsewhere_are_refused(runs: Runs, name: str) -> None:
    execution_id, attempt_id = _attempt(runs)
    with runs.world.services.db.begin(SYSTEM) as session:
        execution, attempt = session.get_one(Execution, execution_id), session.get_one(Attempt, attempt_id)
        with pytest.raises(ProtocolError):
            EventBook(session, runs.world.clock.now).apply(attempt, execution, "output", {"name": name, "size": 1})
    body = {"project": runs.world.project, "name": name, "size": 1, "sha256": "0" * 64}
    assert runs.world.client("ann").post("/api/v1/uploads/", json=body).status_code == 400


@pytest.mark.security("N20")
@pytest.mark.parametrize("name", KEPT)
def test_n20_unusual_names_are_stored_as_they_are(runs: Runs, name: str) -> None:
    ann = runs.world.client("ann")
    upload = ann.post(
        "/api/v1/uploads/",
        json={
            "project": runs.world.project, "name": name, "size": 1,
            "sha256": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
        },
    )  # fmt: skip
    assert upload.status_code == 201, upload.text
    part = ann.get(f"/api/v1/uploads/{upload.json['id']}/parts/").json[0]
    sent = runs.world.client().call(
        "PUT", part["url"].removeprefix("http://remora.test:8765"), data=b"a", headers=part["headers"]
    )
    assert sent.status_code == 201
    datum = ann.post(f"/api/v1/uploads/{upload.json['id']}/complete/").json
    assert datum["name"] == name
    root = runs.world.services.settings.stores_dir / "data"
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    assert files == [f"{runs.world.project}/uploads/{upload.json['id']}/{name}"]


@pytest.mark.security("N24")
def test_n24_a_prefix_of_a_name_is_another_name(runs: Runs) -> None:
    """Keys of attempt 1 do not open those of attempt 10, nor an address for a those for ab."""
    execution = Execution(id="e", project_id="p")
    assert not output_key(execution, 10, "x").startswith(output_key(execution, 1, ""))
    ann, first, second = runs.world.client("ann"), runs.datum("proj-1", b"first"), runs.datum("proj-10", b"second")
    address = ann.get(f"/api/v0/data/{first}/download/").json["url"].removeprefix("http://remora.test:8765")
    assert ann.get(address).data == b"first"
    key = address.partition("?")[0]
    assert ann.get(address.replace(key, f"{key}0")).status_code == 403
    assert ann.post(f"/api/v0/data/{first}/purge/").status_code == 200
    other = ann.get(f"/api/v0/data/{second}/download/").json["url"].removeprefix("http://remora.test:8765")
    assert ann.get(other).data == b"second"


@pytest.mark.security("N24", "N33")
def test_n24_store_addresses_of_others_are_no_inputs(runs: Runs) -> None:
    ann = runs.world.client("ann")
    for uri in (
        "folder://x/../../etc/passwd", "file:///etc/passwd", "s3://b/../other", "datum://../x", "datum://",
        "/etc/passwd", "gopher://127.0.0.1/", "jar:http://x!/y",
    ):  # fmt: skip
        body = {"project": runs.world.project, "commit": runs.commit, "step": "train", "inputs": {"data": uri}}
        assert ann.post("/api/v0/executions/", json=body).status_code == 400, uri


BOMB = "- &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"- &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)
YAMLS = {
    "alias bomb": BOMB,
    "large": "- " + "a" * 1_200_000,
    "deep": "- " + "[" * 3000 + "]" * 3000,
    "python": "- !!python/object/apply:os.system ['id']",
    "twice": "- step: {name: a, name: b, image: c, command: d}",
}


@pytest.mark.security("N37")
@pytest.mark.parametrize("case", YAMLS)
def test_n37_hostile_yaml_is_refused_by_the_upload(runs: Runs, case: str) -> None:
    answer = runs.world.client("ann").upload(runs.world.project, make_archive(valohai_yaml=YAMLS[case].encode()))
    assert answer.status_code in (400, 413), answer.text
    assert answer.json


@pytest.mark.security("N38")
def test_n38_bad_json_is_refused_by_every_write(runs: Runs) -> None:
    checked = 0
    execution, datum = runs.create()["id"], runs.datum("a", b"1")
    known = {
        "key": execution, "datum_id": datum, "project_id": runs.world.project,
        "organization_id": runs.world.organization_of("ann"),
    }  # fmt: skip
    cases = ("deep", "NaN", "huge integer", "beyond 64 bits", "twice", "cut", "list", "NUL", "half a pair")
    for rule in runs.world.app.url_map.iter_rules():
        described = getattr(runs.world.app.view_functions[rule.endpoint], "described", None)
        if not rule.rule.startswith("/api/") or described is None or described.body is None or described.files:
            continue
        for method in set(rule.methods or ()) - SKIPPED:
            path = address(
                runs.world, rule, {**absent(rule), **{n: v for n, v in known.items() if n in rule.arguments}}
            )
            for case in cases:
                answer = runs.world.client("ann").call(
                    method, path, data=BAD_JSON[case], content_type="application/json"
                )
                assert answer.status_code in (400, 403, 404), (method, rule.rule, case, answer.status_code)
                checked += 1
    assert checked > 150


EVIL_EXPRESSIONS = (
    "(a+)+$",
    "(a|aa)+$",
    "(.*a){20}",
    "([a-z]+)*=",
    "(x+x+)+y",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "a{1000}",
)


@pytest.mark.security("N39")
def test_n39_no_expression_of_a_user_runs_away(runs: Runs) -> None:
    """Each ends: RE2 has no backtracking; the others would run for hours on this line."""
    execution = runs.create()
    runs.log(execution["id"], "a" * 200_000 + "!", "x" * 200_000)
    for expression in EVIL_EXPRESSIONS:
        path = f"/api/v1/executions/{execution['id']}/log-search/?regex=true&q={quote(expression)}"
        assert runs.world.client("ann").get(path).status_code in (200, 400), expression
    runs.datum("/".join(["a" * 100] * 5), b"1")
    globs = ("*a" * 200 + "b", "?" * 500 + "*" * 11 + "b", "%" * 500, "_" * 500)
    for glob in globs:
        answer = runs.world.client("ann").get(f"/api/v0/data/?project={runs.world.project}&name={quote(glob)}")
        assert answer.status_code == 200 and answer.json["results"] == [], glob
    for condition in ("a" * 255 + "<1", "<" * 300, "a=" + "1" * 1000, "a<" + "9" * 400):
        path = f"/api/v0/executions/?project={runs.world.project}&metadata={quote(condition)}"
        assert runs.world.client("ann").get(path).status_code in (200, 400)


STEP = Step.parse(
    {
        "name": "s",
        "image": "i",
        "command": "run {parameter-value:x} end",
        "parameters": [{"name": "x", "type": "string"}],
    }
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)


@pytest.mark.security("N3A")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS)
def test_n3a_a_parameter_is_one_word_of_the_command(value: str) -> None:
    wanted = NewExecution(project="p", commit="c", step="s", parameters={"x": value})
    assert shlex.split(resolve(STEP, wanted).interpolated) == ["run", value, "end"]


@pytest.mark.security("N3A")
@pytest.mark.parametrize(
    "value", ["$(touch /x)", "'; rm -rf /; '", "a\nb", "`id`", "{parameter:x}", "$HOME", "-rf", "\\"]
)
def test_n3a_known_tricks_stay_text(value: str) -> None:
    wanted = NewExecution(project="p", commit="c", step="s", parameters={"x": value})
    assert shlex.split(resolve(STEP, wanted).interpolated) == ["run", value, "end"]


INJECTIONS = (
    "' OR 1=1 --", '" OR ""="', "%", "_", "a' UNION SELECT 1--", "\\", "$.x", "x\"]')", "'; DROP TABLE execution; --",
    "1) OR (1=1", "NULL",
)  # fmt: skip


@pytest.mark.security("N3B")
def test_n3b_no_value_becomes_part_of_a_question(runs: Runs) -> None:
    runs.create(title="one", tags=["a"])
    runs.change(runs.create(title="two")["id"], cumulative_metadata={"loss": 1})
    for text in INJECTIONS:
        for name in ("search", "tag", "step", "creator", "environment", "commit", "id"):
            assert runs.counters(f"{name}={quote(text)}") == [], (name, text)
        for name in ("parameter", "metadata"):
            for condition in (f"{text}=1".replace("==", "="), f"loss={text}"):
                answer = runs.world.client("ann").get(
                    f"/api/v0/executions/?project={runs.world.project}&{name}={quote(condition)}"
                )
                assert answer.status_code == 400 or answer.json["results"] == [], (name, condition)
        for path in ("executions", "data", "datum-aliases"):
            answer = runs.world.client("ann").get(
                f"/api/v0/{path}/?project={runs.world.project}&ordering={quote(text)}"
            )
            assert answer.status_code == 400
    assert runs.counters() == [2, 1]


@pytest.mark.security("N3E")
def test_n3e_templates_and_formats_stay_text(runs: Runs) -> None:
    text = "{{ 7*7 }} {% raw %} %s %n {0.__class__} ${7*7}"
    execution = runs.create(title=text, tags=[text])
    shown = runs.world.client("ann").get(f"/api/v0/executions/{execution['id']}/").json
    assert shown["title"] == text and shown["tags"] == [text]
    page = runs.world.browser("ann").get(f"/executions/{execution['id']}/", headers={"Accept": "text/html"}).text
    assert (
        "{{ 7*7 }} {% raw %} %s %n {0.__class__} ${7*7}" in page and "49" not in page.replace(execution["id"], "")[:0]
    )
