"""A project's repository as people set it: address, credentials, keys. Works in the session that the caller gives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from controlplane.audit.service import AuditService
from controlplane.chores.models import Chore
from controlplane.chores.service import ChoreService
from controlplane.clock import Clock, api_time
from controlplane.commits.models import Commit
from controlplane.db.ids import uuid7
from controlplane.errors import ConflictError, NotFoundError, ValidationError
from controlplane.git.address import parse_remote
from controlplane.git.facts import secret_context
from controlplane.git.keys import DeployKey, fingerprint, new_deploy_key, read_deploy_key, read_host_key
from controlplane.git.models import Repository, RepositoryRef
from controlplane.git.resolving import of_project
from controlplane.permissions import Actor, can
from controlplane.projects.models import Project
from controlplane.security.vault import Vault

LINE = re.compile(r"[\x21-\x7e]*")
MOST_REFS_SHOWN = 1_000


@dataclass(frozen=True)
class Wanted:
    """What is to be set; None leaves it, an empty `token` takes the credentials away. Secrets are never printed."""

    url: str | None = None
    ref: str | None = None
    username: str | None = None
    token: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    host_key: str | None = None


class RepositoriesService:
    """What people do with the repositories of their projects."""

    def __init__(self, clock: Clock, vault: Vault, chores: ChoreService, audit: AuditService, public_url: str) -> None:
        self._clock = clock
        self._vault = vault
        self._chores = chores
        self._audit = audit
        self._public_url = public_url

    def get(self, session: Session, project: Project) -> Repository:
        """The project's repository. Raises NotFoundError."""
        found = of_project(session, project.id)
        if found is None:
            raise NotFoundError("The project has no repository.")
        return found

    def list(self, session: Session, actor: Actor, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """(page, count) of the repositories of every project that the actor may read."""
        query = select(Repository, Project).join(Project, Project.id == Repository.project_id)
        rows = session.execute(query.where(Project.deleted_at.is_(None)).order_by(Project.name, Project.id)).all()
        seen = [row for row in rows if can(actor, "project.read", row[1].organization_id, row[1].id)]
        return [self._brief(*row) for row in seen[offset:][:limit]], len(seen)

    def create(self, session: Session, actor: Actor, project: Project, wanted: Wanted) -> Repository:
        """Give the project a repository; one by ssh gets a deploy key. Raises ConflictError, ValidationError."""
        if of_project(session, project.id) is not None:
            raise ConflictError("The project has a repository already; change that one.")
        remote, now = parse_remote(wanted.url or ""), self._clock()
        row = Repository(
            id=uuid7(),
            organization_id=project.organization_id,
            project_id=project.id,
            url=remote.url,
            auth="none",
            created_at=now,
            changed_at=now,
        )
        self._apply(row, project, wanted)
        session.add(row)
        session.flush()
        self._note(session, actor, "repository.created", row)
        return row

    def change(self, session: Session, actor: Actor, project: Project, wanted: Wanted) -> Repository:
        """Change what is not None. Raises NotFoundError, ValidationError.

        Credentials and host keys belong to a server: with another one they go, so that nobody can have a secret sent
        to a server of his own.
        """
        row = self.get(session, project)
        if wanted.url is not None:
            remote, before = parse_remote(wanted.url), parse_remote(row.url)
            if remote.place != before.place:
                row.auth, row.secret, row.public_key, row.host_key, row.offered_host_key = "none", "", "", "", ""
            if remote.url != row.url:
                self._forget_commits(session, row)
                row.url, row.fetched_at, row.fetch_reason, row.fetch_error = remote.url, None, "", ""
        self._apply(row, project, wanted)
        row.changed_at = self._clock()
        self._note(session, actor, "repository.changed", row)
        return row

    def delete(self, session: Session, actor: Actor, project: Project) -> None:
        """Take the repository away; commits that were used stay with their executions. Raises NotFoundError."""
        row = self.get(session, project)
        self._note(session, actor, "repository.deleted", row)
        self._forget_commits(session, row)
        session.delete(row)
        self._chores.enqueue(session, "git-forget", {"repository": row.id}, organization_id=row.organization_id)

    def new_key(self, session: Session, actor: Actor, project: Project) -> Repository:
        """Another deploy key in place of the one that there is. Raises NotFoundError, ValidationError."""
        row = self.get(session, project)
        self._set_key(row, project, new_deploy_key(_comment(project)))
        self._note(session, actor, "repository.key_made", row)
        return row

    def accept_host_key(self, session: Session, actor: Actor, project: Project, wanted: str) -> Repository:
        """Pin the key that the server showed, named by its fingerprint. Raises NotFoundError, ValidationError."""
        row = self.get(session, project)
        if not row.offered_host_key or fingerprint(row.offered_host_key) != wanted.strip():
            raise ValidationError(
                {"fingerprint": ("The server showed no key with this fingerprint; fetch again.", "does_not_exist")}
            )
        row.host_key, row.offered_host_key, row.fetch_reason, row.fetch_error = row.offered_host_key, "", "", ""
        self._note(session, actor, "repository.host_key_accepted", row, fingerprint=wanted.strip())
        return row

    def shown(self, session: Session, project: Project, row: Repository) -> dict[str, Any]:
        """The API's form; secrets are never in it."""
        return {
            **self._brief(row, project),
            "username": row.username,
            "auth": row.auth,
            "public_key": row.public_key,
            "host_key": _key(row.host_key),
            "offered_host_key": _key(row.offered_host_key),
            "size": row.size,
            "fetch": self._fetch(session, row),
            "refs": self.refs(session, row),
        }

    def refs(self, session: Session, row: Repository, limit: int = MOST_REFS_SHOWN) -> list[dict[str, str]]:
        """Branches, then tags, by name."""
        query = select(RepositoryRef).where(RepositoryRef.repository_id == row.id)
        found = session.scalars(query.order_by(RepositoryRef.kind, RepositoryRef.name).limit(limit))
        return [{"kind": ref.kind, "name": ref.name, "identifier": ref.identifier} for ref in found]

    def count_refs(self, session: Session, row: Repository) -> dict[str, int]:
        """How many branches and tags there are."""
        query = select(RepositoryRef.kind, func.count()).where(RepositoryRef.repository_id == row.id)
        counted = {kind: count for kind, count in session.execute(query.group_by(RepositoryRef.kind))}  # noqa: C416
        return {"branch": counted.get("branch", 0), "tag": counted.get("tag", 0)}

    def _brief(self, row: Repository, project: Project) -> dict[str, Any]:
        return {
            "id": row.id,
            "url": row.url,
            "ref": row.ref,
            "project": {"id": project.id, "name": project.name},
            "ctime": api_time(row.created_at),
            "fetched": api_time(row.fetched_at),
        }

    @staticmethod
    def _fetch(session: Session, row: Repository) -> dict[str, Any]:
        """How the last fetch is doing; its chore's row may be gone by now, its end is kept here."""
        chore = session.get(Chore, row.fetch_chore_id) if row.fetch_chore_id else None
        state = chore.state if chore is not None else "done" if row.fetched_at else ""
        failed = chore is not None and chore.state == "failed"
        return {
            "state": state,
            "progress": chore.progress if chore is not None and chore.state == "running" else "",
            "reason": row.fetch_reason or (chore.reason if chore is not None and failed else ""),
            "error": row.fetch_error or (chore.error if chore is not None and failed else ""),
        }

    def _apply(self, row: Repository, project: Project, wanted: Wanted) -> None:
        for name in ("ref", "username"):
            value: str | None = getattr(wanted, name)
            if value is not None and not LINE.fullmatch(value):
                raise ValidationError({name: "Letters of ASCII without blanks."})
            if value is not None:
                setattr(row, name, value)
        scheme = parse_remote(row.url).scheme
        if wanted.token is not None:
            self._set_token(row, scheme, wanted.token)
        if wanted.private_key:
            _check_scheme("private_key", scheme, "ssh", "A deploy key is for ssh://; this address takes a token.")
            self._set_key(row, project, read_deploy_key(wanted.private_key, _comment(project)))
        if wanted.host_key:
            _check_scheme("host_key", scheme, "ssh", "Only an ssh server has a host key.")
            row.host_key, row.offered_host_key = read_host_key(wanted.host_key), ""
        if scheme == "ssh" and row.auth == "none":
            self._set_key(row, project, new_deploy_key(_comment(project)))

    def _set_token(self, row: Repository, scheme: str, token: str) -> None:
        if not token:
            row.auth, row.secret, row.public_key = "none", "", ""
            return
        _check_scheme("token", scheme, "https", "A token is for https://; this address takes a deploy key.")
        if not LINE.fullmatch(token):
            raise ValidationError({"token": "Letters of ASCII without blanks."})
        row.auth, row.secret, row.public_key = "token", self._vault.encrypt(token, secret_context(row.id, "token")), ""

    def _set_key(self, row: Repository, project: Project, key: DeployKey) -> None:
        scheme = parse_remote(row.url).scheme
        _check_scheme("url", scheme, "ssh", "A deploy key is for ssh://; this address takes a token.")
        row.auth, row.public_key = "key", key.public
        row.secret = self._vault.encrypt(key.private, secret_context(row.id, "key"))

    @staticmethod
    def _forget_commits(session: Session, row: Repository) -> None:
        """Its names lead nowhere any more."""
        quick = {"synchronize_session": False}
        session.execute(delete(RepositoryRef).where(RepositoryRef.repository_id == row.id), execution_options=quick)
        of = (Commit.project_id == row.project_id, Commit.adhoc.is_(False))
        session.execute(update(Commit).where(*of).values(listed=False), execution_options=quick)

    def _note(self, session: Session, actor: Actor, action: str, row: Repository, **payload: Any) -> None:
        self._audit.by(
            session, actor, action, row.organization_id, row.project_id, url=row.url, auth=row.auth, **payload
        )


def _check_scheme(name: str, scheme: str, needed: str, sentence: str) -> None:
    if scheme != needed:
        raise ValidationError({name: (sentence, "wrong_scheme")})


def _comment(project: Project) -> str:
    return f"remora-{project.id}"


def _key(key: str) -> dict[str, str] | None:
    return {"key": key, "fingerprint": fingerprint(key)} if key else None
