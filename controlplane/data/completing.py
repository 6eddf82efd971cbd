"""An upload becomes a datum: parts are put together and checked without a transaction, then the rows are written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import BinaryIO, cast

from sqlalchemy.orm import Session

from controlplane.audit.service import AuditService
from controlplane.data.models import Datum, Upload
from controlplane.data.parts import part_key, parts_of, remove_parts
from controlplane.data.stores.base import ObjectStore, find
from controlplane.data.stores.folder import FolderStore
from controlplane.db.ids import uuid7

CHUNK = 1 << 20
Sums = dict[str, str]


class ChecksumError(ValueError):
    """The bytes are others than were said; the text is a sentence."""


def put_together(
    store: ObjectStore, row: Upload, marks: Sequence[str], check: Callable[[], None] | None = None
) -> Sums:
    """Checksums of the whole, which is in its place now; the same again does no harm.

    Reads all bytes of a folder store, and nothing of others: the store itself makes one object of their parts. `check`
    is called between pieces, and may raise to end it. Raises StoreError, ChecksumError.
    """
    if row.store_upload:
        store.complete(row.key, row.store_upload, row.size, marks)
    if not isinstance(store, FolderStore):
        return {"sha256": row.sha256}
    if parts_of(row) > 1 and _is_whole(store, row):
        return _checked(row, _sums(_read(store, row.key, check)))
    sums = _checked(row, _sums(_chained(store, row, check)))
    if parts_of(row) > 1:
        store.put_stream(row.key, cast(BinaryIO, _Reader(_chained(store, row, check))), row.size)
        remove_parts(store, row)
    return sums


def finish(
    session: Session, row: Upload, uri: str, sums: Sums, now: datetime, audit: AuditService, address: str = ""
) -> Datum:
    """The datum of an upload whose bytes are in their place; the one that it has already, the second time."""
    if row.datum_id is not None:
        return session.get_one(Datum, row.datum_id)
    datum = Datum(
        id=uuid7(),
        organization_id=row.organization_id,
        project_id=row.project_id,
        store_id=row.store_id,
        creator_id=row.creator_id,
        name=row.name,
        key=row.key,
        uri=uri,
        size=row.size,
        tags=row.tags,
        created_at=now,
        **sums,
    )
    session.add(datum)
    session.flush()
    row.state, row.datum_id, row.error = "complete", datum.id, ""
    audit.record(
        session,
        "data.uploaded",
        actor=row.creator_id,
        address=address,
        organization_id=row.organization_id,
        subject=datum.id,
        name=row.name,
        size=row.size,
    )
    return datum


def _checked(row: Upload, sums: Sums) -> Sums:
    if sums["sha256"] != row.sha256:
        raise ChecksumError("The parts together have another SHA-256 than was said; abort it and send it again.")
    return sums


def _is_whole(store: ObjectStore, row: Upload) -> bool:
    """Whether a try that ended early had put it together already."""
    made = find(store, row.key)
    return made is not None and made.size == row.size


def _chained(store: ObjectStore, row: Upload, check: Callable[[], None] | None) -> Iterator[bytes]:
    for number in range(1, parts_of(row) + 1):
        yield from _read(store, part_key(row, number), check)


def _read(store: ObjectStore, key: str, check: Callable[[], None] | None) -> Iterator[bytes]:
    with store.open(key) as part:
        while chunk := part.read(CHUNK):
            if check is not None:
                check()
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
