"""A folder as an object store, for one host. Its URLs are served by `web`, signed by itself."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode

from controlplane.clock import Clock
from controlplane.data.stores.base import ObjectInfo, SignedUrl, StoreError
from controlplane.environments.models import Store
from controlplane.security.signing import matches, sign

CHUNK = 1 << 20


def check_key(key: str) -> str:
    """The key itself, if every part of it is a plain name of at most 255 bytes. Raises StoreError `bad_name`."""
    parts = key.split("/")
    for part in parts:
        if part in ("", ".", "..") or len(part.encode("utf-8", "surrogatepass")) > 255:
            raise StoreError("bad_name", f"bad object name {key[:100]!r}")
        if any(ord(char) < 32 or char in "\\\x7f" or 0xD800 <= ord(char) <= 0xDFFF for char in part):
            raise StoreError("bad_name", f"bad object name {key[:100]!r}")
    if len(key) > 900:
        raise StoreError("bad_name", "object name above 900 characters")
    return key


class FolderStore:
    """Objects are files below `root`; they are written once and never changed."""

    def __init__(self, store_id: str, root: Path, base_url: str, key: bytes, ttl: int, clock: Clock) -> None:
        self._id = store_id
        self._root = root
        self._base = base_url
        self._key = key
        self._ttl = ttl
        self._clock = clock

    @classmethod
    def from_row(cls, row: Store, base_url: str, key: bytes, ttl: int, clock: Clock) -> FolderStore:
        """The store that a row describes. Raises StoreError for another kind."""
        if row.kind != "folder":
            raise StoreError("unavailable", f"stores of kind {row.kind} come in a later version")
        return cls(row.id, Path(row.config["path"]), base_url, key, ttl, clock)

    def sign_get(self, key: str, *, filename: str = "", download: bool = True) -> SignedUrl:
        """See ObjectStore."""
        return self._sign("GET", key, {"name": filename or key.rpartition("/")[2]})

    def sign_put(self, key: str, size: int) -> SignedUrl:
        """See ObjectStore."""
        signed = self._sign("PUT", key, {"size": str(size)})
        return SignedUrl("PUT", signed.url, signed.expires, {"If-None-Match": "*"})

    def check(self, method: str, key: str, query: dict[str, str]) -> str:
        """Empty when the query signs this method and key now, else why not: `forged`, `expired`."""
        expires = query.get("expires", "")
        extra = {name: query[name] for name in ("name", "size") if name in query}
        if not matches(self._key, self._text(method, key, expires, extra), query.get("sig", "")):
            return "forged"
        return "expired" if int(expires) < self._clock().timestamp() else ""

    def uri(self, key: str) -> str:
        """See ObjectStore."""
        return f"folder://{self._id}/{quote(key)}"

    def put_file(self, key: str, source: Path) -> ObjectInfo:
        """See ObjectStore."""
        with source.open("rb") as reader:
            return self.put_stream(key, reader, source.stat().st_size)

    def put_stream(self, key: str, reader: BinaryIO, size: int) -> ObjectInfo:
        """Store exactly `size` bytes of `reader`. Raises StoreError `exists`, `full`, `unavailable`."""
        target = self._path(key)
        temporary = target.parent / f".{os.getpid()}-{os.urandom(6).hex()}.part"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = self._write(temporary, reader, size)
            try:
                os.link(temporary, target)
            except FileExistsError:
                if self._digest(target) != digest:
                    raise StoreError("exists", f"{key} exists with other bytes") from None
            self._sync_folder(target.parent)
        except OSError as error:
            code = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "unavailable"
            raise StoreError(code, f"the folder store failed: {error.strerror}") from error
        finally:
            temporary.unlink(missing_ok=True)
        return self.stat(key)

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """See ObjectStore. `length` is left to the caller: the reader ends at the file's end."""
        try:
            reader = self._path(key).open("rb")
        except FileNotFoundError:
            raise StoreError("not_found", f"no object {key[:100]!r}") from None
        reader.seek(start)
        return reader

    def stat(self, key: str) -> ObjectInfo:
        """See ObjectStore."""
        try:
            found = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError("not_found", f"no object {key[:100]!r}") from None
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
        return ObjectInfo(key, found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}", modified)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        self._path(key).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        for path in sorted(self._root.rglob("*")):
            key = path.relative_to(self._root).as_posix()
            if path.is_file() and not path.name.startswith(".") and key.startswith(prefix):
                yield self.stat(key)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _sign(self, method: str, key: str, extra: dict[str, str]) -> SignedUrl:
        expires = self._clock() + timedelta(seconds=self._ttl)
        text = str(int(expires.timestamp()))
        signature = sign(self._key, self._text(method, check_key(key), text, extra))
        query = urlencode({"expires": text, **extra, "sig": signature})
        return SignedUrl(method, f"{self._base}/store/{self._id}/{quote(key)}?{query}", expires)

    def _text(self, method: str, key: str, expires: str, extra: dict[str, str]) -> str:
        return "\n".join([method, self._id, key, expires, *(f"{name}={extra[name]}" for name in sorted(extra))])

    @staticmethod
    def _write(path: Path, reader: BinaryIO, size: int) -> str:
        digest, left = hashlib.sha256(), size
        with path.open("xb") as writer:
            while left > 0 and (chunk := reader.read(min(CHUNK, left))):
                writer.write(chunk)
                digest.update(chunk)
                left -= len(chunk)
            writer.flush()
            os.fsync(writer.fileno())
        if left or reader.read(1):
            raise StoreError("unavailable", f"{size} bytes were announced, another number came")
        return digest.hexdigest()

    @staticmethod
    def _digest(path: Path) -> str:
        with path.open("rb") as reader:
            return hashlib.file_digest(reader, "sha256").hexdigest()

    @staticmethod
    def _sync_folder(folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
