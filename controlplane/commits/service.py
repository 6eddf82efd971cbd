"""Commits: ad-hoc packages in, commits out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

import structlog
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controlplane.clock import Clock, api_time
from controlplane.commits.archive import read_yaml
from controlplane.commits.config import judge
from controlplane.commits.models import Commit
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.ids import is_id, uuid7
from controlplane.db.session import Database
from controlplane.errors import NotFoundError, TooLargeError, UnavailableError, ValidationError
from controlplane.permissions import Actor, can
from controlplane.projects.models import Project
from controlplane.settings import Settings

log = structlog.get_logger()
MAX_IDENTIFIER = 80
MAX_SAME = 50
PREFIX = re.compile(r"~?[0-9a-f]{7,64}")
CHUNK = 1 << 20


@dataclass(frozen=True)
class Package:
    """A received archive: its file, SHA-256 in hex, and size in bytes."""

    path: Path
    sha256: str
    size: int


class CommitsService:
    """What people do with commits of a project that they may use."""

    def __init__(self, db: Database, clock: Clock, stores: StoreRegistry, settings: Settings) -> None:
        self._db = db
        self._clock = clock
        self._stores = stores
        self._settings = settings

    def import_package(
        self, actor: Actor, project: Project, data: IO[bytes], description: str, yaml_path: str
    ) -> tuple[Commit, bool]:
        """(commit, whether it is new) of a tar.gz; the same bytes again give the same commit.

        In transactions of its own: none is open while bytes are received, judged and stored.
        Raises ValidationError, TooLargeError, UnavailableError.
        """
        path = yaml_path or project.yaml_path
        with NamedTemporaryFile(prefix="remora-package-") as temporary:
            package = self._receive(data, temporary, Path(temporary.name))
            existing = self._of_package(actor, project, package)
            if existing is not None:
                return existing, False
            text = read_yaml(package.path, path, self._settings.max_yaml_bytes)
            config = judge(text, path)
            key = f"{project.id}/{package.sha256}.tar.gz"
            self._store(actor, key, package)
        now = self._clock()
        commit = Commit(
            id=uuid7(),
            organization_id=project.organization_id,
            project_id=project.id,
            identifier=f"~{package.sha256}",
            ref="adhoc",
            description=clean(description)[:1000],
            adhoc=True,
            yaml_path=path,
            archive_key=key,
            archive_sha256=package.sha256,
            archive_size=package.size,
            config_text=text.decode("utf-8-sig"),
            config=config,
            commit_time=now,
            created_at=now,
            creator_id=actor.user_id,
        )
        try:
            with self._db.begin(actor.scope) as session:
                session.add(commit)
        except IntegrityError:
            existing = self._of_package(actor, project, package)
            if existing is None:
                raise
            return existing, False
        return commit, True

    def list(self, session: Session, project: Project, adhoc: bool | None = None, limit: int = 1000) -> list[Commit]:
        """Newest first; of a repository those that its branches and tags lead to."""
        query = select(Commit).where(Commit.project_id == project.id, Commit.listed.is_(True))
        query = query.order_by(Commit.commit_time.desc(), Commit.id.desc()).limit(limit)
        return list(session.scalars(query if adhoc is None else query.where(Commit.adhoc == adhoc)))

    def page(self, session: Session, project: Project, wanted: Mapping[str, Any]) -> tuple[list[Commit], int]:
        """(page, count), newest first. wanted: adhoc, search, limit, offset."""
        where: list[ColumnElement[bool]] = [Commit.project_id == project.id, Commit.listed.is_(True)]
        if wanted["adhoc"] is not None:
            where.append(Commit.adhoc == wanted["adhoc"])
        if wanted["search"]:
            columns = (Commit.identifier, Commit.ref, Commit.description)
            where.append(or_(*(column.icontains(wanted["search"], autoescape=True) for column in columns)))
        query = select(Commit).where(*where).order_by(Commit.commit_time.desc(), Commit.id.desc())
        rows = list(session.scalars(query.limit(wanted["limit"]).offset(wanted["offset"])))
        if not wanted["offset"] and len(rows) < wanted["limit"]:
            return rows, len(rows)
        return rows, session.scalar(select(func.count()).select_from(Commit).where(*where)) or 0

    def find(self, session: Session, actor: Actor, project_id: str | None, identifier: str) -> Commit:
        """A readable commit by its whole identifier, or a prefix of at least 7. Raises NotFoundError."""
        if (project_id and not is_id(project_id)) or len(identifier) > MAX_IDENTIFIER:
            raise NotFoundError
        query = select(Commit).order_by(Commit.created_at.desc(), Commit.id.desc()).limit(MAX_SAME)
        if project_id:
            query = query.where(Commit.project_id == project_id)
        same = Commit.identifier == identifier
        conditions = [same]
        if PREFIX.fullmatch(identifier):
            conditions.append(Commit.identifier.startswith(identifier, autoescape=True))
        for condition in conditions:
            for row in session.scalars(query.where(condition)):
                if can(actor, "commit.read", row.organization_id, row.project_id):
                    return row
        raise NotFoundError

    def serialize(self, commit: Commit, include: Set[str] = frozenset()) -> dict[str, Any]:
        """The API's form; `config` (the raw text) only when asked for."""
        base = self._settings.public_url
        shown: dict[str, Any] = {
            "id": commit.id,
            "project": commit.project_id,
            "repository": commit.repository_id,
            "identifier": commit.identifier,
            "ref": commit.ref,
            "description": commit.description,
            "author": commit.author,
            "commit_time": api_time(commit.commit_time),
            "ctime": api_time(commit.created_at),
            "adhoc": commit.adhoc,
            "url": f"{base}/api/v0/commits/{commit.identifier}/?project={commit.project_id}",
        }
        if "config" in include:
            shown["config"] = commit.config_text
        return shown

    def _of_package(self, actor: Actor, project: Project, package: Package) -> Commit | None:
        query = select(Commit).where(Commit.project_id == project.id, Commit.identifier == f"~{package.sha256}")
        with self._db.read(actor.scope) as session:
            return session.scalar(query)

    def _store(self, actor: Actor, key: str, package: Package) -> None:
        try:
            with self._db.read(actor.scope) as session:
                store = self._stores.embedded(session, "code")
            store.put_file(key, package.path)
        except StoreError as error:
            log.error("code_store_failed", code=error.code, error=str(error))
            raise UnavailableError(
                f"The code store does not take the archive now ({error.code}); try again."
            ) from error

    def _receive(self, data: IO[bytes], target: Any, path: Path) -> Package:
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
            raise ValidationError({"data": ("The code archive is empty.", "empty")})
        return Package(path, digest.hexdigest(), size)


def clean(text: str) -> str:
    """`text` without control characters."""
    return "".join(char for char in text if char.isprintable())
