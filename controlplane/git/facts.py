"""What a chore knows of a repository before it starts `git`: read once, secrets in clear only here."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from controlplane.git.access import Credentials
from controlplane.git.address import Remote, parse_remote
from controlplane.git.models import Repository
from controlplane.projects.models import Project
from controlplane.security.vault import Vault


@dataclass(frozen=True)
class Facts:
    """Where the code is, how to get at it, and what it is for."""

    repository: str
    organization: str
    project: str
    yaml_path: str
    ref: str
    remote: Remote
    credentials: Credentials


def secret_context(repository: str, kind: str) -> str:
    """What a repository's ciphertext is bound to."""
    return f"repository:{repository}:{kind}"


def read_facts(session: Session, vault: Vault, repository_id: str) -> Facts | None:
    """None when the repository, or its project, is gone."""
    repository = session.get(Repository, repository_id)
    project = session.get(Project, repository.project_id) if repository is not None else None
    if repository is None or project is None or project.deleted_at is not None:
        return None
    secret = ""
    if repository.auth != "none":
        secret = vault.decrypt(repository.secret, secret_context(repository.id, repository.auth))
    return Facts(
        repository=repository.id,
        organization=repository.organization_id,
        project=project.id,
        yaml_path=project.yaml_path,
        ref=repository.ref,
        remote=parse_remote(repository.url),
        credentials=Credentials(
            user=repository.username or "git",
            token=secret if repository.auth == "token" else "",
            private_key=secret if repository.auth == "key" else "",
            host_key=repository.host_key,
        ),
    )
