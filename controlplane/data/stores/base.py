"""What every object store can do. Keys are `/`-separated names below the store's root."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

MIB = 1 << 20
GIB = 1 << 30


class StoreError(RuntimeError):
    """The store refused or failed. `code`: not_found | exists | denied | full | unavailable | bad_name | bad_size."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class SignedUrl:
    """An address for one object, one method, until `expires`; `headers` must be sent with it."""

    method: str
    url: str
    expires: datetime
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectInfo:
    """Size in bytes and a version mark of an object."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class PartRules:
    """How large objects come in: above `above` bytes in parts of `usual` bytes, larger where they were over `most`."""

    above: int
    usual: int
    largest: int
    most: int

    def part_bytes(self, size: int) -> int:
        """Bytes of each part but the last. Raises StoreError `bad_size` above what the store can hold."""
        needed = -(-size // self.most)
        if needed > self.largest:
            raise StoreError("bad_size", f"the store holds objects of at most {self.most * self.largest} bytes")
        return max(self.usual, -(-needed // MIB) * MIB)


class ObjectStore(Protocol):
    """Bytes by key. Every method raises StoreError."""

    parts: PartRules

    @property
    def signs_alone(self) -> bool:
        """Whether addresses are signed without asking anybody: no network can make that slow."""
        ...

    def sign_get(self, key: str, *, filename: str = "", download: bool = True) -> SignedUrl:
        """Address that reads the object; `filename` is what a browser saves it as."""
        ...

    def sign_put(self, key: str, size: int) -> SignedUrl:
        """Address that writes the object once (`If-None-Match: *` or its equivalent)."""
        ...

    def begin(self, key: str) -> str:
        """A new upload in parts: its name, for the calls below."""
        ...

    def sign_part(self, key: str, upload: str, number: int, size: int) -> SignedUrl:
        """Address that writes part `number`, from 1. What the store answers as ETag is the part's mark."""
        ...

    def complete(self, key: str, upload: str, size: int, marks: Sequence[str]) -> ObjectInfo:
        """Make the object of its parts, once; the same call again answers the same.

        Raises StoreError `exists`, `bad_size`, `not_found` for parts that are missing.
        """
        ...

    def abort(self, key: str, upload: str) -> None:
        """Remove what came of it; nothing happens when it is over."""
        ...

    def uri(self, key: str) -> str:
        """The object's own address, for people and for `inputs`."""
        ...

    def put_file(self, key: str, source: Path) -> ObjectInfo:
        """Store a local file; an existing object is left as it is when its bytes are equal, else `exists`."""
        ...

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """Reader of the object's bytes, or of a range."""
        ...

    def stat(self, key: str) -> ObjectInfo:
        """Size and version. Raises StoreError `not_found`."""
        ...

    def delete(self, key: str) -> None:
        """Remove; nothing happens if there is none."""
        ...

    def list(self, prefix: str, *, deep: bool = True) -> Iterator[ObjectInfo]:
        """Objects whose key begins so, by key; without `deep` none that has a further `/`."""
        ...


def find(store: ObjectStore, key: str) -> ObjectInfo | None:
    """The object's size and version, None where there is none. Raises StoreError for everything else."""
    try:
        return store.stat(key)
    except StoreError as error:
        if error.code != "not_found":
            raise
        return None
