"""What is served under `/api/v0/`: a table of every call that client tools make, walked on one real stack from top to
bottom. `{names}` in it are those of a project with one finished execution, and what rows before have made (`keep`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from compat.sample_code import LINES, TRAIN, YAML
from controlplane.web.later import KINDS
from fixtures.inputs import FileServer
from fixtures.stack import Stack
from fixtures.work import new_work

pytestmark = pytest.mark.needs("redis", "engine", "image")
BRIEF = "id counter project status status_detail step title tags ctime duration url urls deleted creator"
ALSO = "commit environment inputs parameters command interpolated_command environment_variables runtime_config"
PROJECT = "id name description owner urls execution_summary environment_variables yaml_path"
COMMIT = "identifier ref commit_time ctime adhoc repository url"
DATUM = "id name size ctime uri output_execution"


@dataclass(frozen=True)
class Row:
    """One call. `query`: `a=b&c=d`. `fields` have to be in the answer, or in the first thing of a list; `absent` not.

    `results` is how long the list is. `keep` gives the answer's id a name for later rows. `soon` is refused until an
    execution that was just stopped has ended, and is asked again until then.
    """

    method: str
    path: str
    query: str = ""
    body: dict[str, Any] | None = None
    status: int = 200
    fields: str = ""
    absent: str = ""
    results: int | None = None
    keep: str = ""
    form: bool = field(default=False)
    soon: bool = field(default=False)


def listed(path: str, query: str, results: int, fields: str = "", absent: str = "") -> Row:
    """A list, filtered."""
    return Row("GET", path, query, fields=fields, absent=absent, results=results)


OF = "project={project}"
# Calls of parts that a later version brings.
LATER = tuple(f"/api/v0/{kind}/" for kind in KINDS)
KEYS = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "of-this-test"}
STORE = {"bucket": "bucket", "endpoint_url": "http://127.0.0.1:1", **KEYS}
TABLE = [
    # ---- login, users, the server
    Row("GET", "server/", fields="flavor version"),
    Row("GET", "openapi.json", fields="openapi paths"),
    Row("POST", "get-token/", body={"username": "{user}", "password": "{password}"}, fields="token", form=True),
    Row("GET", "users/me/", fields="id username email", keep="me"),
    Row("POST", "users/login_link/", body={"url": "/executions/"}, fields="url"),
    Row("POST", "users/login_link/", body={"url": "https://example.com/"}, status=400, fields="url"),
    Row("GET", "users/", fields="id username"),
    listed("users/", "search=nobody-of-this-name", 0),
    listed("users/", "limit=1&offset=1000", 0),
    Row("GET", "users/{me}/", fields="id username"),
    Row("GET", "organizations/", fields="id name role", keep="organization"),
    listed("organizations/", "search=nobody-of-this-name", 0),
    listed("organizations/", "limit=1&offset=1000", 0),
    Row("GET", "organizations/{organization}/", fields="id name role"),
    # ---- projects
    Row("GET", "projects/", "limit=9000", fields=PROJECT),
    listed("projects/", "search=surface", 1, PROJECT),
    listed("projects/", "search=surface&offset=1", 0),
    Row("GET", "projects/ownership_options/"),
    Row("POST", "projects/", body={"name": "surface-made", "description": "of the table"}, status=201, fields=PROJECT,
        keep="made", form=True),
    Row("GET", "projects/{made}/", fields=PROJECT),
    Row("PUT", "projects/{made}/", body={"description": "changed"}, fields=PROJECT),
    Row("PATCH", "projects/{made}/", body={"name": "surface-renamed"}, fields=PROJECT),
    Row("POST", "projects/{made}/environment_variable/", body={"name": "A", "value": "b", "secret": True}),
    Row("DELETE", "projects/{made}/environment_variable/", body={"name": "A"}, status=204),
    Row("POST", "projects/{made}/fetch/", status=409, fields="message code"),  # it has no repository
    Row("GET", "projects/{project}/commits/", fields=COMMIT),
    # The client sends a tar.gz as the part `data` of a form; this one has none.
    Row("POST", "projects/{project}/import-package/", body={"description": "x"}, status=400, form=True),
    Row("DELETE", "projects/{made}/", status=204),
    Row("GET", "projects/{made}/", status=404),
    # ---- commits
    listed("commits/", f"{OF}&adhoc=true&limit=9000", 1, COMMIT, "config"),
    listed("commits/", f"{OF}&adhoc=false", 0),
    listed("commits/", f"{OF}&search=nowhere", 0),
    listed("commits/", f"{OF}&include=config", 1, f"{COMMIT} config"),
    listed("commits/", f"{OF}&offset=1", 0),
    Row("GET", "commits/{commit}/", OF, fields=COMMIT, absent="config"),
    Row("GET", "commits/{commit}/", f"{OF}&include=config", fields=f"{COMMIT} config"),
    Row("GET", "commits/~0000000000000000000000000000000000000000000000000000000000000000/", OF, status=404),
    Row("GET", "repositories/", "limit=10"),
    listed("repositories/", "limit=1&offset=1000", 0),
    # ---- executions: one, its parts, and lists by every filter
    Row("GET", "executions/{execution}/", fields=f"{BRIEF} {ALSO} cumulative_metadata outputs"),
    Row("GET", "executions/{project}:{counter}/", fields=BRIEF),
    Row("GET", "executions/{project}:latest/", fields=BRIEF),
    Row("GET", "executions/{execution}/", "exclude=metadata, events,tags", fields="inputs parameters", absent="tags"),
    Row("GET", "executions/{execution}/", "exclude=outputs", fields="inputs", absent="outputs"),
    Row("GET", "executions/{execution}/events/", "limit=100", fields="total truncated events"),
    Row("GET", "executions/{execution}/events/", "limit=0", fields="total truncated events"),
    Row("GET", "executions/{execution}/status-events/", "limit=100", fields="total status_events"),
    Row("GET", "executions/{execution}/metadata/", fields="epoch loss _time", results=3),
    Row("GET", "executions/{execution}/outputs/", fields="id name size", absent="download_url", results=2),
    Row("GET", "executions/{execution}/outputs/", "include=download_url", fields="id name download_url", results=2),
    Row("POST", "executions/{execution}/tags/", body={"tags": ["kept", "nightly"]}),
    listed("executions/", f"{OF}&limit=9001&ordering=-counter&deleted=false", 1, BRIEF, "metadata inputs"),
    *[
        listed("executions/", f"{OF}&{query}", results)
        for query, results in (
            ("counter={counter}", 1), ("counter=998&counter=999", 0), ("counter={counter}&counter=999", 1),
            ("id={execution}", 1), ("status=complete", 1), ("status=incomplete", 0),
            ("status=error&status=complete", 1),
            ("creator={me}", 1), ("creator={project}", 0), ("step=train", 1), ("step=lines", 0), ("tag=kept", 1),
            ("tag=kept&tag=nightly", 1), ("tag=other", 0), ("commit={commit}", 1), ("environment={environment}", 1),
            ("search=run", 1), ("search=nowhere", 0), ("created_after=2020-01-01T00:00:00Z", 1),
            ("created_before=2020-01-01T00:00:00Z", 0), ("pinned=true", 0), ("pinned=False", 1), ("deleted=True", 0),
            ("adhoc=true", 1), ("adhoc=false", 0), ("task={project}", 0), ("pipeline={project}", 0),
            ("no_count=true", 1),
            ("parameter=label%3Dtwo words", 1), ("parameter=label%3Dother", 0), ("metadata=epoch%3D2", 1),
            ("metadata=epoch%3E99", 0), ("limit=1&offset=1", 0), ("ordering=counter", 1), ("ordering=-ctime", 1),
        )
    ],
    Row("GET", "executions/", f"{OF}&ordering=colour", status=400),
    listed("executions/", f"{OF}&include=cumulative_metadata", 1, f"{BRIEF} cumulative_metadata"),
    listed("executions/", f"{OF}&exclude=tags", 1, "id counter", "tags"),
    Row("GET", "executions/", f"{OF}&status=dreaming", status=400),
    Row("GET", "executions/", "", status=400),
    Row("POST", "executions/{execution}/pin/"),
    listed("executions/", f"{OF}&pinned=true", 1),
    Row("DELETE", "executions/{execution}/pin/", status=204),
    Row("POST", "executions/{execution}/comments/", body={"text": "seen"}, status=201, fields="id text", keep="said"),
    Row("GET", "executions/{execution}/comments/", fields="id text", results=1),
    listed("executions/{execution}/comments/", "limit=1&offset=1", 0),
    Row("PUT", "executions/{execution}/comments/{said}/", body={"text": "seen twice"}, fields="id text"),
    Row("PATCH", "executions/{execution}/comments/{said}/", body={"text": "seen"}, fields="id text"),
    Row("DELETE", "executions/{execution}/comments/{said}/", status=204),
    Row("POST", "executions/", body={"project": "{project}", "commit": "{commit}", "step": "nothing"}, status=400),
    Row("POST", "executions/{execution}/copy/", body={"title": "again"}, status=201, fields=BRIEF, keep="copy"),
    Row("POST", "executions/{copy}/stop/"),
    Row("DELETE", "executions/{copy}/", status=204, soon=True),
    listed("executions/", f"{OF}&deleted=true", 1, BRIEF),
    # ---- data and aliases
    listed("data/", f"{OF}&limit=100&ordering=-ctime&deleted=false&no_count=true", 2, DATUM),
    *[
        listed("data/", f"{OF}&{query}", results)
        for query, results in (
            ("output_execution={execution}&limit=5000", 2), ("output_execution={execution}&limit=1&offset=1", 1),
            ("name=model.txt", 1), ("name=*.csv", 1), ("name=none", 0), ("id={datum}", 1), ("search=model", 1),
            ("tag=nowhere", 0), ("created_after=2020-01-01T00:00:00Z", 2), ("created_before=2020-01-01T00:00:00Z", 0),
            ("purged=false", 2), ("deleted=true", 0), ("ordering=name", 2), ("ordering=-size", 2), ("store={store}", 2),
        )
    ],
    Row("GET", "data/{datum}/", fields=f"{DATUM} sha256 md5 sha1 tags project"),
    Row("GET", "data/{datum}/", "include=download_url", fields=f"{DATUM} download_url"),
    Row("GET", "data/{datum}/download/", fields="url"),
    Row("GET", "data/{datum}/metadata/"),
    Row("POST", "data/{datum}/tags/", body={"tags": ["kept"]}),
    Row("PUT", "data/{datum}/metadata/", body={"rows": 3}),
    Row("POST", "data/{datum}/metadata/", body={"columns": 2}),
    listed("data/", f"{OF}&tag=kept", 1, DATUM),
    listed("data/", f"{OF}&tag=kept&include=download_url", 1, f"{DATUM} download_url"),
    Row("POST", "datum-aliases/", body={"project": "{project}", "name": "newest", "datum": "{datum}"}, status=201,
        fields="id name datum mtime", keep="alias"),
    listed("datum-aliases/", f"{OF}&limit=100&ordering=-ctime&deleted=false&no_count=true", 2, "name datum mtime"),
    listed("datum-aliases/", f"{OF}&search=newest", 1, "name datum mtime"),
    listed("datum-aliases/", f"{OF}&offset=2", 0),
    Row("GET", "datum-aliases/resolve/", f"{OF}&name=newest", fields="datum"),
    Row("GET", "datum-aliases/resolve/", f"{OF}&name=nobody", status=404),
    Row("GET", "datum-aliases/{alias}/", fields="name datum mtime"),
    Row("PUT", "datum-aliases/{alias}/", body={"datum": "{datum}"}, fields="name datum mtime"),
    Row("PATCH", "datum-aliases/{alias}/", body={"datum": "{datum}"}, fields="name datum mtime"),
    Row("GET", "datum-aliases/{alias}/history/", results=1),
    listed("datum-aliases/{alias}/history/", "limit=1&offset=1", 0),
    Row("DELETE", "datum-aliases/{alias}/", status=204),
    # ---- environments
    Row("GET", "environments/", "limit=9000", fields="id name slug description enabled per_hour_price_usd"),
    Row("GET", "environments/", "include=unfinished_job_count", fields="name slug unfinished_job_count"),
    Row("GET", "environments/{environment}/", fields="id name slug"),
    # ---- stores, teams, registries
    Row("POST", "stores/", body={"name": "table", "type": "s3", "configuration": STORE, "project": "{project}"},
        status=201, fields="id name type access_mode configuration", keep="bucket"),
    Row("GET", "stores/", fields="id name type access_mode"),
    Row("GET", "stores/", OF, fields="id name type access_mode"),
    listed("stores/", f"{OF}&limit=1&offset=1000", 0),
    Row("GET", "stores/{bucket}/", fields="id name type access_mode configuration"),
    Row("PUT", "stores/{bucket}/", body={"allow_write": False}, fields="id name type"),
    Row("PATCH", "stores/{bucket}/", body={"allow_read": True}, fields="id name type"),
    Row("POST", "stores/{bucket}/test/", fields="ok steps"),
    Row("POST", "stores/{bucket}/adopt/", body={"url": "s3://bucket/none.csv", "project": "{project}"}, status=400,
        fields="url"),
    Row("DELETE", "stores/{bucket}/", status=204),
    Row("POST", "teams/", body={"name": "table"}, status=201, fields="id name organization", keep="team"),
    Row("GET", "teams/", fields="id name organization"),
    listed("teams/", "organization={organization}&search=table", 1, "id name organization"),
    listed("teams/", "search=nobody-of-this-name", 0),
    listed("teams/", "limit=1&offset=1000", 0),
    Row("GET", "teams/{team}/", fields="id name organization"),
    Row("PUT", "teams/{team}/", body={"name": "table-2"}, fields="id name"),
    Row("PATCH", "teams/{team}/", body={"name": "table-3"}, fields="id name"),
    Row("POST", "teams/{team}/members/", body={"user": "{user}"}, fields="id name"),
    Row("DELETE", "teams/{team}/members/{me}/", status=204),
    Row("DELETE", "teams/{team}/", status=204),
    Row("POST", "registry-credentials/", body={"type": "docker", "image_pattern": "registry.example.com/*",
        "configuration": {"username": "u", "password": "p"}}, status=201, fields="id type image_pattern", keep="login"),
    Row("GET", "registry-credentials/", fields="id type image_pattern"),
    listed("registry-credentials/", OF, 1, "id type image_pattern"),
    listed("registry-credentials/", "limit=1&offset=1000", 0),
    Row("GET", "registry-credentials/{login}/", fields="id type image_pattern"),
    Row("PUT", "registry-credentials/{login}/", body={"image_pattern": "registry.example.com/team/*"},
        fields="id image_pattern"),
    Row("PATCH", "registry-credentials/{login}/", body={"image_pattern": "registry.example.com/a/*"},
        fields="id image_pattern"),
    Row("POST", "registry-credentials/{login}/test/", body={}, fields="ok message next_step"),
    Row("DELETE", "registry-credentials/{login}/", status=204),
    # ---- what removes, and what this version does not run
    Row("POST", "data/{datum}/purge/"),
    listed("data/", f"{OF}&purged=false", 1),
    Row("POST", "executions/{execution}/purge-outputs/", fields="purged bytes left"),
    listed("data/", f"{OF}&purged=false", 0),
    Row("DELETE", "executions/{project}:{counter}/", status=204),
    *[
        Row("GET", f"{kind}/", OF, status=501, fields="message code")
        for kind in KINDS
    ],
]  # fmt: skip


@pytest.fixture(scope="module")
def names(stack: Stack, served: FileServer, new_folder: Callable[[], Path]) -> dict[str, Any]:
    """What stands for the names of the table."""
    work = new_work(stack, new_folder(), "surface", served, valohai_yaml=YAML, train_py=TRAIN, lines_py=LINES)
    url, title = served.url("numbers.csv"), ("--title", "A good run")
    counter = work.run("train", "--epochs", "3", "--label", "two words", "--data", url, before=title)
    ended = work.finish(counter)
    with stack.api() as api:
        rows = api.get("data/", params={"project": work.project}).json()["results"]
    datum = next(row for row in rows if row["name"] == "model.txt")
    return {
        "project": work.project, "execution": ended["id"], "counter": counter, "commit": ended["commit"]["identifier"],
        "environment": ended["environment"]["slug"], "datum": datum["id"], "store": datum["store"],
        "user": stack.access["user"], "password": stack.access["password"],
    }  # fmt: skip


def test_every_call_of_the_table_is_served(stack: Stack, names: dict[str, Any]) -> None:
    wrong = []
    with stack.api() as api:
        for row in TABLE:
            answer = settled(api, row, names) if row.soon else ask(api, row, names)
            found = problems(row, answer)
            wrong.extend(f"{row.method} {row.path}?{row.query}: {problem}: {answer.text[:200]}" for problem in found)
            if row.keep:
                names[row.keep] = str((first(answer.json()) or {}).get("id", ""))
    assert not wrong, "\n".join(wrong)


def settled(api: httpx.Client, row: Row, names: dict[str, Any]) -> httpx.Response:
    """The answer as the row says, or the last one of a minute."""
    deadline = time.monotonic() + 60
    while (answer := ask(api, row, names)).status_code != row.status and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


def ask(api: httpx.Client, row: Row, names: dict[str, Any]) -> httpx.Response:
    address = row.path.format_map(names) + (f"?{row.query.format_map(names)}" if row.query else "")
    if row.body is None:
        return api.request(row.method, address)
    body = filled(row.body, names)
    if row.form:
        return api.request(row.method, address, data=body)
    return api.request(row.method, address, json=body)


def filled(body: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    return {key: value.format_map(names) if isinstance(value, str) else value for key, value in body.items()}


def problems(row: Row, answer: httpx.Response) -> list[str]:
    """What is not as the row says."""
    if answer.status_code != row.status:
        return [f"answered {answer.status_code}, not {row.status}"]
    if answer.status_code == 204:
        return []
    shown = answer.json()
    things = shown.get("results", shown) if isinstance(shown, dict) else shown
    found = []
    if row.results is not None and len(things) != row.results:
        found.append(f"{len(things)} results, not {row.results}")
    thing = first(shown) or {}
    found += [f"no field {name}" for name in row.fields.split() if name not in thing]
    found += [f"a field {name}" for name in row.absent.split() if name in thing]
    return found


def first(shown: Any) -> Any:
    """The thing itself, or the first of a list."""
    things = shown.get("results", shown) if isinstance(shown, dict) else shown
    return things if isinstance(things, dict) else next(iter(things), None)


def test_the_table_has_every_route_and_every_filter(stack: Stack) -> None:
    """What the document of the server names and the table does not would be served and not be shown here."""
    with stack.api() as api:
        paths = api.get("openapi.json").raise_for_status().json()["paths"]
    served: set[tuple[str, str, str]] = set()
    for path, methods in paths.items():
        if path.startswith("/api/v0/") and not path.startswith(LATER):
            for method, described in methods.items():
                where = method.upper(), shape(path.removeprefix("/api/v0/"))
                queries = [one["name"] for one in described.get("parameters", []) if one["in"] == "query"]
                served |= {(*where, name) for name in ("", *queries)}
    assert served, "the document has no path of /api/v0/"
    here = {
        (row.method, shape(row.path), name)
        for row in TABLE
        for name in ("", *(part.partition("=")[0] for part in row.query.split("&")))
    }
    missing = served - here
    assert not missing, "\n".join(f"{method} {path} {name}" for method, path, name in sorted(missing))


def shape(path: str) -> str:
    """A path without what stands for a thing: `executions/*/events/`."""
    parts = [part for part in path.split("/") if part]
    return "/".join("*" if "{" in part or part.startswith("~") else part for part in parts)
