"""From rows to credentials with their secrets: those that an execution's project may use."""

from __future__ import annotations

import json

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from controlplane.executions.models import Execution
from controlplane.registries.kinds import KINDS
from controlplane.registries.login import Opened
from controlplane.registries.models import RegistryCredential
from controlplane.registries.patterns import nearest
from controlplane.security.vault import Vault
from worker_bootstrap.protocol.images import ImageName


def secret_context(credential_id: str) -> str:
    """What the ciphertext of a credential's secrets is bound to."""
    return f"registry-credential:{credential_id}"


def opened(row: RegistryCredential, vault: Vault) -> Opened:
    """The credential. Raises VaultError."""
    secrets = json.loads(vault.decrypt(row.secrets, secret_context(row.id)))
    kind = KINDS[row.type]
    return Opened(
        id=row.id,
        version=row.version,
        organization=row.organization_id,
        type=row.type,
        pattern=kind.pattern(row.image_pattern),
        is_of_project=row.project_id is not None,
        configuration={**row.configuration, **secrets},
    )


class _Candidate:
    """A row, as the choice looks at it."""

    def __init__(self, row: RegistryCredential) -> None:
        self.row = row
        self.id = row.id
        self.pattern = KINDS[row.type].pattern(row.image_pattern)
        self.is_of_project = row.project_id is not None


def credential_for(session: Session, execution: Execution, image: ImageName) -> RegistryCredential | None:
    """The nearest of those of the execution's organisation that are for all of it or for this project."""
    rows = session.scalars(
        select(RegistryCredential).where(
            RegistryCredential.organization_id == execution.organization_id,
            or_(RegistryCredential.project_id.is_(None), RegistryCredential.project_id == execution.project_id),
        )
    )
    found = nearest(map(_Candidate, rows), image)
    return found.row if found is not None else None
