"""Uploads by people: opened, sent in parts by signed addresses, resumed, completed into a datum or aborted.

Parts are objects of the project's data store. In a folder store the control plane puts them together and checks the
whole; elsewhere a file is one part, written by its sender into its place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.audit.service import AuditService
from controlplane.clock import Clock, api_time
from controlplane.data.models import Datum, Upload
from controlplane.data.parts import part_bytes, part_key, parts_of, remove_parts
from controlplane.data.stores.base import ObjectStore, StoreError
from controlplane.data.stores.folder import FolderStore
from controlplane.data.stores.keys import check_key
from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.ids import is_id, uuid7
from controlplane.environments.models import Store
from controlplane.environments.service import visible_groups
from controlplane.errors import ConflictError, NotFoundError, UnavailableError, ValidationError
from controlplane.executions.request import check_tags
from controlplane.limits import Limits
from controlplane.permissions import Actor, require
from controlplane.projects.models import Project

SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_PARTS = 1_000
CHUNK = 1 << 20
MAX_NAME = 512


class UploadsService:
    """Works in the caller's session."""

    def __init__(
        self, stores: StoreRegistry, clock: Clock, audit: AuditService, limits: Limits, ttl: float, min_part: int
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._audit = audit
        self._limits = limits
        self._ttl = timedelta(seconds=ttl)
        self._min_part = min_part

    def create(
        self,
        session: Session,
        actor: Actor,
        project: Project,
        name: str,
        size: int,
        sha256: str,
        tags: Sequence[str],
        metadata: dict[str, Any],
    ) -> Upload:
        """An open upload. Raises ValidationError, LimitReachedError, UnavailableError."""
        self._check(name, size, sha256)
        of = (Upload.project_id == project.id, Upload.state == "open")
        count = session.scalar(select(func.count()).select_from(Upload).where(*of)) or 0
        self._limits.check("uploads", count + 1)
        store, opened = self._store(session, project)
        now, upload_id = self._clock(), uuid7()
        row = Upload(
            id=upload_id,
            organization_id=project.organization_id,
            project_id=project.id,
            store_id=store.id,
            creator_id=actor.user_id,
            name=name,
            key=f"{project.id}/uploads/{upload_id}/{name}",
            size=size,
            part_size=self._part_size(opened, size),
            sha256=sha256,
            tags=check_tags(list(tags)),
            user_metadata=metadata,
            created_at=now,
            expires_at=now + self._ttl,
        )
        session.add(row)
        session.flush()
        return row

    def get(self, session: Session, actor: Actor, upload_id: str, action: str = "data.upload") -> Upload:
        """An upload. Raises NotFoundError, PermissionDeniedError."""
        row = session.get(Upload, upload_id) if is_id(upload_id) else None
        if row is None:
            raise NotFoundError
        require(actor, action, row.organization_id, row.project_id)
        return row

    def parts(self, session: Session, row: Upload, first: int, count: int) -> list[dict[str, Any]]:
        """Parts from number `first` on, each with an address to PUT its bytes to unless they are there already."""
        self._check_open(row)
        store = self._stores.by_id(session, row.store_id)
        last = min(parts_of(row), first + count - 1)
        return [self._part(store, row, number) for number in range(first, last + 1)]

    def complete(self, session: Session, actor: Actor, row: Upload) -> Datum:
        """The datum, once every part is there and the whole has the checksum that was said.

        Raises ConflictError for missing parts and another checksum, UnavailableError.
        """
        if row.datum_id is not None:
            return session.get_one(Datum, row.datum_id)
        self._check_open(row)
        store = self._stores.by_id(session, row.store_id)
        missing = [number for number in range(1, parts_of(row) + 1) if not self._is_there(store, row, number)]
        if missing:
            raise ConflictError(f"Parts are missing: {', '.join(map(str, missing[:20]))}.", code="parts_missing")
        sums = self._put_together(store, row)
        datum = Datum(
            id=uuid7(),
            organization_id=row.organization_id,
            project_id=row.project_id,
            store_id=row.store_id,
            creator_id=row.creator_id,
            name=row.name,
            key=row.key,
            uri=store.uri(row.key),
            size=row.size,
            tags=row.tags,
            created_at=self._clock(),
            **sums,
        )
        session.add(datum)
        session.flush()
        row.state, row.datum_id = "complete", datum.id
        self._audit.record(
            session,
            "data.uploaded",
            actor=actor.user_id,
            address=actor.address,
            organization_id=row.organization_id,
            subject=datum.id,
            name=row.name,
            size=row.size,
        )
        return datum

    def abort(self, session: Session, row: Upload) -> None:
        """Give it up; its parts are removed. Raises ConflictError when it is complete, UnavailableError."""
        if row.state == "complete":
            raise ConflictError(f"{row.name} is uploaded already; purge the datum instead.")
        row.state = "aborted"
        with _told(row):
            remove_parts(self._stores.by_id(session, row.store_id), row)

    def serialize(self, session: Session, row: Upload) -> dict[str, Any]:
        """The API's form; `missing` lists parts that are still to come, `datum` is what it became."""
        missing: list[int] = []
        if row.state == "open":
            store = self._stores.by_id(session, row.store_id)
            missing = [n for n in range(1, parts_of(row) + 1) if not self._is_there(store, row, n)]
        return {
            "id": row.id,
            "project": row.project_id,
            "name": row.name,
            "size": row.size,
            "sha256": row.sha256,
            "part_size": row.part_size,
            "parts": parts_of(row),
            "missing": missing,
            "state": row.state,
            "ctime": api_time(row.created_at),
            "expires": api_time(row.expires_at),
            "datum": row.datum_id,
        }

    def _put_together(self, store: ObjectStore, row: Upload) -> dict[str, str]:
        with _told(row):
            if not isinstance(store, FolderStore):
                return {"sha256": row.sha256}
            sums = _sums(_chained(store, row))
            if sums["sha256"] != row.sha256:
                raise ConflictError(
                    "The parts together have another SHA-256 than was said; abort it and send it again.",
                    code="checksum",
                )
            if parts_of(row) > 1:
                store.put_stream(row.key, cast(BinaryIO, _Reader(_chained(store, row))), row.size)
                remove_parts(store, row)
            return sums

    def _part(self, store: ObjectStore, row: Upload, number: int) -> dict[str, Any]:
        size = part_bytes(row, number)
        there = self._is_there(store, row, number)
        shown = {"number": number, "offset": (number - 1) * row.part_size, "size": size, "received": there}
        if there:
            return {**shown, "method": None, "url": None, "headers": {}}
        signed = store.sign_put(part_key(row, number), size)
        return {**shown, "method": signed.method, "url": signed.url, "headers": dict(signed.headers)}

    @staticmethod
    def _is_there(store: ObjectStore, row: Upload, number: int) -> bool:
        try:
            return store.stat(part_key(row, number)).size == part_bytes(row, number)
        except StoreError as error:
            if error.code == "not_found":
                return False
            raise UnavailableError(f"The store does not answer now: {error}.") from error

    def _check(self, name: str, size: int, sha256: str) -> None:
        errors: dict[str, Any] = {}
        try:
            check_key(name)
            if len(name) > MAX_NAME:
                errors["name"] = f"At most {MAX_NAME} characters."
        except StoreError as error:
            errors["name"] = f"{str(error)[:300]}."
        if not SHA256.fullmatch(sha256):
            errors["sha256"] = "The SHA-256 of the whole file in 64 small hex digits."
        if errors:
            raise ValidationError(errors)
        self._limits.check("upload_bytes", size)

    @staticmethod
    def _check_open(row: Upload) -> None:
        if row.state != "open":
            raise ConflictError(f"This upload is {row.state}; make another one.", code=row.state)

    def _store(self, session: Session, project: Project) -> tuple[Store, ObjectStore]:
        groups = visible_groups(session, frozenset({project.organization_id}))
        chosen = next((group for group in groups if group.id == project.default_environment_id), None)
        for group in [chosen] if chosen else groups:
            with suppress(StoreError):
                return self._stores.find(session, group.installation_id, "data")
        raise UnavailableError("No store for data is offered to this project.")

    def _part_size(self, store: ObjectStore, size: int) -> int:
        if not isinstance(store, FolderStore):
            return max(1, size)
        return max(self._min_part, -(-size // MAX_PARTS))


def _chained(store: ObjectStore, row: Upload) -> Iterator[bytes]:
    for number in range(1, parts_of(row) + 1):
        with store.open(part_key(row, number)) as part:
            while chunk := part.read(CHUNK):
                yield chunk


def _sums(chunks: Iterator[bytes]) -> dict[str, str]:
    """Checksums of all bytes, read once."""
    hashes = {kind: hashlib.new(kind, usedforsecurity=False) for kind in ("md5", "sha1", "sha256")}
    for chunk in chunks:
        for found in hashes.values():
            found.update(chunk)
    return {kind: found.hexdigest() for kind, found in hashes.items()}


class _Reader:
    """Chunks as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        taken, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return taken


@contextmanager
def _told(row: Upload) -> Iterator[None]:
    """Turn a store's failure into an answer."""
    try:
        yield
    except StoreError as error:
        raise UnavailableError(f"The store does not do this with {row.name} now: {error}.") from error
