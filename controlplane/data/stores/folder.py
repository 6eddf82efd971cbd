"""A folder as an object store, for one host. Its URLs are served by `web`, signed by itself."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote, urlencode

from controlplane.clock import Clock
from controlplane.data.stores.base import ObjectInfo, PartRules, SignedUrl, StoreError
from controlplane.data.stores.chained import Chained
from controlplane.data.stores.keys import check_key
from controlplane.data.stores.partnames import PARTS, check_parts, new_upload, part_key, part_prefix
from controlplane.environments.models import Store
from controlplane.security.signing import matches, sign

__all__ = ["FolderStore", "check_key"]

CHUNK = 1 << 20
# Half-written objects stand here; no key may begin with it.
INCOMING = ".incoming"
LEFTOVER_SECONDS = 86_400


class FolderStore:
    """Objects are files below `root`; they are written once and never changed."""

    # One host, one disk: parts would only be copied once more, so nothing is too large to come at once.
    parts = PartRules(above=1 << 62, usual=64 << 20, largest=1 << 40, most=10_000)
    signs_alone = True

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
        store = cls(row.id, Path(row.config["path"]), base_url, key, ttl, clock)
        store.remove_leftovers()
        return store

    def sign_get(self, key: str, *, filename: str = "", download: bool = True) -> SignedUrl:
        """See ObjectStore."""
        return self._sign("GET", key, {"name": filename or key.rpartition("/")[2]})

    def sign_put(self, key: str, size: int) -> SignedUrl:
        """See ObjectStore."""
        signed = self._sign("PUT", key, {"size": str(size)})
        return SignedUrl("PUT", signed.url, signed.expires, {"If-None-Match": "*"})

    def begin(self, key: str) -> str:
        """See ObjectStore."""
        self._path(key)
        return new_upload()

    def sign_part(self, key: str, upload: str, number: int, size: int) -> SignedUrl:
        """See ObjectStore."""
        return self.sign_put(part_key(check_key(key), upload, number), size)

    def complete(self, key: str, upload: str, size: int, marks: Sequence[str]) -> ObjectInfo:
        """See ObjectStore."""
        found = self._below(part_prefix(check_key(key), upload))
        if not found:
            return self._made_before(key, size)
        check_parts(found, len(marks), size)
        with ExitStack() as stack:
            readers = [stack.enter_context(self.open(part.key)) for part in found]
            made = self.put_stream(key, cast(BinaryIO, Chained(readers)), size)
        self.abort(key, upload)
        return made

    def abort(self, key: str, upload: str) -> None:
        """See ObjectStore."""
        for part in self._below(part_prefix(check_key(key), upload)):
            self.delete(part.key)
        with suppress(OSError):
            (self._root / part_prefix(key, upload)).rmdir()

    def check(self, method: str, key: str, query: dict[str, str]) -> str:
        """Empty when the query signs this method and key now, else why not: forged, wrong_method, expired.

        HEAD is allowed by either signature: it says only whether the object is there, to one who may read or write it.
        """
        values = {name: value for name, value in query.items() if name != "sig"}
        if not matches(self._key, self._text(key, values), query.get("sig", "")):
            return "forged"
        if method not in (values["method"], "HEAD"):
            return "wrong_method"
        return "expired" if int(values["expires"]) < self._clock().timestamp() else ""

    def uri(self, key: str) -> str:
        """See ObjectStore."""
        return f"folder://{self._id}/{quote(key)}"

    def put_file(self, key: str, source: Path) -> ObjectInfo:
        """See ObjectStore."""
        try:
            with source.open("rb") as reader:
                return self.put_stream(key, reader, source.stat().st_size)
        except OSError as error:
            raise StoreError("unavailable", f"{source.name} can't be read: {error.strerror}") from error

    def put_stream(self, key: str, reader: BinaryIO, size: int) -> ObjectInfo:
        """Store exactly `size` bytes of `reader`; equal bytes that are there already are well.

        Raises StoreError `exists` (other bytes are there), `bad_size`, `full`, `unavailable`.
        """
        target = self._path(key)
        temporary = self._root / INCOMING / os.urandom(12).hex()
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            digest = self._write(temporary, reader, size)
            self._make_folder(target.parent, key)
            try:
                # A link fails where a rename would replace: an object is never overwritten.
                os.link(temporary, target)
            except FileExistsError:
                if not target.is_file() or self._digest(target) != digest:
                    raise StoreError("exists", f"{key} exists with other bytes") from None
            self._sync_folder(target.parent)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return self.stat(key)

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """See ObjectStore."""
        self.stat(key)
        try:
            reader = self._path(key).open("rb")
        except FileNotFoundError:
            raise StoreError("not_found", f"no object {key[:100]!r}") from None
        except OSError as error:
            raise self._failed(error) from error
        reader.seek(start)
        return reader if length is None else cast(BinaryIO, io.BufferedReader(_Part(reader, length)))

    def stat(self, key: str) -> ObjectInfo:
        """See ObjectStore."""
        try:
            found = self._path(key).lstat()
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError("not_found", f"no object {key[:100]!r}") from None
        except OSError as error:
            raise self._failed(error) from error
        if not stat.S_ISREG(found.st_mode):
            raise StoreError("not_found", f"no object {key[:100]!r}")
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
        return ObjectInfo(key, found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}", modified)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        try:
            self._path(key).unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        except OSError as error:
            raise self._failed(error) from error

    def list(self, prefix: str, *, deep: bool = True) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        found: list[str] = []
        for folder, folders, files in os.walk(self._root):
            if Path(folder) == self._root:
                folders[:] = [name for name in folders if name not in (INCOMING, PARTS.rstrip("/"))]
            base = Path(folder).relative_to(self._root)
            found.extend((base / name).as_posix() for name in files)
        for key in sorted(found):
            if key.startswith(prefix) and (deep or "/" not in key[len(prefix) :]):
                with suppress(StoreError):
                    yield self.stat(key)

    def _below(self, folder: str) -> list[ObjectInfo]:
        with suppress(OSError):
            return [self.stat(folder + path.name) for path in sorted((self._root / folder).iterdir())]
        return []

    def _made_before(self, key: str, size: int) -> ObjectInfo:
        made = self.stat(key)
        if made.size != size:
            raise StoreError("exists", f"{key} exists with other bytes")
        return made

    def remove_leftovers(self) -> None:
        """Delete what writers left half-written when they were killed, a day ago or longer."""
        before = self._clock().timestamp() - LEFTOVER_SECONDS
        with suppress(OSError):
            for path in (self._root / INCOMING).iterdir():
                if path.lstat().st_mtime < before:
                    path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if check_key(key).partition("/")[0] == INCOMING:
            raise StoreError("bad_name", f"{INCOMING} is reserved")
        return self._root / key

    def _sign(self, method: str, key: str, extra: dict[str, str]) -> SignedUrl:
        self._path(key)
        expires = self._clock() + timedelta(seconds=self._ttl)
        values = {"method": method, "expires": str(int(expires.timestamp())), **extra}
        query = urlencode({**values, "sig": sign(self._key, self._text(key, values))})
        return SignedUrl(method, f"{self._base}/store/{self._id}/{quote(key)}?{query}", expires)

    def _text(self, key: str, values: dict[str, str]) -> str:
        """What is signed: unambiguous, since every value is quoted."""
        return f"{self._id}/{quote(key)}?{urlencode(sorted(values.items()))}"

    @staticmethod
    def _make_folder(folder: Path, key: str) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise StoreError("exists", f"a part of {key} is an object itself") from None

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
            raise StoreError("bad_size", f"{size} bytes were announced, {'fewer' if left else 'more'} came")
        return digest.hexdigest()

    @staticmethod
    def _failed(error: OSError) -> StoreError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreError("full", "the disk of the folder store is full")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return StoreError("denied", f"the folder store may not do this: {error.strerror}")
        return StoreError("unavailable", f"the folder store failed: {error.strerror}")

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


class _Part(io.RawIOBase):
    """The next `length` bytes of a file."""

    def __init__(self, reader: BinaryIO, length: int) -> None:
        self._reader = reader
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._reader.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._reader.close()
        super().close()
