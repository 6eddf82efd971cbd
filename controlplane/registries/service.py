"""Credentials of registries: kept for an organisation or one of its projects. Works in the session that it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.accounts.models import Organization
from controlplane.audit.service import AuditService
from controlplane.clock import Clock, api_time
from controlplane.db.ids import is_id, uuid7
from controlplane.errors import ConflictError, NotFoundError, PermissionDeniedError, ValidationError
from controlplane.limits import Limits
from controlplane.permissions import Actor, can, require
from controlplane.projects.models import Project
from controlplane.registries.kinds import KINDS, Kind, kind_of
from controlplane.registries.login import Opened
from controlplane.registries.models import RegistryCredential
from controlplane.registries.opening import opened, secret_context
from controlplane.security.vault import Vault, VaultError

OWN_IDENTITY = "workload_identity"


@dataclass(frozen=True)
class Changes:
    """What a credential is to have from now on; None leaves it, an empty `project` means all of them."""

    type: str | None = None
    image_pattern: str | None = None
    configuration: Mapping[str, str] | None = None
    project: str | None = None


class RegistriesService:
    """What people do with credentials. Secrets can't be read again."""

    def __init__(self, clock: Clock, vault: Vault, audit: AuditService, limits: Limits) -> None:
        self._clock = clock
        self._vault = vault
        self._audit = audit
        self._limits = limits

    def list(self, session: Session, actor: Actor) -> list[RegistryCredential]:
        """Those that the actor may see, by pattern."""
        query = select(RegistryCredential).order_by(RegistryCredential.image_pattern, RegistryCredential.id)
        rows = session.scalars(query)
        return [row for row in rows if can(actor, "registry.read", row.organization_id, row.project_id)]

    def get(self, session: Session, actor: Actor, key: str, action: str = "registry.read") -> RegistryCredential:
        """One that the actor may do `action` with. Raises NotFoundError, PermissionDeniedError."""
        row = session.get(RegistryCredential, key) if is_id(key) else None
        if row is None or row.organization_id not in actor.scope.organizations:
            raise NotFoundError
        require(actor, action, row.organization_id, row.project_id)
        return row

    def create(
        self,
        session: Session,
        actor: Actor,
        type_name: str,
        pattern: str,
        configuration: Mapping[str, str],
        owner: str = "",
        project: str = "",
    ) -> RegistryCredential:
        """A new one of `owner` (an organisation's name or id; empty: that of the project, or the personal one).

        Raises ValidationError, NotFoundError, PermissionDeniedError, LimitReachedError.
        """
        found = self._project(session, actor, project)
        organization = found.organization_id if found else self._owner(session, actor, owner)
        require(actor, "registry.write", organization, found.id if found else None)
        kind = kind_of(type_name)
        of = RegistryCredential.organization_id == organization
        count = session.scalar(select(func.count()).select_from(RegistryCredential).where(of)) or 0
        self._limits.check("registry_credentials", count + 1)
        now = self._clock()
        row = RegistryCredential(
            id=uuid7(),
            organization_id=organization,
            project_id=found.id if found else None,
            type=kind.type,
            image_pattern=str(kind.pattern(pattern)),
            version=1,
            created_at=now,
            changed_at=now,
        )
        self._configure(actor, row, kind, configuration)
        session.add(row)
        session.flush()
        self._note(session, actor, "registry.created", row)
        return row

    def update(self, session: Session, actor: Actor, key: str, wanted: Changes) -> RegistryCredential:
        """Change what is not None. Raises NotFoundError, PermissionDeniedError, ValidationError.

        Another type or host needs the whole configuration anew: else whoever may change a credential could send its
        password to a host of their own.
        """
        row = self.get(session, actor, key, "registry.write")
        kind = kind_of(wanted.type) if wanted.type is not None else KINDS[row.type]
        before = KINDS[row.type].pattern(row.image_pattern)
        pattern = kind.pattern(wanted.image_pattern) if wanted.image_pattern is not None else before
        if wanted.configuration is None and (kind.type != row.type or pattern.host != before.host):
            sentence = "The host or the type is another one now: give the whole configuration again, with its secrets."
            raise ValidationError({"configuration": (sentence, "required")})
        if wanted.project is not None:
            found = self._project(session, actor, wanted.project)
            if found is not None and found.organization_id != row.organization_id:
                raise ValidationError({"project": ("The project is of another organisation.", "does_not_exist")})
            require(actor, "registry.write", row.organization_id, found.id if found else None)
            row.project_id = found.id if found else None
        row.type, row.image_pattern = kind.type, str(kind.pattern(str(pattern)))
        if wanted.configuration is not None:
            self._configure(actor, row, kind, wanted.configuration)
        row.version += 1
        row.changed_at = self._clock()
        self._note(session, actor, "registry.updated", row)
        return row

    def delete(self, session: Session, actor: Actor, key: str) -> None:
        """Remove one: from then on no worker gets it. Raises NotFoundError, PermissionDeniedError."""
        row = self.get(session, actor, key, "registry.write")
        session.delete(row)
        self._note(session, actor, "registry.deleted", row)

    def open(self, session: Session, actor: Actor, key: str) -> Opened:
        """For a test, with secrets in clear. Raises NotFoundError, PermissionDeniedError, ConflictError."""
        row = self.get(session, actor, key, "registry.write")
        self._note(session, actor, "registry.tested", row)
        try:
            return opened(row, self._vault)
        except VaultError as error:
            raise ConflictError("Its secrets do not open with this server's key any more; type them again.") from error

    def serialize(self, session: Session, rows: Sequence[RegistryCredential]) -> list[dict[str, Any]]:
        """The API's form; values of secrets are never in it."""
        owners = _names(session, Organization, {row.organization_id for row in rows})
        projects = _names(session, Project, {row.project_id for row in rows if row.project_id})
        return [
            {
                "id": row.id,
                "type": row.type,
                "image_pattern": row.image_pattern,
                "owner": {"id": row.organization_id, "username": owners.get(row.organization_id, "")},
                "project": {"id": row.project_id, "name": projects[row.project_id]} if row.project_id else None,
                "configuration": row.configuration,
                "secret_keys": self._secret_keys(row),
                "external_id": row.organization_id if row.type == "aws-ecr-role" else None,
                "ctime": api_time(row.created_at),
                "mtime": api_time(row.changed_at),
            }
            for row in rows
        ]

    @staticmethod
    def _secret_keys(row: RegistryCredential) -> list[str]:
        """Names of the secrets that it has, by the keys that it shows."""
        kind = KINDS[row.type]
        fitting = [way for way in kind.ways if way - kind.secret_names <= row.configuration.keys()]
        return sorted(max(fitting, key=lambda way: len(way - kind.secret_names)) & kind.secret_names)

    def _configure(self, actor: Actor, row: RegistryCredential, kind: Kind, given: Mapping[str, str]) -> None:
        found = kind.check(given)
        if OWN_IDENTITY in found and not can(actor, "registry.lend_identity"):
            raise PermissionDeniedError(
                "Only an operator may let an organisation use this server's own identity (registry.lend_identity); "
                "give the JSON key of a service account."
            )
        if kind.type == "aws-ecr-role" and not can(actor, "registry.write", row.organization_id):
            raise PermissionDeniedError(
                "A role trusts the whole organisation: its owners and admins name it; or give an access key."
            )
        secrets = {name: value for name, value in found.items() if name in kind.secret_names}
        row.configuration = {name: value for name, value in found.items() if name not in kind.secret_names}
        row.secrets = self._vault.encrypt(json.dumps(secrets), secret_context(row.id))

    @staticmethod
    def _project(session: Session, actor: Actor, key: str) -> Project | None:
        if not key:
            return None
        row = session.get(Project, key) if is_id(key) else None
        if row is None or row.deleted_at is not None or not can(actor, "project.read", row.organization_id, row.id):
            raise ValidationError({"project": (f"No project {key[:80]!r}.", "does_not_exist")})
        return row

    @staticmethod
    def _owner(session: Session, actor: Actor, owner: str) -> str:
        rows = session.scalars(select(Organization).where(Organization.id.in_(actor.organizations))).all()
        found = [
            row for row in rows if (owner in (row.id, row.name) if owner else row.personal_user_id == actor.user_id)
        ]
        if not found:
            options = ", ".join(sorted(row.name for row in rows))
            raise ValidationError({"owner": (f"No owner {owner[:80]!r}; one of: {options}.", "does_not_exist")})
        return found[0].id

    def _note(self, session: Session, actor: Actor, action: str, row: RegistryCredential) -> None:
        self._audit.by(
            session,
            actor,
            action,
            row.organization_id,
            row.id,
            pattern=row.image_pattern,
            type=row.type,
            project=row.project_id or "",
        )


def _names(session: Session, table: type[Organization] | type[Project], ids: set[str]) -> dict[str, str]:
    return dict(session.execute(select(table.id, table.name).where(table.id.in_(ids))).all()) if ids else {}
