"""Take an installation document in: an installation with its stores, worker groups and a signing key."""

from __future__ import annotations

import json

import pydantic
from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.clock import Clock
from controlplane.db.ids import uuid7
from controlplane.dispatch.keys import make_key
from controlplane.environments.changes import Change, compare
from controlplane.environments.models import GroupAccess, Installation, InstallationKey, Store, WorkerGroup
from controlplane.environments.references import References, UnreadableError
from controlplane.environments.service import workers_of
from controlplane.errors import ValidationError
from controlplane.security.vault import Vault
from infra.installation import DOCUMENT_VERSION, AccessSpec, GroupSpec, InstallationDocument, StoreSpec
from worker_bootstrap.protocol.address import plain_problem

MIN_SECRET = 16


class NotYetError(ValidationError):
    """A secret can't be read now; it may be there in a minute, as when the queue's machine has just been made."""


def parse_document(text: str | bytes) -> InstallationDocument:
    """The document. Raises ValidationError that names each wrong field."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ValidationError({"document": f"JSON is expected: {error}"}) from error
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > DOCUMENT_VERSION:
        told = f"This document is of version {version} and this control plane reads {DOCUMENT_VERSION} at most"
        raise ValidationError({"version": f"{told}: upgrade the control plane, then import it again."})
    try:
        return InstallationDocument.model_validate(data)
    except pydantic.ValidationError as error:
        fields = {".".join(str(part) for part in one["loc"]) or "document": one["msg"] for one in error.errors()}
        raise ValidationError(fields) from error


class Importer:
    """Writes documents into the database; the same document again changes nothing."""

    def __init__(self, vault: Vault, references: References, clock: Clock) -> None:
        self._vault = vault
        self._references = references
        self._clock = clock

    def run(self, session: Session, document: InstallationDocument, organization_id: str | None = None) -> Installation:
        """The installation of this name, made or brought up to the document.

        Without an organisation it is the operator's, and its new groups are offered to everybody. Groups that the
        document no longer names are disabled, never removed: executions refer to them. Raises ValidationError.
        """
        problem = plain_problem(document.queue.url)
        if problem:
            raise ValidationError({"queue.url": problem})
        installation = session.scalar(select(Installation).where(Installation.name == document.name))
        if installation is None:
            installation = Installation(id=uuid7(), name=document.name, created_at=self._clock())
            installation.organization_id = organization_id
            session.add(installation)
        installation.flavour, installation.provider = document.flavour, document.provider
        installation.document = document.model_dump(mode="json")
        installation.queue_url = document.queue.url
        session.flush()
        self._keys(session, installation)
        for number, spec in enumerate(document.stores):
            field = f"stores.{number}.credentials"
            secret = self._secret(spec.credentials, document.access, field) if spec.credentials else ""
            self._credentials(self._store(session, installation, spec), spec, secret, field)
        for number, spec in enumerate(document.groups):
            secret = self._secret(spec.join_secret, document.access, f"groups.{number}.join_secret")
            self._group(session, installation, spec, secret)
        self._disable_others(session, installation, {spec.slug for spec in document.groups})
        return installation

    def compare(self, session: Session, document: InstallationDocument) -> list[Change]:
        """What `run` would change. Raises ValidationError for references that hold nothing."""
        for number, group in enumerate(document.groups):
            self._secret(group.join_secret, document.access, f"groups.{number}.join_secret")
        installation = session.scalar(select(Installation).where(Installation.name == document.name))
        after = document.model_dump(mode="json")
        if installation is None:
            return compare(None, after, {}, {})
        rows = session.scalars(select(WorkerGroup).where(WorkerGroup.installation_id == installation.id)).all()
        machines = {row.slug: len(workers_of(session, row.id)) for row in rows}
        return compare(installation.document, after, {row.slug: row.enabled for row in rows}, machines)

    def _keys(self, session: Session, installation: Installation) -> None:
        query = select(InstallationKey.id).where(InstallationKey.installation_id == installation.id)
        if session.scalar(query.where(InstallationKey.retired_at.is_(None)).limit(1)) is None:
            make_key(session, self._vault, self._clock, installation.id)

    def _store(self, session: Session, installation: Installation, spec: StoreSpec) -> Store:
        query = select(Store).where(Store.installation_id == installation.id, Store.purpose == spec.purpose)
        row = session.scalar(query.where(Store.name == spec.name))
        if row is None:
            row = Store(installation_id=installation.id, name=spec.name, purpose=spec.purpose, created_at=self._clock())
            session.add(row)
        place = "path" if spec.kind == "folder" else "location"
        row.kind, row.config = spec.kind, {**spec.options, place: spec.location}
        if spec.ca:
            row.config["ca"] = spec.ca
        session.flush()
        return row

    def _credentials(self, row: Store, spec: StoreSpec, secret: str, field: str) -> None:
        """Access key and secret, sealed as those of stores that people add."""
        if not spec.credentials:
            row.secrets = ""
            return
        lines = secret.split()
        if spec.kind != "s3" or len(lines) != 2:
            raise ValidationError(
                {field: f"{spec.credentials}: two lines, access key and secret, of an S3 are expected."}
            )
        row.config = {**row.config, "access_key_id": lines[0]}
        context, text = f"store:{row.id}", json.dumps({"secret_access_key": lines[1]})
        if not row.secrets or self._vault.decrypt(row.secrets, context) != text:
            row.secrets = self._vault.encrypt(text, context)

    def _secret(self, reference: str, access: AccessSpec | None, field: str) -> str:
        try:
            value = self._references.value(reference, access)
        except UnreadableError as error:
            raise (NotYetError if error.passing else ValidationError)({field: str(error)}) from error
        if len(value) < MIN_SECRET:
            raise ValidationError({field: f"{reference} holds no secret of at least {MIN_SECRET} characters."})
        return value

    def _group(self, session: Session, installation: Installation, spec: GroupSpec, secret: str) -> None:
        query = select(WorkerGroup).where(WorkerGroup.installation_id == installation.id)
        row = session.scalar(query.where(WorkerGroup.slug == spec.slug))
        is_new = row is None
        if row is None:
            row = WorkerGroup(id=uuid7(), installation_id=installation.id, slug=spec.slug, created_at=self._clock())
            session.add(row)
        for name in ("name", "description", "region", "instance_type", "gpu_spec", "price", "currency", "settings"):
            setattr(row, name, getattr(spec, name))
        row.scale_min, row.scale_max, row.enabled = spec.scale_min, spec.scale_max, True
        context = f"join-secret:{row.id}"
        if not row.join_secret or self._vault.decrypt(row.join_secret, context) != secret:
            row.join_secret = self._vault.encrypt(secret, context)
        session.flush()
        if is_new and installation.organization_id is None:
            session.add(GroupAccess(group_id=row.id, organization_id=None))

    @staticmethod
    def _disable_others(session: Session, installation: Installation, slugs: set[str]) -> None:
        for row in session.scalars(select(WorkerGroup).where(WorkerGroup.installation_id == installation.id)):
            if row.slug not in slugs:
                row.enabled = False
