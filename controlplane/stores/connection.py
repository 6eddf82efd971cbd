"""Tries a store step by step, as workers and browsers will use it, and says what is wrong and what to do about it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from controlplane.data.stores.base import ObjectStore, StoreError
from controlplane.data.stores.deadline import within
from controlplane.data.stores.http import StoreHttp
from controlplane.data.stores.swift import SwiftStore
from controlplane.db.ids import uuid7

TEXT = b"Remora tries this store; this object may be deleted.\n"
CLEAN_UP_SECONDS = 5.0
REFUSED = frozenset({403, 409, 412})
RIGHTS = {
    "s3": "s3:PutObject, s3:GetObject, s3:ListBucket, s3:DeleteObject and s3:AbortMultipartUpload",
    "gcs": "the role Storage Object User on the bucket (for a machine's account also Service Account Token Creator)",
    "azure": "the role Storage Blob Data Contributor on the container, and Storage Blob Delegator on the account",
    "swift": "the role of a member of the project",
}


@dataclass(frozen=True)
class Step:
    """One thing that was tried. `remedy` is empty when it is well; one that is not `needed` spoils nothing."""

    name: str
    ok: bool
    sentence: str
    remedy: str = ""
    needed: bool = True


class ConnectionTest:
    """Tries one store; `origin` is the address that browsers show, `seconds` the time of the whole."""

    def __init__(self, kind: str, store: ObjectStore, http: StoreHttp, origin: str, seconds: float) -> None:
        self._kind = kind
        self._store = store
        self._http = http
        self._origin = origin
        self._seconds = seconds
        self._key = f"remora-test/{uuid7()}"

    def run(self) -> list[Step]:
        """The steps that were tried; it ends with the first needed one that fails."""
        found: list[Step] = []
        self._until = time.monotonic() + self._seconds
        for step in self._steps():
            found.append(step)
            if step.needed and not step.ok:
                break
        return found

    def _steps(self) -> Iterator[Step]:
        if isinstance(self._store, SwiftStore):
            yield self._tried("TempURL key", "The container knows the key for TempURLs.", self._has_key)
        yield self._tried("write", "An object could be written.", self._write)
        try:
            yield self._tried("read", "It could be read.", self._read)
            yield self._tried("signed address", "A signed address reads it.", self._signed)
            yield self._tried("no overwriting", "A second writer was refused.", self._second)
            yield self._tried("list", "It could be listed.", self._list)
            yield self._cors()
        finally:
            self._until = max(self._until, time.monotonic() + CLEAN_UP_SECONDS)
            removed = self._tried("delete", "It could be deleted.", lambda: self._store.delete(self._key))
        yield removed

    def _tried(self, name: str, sentence: str, work: Callable[[], object]) -> Step:
        try:
            with within(self._until - time.monotonic()):
                work()
        except StoreError as error:
            return Step(name, False, f"{str(error)[:400].replace(self._key, 'the test object')}.", self._remedy(error))
        return Step(name, True, sentence)

    def _write(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(TEXT)
            file.flush()
            self._store.put_file(self._key, Path(file.name))

    def _read(self) -> None:
        with self._store.open(self._key) as reader:
            self._check(reader.read(len(TEXT) + 1))

    def _signed(self) -> None:
        signed = self._store.sign_get(self._key)
        answer = self._http.ask(signed.method, signed.url, signed.headers)
        if answer.status != 200:
            raise StoreError("denied", f"the store answered {answer.status} to a signed address")
        self._check(answer.body)

    def _second(self) -> None:
        signed = self._store.sign_put(self._key, len(TEXT))
        answer = self._http.ask(signed.method, signed.url, signed.headers, TEXT[::-1])
        if answer.status not in REFUSED:
            raise StoreError("overwritten", f"the store answered {answer.status} to a second writer")

    def _list(self) -> None:
        if [info.key for info in self._store.list(self._key)] != [self._key]:
            raise StoreError("not_found", "the list does not have what was written")

    def _has_key(self) -> None:
        if isinstance(self._store, SwiftStore) and not self._store.has_key():
            raise StoreError("temp_url_key", "neither the container nor the account has this key for TempURLs")

    def _cors(self) -> Step:
        """Browsers ask before they send; workers and downloads don't need it."""
        headers = {"Origin": self._origin, "Access-Control-Request-Method": "PUT"}
        try:
            with within(self._until - time.monotonic()):
                answer = self._http.ask("OPTIONS", self._store.sign_put(f"{self._key}-2", 1).url, headers)
        except StoreError as error:
            return Step("CORS", False, f"{error}.", needed=False)
        if answer.headers.get("Access-Control-Allow-Origin") in ("*", self._origin):
            return Step("CORS", True, "Browsers may send files to it.", needed=False)
        return Step(
            "CORS",
            False,
            "Browsers may not send files to it; executions and downloads work.",
            f"Let the bucket's CORS rules allow GET, HEAD and PUT from {self._origin} and expose ETag.",
            needed=False,
        )

    @staticmethod
    def _check(body: bytes) -> None:
        if body != TEXT:
            raise StoreError("unavailable", "other bytes came back than were written")

    def _remedy(self, error: StoreError) -> str:
        text = str(error)
        if error.code == "overwritten":
            return "This store can't keep what is written from being replaced; use one that knows If-None-Match."
        if error.code == "temp_url_key":
            return 'Set it: swift post -m "Temp-URL-Key:KEY" CONTAINER, with the key that is set here.'
        if "REMORA_ALLOWED_NETWORKS" in text:
            return "Whoever runs this server opens that network by REMORA_ALLOWED_NETWORKS."
        for sign, remedy in SIGNS:
            if sign in text:
                return remedy
        if error.code == "denied":
            return f"Check key and secret; they need {RIGHTS[self._kind]}."
        if error.code == "not_found":
            return "Check the name of the bucket or container, and its region."
        return "Check the address, and that this server can reach it."


SIGNS = (
    ("InvalidAccessKeyId", "There is no such access key at this store; check it for typing errors."),
    ("XAdminUserNotFound", "There is no such access key at this store; check it for typing errors."),
    ("SignatureDoesNotMatch", "The secret is not that of the access key."),
    ("AuthenticationFailed", "The account key or the application's secret is not the right one."),
    ("RequestTimeTooSkewed", "This machine's clock is wrong; let it follow a time server."),
    ("PermanentRedirect", "The bucket is in another region; name that one."),
    ("AuthorizationHeaderMalformed", "The bucket is in another region; name that one."),
    ("NoSuchBucket", "Make the bucket, or correct its name."),
    ("ContainerNotFound", "Make the container, or correct its name."),
    ("kms", "The key or role needs kms:GenerateDataKey and kms:Decrypt on the KMS key."),
)
