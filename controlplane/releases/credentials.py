"""Join credentials of worker groups, for machines that somebody installs by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.environments.models import Installation, WorkerGroup
from controlplane.errors import ValidationError
from controlplane.security.vault import Vault
from worker_bootstrap.credential import JoinCredential


def join_credential(
    session: Session, vault: Vault, group: str, installation: str, join_password: str
) -> JoinCredential:
    """The credential of a group, without trust in releases and TLS. Raises ValidationError, VaultError."""
    query = select(WorkerGroup, Installation).join(Installation, Installation.id == WorkerGroup.installation_id)
    found = session.execute(query.where(WorkerGroup.slug == group, Installation.name == installation)).first()
    if found is None:
        raise ValidationError({"group": f"Installation {installation} has no worker group {group}."})
    row, owner = found.tuple()
    return JoinCredential(
        queue_url=owner.queue_url,
        group=row.slug,
        join_password=join_password,
        join_secret=vault.decrypt(row.join_secret, f"join-secret:{row.id}"),
        installation=owner.id,
    )


def with_files(credential: JoinCredential, files: Mapping[str, Path | None]) -> JoinCredential:
    """The same with the texts of these PEM files (ca, certificate, key). Raises OSError."""
    return replace(credential, **{name: path.read_text() for name, path in files.items() if path is not None})
