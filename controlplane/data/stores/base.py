"""What every object store can do. Keys are `/`-separated names below the store's root."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol


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


class ObjectStore(Protocol):
    """Bytes by key. Every method raises StoreError."""

    def sign_get(self, key: str, *, filename: str = "", download: bool = True) -> SignedUrl:
        """Address that reads the object; `filename` is what a browser saves it as."""
        ...

    def sign_put(self, key: str, size: int) -> SignedUrl:
        """Address that writes the object once (`If-None-Match: *`)."""
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

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects below a prefix, by key."""
        ...
