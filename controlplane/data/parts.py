"""The parts of an upload: how many, how large, where they lie."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.data.models import Upload, UploadPart
from controlplane.data.stores.base import ObjectStore

Marks = dict[int, str]


def parts_of(row: Upload) -> int:
    """How many parts it has; an empty file is one."""
    return max(1, -(-row.size // row.part_size))


def part_bytes(row: Upload, number: int) -> int:
    """Size of a part."""
    return min(row.part_size, row.size - (number - 1) * row.part_size)


def part_key(row: Upload, number: int) -> str:
    """Where a part lies: a file of one part is in its place at once."""
    return row.key if parts_of(row) == 1 else f"{row.project_id}/uploads/{row.id}.parts/{number:05d}"


def marks_of(session: Session, row: Upload) -> Marks:
    """Marks of the parts that have come, by number, where the store has parts of its own."""
    if not row.store_upload:
        return {}
    of = select(UploadPart.number, UploadPart.mark).where(UploadPart.upload_id == row.id).order_by(UploadPart.number)
    return {found[0]: found[1] for found in session.execute(of)}


def remove_parts(store: ObjectStore, row: Upload) -> None:
    """Remove what was sent. Raises StoreError."""
    if row.store_upload:
        store.abort(row.key, row.store_upload)
        return
    for number in range(1, parts_of(row) + 1):
        store.delete(part_key(row, number))
