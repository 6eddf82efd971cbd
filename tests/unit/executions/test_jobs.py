"""The job document: what a worker is told, from what was asked for."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.executions.jobs import Facts, build_job
from fixtures.executions import NOW
from worker_bootstrap.protocol import crypto
from worker_bootstrap.protocol.job import Job

SEAL = crypto.SealKey.generate()
DATUM = SimpleNamespace(
    id="d1", name="kept/model.bin", size=3, md5="", sha1="", sha256="a" * 64, uri="folder://s/k", user_metadata={"n": 1}
)


def job(
    inputs: dict[str, list[str]] | None = None,
    options: dict[str, Any] | None = None,
    group: dict[str, Any] | None = None,
    secret: dict[str, str] | None = None,
) -> Job:
    """The job of an execution with these inputs and step keys, in a group with these settings."""
    execution: Any = SimpleNamespace(
        id="e", organization_id="o", project_id="p", title="", step="train", image="image:1",
        interpolated_command="run", time_limit=60, no_output_timeout=0, inputs=inputs or {}, options=options or {},
        parameters={"n": 1}, creator_id="u", counter=3, created_at=NOW, queued_at=NOW, tags=["t"],
    )  # fmt: skip
    facts: Any = SimpleNamespace(
        commit=SimpleNamespace(identifier="~abc", archive_sha256="b" * 64, archive_size=5),
        project=SimpleNamespace(id="p", name="project"),
        group=SimpleNamespace(id="g", name="group", slug="here", settings=group or {}),
        worker=SimpleNamespace(id="w", installation_id="i", seal_key=crypto.b64(SEAL.public)),
        creator={"name": "ann", "email": "ann@example.org"},
        datums={"d1": DATUM},
        plain_env={"MINE": "1", "VH_JOB_ID": "forged"},
        secret_env=secret or {},
        relay_token="token",
        stop_grace=10.0,
        metadata_per_second=50,
        now=NOW,
    )
    assert set(vars(facts)) == set(Facts.__dataclass_fields__)
    return build_job(execution, "attempt", 2, facts)


def paths(uris: list[str], **options: Any) -> list[str]:
    made = job({"in": uris}, {"inputs": {"in": options}})
    return [file.path for file in made.inputs[0].files]


def test_resources_are_the_containers_limits() -> None:
    container = job(options={"cpu": 2.5, "memory": 512_000_000}).container
    assert (container.cpu, container.memory) == (2.5, 512_000_000)
    assert (job().container.cpu, job().container.memory) == (0.0, 0)


def test_the_groups_policy_goes_along() -> None:
    container = job(group={"gpus_per_slot": 2, "host_network": True, "ca_bundle": True, "proxy": {"P": "x"}}).container
    assert (container.gpus, container.host_network, container.ca_bundle, container.proxy) == (2, True, True, {"P": "x"})


def test_a_file_has_the_name_of_its_address() -> None:
    assert paths(["https://h/a/b%20c.csv?x=1#y"]) == ["b c.csv"]
    assert paths(["https://h/"]) == ["file-0"]
    assert paths(["datum://d1"]) == ["model.bin"]


def test_filename_renames_the_only_file() -> None:
    assert paths(["https://h/a.csv"], filename="train.csv") == ["train.csv"]
    assert paths(["https://h/a.csv", "https://h/b.csv"], filename="train.csv") == ["a.csv", "b.csv"]


@pytest.mark.parametrize(("keep", "path"), [("none", "c.csv"), ("full", "a/b/c.csv"), ("suffix", "c.csv")])
def test_directories_are_kept_where_asked(keep: str, path: str) -> None:
    assert paths(["https://h/a/b/c.csv"], keep_directories=keep) == [path]


def test_directories_never_lead_outside() -> None:
    assert paths(["https://h/../..//a/./c.csv"], keep_directories="full") == ["a/c.csv"]
    assert paths(["https://h/%2e%2e/c.csv"], keep_directories="full") == ["c.csv"]


def test_equal_names_stand_beside_each_other() -> None:
    assert paths(["https://a/x.csv", "https://b/x.csv", "https://c/1-x.csv"]) == ["x.csv", "1-x.csv", "1-1-x.csv"]
    assert paths(["https://a/x", "https://a/x/y"], keep_directories="full") == ["x", "1-x/y"]


def test_a_datum_is_described() -> None:
    (file,) = job({"in": ["datum://d1"]}, {"inputs": {"in": {"download": "on-demand"}}}).inputs[0].files
    assert (file.size, file.version, file.datum_id, file.storage_uri) == (3, "d1", "d1", "folder://s/k")
    assert (file.checksums, file.metadata, file.download_intent) == ({"sha256": "a" * 64}, {"n": 1}, "on-demand")


def test_identity_can_not_be_forged_and_secrets_are_sealed() -> None:
    made = job(secret={"TOKEN": "very-secret"})
    assert (made.env["VH_JOB_ID"], made.env["VH_EXECUTION_ID"], made.env["MINE"]) == ("exec-e", "e", "1")
    assert "very-secret" not in json.dumps(made.__dict__, default=vars)
    opened = json.loads(SEAL.open(crypto.unb64(made.secrets), b"attempt"))
    assert opened == {
        "env": {"TOKEN": "very-secret"},
        "mask": ["very-secret"],
        "relay_token": "token",
        "registry": None,
    }


def test_execution_json() -> None:
    shown = job().config["execution"]
    assert shown["valohai.execution-counter"] == 3
    assert shown["valohai.execution-title"] == "train"
    assert shown["valohai.environment-slug"] == "here"
    assert shown["valohai.creator-name"] == "ann"
