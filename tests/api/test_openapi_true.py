"""What the OpenAPI document says is so: schemathesis calls every operation with good and bad input."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events

from fixtures.web import World, make_archive

# One of the kinds that answer 501 stands for the others: they are one view.
LATER = r"^/api/v0/(tasks|deployments|deployment-versions|notebook-executions|models?|model-versions|datasets?)[/-]"
# Schemathesis has no word for "names a thing that is there": such input fits the schema and is refused all the same.
REFUSED_BY_MEANING = ["2XX", "400", "401", "403", "404", "409", "413", "429", "501", "503"]


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    """One database is enough: this is about the document."""
    target = tmp_path / "openapi.db"
    target.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{target}"


@pytest.fixture
def seeded(world: World) -> World:
    """Ann's project has code, an execution and a comment."""
    ann = world.client("ann")
    commit = ann.upload(world.project, make_archive()).json["identifier"]
    execution = ann.post("/api/v0/executions/", json={"project": world.project, "commit": commit, "step": "train"})
    assert ann.post(f"/api/v0/executions/{execution.json['id']}/comments/", json={"text": "well"}).status_code == 201
    return world


def _config(examples: int) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "continue-on-failure": True,
            "generation": {"max-examples": examples, "database": "none", "deterministic": True, "no-shrink": True},
            "phases": {"stateful": {"generation": {"max-examples": 10}}},
            "operations": [
                {"include-path-regex": LATER, "enabled": False},
                {
                    "include-method": ["POST", "PUT", "PATCH", "DELETE"],
                    "checks": {"positive_data_acceptance": {"expected-statuses": REFUSED_BY_MEANING}},
                },
            ],
        }
    )


def test_the_document_is_true(seeded: World) -> None:
    schema = schemathesis.openapi.from_wsgi(
        "/api/v0/openapi.json",
        seeded.app,
        config=_config(4),
        headers={"Authorization": f"Token {seeded.tokens['ann']}"},
        base_url="http://remora.test:8765",
    )
    failures, phases = _run(schema)
    assert {"coverage", "fuzzing", "stateful"} <= set(phases), phases
    assert not failures, "\n\n".join(f"{what}\n{how}" for what, how in sorted(failures.items()))


def _run(schema: Any) -> tuple[dict[str, str], Counter[str]]:
    """{what failed: how}, and how many scenarios each phase had."""
    failures: dict[str, str] = {}
    phases: Counter[str] = Counter()
    for event in schemathesis.engine.from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            failures[f"{event.label}: error"] = str(event.info)[:1000]
        elif isinstance(event, events.ScenarioFinished):
            phases[event.phase.value] += 1
            for label, checks in event.recorder.checks.items():
                for check in checks:
                    if check.status == Status.FAILURE and check.failure_info is not None:
                        case = event.recorder.cases[label].value
                        failure = check.failure_info.failure
                        key = f"{check.name}: {case.method} {case.operation.path}"
                        failures.setdefault(key, f"{failure.message[:400]}\n{check.failure_info.code_sample[:600]}")
    return failures, phases
