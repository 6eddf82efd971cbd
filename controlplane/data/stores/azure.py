"""Azure Blob storage: block blobs, every address with a shared access signature, those for our own calls too."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode

from controlplane.clock import Clock
from controlplane.data.stores import xml
from controlplane.data.stores.azure_identity import AccountKey, Grant, Signer
from controlplane.data.stores.base import MIB, ObjectInfo, PartRules, SignedUrl, StoreError
from controlplane.data.stores.http import Answer, StoreHttp, refused
from controlplane.data.stores.partnames import check_upload, new_upload
from controlplane.data.stores.sigv4 import quoted
from controlplane.data.stores.whole import HttpStore, Pages, disposition

OWN_CALL = 300
PAGE = 1000


@dataclass(frozen=True)
class Container:
    """Where it is; `endpoint` is the account's own address."""

    account: str
    name: str
    prefix: str = ""
    endpoint: str = ""

    @property
    def service(self) -> str:
        """The account's address."""
        return self.endpoint.rstrip("/") or f"https://{self.account}.blob.core.windows.net"


class AzureStore(HttpStore):
    """Objects in a container."""

    parts = PartRules(above=64 * MIB, usual=64 * MIB, largest=4000 * MIB, most=50_000)

    def __init__(
        self, container: Container, signer: Signer, http: StoreHttp, ttl: int, clock: Clock, page: int = PAGE
    ) -> None:
        super().__init__(http, container.prefix)
        self._container = container
        self._signer = signer
        self._ttl = ttl
        self._clock = clock
        self._page = page

    @property
    def signs_alone(self) -> bool:
        """See ObjectStore."""
        return isinstance(self._signer, AccountKey)

    def sign_get(self, key: str, *, filename: str = "", download: bool = True) -> SignedUrl:
        """See ObjectStore."""
        return self._signed("GET", key, "r", self._ttl, shown=disposition(filename) if filename and download else "")

    def sign_put(self, key: str, size: int) -> SignedUrl:
        """See ObjectStore.

        The right to create, and not to write: nothing that is there can be replaced by it. The right to read is for
        HEAD: a refused writer sees by it that the object is there.
        """
        signed = self._signed("PUT", key, "rc", self._ttl)
        headers = {"If-None-Match": "*", "x-ms-blob-type": "BlockBlob"}
        return SignedUrl("PUT", signed.url, signed.expires, headers)

    def begin(self, key: str) -> str:
        """See ObjectStore."""
        self._full(key)
        return new_upload()

    def sign_part(self, key: str, upload: str, number: int, size: int) -> SignedUrl:
        """See ObjectStore. Blocks need the right to write: until it ends, this address could write the whole blob."""
        query = {"comp": "block", "blockid": _block(upload, number)}
        return self._signed("PUT", key, "w", self._ttl, query)

    def complete(self, key: str, upload: str, size: int, marks: Sequence[str]) -> ObjectInfo:
        """See ObjectStore."""
        blocks = [_block(upload, number) for number in range(1, len(marks) + 1)]
        listed = "".join(f"<Uncommitted>{block}</Uncommitted>" for block in blocks)
        signed = self._signed("PUT", key, "w", OWN_CALL, {"comp": "blocklist"})
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        answer = self._http.ask("PUT", signed.url, {"If-None-Match": "*"}, body)
        if answer.status != 201:
            error = self._error(answer, key)
            if error.code == "exists" and self._blocks(key) == blocks:
                return self.stat(key)
            missing = b"InvalidBlockList" in answer.body
            raise StoreError("not_found", f"{key}: a part of it is missing") if missing else error
        info = self.stat(key)
        if info.size != size:
            self.delete(key)
            raise StoreError("bad_size", f"{size} bytes were announced, {info.size} came")
        return info

    def abort(self, key: str, upload: str) -> None:
        """See ObjectStore. Blocks that become no blob go by themselves, after a week."""
        check_upload(upload)

    def uri(self, key: str) -> str:
        """See ObjectStore."""
        return f"azure://{self._container.account}/{self._container.name}/{self._prefix}{key}"

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        answer = self._http.ask("DELETE", self._signed("DELETE", key, "d", OWN_CALL).url)
        if answer.status not in (202, 404):
            raise self._error(answer, key)

    def list(self, prefix: str, *, deep: bool = True) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        query = {"restype": "container", "comp": "list", "maxresults": str(self._page)}
        query["prefix"] = self._prefix + prefix
        if not deep:
            query["delimiter"] = "/"
        pages = Pages()
        while True:
            answer = self._http.ask("GET", self._address("l", "c", "", OWN_CALL, query))
            if answer.status != 200:
                raise self._error(answer, "the list of its objects")
            root = xml.parse(answer.body)
            for blobs in root.all("Blobs"):
                for blob in blobs.all("Blob"):
                    if key := self._own(blob.text("Name")):
                        yield _info(key, next(blob.all("Properties")))
            query["marker"] = root.text("NextMarker")
            if not query["marker"]:
                return
            pages.check(query["marker"], empty=not any(any(blobs.all("Blob")) for blobs in root.all("Blobs")))

    def _blocks(self, key: str) -> list[str]:
        """Names of the blocks that the blob is made of."""
        signed = self._signed("GET", key, "r", OWN_CALL, {"comp": "blocklist", "blocklisttype": "committed"})
        answer = self._http.ask("GET", signed.url)
        if answer.status != 200:
            raise self._error(answer, key)
        lists = xml.parse(answer.body).all("CommittedBlocks")
        return [block.text("Name") for listed in lists for block in listed.all("Block")]

    def _head(self, key: str) -> Answer:
        return self._http.ask("HEAD", self._signed("HEAD", key, "r", OWN_CALL).url)

    def _signed(
        self,
        method: str,
        key: str,
        permissions: str,
        seconds: int,
        query: dict[str, str] | None = None,
        shown: str = "",
    ) -> SignedUrl:
        url = self._address(permissions, "b", self._full(key), seconds, query or {}, shown)
        return SignedUrl(method, url, self._clock() + timedelta(seconds=seconds))

    def _address(
        self, permissions: str, resource: str, name: str, seconds: int, query: dict[str, str], shown: str = ""
    ) -> str:
        place = f"/{self._container.name}{f'/{name}' if name else ''}"
        service = self._container.service
        protocol = "https" if service.startswith("https") else "https,http"
        path = f"/blob/{self._container.account}{place}"
        expires = self._clock() + timedelta(seconds=seconds)
        fields = self._signer.sign(Grant(permissions, expires, path, resource, protocol, shown))
        return f"{service}{quoted(place)}?{urlencode({**query, **fields}, quote_via=quote)}"

    def _error(self, answer: Answer, what: str) -> StoreError:
        # An answer to HEAD has no body; what is wrong stands in a header.
        detail = xml.error_text(answer.body).partition(" RequestId")[0] or answer.headers.get("x-ms-error-code", "")
        if detail.startswith("UnauthorizedBlobOverwrite"):
            return StoreError("exists", f"{what} is there already")
        return refused(answer, what, detail)


def _block(upload: str, number: int) -> str:
    return base64.b64encode(f"{check_upload(upload)}-{number:05d}".encode()).decode()


def _info(key: str, properties: xml.Node) -> ObjectInfo:
    modified = parsedate_to_datetime(properties.text("Last-Modified"))
    return ObjectInfo(key, int(properties.text("Content-Length")), properties.text("Etag").strip('"'), modified)
