"""Google Cloud Storage: V4 signatures for workers and browsers, the JSON interface by token for our own calls.

Parts are objects of their own that Google composes: its uploads in parts by signed address know no precondition, while
composing does, and an object is never overwritten.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

from controlplane.clock import Clock
from controlplane.data.stores.base import GIB, MIB, ObjectInfo, PartRules, SignedUrl, StoreError
from controlplane.data.stores.google_identity import GoogleIdentity, KeyFile
from controlplane.data.stores.http import Answer, StoreHttp, refused
from controlplane.data.stores.keys import check_key
from controlplane.data.stores.partnames import check_parts, new_upload, part_key, part_prefix
from controlplane.data.stores.sigv4 import GOOGLE, Request, prepare, quoted
from controlplane.data.stores.whole import HttpStore, Pages, disposition, moment

MARK = "remora-upload"
SOURCES = 32
PAGE = 1000
PLACE = ("auto", "storage")


@dataclass(frozen=True)
class GcsBucket:
    """Where it is; `kms_key` is `projects/…/cryptoKeys/…`."""

    name: str
    prefix: str = ""
    kms_key: str = ""
    endpoint: str = "https://storage.googleapis.com"


class GcsStore(HttpStore):
    """Objects in a bucket."""

    parts = PartRules(above=64 * MIB, usual=64 * MIB, largest=5 * GIB, most=SOURCES * SOURCES)

    def __init__(
        self, bucket: GcsBucket, identity: GoogleIdentity, http: StoreHttp, ttl: int, clock: Clock, page: int = PAGE
    ) -> None:
        super().__init__(http, bucket.prefix)
        self._bucket = bucket
        self._identity = identity
        self._ttl = ttl
        self._clock = clock
        self._page = page

    @property
    def signs_alone(self) -> bool:
        """See ObjectStore."""
        return isinstance(self._identity, KeyFile)

    def sign_get(self, key: str, *, filename: str = "", download: bool = True) -> SignedUrl:
        """See ObjectStore."""
        query = {"response-content-disposition": disposition(filename)} if filename and download else {}
        return self._signed("GET", self._full(key), query, {})

    def sign_put(self, key: str, size: int) -> SignedUrl:
        """See ObjectStore."""
        return self._sign_write(self._full(key), size)

    def begin(self, key: str) -> str:
        """See ObjectStore."""
        check_key(key)
        return new_upload()

    def sign_part(self, key: str, upload: str, number: int, size: int) -> SignedUrl:
        """See ObjectStore. A part that came twice is the same part: writing it again is no failure."""
        check_key(key)
        name = self._prefix + part_key(key, upload, number)
        return self._signed("PUT", name, {}, {"x-goog-content-length-range": f"{size},{size}"})

    def complete(self, key: str, upload: str, size: int, marks: Sequence[str]) -> ObjectInfo:
        """See ObjectStore."""
        try:
            made = self._object(key)
        except StoreError as error:
            if error.code != "not_found":
                raise
        else:
            return self._made_before(key, made, upload)
        found = self._parts_of(key, upload)
        check_parts(found, len(marks), size)
        names = [self._prefix + info.key for info in found]
        groups = [names[start : start + SOURCES] for start in range(0, len(names), SOURCES)]
        between = f"{self._prefix}{part_prefix(key, upload)}between-"
        if len(groups) > 1:
            for number, group in enumerate(groups):
                self._compose(f"{between}{number:02d}", group, {})
            names = [f"{between}{number:02d}" for number in range(len(groups))]
        answer = self._compose(self._full(key), names, {"ifGenerationMatch": "0"}, upload)
        if answer.status == 412:
            return self._made_before(key, self._object(key), upload)
        self.abort(key, upload)
        return self.stat(key)

    def abort(self, key: str, upload: str) -> None:
        """See ObjectStore."""
        for info in list(self._listed(self._prefix + part_prefix(key, upload), deep=True)):
            self._remove(self._prefix + info.key)

    def uri(self, key: str) -> str:
        """See ObjectStore."""
        return f"gs://{self._bucket.name}/{self._prefix}{key}"

    def stat(self, key: str) -> ObjectInfo:
        """See ObjectStore."""
        return _info(key, self._object(key))

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        self._remove(self._full(key))

    def list(self, prefix: str, *, deep: bool = True) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        for info in self._listed(self._prefix + prefix, deep=deep):
            if self._own(self._prefix + info.key):
                yield info

    def _parts_of(self, key: str, upload: str) -> list[ObjectInfo]:
        found = self._listed(self._prefix + part_prefix(key, upload), deep=True)
        return [info for info in found if "between-" not in info.key]

    def _made_before(self, key: str, made: dict[str, Any], upload: str) -> ObjectInfo:
        """The object, if this very upload became it."""
        if made.get("metadata", {}).get(MARK) != upload:
            raise StoreError("exists", f"{key} exists with other bytes")
        self.abort(key, upload)
        return _info(key, made)

    def _compose(self, name: str, sources: list[str], query: dict[str, str], upload: str = "") -> Answer:
        if self._bucket.kms_key:
            query = {**query, "kmsKeyName": self._bucket.kms_key}
        body = {
            "sourceObjects": [{"name": source} for source in sources],
            "destination": {"contentType": "application/octet-stream", "metadata": {MARK: upload} if upload else {}},
        }
        path = f"{self._path(name)}/compose"
        return self._call("POST", path, query, json.dumps(body).encode(), allowed=(200, 412) if upload else (200,))

    def _listed(self, prefix: str, *, deep: bool) -> Iterator[ObjectInfo]:
        query = {"prefix": prefix, "maxResults": str(self._page)}
        if not deep:
            query["delimiter"] = "/"
        pages = Pages()
        while True:
            found = json.loads(self._call("GET", f"/b/{quote(self._bucket.name, safe='')}/o", query).body)
            for item in found.get("items", []):
                yield _info(item["name"].removeprefix(self._prefix), item)
            if not found.get("nextPageToken"):
                return
            pages.check(found["nextPageToken"], empty=not found.get("items"))
            query["pageToken"] = found["nextPageToken"]

    def _object(self, key: str) -> dict[str, Any]:
        return json.loads(self._call("GET", self._path(self._full(key))).body)

    def _remove(self, name: str) -> None:
        self._call("DELETE", self._path(name), allowed=(200, 204, 404))

    def _read(self, key: str, headers: dict[str, str]) -> tuple[Answer, BinaryIO]:
        url = f"{self._bucket.endpoint}/storage/v1{self._path(self._full(key))}?alt=media"
        return self._http.read(url, {**self._authorization(), **headers})

    def _write(self, key: str, source: BinaryIO, size: int) -> Answer:
        query = {"uploadType": "multipart", "ifGenerationMatch": "0"}
        if self._bucket.kms_key:
            query["kmsKeyName"] = self._bucket.kms_key
        url = f"{self._bucket.endpoint}/upload/storage/v1/b/{quote(self._bucket.name, safe='')}/o?{urlencode(query)}"
        boundary = secrets.token_hex(16)
        described = json.dumps({"name": self._full(key)})
        kinds = "application/json", "application/octet-stream"
        before, between = (f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n" for kind in kinds)
        frame = f"{before}{described}\r\n{between}".encode(), f"\r\n--{boundary}--\r\n".encode()
        headers = {**self._authorization(), "Content-Type": f"multipart/related; boundary={boundary}"}
        return self._http.send(url, headers, source, size, "POST", frame)

    def _path(self, name: str) -> str:
        return f"/b/{quote(self._bucket.name, safe='')}/o/{quote(name, safe='')}"

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: bytes = b"",
        allowed: tuple[int, ...] = (200,),
    ) -> Answer:
        url = f"{self._bucket.endpoint}/storage/v1{path}{f'?{urlencode(query)}' if query else ''}"
        headers = {**self._authorization(), **({"Content-Type": "application/json"} if body else {})}
        answer = self._http.ask(method, url, headers, body)
        if answer.status in allowed:
            return answer
        raise self._error(answer, path.rpartition("/")[2])

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._identity.token()}"}

    def _sign_write(self, name: str, size: int) -> SignedUrl:
        headers = {"x-goog-if-generation-match": "0", "x-goog-content-length-range": f"{size},{size}"}
        if self._bucket.kms_key:
            headers["x-goog-encryption-kms-key-name"] = self._bucket.kms_key
        return self._signed("PUT", name, {}, headers)

    def _signed(self, method: str, name: str, query: dict[str, str], headers: dict[str, str]) -> SignedUrl:
        now = self._clock()
        request = Request(method, self._bucket.endpoint, f"/{self._bucket.name}/{quoted(name)}", query, headers)
        unsigned = prepare(GOOGLE, request, self._identity.email, PLACE, now, self._ttl)
        url = unsigned.address + self._identity.sign(unsigned.text)
        return SignedUrl(method, url, now + timedelta(seconds=self._ttl), headers)

    def _error(self, answer: Answer, what: str) -> StoreError:
        try:
            detail = str(json.loads(answer.body)["error"]["message"])[:300]
        except (ValueError, KeyError, TypeError):
            detail = ""
        return refused(answer, what, detail)


def _info(key: str, found: dict[str, Any]) -> ObjectInfo:
    return ObjectInfo(key, int(found.get("size", 0)), str(found.get("generation", "")), moment(found["updated"]))
