"""What stores reached over HTTP have in common, over a few calls that each kind has of its own."""

from __future__ import annotations

import hashlib
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from controlplane.data.stores.base import ObjectInfo, SignedUrl, StoreError
from controlplane.data.stores.http import CHUNK, Answer, StoreHttp, refused
from controlplane.data.stores.keys import check_key
from controlplane.data.stores.partnames import PARTS

MOST_EMPTY = 1000


class Pages:
    """Ends a list that leads nowhere: a store may give empty pages, but neither for ever nor the same one twice."""

    def __init__(self) -> None:
        self._empty = 0
        self._mark = ""

    def check(self, mark: str, *, empty: bool) -> None:
        """After a page of which `mark` leads to the next. Raises StoreError `unavailable`."""
        self._empty = self._empty + 1 if empty else 0
        if mark == self._mark or self._empty > MOST_EMPTY:
            raise StoreError("unavailable", "the store's list does not end")
        self._mark = mark


class HttpStore:
    """Reading, writing and describing by addresses that the store itself signs; `prefix` is the store's root."""

    def __init__(self, http: StoreHttp, prefix: str) -> None:
        self._http = http
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    # ---- what each kind says --------------------------------------------------------------------
    def sign_get(self, key: str, *, filename: str = "", download: bool = True) -> SignedUrl:
        """See ObjectStore."""
        raise NotImplementedError

    def sign_put(self, key: str, size: int) -> SignedUrl:
        """See ObjectStore."""
        raise NotImplementedError

    def _head(self, key: str) -> Answer:
        raise NotImplementedError

    def _read(self, key: str, headers: dict[str, str]) -> tuple[Answer, BinaryIO]:
        signed = self.sign_get(key)
        return self._http.read(signed.url, {**signed.headers, **headers})

    def _write(self, key: str, source: BinaryIO, size: int) -> Answer:
        signed = self.sign_put(key, size)
        return self._http.send(signed.url, signed.headers, source, size)

    def _error(self, answer: Answer, what: str) -> StoreError:
        return refused(answer, what)

    # ---- what all do ----------------------------------------------------------------------------
    def put_file(self, key: str, source: Path) -> ObjectInfo:
        """See ObjectStore."""
        size = source.stat().st_size
        with source.open("rb") as reader:
            answer = self._write(key, reader, size)
        if answer.status in (200, 201, 204):
            return self.stat(key)
        error = self._error(answer, key)
        there = self._there(key) if error.code in ("exists", "denied") else None
        if there is None:
            raise error
        if not self._is_same(there, source):
            raise StoreError("exists", f"{key} exists with other bytes") from error
        return there

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """See ObjectStore."""
        check_key(key)
        ranged = {} if start == 0 and length is None else {"Range": _range(start, length)}
        answer, reader = self._read(key, ranged)
        if answer.status in (200, 206):
            return reader
        with reader:
            raise self._error(Answer(answer.status, answer.headers, reader.read(4096)), key)

    def stat(self, key: str) -> ObjectInfo:
        """See ObjectStore."""
        check_key(key)
        return self._info(key, self._found(key))

    def _found(self, key: str) -> Answer:
        """The object's headers. Raises StoreError `not_found`."""
        answer = self._head(key)
        if answer.status != 200:
            raise self._error(answer, key)
        return answer

    def _info(self, key: str, answer: Answer) -> ObjectInfo:
        headers = answer.headers
        modified = parsedate_to_datetime(headers["Last-Modified"])
        return ObjectInfo(key, int(headers.get("Content-Length", "0")), headers.get("ETag", "").strip('"'), modified)

    def _full(self, key: str) -> str:
        """The key below the store's root. Raises StoreError `bad_name`."""
        return self._prefix + check_key(key)

    def _own(self, name: str) -> str:
        """A listed name as a key; empty for what is none of ours."""
        key = name.removeprefix(self._prefix)
        return "" if not name.startswith(self._prefix) or key.startswith(PARTS) or key.endswith("/") else key

    def _there(self, key: str) -> ObjectInfo | None:
        try:
            return self.stat(key)
        except StoreError:
            return None

    def _is_same(self, there: ObjectInfo, source: Path) -> bool:
        if there.size != source.stat().st_size:
            return False
        with source.open("rb") as mine, self.open(there.key) as theirs:
            return _digest(mine) == _digest(theirs)


def moment(text: str) -> datetime:
    """A moment in ISO 8601 of a listing."""
    return datetime.fromisoformat(text)


def disposition(filename: str) -> str:
    """What makes a browser save a file under this name."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in " ._-()") else "_" for char in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _range(start: int, length: int | None) -> str:
    return f"bytes={start}-" if length is None else f"bytes={start}-{start + length - 1}"


def _digest(reader: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while chunk := reader.read(CHUNK):
        digest.update(chunk)
    return digest.digest()
