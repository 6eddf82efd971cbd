"""No question that is asked often reads a whole table: SQLite's own plan of every statement says so.

With a million executions a scan takes seconds; the plan does not depend on how many rows there are now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from controlplane.db.session import SYSTEM
from controlplane.dispatch.dispatcher import Dispatcher, running_by_project
from controlplane.dispatch.leases import LeaseKeeper
from controlplane.dispatch.waiting import WaitingReasons
from fixtures.runs import Runs
from fixtures.web import World, make_archive

# Tables that grow with every execution.
GROWING = (
    "execution", "attempt", "execution_event", "metadata_point", "usage_sample", "datum", "datum_alias", "log_segment",
    "execution_comment", "datum_use", "alias_change", "upload", "upload_part", "execution_fact", "datum_tag",
    "commit", "audit_event", "idempotency_record", "login_failure", "chore",
)  # fmt: skip
Statement = tuple[str, Any]


@contextmanager
def recorded(engine: Engine) -> Iterator[list[Statement]]:
    """Every statement with its values while the block lasts."""
    found: list[Statement] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        found.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def scans(engine: Engine, statements: list[Statement]) -> set[str]:
    """Statements that read a growing table from end to end, each with its plan."""
    found = set()
    with engine.connect() as connection:
        for statement, values in statements:
            if not statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
                continue
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            for row in rows:
                table = re.match(r"SCAN (\w+)", row[3])
                if table and table[1] in GROWING:
                    found.add(f"{row[3]}: {' '.join(statement.split())}")
    return found


def plan(engine: Engine, statement: Statement) -> list[str]:
    """How SQLite answers it, line by line."""
    with engine.connect() as connection:
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1])]


@pytest.fixture
def database_url(tmp_path: Any, sqlite_template: Any) -> str:
    """SQLite: its plans name what they scan."""
    target = tmp_path / "plans.db"
    target.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{target}"


@pytest.fixture
def execution(world: World) -> dict[str, Any]:
    ann = world.client("ann")
    commit = ann.upload(world.project, make_archive()).json["identifier"]
    body = {"project": world.project, "commit": commit, "step": "train"}
    return ann.post("/api/v0/executions/", json=body).json


def test_pages_and_calls_use_indexes(world: World, execution: dict[str, Any]) -> None:
    key, project = execution["id"], world.project
    datum = Runs(world, execution["commit"]["identifier"]).datum("a.csv", b"1", key)
    ann = world.client("ann")
    alias = ann.post("/api/v0/datum-aliases/", json={"project": project, "name": "best", "datum": datum}).json["id"]
    wanted = {"project": project, "name": "a", "size": 1, "sha256": "0" * 64}
    upload = ann.post("/api/v1/uploads/", json=wanted).json["id"]
    paths = [
        "/api/v0/projects/?limit=9000",
        f"/api/v0/projects/{project}/",
        f"/api/v0/projects/{project}/commits/",
        f"/api/v0/commits/?project={project}&adhoc=true",
        f"/api/v0/executions/?project={project}&limit=9001&ordering=-counter&deleted=false",
        f"/api/v0/executions/?project={project}&status=incomplete&ordering=counter",
        f"/api/v0/executions/?project={project}&counter=1&counter=2",
        f"/api/v0/executions/{project}:latest/",
        f"/api/v0/executions/{key}/",
        *(f"/api/v0/executions/{key}/{part}/" for part in ("events", "status-events", "metadata", "outputs")),
        f"/api/v0/data/?project={project}&limit=100&ordering=-ctime&deleted=false&no_count=true",
        f"/api/v0/data/?output_execution={key}&limit=5000",
        *(
            f"/api/v0/executions/?project={project}&{query}"
            for query in (
                "tag=a",
                "parameter=epochs>1",
                "metadata=loss<1",
                "search=a",
                "environment=here",
                "adhoc=true",
                f"creator={world.users['ann']}",
                "created_after=2026-01-01T00:00:00Z",
                "pinned=true",
                f"id={key}",
                "commit=abc",
                "include=commit,parameters",
                "ordering=-etime",
            )
        ),
        *(f"/api/v0/data/?project={project}&{query}" for query in ("tag=a", "name=*.csv", "store=data", "search=a")),
        f"/api/v0/executions/{key}/comments/",
        f"/api/v1/executions/{key}/log-search/?q=a",
        f"/api/v1/data/{datum}/lineage/",
        f"/api/v0/data/{datum}/",
        f"/api/v0/datum-aliases/{alias}/history/",
        f"/api/v0/datum-aliases/resolve/?project={project}&name=best",
        f"/api/v1/uploads/{upload}/",
        "/api/v0/users/",
        "/api/v0/organizations/",
        "/api/v0/teams/",
        f"/api/v0/datum-aliases/?project={project}",
        "/api/v0/environments/?limit=9000&include=unfinished_job_count",
    ]
    pages = [
        "/projects/",
        f"/projects/{project}/",
        f"/projects/{project}/?q=a",
        f"/executions/{key}/",
        "/environments/",
    ]
    engine = world.services.db.engine
    with recorded(engine) as statements:
        for path in paths:
            assert world.client("ann").get(path).status_code == 200, path
        for path in pages:
            assert world.browser("ann").get(path, headers={"Accept": "text/html"}).status_code == 200, path
    assert len(statements) > 50
    assert scans(engine, statements) == set()


@pytest.mark.parametrize(
    "query",
    ["tag=a", "parameter=epochs>=3", "parameter=label=x", "parameter=epochs!=3", "metadata=loss<1", "metadata=up=true"],
)
def test_filters_by_content_read_only_what_they_find(world: World, query: str) -> None:
    """Each looks for its name and value in an index of the project's: none reads the project's executions for it."""
    engine = world.services.db.engine
    with recorded(engine) as statements:
        found = world.client("ann").get(f"/api/v0/executions/?project={world.project}&{query}")
        assert found.status_code == 200 and found.json["results"] == []
    asked = [one for one in statements if "execution_fact" in one[0]]
    assert asked
    for statement in asked:
        wanted = plan(engine, statement)
        searches = [line for line in wanted if "execution_fact" in line]
        assert searches and all("ix_execution_fact_" in line and "SEARCH" in line for line in searches), wanted
        assert all("project_id=? AND kind=? AND name=?" in line for line in searches), wanted


def test_data_by_tag_reads_only_what_it_finds(world: World) -> None:
    engine = world.services.db.engine
    with recorded(engine) as statements:
        assert world.client("ann").get(f"/api/v0/data/?project={world.project}&tag=a").json["results"] == []
    asked = [one for one in statements if "datum_tag" in one[0]]
    assert asked
    lines = [line for statement in asked for line in plan(engine, statement) if "datum_tag" in line]
    assert lines and all("SEARCH" in line and "ix_datum_tag_tag" in line for line in lines), lines


def test_a_new_execution_uses_indexes(world: World, execution: dict[str, Any]) -> None:
    engine, ann = world.services.db.engine, world.client("ann")
    body = {"project": world.project, "commit": execution["commit"]["identifier"], "step": "train"}
    with recorded(engine) as statements:
        made = ann.post("/api/v0/executions/", json=body)
        assert made.status_code == 201
        assert ann.post(f"/api/v0/executions/{made.json['id']}/copy/", json={}).status_code == 201
        assert ann.post(f"/api/v0/executions/{made.json['id']}/comments/", json={"text": "a"}).status_code == 201
        assert ann.post(f"/api/v0/executions/{made.json['id']}/pin/").status_code == 200
        assert ann.post(f"/api/v0/executions/{made.json['id']}/purge-outputs/").status_code == 200
        assert ann.post(f"/api/v0/executions/{made.json['id']}/stop/").status_code == 200
    assert scans(engine, statements) == set()


def test_the_loops_use_indexes(world: World, execution: dict[str, Any]) -> None:
    services = world.services
    lease = LeaseKeeper(services.db, "plans", "here", 60)
    assert lease.acquire()
    with recorded(services.db.engine) as statements:
        Dispatcher(services.db, services.vault, services.settings).run_pass(lease)
        with services.db.read(SYSTEM) as session:
            running = running_by_project(session)
        WaitingReasons(services.db, services.settings).run_pass(lease, running)
    assert statements
    assert scans(services.db.engine, statements) == set()
