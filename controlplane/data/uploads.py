"""Uploads by people: opened, sent in parts by signed addresses, resumed, completed into a datum or aborted.

In a folder store parts are objects, which the control plane puts together and checks. Elsewhere a small file is one
part, written by its sender into its place; a large one goes in parts of the store, and the sender tells their marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.audit.service import AuditService
from controlplane.chores.service import ChoreService
from controlplane.clock import Clock, api_time
from controlplane.data.completing import ChecksumError, finish, put_together
from controlplane.data.models import Datum, Upload, UploadPart
from controlplane.data.parts import Marks, marks_of, part_bytes, part_key, parts_of, remove_parts
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
from controlplane.stores.access import choose_store

SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_PARTS = 1_000
# So much is read and written while somebody waits for the answer.
INLINE = 64 << 20
MAX_NAME = 512


class UploadsService:
    """Works in the caller's session."""

    def __init__(
        self,
        stores: StoreRegistry,
        clock: Clock,
        audit: AuditService,
        limits: Limits,
        chores: ChoreService,
        ttl: float,
        min_part: int,
    ) -> None:
        self._chores = chores
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
        key = f"{project.id}/uploads/{upload_id}/{name}"
        row = Upload(
            id=upload_id,
            organization_id=project.organization_id,
            project_id=project.id,
            store_id=store.id,
            creator_id=actor.user_id,
            name=name,
            key=key,
            size=size,
            part_size=self._part_size(opened, size),
            store_upload=self._begin(session, opened, key, size),
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
        last, marks = min(parts_of(row), first + count - 1), marks_of(session, row)
        return [self._part(store, row, number, marks) for number in range(first, last + 1)]

    def note_part(self, session: Session, row: Upload, number: int, mark: str) -> None:
        """Part `number` has come; `mark` is the ETag that the store answered. Raises ConflictError, ValidationError."""
        self._check_open(row)
        if not 1 <= number <= parts_of(row):
            raise ValidationError({"part": f"It has the parts 1 to {parts_of(row)}."})
        known = session.get(UploadPart, (row.id, number))
        if known is None:
            session.add(UploadPart(upload_id=row.id, number=number, mark=mark))
        else:
            known.mark = mark

    def complete(self, session: Session, actor: Actor, row: Upload) -> Datum | None:
        """The datum, once every part is there and the whole has the checksum that was said; None while it is made.

        A large one is put together by a chore: its state is `completing` until then. No transaction is open while a
        store works. Raises ConflictError for missing parts and another checksum, UnavailableError.
        """
        if row.datum_id is not None:
            return session.get_one(Datum, row.datum_id)
        if row.state == "completing":
            return None
        self._check_open(row)
        store, marks = self._stores.by_id(session, row.store_id), marks_of(session, row)
        session.expunge(row)
        # Nobody waits for a store while the database is locked.
        session.rollback()
        missing = [number for number in self._numbers(row) if not self._is_there(store, row, number, marks)]
        if missing:
            raise ConflictError(f"Parts are missing: {', '.join(map(str, missing[:20]))}.", code="parts_missing")
        sums = None
        if not row.store_upload and (row.size <= INLINE or not isinstance(store, FolderStore)):
            with _told(row):
                sums = put_together(store, row, [])
        row = session.get_one(Upload, row.id)
        if sums is not None:
            return finish(session, row, store.uri(row.key), sums, self._clock(), self._audit, actor.address)
        row.state, row.error = "completing", ""
        arguments, key = {"upload": row.id}, f"upload-complete:{row.id}"
        self._chores.enqueue(session, "upload-complete", arguments, unique_key=key, organization_id=row.organization_id)
        return None

    def abort(self, session: Session, row: Upload) -> None:
        """Give it up; its parts are removed. Raises ConflictError when it is complete, UnavailableError."""
        if row.state == "complete":
            raise ConflictError(f"{row.name} is uploaded already; purge the datum instead.")
        if row.state == "completing":
            raise ConflictError(f"{row.name} is being put together; wait for that.", code="completing")
        row.state = "aborted"
        with _told(row):
            remove_parts(self._stores.by_id(session, row.store_id), row)

    def serialize(self, session: Session, row: Upload) -> dict[str, Any]:
        """The API's form; `missing` lists parts that are still to come, `datum` is what it became."""
        missing: list[int] = []
        if row.state == "open":
            store, marks = self._stores.by_id(session, row.store_id), marks_of(session, row)
            missing = [number for number in self._numbers(row) if not self._is_there(store, row, number, marks)]
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
            "error": row.error or None,
            "ctime": api_time(row.created_at),
            "expires": api_time(row.expires_at),
            "datum": row.datum_id,
        }

    def _part(self, store: ObjectStore, row: Upload, number: int, marks: Marks) -> dict[str, Any]:
        size = part_bytes(row, number)
        there = self._is_there(store, row, number, marks)
        shown = {"number": number, "offset": (number - 1) * row.part_size, "size": size, "received": there}
        if there:
            return {**shown, "method": None, "url": None, "headers": {}}
        if row.store_upload:
            signed = store.sign_part(row.key, row.store_upload, number, size)
        else:
            signed = store.sign_put(part_key(row, number), size)
        return {**shown, "method": signed.method, "url": signed.url, "headers": dict(signed.headers)}

    @staticmethod
    def _numbers(row: Upload) -> range:
        return range(1, parts_of(row) + 1)

    @staticmethod
    def _is_there(store: ObjectStore, row: Upload, number: int, marks: Marks) -> bool:
        if row.store_upload:
            return number in marks
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
        chosen_id = choose_store(session, project, None)
        if chosen_id:
            row = session.get_one(Store, chosen_id)
            return row, self._stores.of_row(row)
        groups = visible_groups(session, frozenset({project.organization_id}))
        chosen = next((group for group in groups if group.id == project.default_environment_id), None)
        for group in [chosen] if chosen else groups:
            with suppress(StoreError):
                return self._stores.find(session, group.installation_id, "data")
        raise UnavailableError("No store for data is offered to this project.")

    def _part_size(self, store: ObjectStore, size: int) -> int:
        if isinstance(store, FolderStore):
            return max(self._min_part, -(-size // MAX_PARTS))
        try:
            return store.parts.part_bytes(size) if size > store.parts.above else max(1, size)
        except StoreError as error:
            raise ValidationError({"size": f"{str(error)[:300]}."}) from error

    def _begin(self, session: Session, store: ObjectStore, key: str, size: int) -> str:
        """The store's own name of an upload in parts; empty where there is none. Raises UnavailableError."""
        if isinstance(store, FolderStore) or size <= store.parts.above:
            return ""
        # Nobody waits for a store while the database is locked.
        session.rollback()
        try:
            return store.begin(key)
        except StoreError as error:
            raise UnavailableError(f"The store does not take uploads now: {error}.") from error


@contextmanager
def _told(row: Upload) -> Iterator[None]:
    """Turn a store's failure into an answer."""
    try:
        yield
    except StoreError as error:
        raise UnavailableError(f"The store does not do this with {row.name} now: {error}.") from error
    except ChecksumError as error:
        raise ConflictError(str(error), code="checksum") from error
