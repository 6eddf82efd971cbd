"""Credentials of images: for the image of the job, of the execution's own organisation, sealed to its machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.accounts.models import Organization
from controlplane.clock import utc_now
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM
from controlplane.registries.models import RegistryCredential
from controlplane.registries.opening import secret_context
from dispatch.fake_worker import FakeWorker
from dispatch.rig import Rig
from worker_bootstrap.protocol import crypto
from worker_bootstrap.protocol.messages import UrlItem, login_context

IMAGE = "reg.example/team/x:1"


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    """One database is enough here: tests/security walks these routes on both."""
    target = tmp_path / "registries.db"
    target.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{target}"


def keep(rig: Rig, pattern: str, password: str, **changes: Any) -> str:
    credential = uuid7()
    values = {"organization_id": rig.ground.organization, "project_id": None, "type": "docker", **changes}
    with rig.db.begin(SYSTEM) as session:
        session.add(
            RegistryCredential(
                id=credential,
                image_pattern=pattern,
                configuration=values.pop("configuration", {"username": "alice"}),
                secrets=rig.parts.vault.encrypt(json.dumps({"password": password}), secret_context(credential)),
                created_at=utc_now(),
                changed_at=utc_now(),
                **values,
            )
        )
    return credential


def granted(rig: Rig) -> tuple[FakeWorker, str]:
    worker = rig.worker()
    rig.execution(image=IMAGE)
    attempt = worker.wait("grant").attempt
    worker.accept(attempt)
    worker.wait_ack()
    return worker, attempt


def ask(worker: FakeWorker, attempt: str, image: str = IMAGE) -> UrlItem:
    return worker.ask_urls(attempt, UrlItem("image", "image", image)).items[0]


def opened(worker: FakeWorker, attempt: str, answer: UrlItem) -> dict[str, str]:
    assert answer.error == "", answer
    return json.loads(worker.seal.open(crypto.unb64(answer.sealed), login_context(attempt, IMAGE)))


def test_the_nearest_of_the_projects_own(rig: Rig) -> None:
    with rig.db.begin(SYSTEM) as session:
        other = Organization(id=uuid7(), name="another", created_at=utc_now())
        session.add(other)
    keep(rig, "reg.example/*", "of all")
    keep(rig, "reg.example/team/x", "of a stranger", organization_id=other.id)
    worker, attempt = granted(rig)
    assert opened(worker, attempt, ask(worker, attempt)) == {"username": "alice", "password": "of all"}
    keep(rig, "reg.example/team/*", "nearer")
    assert opened(worker, attempt, ask(worker, attempt))["password"] == "nearer"
    keep(rig, "reg.example/*", "of the project", project_id=rig.ground.project)
    assert opened(worker, attempt, ask(worker, attempt))["password"] == "of the project"


def test_none_fits(rig: Rig) -> None:
    keep(rig, "reg.example/other/*", "not for this")
    worker, attempt = granted(rig)
    answer = ask(worker, attempt)
    assert (answer.sealed, answer.error) == ("", "")


@pytest.mark.security("N17")
def test_only_for_the_image_of_the_job_and_only_for_its_attempt(rig: Rig) -> None:
    keep(rig, "reg.example/*", "secret")
    worker, attempt = granted(rig)
    answer = ask(worker, attempt, "reg.example/team/another:1")
    assert (answer.sealed, answer.error) == ("", "denied")
    assert ask(worker, attempt).sealed
    worker.end(attempt)
    worker.wait_ack()
    answer = ask(worker, attempt)
    assert (answer.sealed, answer.error) == ("", "old_attempt")


def test_a_changed_password_counts_at_once(rig: Rig) -> None:
    credential = keep(rig, "reg.example/*", "old")
    worker, attempt = granted(rig)
    assert opened(worker, attempt, ask(worker, attempt))["password"] == "old"
    with rig.db.begin(SYSTEM) as session:
        row = session.get_one(RegistryCredential, credential)
        row.secrets = rig.parts.vault.encrypt(json.dumps({"password": "new"}), secret_context(credential))
        row.version += 1
    assert opened(worker, attempt, ask(worker, attempt))["password"] == "new"


def test_why_there_is_none(rig: Rig) -> None:
    credential = keep(rig, "reg.example/*", "secret")
    worker, attempt = granted(rig)
    with rig.db.begin(SYSTEM) as session:
        session.get_one(RegistryCredential, credential).secrets = rig.parts.vault.encrypt("{}", "elsewhere")
    answer = ask(worker, attempt)
    assert answer.error.startswith("login_refused: reg.example/*: ") and "type them again" in answer.error
    assert answer.sealed == ""
