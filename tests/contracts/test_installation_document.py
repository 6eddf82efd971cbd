"""The installation document is a contract: what a version of it said, every later control plane still takes in.

Documents and schema of a version are kept beside this file, and never changed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import select

from controlplane.clock import utc_now
from controlplane.db.session import SYSTEM, Database
from controlplane.environments.importing import Importer, parse_document
from controlplane.environments.models import Installation, Store, WorkerGroup
from controlplane.environments.references import References
from controlplane.errors import ValidationError
from controlplane.security.vault import Vault
from fixtures.schemas import losses
from infra.installation import DOCUMENT_VERSION, AccessSpec

KEPT = Path(__file__).with_name("installation")
VERSIONS = sorted(KEPT.glob("version-*"))
DOCUMENTS = [path for folder in VERSIONS for path in sorted(folder.glob("*.json")) if path.name != "schema.json"]
PUBLISHED = Path(__file__).parents[2] / "docs" / "reference" / "installation.schema.json"
SECRET = "a-secret-of-this-test-only"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


class Secrets:
    """A secret store that knows every name; its secrets have every field."""

    def read(self, name: str, access: AccessSpec | None) -> str:
        fields = ("password", "ca", "certificate", "key", "join_secret.m6i-xlarge", "join_secret.g4dn-xlarge-spot")
        return json.dumps(dict.fromkeys(fields, SECRET))


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    return Importer(Vault(bytes(range(32))), References({"aws": Secrets()}, tmp_path / "queues", utc_now), utc_now)


@pytest.fixture
def handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """A document's text, with what its installer left on the control plane's machine."""
    for name in ("queue-password", "group-machines"):
        (tmp_path / name).write_text(SECRET)
    (tmp_path / "store-credentials").write_text("remora\na-secret-of-the-store\n")
    for name in ("REMORA_TEST_QUEUE_PASSWORD", "REMORA_TEST_JOIN_SECRET"):
        monkeypatch.setenv(name, SECRET)
    return lambda path: path.read_text().replace("@HANDOVER@", str(tmp_path))


def test_each_version_has_kept_documents_and_a_schema() -> None:
    assert [folder.name for folder in VERSIONS] == [f"version-{n}" for n in range(1, DOCUMENT_VERSION + 1)]
    for folder in VERSIONS:
        assert (folder / "schema.json").is_file() and len(list(folder.glob("*.json"))) > 2


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
class TestKeptDocument:
    def test_both_schemas_take_it(self, path: Path) -> None:
        for schema in (path.with_name("schema.json"), PUBLISHED):
            Draft202012Validator(read(schema)).validate(read(path))

    def test_it_means_what_it_says(self, path: Path) -> None:
        def holds(whole: Any, part: Any) -> bool:
            if isinstance(part, dict):
                return all(holds(whole[key], value) for key, value in part.items())
            if isinstance(part, list):
                return len(part) == len(whole) and all(map(holds, whole, part))
            return whole == part

        assert holds(parse_document(path.read_text()).model_dump(mode="json"), read(path))

    def test_it_is_imported_and_a_second_time_changes_nothing(
        self, path: Path, importer: Importer, database: Database, handed_over: Callable[[Path], str]
    ) -> None:
        document = parse_document(handed_over(path))
        with database.begin(SYSTEM) as session:
            importer.run(session, document)
        with database.read(SYSTEM) as session:
            [installation] = session.scalars(select(Installation)).all()
            assert (installation.name, installation.flavour) == (document.name, document.flavour)
            stores = {store.purpose: store.kind for store in session.scalars(select(Store))}
            assert stores == {one["purpose"]: one["kind"] for one in read(path)["stores"]}
            groups = {group.slug: group.scale_max for group in session.scalars(select(WorkerGroup))}
            assert groups == {one["slug"]: one.get("scale_max", 1) for one in read(path)["groups"]}
            assert importer.compare(session, document) == []


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)
def test_the_published_schema_only_grew(folder: Path) -> None:
    assert losses(read(folder / "schema.json"), read(PUBLISHED)) == []


def changed(*place: str, **values: Any) -> dict[str, Any]:
    """The published schema with other values in one place; None takes a key away."""
    schema = copy.deepcopy(read(PUBLISHED))
    part = schema
    for key in place:
        part = part[key]
    part.update(values)
    for key in [key for key, value in values.items() if value is None]:
        del part[key]
    return schema


OTHER_PROVIDERS = ["aws", "gcp", "azure", "openstack", "embedded"]
GROUP = ("$defs", "GroupSpec", "properties")
SMALLER = {
    "document.groups: is gone": changed("properties", groups=None),
    "document.access: is required": changed(required=[*read(PUBLISHED)["required"], "access"]),
    "document.version: 1 is refused": changed("properties", "version", const=2),
    "document.provider: ssh is refused": changed("properties", "provider", enum=OTHER_PROVIDERS),
    "document.groups[].price: null is refused": changed(*GROUP, "price", anyOf=[{"type": "integer", "minimum": 0}]),
    "document.groups[].scale_max: minimum is 1": changed(*GROUP, "scale_max", minimum=1),
    "document.groups[].scale_max: another default": changed(*GROUP, "scale_max", default=2),
    "document.groups[].slug: its pattern takes less": changed(*GROUP, "slug", pattern="^[a-z][a-z0-9-]{0,62}$"),
    "document.groups[].name: string is refused": changed(*GROUP, "name", type="integer"),
    "document.groups[].settings: further keys are refused": changed(*GROUP, "settings", additionalProperties=False),
}  # fmt: skip


@pytest.mark.parametrize("said", SMALLER)
def test_a_schema_that_takes_less_is_noticed(said: str) -> None:
    assert losses(read(PUBLISHED), SMALLER[said]) == [said]


def test_a_schema_that_takes_more_is_not() -> None:
    wider = r"^(env|file|aws|gcp|azure|openstack|vault):.+"
    more = changed("$defs", "GroupSpec", "properties", "join_secret", pattern=wider)
    more["properties"]["notes"] = {"type": "string", "default": ""}
    more["properties"]["provider"]["enum"].append("another")
    assert losses(read(PUBLISHED), more) == []


def test_a_later_version_is_refused_with_the_remedy() -> None:
    later = {**read(DOCUMENTS[0]), "version": DOCUMENT_VERSION + 1, "of_tomorrow": {}}
    with pytest.raises(ValidationError) as refused:
        parse_document(json.dumps(later))
    assert str(refused.value) == (
        f"version: This document is of version {DOCUMENT_VERSION + 1} and this control plane reads {DOCUMENT_VERSION} "
        "at most: upgrade the control plane, then import it again."
    )
