"""OpenStack Swift: TempURLs for workers and browsers, tokens for our own calls.

Large objects are static ones: their segments come by TempURL, the manifest is put by token, for Swift takes none by
TempURL. A TempURL covers method, name and time only; that nothing is overwritten stands in a header.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from urllib.parse import quote, unquote, urlencode, urlsplit

from controlplane.clock import Clock
from controlplane.data.stores.base import GIB, MIB, ObjectInfo, PartRules, SignedUrl, StoreError
from controlplane.data.stores.http import Answer, StoreHttp, refused
from controlplane.data.stores.keys import check_key
from controlplane.data.stores.partnames import check_parts, new_upload, part_key, part_prefix
from controlplane.data.stores.sigv4 import quoted
from controlplane.data.stores.swift_identity import SwiftIdentity
from controlplane.data.stores.whole import HttpStore, Pages

MARK = "X-Object-Meta-Remora-Upload"
ONCE = {"If-None-Match": "*"}
PAGE = 1000


@dataclass(frozen=True)
class SwiftContainer:
    """Where it is. `project` stands in addresses for people; `temp_url_key` is the container's or account's own."""

    project: str
    name: str
    temp_url_key: str
    prefix: str = ""


class SwiftStore(HttpStore):
    """Objects in a container."""

    parts = PartRules(above=64 * MIB, usual=64 * MIB, largest=5 * GIB, most=1000)
    # The address of the account comes with a token, which is asked for.
    signs_alone = False

    def __init__(
        self,
        container: SwiftContainer,
        identity: SwiftIdentity,
        http: StoreHttp,
        ttl: int,
        clock: Clock,
        page: int = PAGE,
    ) -> None:
        super().__init__(http, container.prefix)
        self._container = container
        self._identity = identity
        self._ttl = ttl
        self._clock = clock
        self._page = page

    def sign_get(self, key: str, *, filename: str = "", download: bool = True) -> SignedUrl:
        """See ObjectStore."""
        return self._signed("GET", self._full(key), {"filename": filename} if filename and download else {})

    def sign_put(self, key: str, size: int) -> SignedUrl:
        """See ObjectStore."""
        return self._signed("PUT", self._full(key), {}, ONCE)

    def begin(self, key: str) -> str:
        """See ObjectStore."""
        check_key(key)
        return new_upload()

    def sign_part(self, key: str, upload: str, number: int, size: int) -> SignedUrl:
        """See ObjectStore."""
        check_key(key)
        return self._signed("PUT", self._prefix + part_key(key, upload, number), {})

    def complete(self, key: str, upload: str, size: int, marks: Sequence[str]) -> ObjectInfo:
        """See ObjectStore."""
        found = list(self._listed(part_prefix(key, upload), deep=True))
        check_parts(found, len(marks), size)
        segments = [
            {"path": f"/{self._container.name}/{self._prefix}{part.key}", "size_bytes": part.size, "etag": part.etag}
            for part in found
        ]
        headers = {**ONCE, MARK: upload, "Content-Type": "application/octet-stream"}
        answer = self._call(
            "PUT", self._full(key), {"multipart-manifest": "put"}, headers, json.dumps(segments).encode()
        )
        if answer.status == 412 and self._head(key).headers.get(MARK) == upload:
            return self.stat(key)
        if answer.status != 201:
            raise self._error(answer, key)
        return self.stat(key)

    def abort(self, key: str, upload: str) -> None:
        """See ObjectStore. Segments of an object that was made stay: it is nothing but these."""
        answer = self._head(key)
        if answer.status == 200 and answer.headers.get(MARK) == upload:
            return
        for part in list(self._listed(part_prefix(key, upload), deep=True)):
            self._call("DELETE", self._prefix + part.key)

    def uri(self, key: str) -> str:
        """See ObjectStore."""
        return f"swift://{self._container.project}/{self._container.name}/{self._prefix}{key}"

    def delete(self, key: str) -> None:
        """See ObjectStore. Segments go with their object."""
        answer = self._head(key)
        if answer.status == 404:
            return
        is_large = answer.headers.get("X-Static-Large-Object", "").lower() == "true"
        answer = self._call("DELETE", self._full(key), {"multipart-manifest": "delete"} if is_large else {})
        if answer.status not in (200, 204, 404):
            raise self._error(answer, key)

    def list(self, prefix: str, *, deep: bool = True) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        return (info for info in self._listed(prefix, deep=deep) if self._own(self._prefix + info.key))

    def has_key(self) -> bool:
        """Whether container or account know the key that TempURLs are signed by."""
        container = self._call("HEAD", "")
        account = self._http.ask("HEAD", self._identity.session().storage_url, self._token())
        if container.status not in (200, 204):
            raise self._error(container, "the container")
        kinds = (container, "X-Container-Meta-Temp-Url-Key"), (account, "X-Account-Meta-Temp-Url-Key")
        known = {answer.headers.get(f"{name}{more}") for answer, name in kinds for more in ("", "-2")}
        return self._container.temp_url_key in known

    def _listed(self, prefix: str, *, deep: bool) -> Iterator[ObjectInfo]:
        query = {"format": "json", "prefix": self._prefix + prefix, "limit": str(self._page)}
        if not deep:
            query["delimiter"] = "/"
        pages = Pages()
        while True:
            answer = self._call("GET", "", query)
            if answer.status not in (200, 204):
                raise self._error(answer, "the list of its objects")
            found = json.loads(answer.body) if answer.body else []
            for entry in found:
                if "name" in entry:
                    modified = datetime.fromisoformat(entry["last_modified"]).replace(tzinfo=UTC)
                    key = entry["name"].removeprefix(self._prefix)
                    yield ObjectInfo(key, int(entry["bytes"]), entry["hash"], modified)
            if not found:
                return
            query["marker"] = found[-1].get("name") or found[-1]["subdir"]
            pages.check(query["marker"], empty=not any("name" in entry for entry in found))

    def _head(self, key: str) -> Answer:
        return self._call("HEAD", self._full(key))

    def _read(self, key: str, headers: dict[str, str]) -> tuple[Answer, BinaryIO]:
        return self._http.read(self._url(self._full(key)), {**self._token(), **headers})

    def _write(self, key: str, source: BinaryIO, size: int) -> Answer:
        headers = {**self._token(), **ONCE, "Content-Type": "application/octet-stream"}
        return self._http.send(self._url(self._full(key)), headers, source, size)

    def _call(
        self,
        method: str,
        name: str,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """One call by token; a token that was taken back is renewed once."""
        url = f"{self._url(name)}{f'?{urlencode(query, quote_via=quote)}' if query else ''}"
        answer = self._http.ask(method, url, {**self._token(), **(headers or {})}, body)
        if answer.status != 401:
            return answer
        token = {"X-Auth-Token": self._identity.session(fresh=True).token}
        return self._http.ask(method, url, {**token, **(headers or {})}, body)

    def _token(self) -> dict[str, str]:
        return {"X-Auth-Token": self._identity.session().token}

    def _url(self, name: str) -> str:
        base = f"{self._identity.session().storage_url}/{quote(self._container.name, safe='')}"
        return f"{base}/{quoted(name)}" if name else base

    def _signed(
        self, method: str, name: str, query: dict[str, str], headers: dict[str, str] | None = None
    ) -> SignedUrl:
        url = self._url(name)
        expires = self._clock() + timedelta(seconds=self._ttl)
        until = int(expires.timestamp())
        text = f"{method}\n{until}\n{unquote(urlsplit(url).path)}"
        signature = hmac.new(self._container.temp_url_key.encode(), text.encode(), hashlib.sha256).hexdigest()
        fields = {"temp_url_sig": signature, "temp_url_expires": str(until), **query}
        return SignedUrl(method, f"{url}?{urlencode(fields, quote_via=quote)}", expires, dict(headers or {}))

    def _error(self, answer: Answer, what: str) -> StoreError:
        return refused(answer, what)
