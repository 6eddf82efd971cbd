"""S3 and what speaks like it: every address is presigned, those for the control plane's own calls too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from controlplane.clock import Clock
from controlplane.data.stores import xml
from controlplane.data.stores.aws_identity import AwsIdentity, GivenKey
from controlplane.data.stores.base import GIB, MIB, ObjectInfo, PartRules, SignedUrl, StoreError
from controlplane.data.stores.http import Answer, StoreHttp, refused
from controlplane.data.stores.partnames import check_upload, new_upload
from controlplane.data.stores.sigv4 import Request, presign_aws, quoted
from controlplane.data.stores.whole import HttpStore, Pages, disposition, moment

MARK = "x-amz-meta-remora-upload"
OWN_CALL = 300
PAGE = 1000


@dataclass(frozen=True)
class Bucket:
    """Where it is. `endpoint` is empty for AWS; `kms_key` encrypts what is written."""

    name: str
    region: str
    endpoint: str = ""
    path_style: bool = True
    prefix: str = ""
    kms_key: str = ""

    @property
    def base(self) -> str:
        """Scheme and host."""
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        base = self.endpoint.rstrip("/") or f"https://s3.{self.region}.{suffix}"
        scheme, _, host = base.partition("://")
        return base if self.in_path else f"{scheme}://{self.name}.{host}"

    @property
    def in_path(self) -> bool:
        """Whether the bucket's name stands in the path: a name with dots fits no certificate."""
        return self.path_style or "." in self.name

    @property
    def root(self) -> str:
        """What stands before the key in the path."""
        return f"/{self.name}" if self.in_path else ""


class S3Store(HttpStore):
    """Objects in a bucket."""

    parts = PartRules(above=64 * MIB, usual=64 * MIB, largest=5 * GIB, most=10_000)

    def __init__(
        self, bucket: Bucket, identity: AwsIdentity, http: StoreHttp, ttl: int, clock: Clock, page: int = PAGE
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
        return isinstance(self._identity, GivenKey)

    def sign_get(self, key: str, *, filename: str = "", download: bool = True) -> SignedUrl:
        """See ObjectStore."""
        query = {"response-content-disposition": disposition(filename)} if filename and download else {}
        return self._signed("GET", key, query)

    def sign_put(self, key: str, size: int) -> SignedUrl:
        """See ObjectStore. The size is signed too, but not told as a header to send: every client sends it itself."""
        headers = {"If-None-Match": "*", **self._encryption()}
        signed = self._signed("PUT", key, {}, {**headers, "Content-Length": str(size)})
        return SignedUrl("PUT", signed.url, signed.expires, headers)

    def begin(self, key: str) -> str:
        """See ObjectStore."""
        token = new_upload()
        answer = self._call("POST", key, {"uploads": ""}, {MARK: token, **self._encryption()})
        upload = xml.parse(answer.body).text("UploadId")
        if not upload:
            raise StoreError("unavailable", "the store gave no name for the upload")
        return f"{token}.{upload}"

    def sign_part(self, key: str, upload: str, number: int, size: int) -> SignedUrl:
        """See ObjectStore."""
        query = {"partNumber": str(number), "uploadId": _parted(upload)[1]}
        signed = self._signed("PUT", key, query, {"Content-Length": str(size)})
        return SignedUrl("PUT", signed.url, signed.expires)

    def complete(self, key: str, upload: str, size: int, marks: Sequence[str]) -> ObjectInfo:
        """See ObjectStore."""
        token, name = _parted(upload)
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{xml.escaped(mark)}</ETag></Part>"
            for number, mark in enumerate(marks, 1)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        try:
            answer = self._call("POST", key, {"uploadId": name}, {"If-None-Match": "*"}, body)
            # The answer begins before the work ends, so its status says nothing of a failure.
            if b"<Error>" in answer.body:
                raise StoreError("unavailable", f"{key}: {xml.error_text(answer.body)}")
        except StoreError as error:
            if error.code not in ("not_found", "exists") or not self._is_of(key, token):
                raise
        info = self.stat(key)
        if info.size != size:
            self.delete(key)
            raise StoreError("bad_size", f"{size} bytes were announced, {info.size} came")
        return info

    def abort(self, key: str, upload: str) -> None:
        """See ObjectStore."""
        self._call("DELETE", key, {"uploadId": _parted(upload)[1]}, missing_is_well=True)

    def uri(self, key: str) -> str:
        """See ObjectStore."""
        return f"s3://{self._bucket.name}/{self._prefix}{key}"

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        self._call("DELETE", key, missing_is_well=True)

    def list(self, prefix: str, *, deep: bool = True) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        query = {"list-type": "2", "prefix": self._prefix + prefix, "max-keys": str(self._page)}
        if not deep:
            query["delimiter"] = "/"
        pages = Pages()
        while True:
            signed = self._address("GET", "", query, {}, OWN_CALL)
            answer = self._http.ask("GET", signed.url)
            if answer.status != 200:
                raise self._error(answer, "the list of its objects")
            root = xml.parse(answer.body)
            for entry in root.all("Contents"):
                if key := self._own(entry.text("Key")):
                    etag = entry.text("ETag").strip('"')
                    yield ObjectInfo(key, int(entry.text("Size")), etag, moment(entry.text("LastModified")))
            token = root.text("NextContinuationToken")
            if not token:
                return
            pages.check(token, empty=not any(root.all("Contents")))
            query["continuation-token"] = token

    def _encryption(self) -> dict[str, str]:
        if not self._bucket.kms_key:
            return {}
        return {
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": self._bucket.kms_key,
        }

    def _head(self, key: str) -> Answer:
        signed = self._signed("HEAD", key)
        return self._http.ask("HEAD", signed.url)

    def _is_of(self, key: str, token: str) -> bool:
        answer = self._head(key)
        return answer.status == 200 and answer.headers.get(MARK) == token

    def _call(
        self,
        method: str,
        key: str,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        missing_is_well: bool = False,
    ) -> Answer:
        signed = self._address(method, f"/{quoted(self._full(key))}", query or {}, headers or {}, OWN_CALL)
        answer = self._http.ask(method, signed.url, signed.headers, body)
        if answer.status in (200, 204) or (missing_is_well and answer.status == 404):
            return answer
        raise self._error(answer, key)

    def _signed(
        self, method: str, key: str, query: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> SignedUrl:
        return self._address(method, f"/{quoted(self._full(key))}", query or {}, headers or {}, self._ttl)

    def _address(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], seconds: int
    ) -> SignedUrl:
        now, key = self._clock(), self._identity.key()
        request = Request(method, self._bucket.base, self._bucket.root + path, query, headers)
        place = (self._bucket.region, "s3")
        url = presign_aws(request, key.key_id, key.secret, place, now, seconds, key.token)
        return SignedUrl(method, url, now + timedelta(seconds=seconds), headers)

    def _error(self, answer: Answer, what: str) -> StoreError:
        detail = xml.error_text(answer.body)
        error = refused(answer, what, detail)
        # Another writer is at the same object: neither has won yet.
        return StoreError("unavailable", str(error)) if detail.startswith("ConditionalRequestConflict") else error


def _parted(upload: str) -> tuple[str, str]:
    token, _, name = upload.partition(".")
    check_upload(token)
    if not name:
        raise StoreError("bad_name", "there is no upload of that name")
    return token, name
