"""The parts of an upload: how many, how large, where they lie."""

from __future__ import annotations

from controlplane.data.models import Upload
from controlplane.data.stores.base import ObjectStore


def parts_of(row: Upload) -> int:
    """How many parts it has; an empty file is one."""
    return max(1, -(-row.size // row.part_size))


def part_bytes(row: Upload, number: int) -> int:
    """Size of a part."""
    return min(row.part_size, row.size - (number - 1) * row.part_size)


def part_key(row: Upload, number: int) -> str:
    """Where a part lies: a file of one part is in its place at once."""
    return row.key if parts_of(row) == 1 else f"{row.project_id}/uploads/{row.id}.parts/{number:05d}"


def remove_parts(store: ObjectStore, row: Upload) -> None:
    """Remove what was sent. Raises StoreError."""
    for number in range(1, parts_of(row) + 1):
        store.delete(part_key(row, number))
