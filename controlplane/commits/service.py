"""Commits: ad-hoc packages in, commits out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.clock import Clock, api_time
from controlplane.commits.archive import read_yaml
from controlplane.commits.config import judge
from controlplane.commits.models import Commit
from controlplane.data.stores.registry import StoreRegistry
from controlplane.errors import NotFoundError, TooLargeError, ValidationError
from controlplane.permissions import Actor
from controlplane.projects.models import Project
from controlplane.settings import Settings

CHUNK = 1 << 20


class CommitsService:
    """What people do with commits of a project that they may use."""

    def __init__(self, clock: Clock, stores: StoreRegistry, settings: Settings) -> None:
        self._clock = clock
        self._stores = stores
        self._settings = settings

    def import_package(
        self, session: Session, actor: Actor, project: Project, data: BinaryIO, description: str, yaml_path: str
    ) -> Commit:
        """A commit from a tar.gz; the same bytes again give the same commit. Raises ValidationError, TooLargeError."""
        path = yaml_path or project.yaml_path
        with NamedTemporaryFile(prefix="remora-package-") as temporary:
            sha256, size = self._receive(data, temporary)
            existing = session.scalar(
                select(Commit).where(Commit.project_id == project.id, Commit.identifier == f"~{sha256}")
            )
            if existing is not None:
                return existing
            text = read_yaml(Path(temporary.name), path, self._settings.max_yaml_bytes)
            config = judge(text, path)
            key = f"{project.id}/{sha256}.tar.gz"
            self._stores.embedded(session, "code").put_file(key, Path(temporary.name))
        now = self._clock()
        commit = Commit(
            organization_id=project.organization_id,
            project_id=project.id,
            identifier=f"~{sha256}",
            description=description[:1000],
            adhoc=True,
            yaml_path=path,
            archive_key=key,
            archive_sha256=sha256,
            archive_size=size,
            config_text=text.decode(),
            config=config,
            commit_time=now,
            created_at=now,
            creator_id=actor.user_id,
        )
        session.add(commit)
        session.flush()
        return commit

    def list(self, session: Session, project: Project, adhoc: bool | None = None, limit: int = 1000) -> list[Commit]:
        """Newest first."""
        query = select(Commit).where(Commit.project_id == project.id).order_by(Commit.created_at.desc()).limit(limit)
        return list(session.scalars(query if adhoc is None else query.where(Commit.adhoc == adhoc)))

    def find(self, session: Session, project_id: str | None, identifier: str) -> Commit:
        """A commit by its whole identifier, a prefix of at least 7, or its ref. Raises NotFoundError."""
        query = select(Commit).order_by(Commit.created_at.desc())
        if project_id:
            query = query.where(Commit.project_id == project_id)
        found = session.scalars(query.where(Commit.identifier == identifier).limit(1)).first()
        if found is None and len(identifier) >= 7 and identifier.lstrip("~").isalnum():
            found = session.scalars(
                query.where(Commit.identifier.startswith(identifier, autoescape=True)).limit(1)
            ).first()
        if found is None:
            raise NotFoundError
        return found

    def serialize(self, commit: Commit, include: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
        """The API's form; `config` (the raw text) only when asked for."""
        base = self._settings.public_url
        shown: dict[str, Any] = {
            "id": commit.id,
            "project": commit.project_id,
            "repository": commit.repository_id,
            "identifier": commit.identifier,
            "ref": commit.ref,
            "description": commit.description,
            "commit_time": api_time(commit.commit_time),
            "ctime": api_time(commit.created_at),
            "adhoc": commit.adhoc,
            "url": f"{base}/api/v0/commits/{commit.identifier}/?project={commit.project_id}",
        }
        if "config" in include:
            shown["config"] = commit.config_text
        return shown

    def _receive(self, data: BinaryIO, target: Any) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        while chunk := data.read(CHUNK):
            size += len(chunk)
            if size > self._settings.max_package_bytes:
                raise TooLargeError(
                    f"The code archive is above {self._settings.max_package_bytes} bytes; leave data out by .vhignore."
                )
            digest.update(chunk)
            target.write(chunk)
        target.flush()
        if size == 0:
            raise ValidationError({"data": "The code archive is empty."})
        return digest.hexdigest(), size
