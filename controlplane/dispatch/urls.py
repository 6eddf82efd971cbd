"""Signed addresses for workers: only for what the attempt lists, and for names below its own prefix."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.commits.models import Commit
from controlplane.data.models import Datum
from controlplane.data.stores.base import ObjectStore, StoreError
from controlplane.data.stores.keys import check_key
from controlplane.data.stores.registry import StoreRegistry
from controlplane.dispatch.logins import LoginDesk
from controlplane.environments.models import Store, Worker
from controlplane.executions.models import Attempt, Execution
from controlplane.executions.transitions import log_key, output_key
from controlplane.projects.models import Project
from controlplane.stores.access import output_store
from controlplane.stores.inputs import BadStoreAddressError, resolve_store_uri
from controlplane.stores.uris import STORE_SCHEMES
from worker_bootstrap.protocol.messages import UrlItem, Urls

MAX_ITEMS = 500
OUTPUTS = frozenset({"output", "part", "complete"})
MAX_OUTPUT = 5 << 40
MAX_LOG_OBJECT = 64 << 20
LOG_NAME = re.compile(r"\d{20}\.(gz|idx)")


class DeniedError(Exception):
    """This item is not signed; the text is a code for the worker."""


class UrlDesk:
    """Answers requests for addresses."""

    def __init__(self, stores: StoreRegistry, logins: LoginDesk) -> None:
        self._stores = stores
        self._logins = logins

    def answer(self, session: Session, worker: Worker, attempt: Attempt, execution: Execution, request: Urls) -> Urls:
        """The same items with address, or with an error each. Items beyond the first 500 get `too_many`."""
        listed = listed_files(attempt)
        is_current = attempt.number == execution.attempt_number and attempt.state != "ended"
        items: list[UrlItem] = []
        for index, item in enumerate(request.items):
            try:
                if not is_current:
                    raise DeniedError("old_attempt")
                if index >= MAX_ITEMS:
                    raise DeniedError("too_many")
                items.append(self._sign(session, worker, attempt, execution, listed, item))
            except (DeniedError, StoreError) as error:
                code = error.code if isinstance(error, StoreError) else str(error)
                items.append(UrlItem(item.id, item.purpose, item.name, error=code))
        return Urls(request.request, items)

    def _sign(
        self,
        session: Session,
        worker: Worker,
        attempt: Attempt,
        execution: Execution,
        listed: Mapping[str, dict[str, Any]],
        item: UrlItem,
    ) -> UrlItem:
        if item.purpose == "code":
            key = session.get_one(Commit, execution.commit_id).archive_key
            signed = self._stores.find(session, worker.installation_id, "code")[1].sign_get(key)
            return _reply(item, "GET", signed.url, signed.headers, key)
        if item.purpose == "image":
            return replace(self._logins.answer(session, worker, attempt, execution, item.name), id=item.id)
        if item.purpose == "input":
            if item.name not in listed:
                raise DeniedError("denied")
            return self.input(session, execution, listed[item.name], item)
        if item.purpose in OUTPUTS:
            _check_size(item, MAX_OUTPUT)
            key = output_key(execution, attempt.number, check_key(item.name))
            row = output_store(session, execution, worker)
            return _of(row, self._output(self._stores.of_row(row), key, item))
        if item.purpose != "log":
            raise DeniedError("denied")
        _check_size(item, MAX_LOG_OBJECT)
        if not LOG_NAME.fullmatch(item.name):
            raise DeniedError("bad_name")
        key = check_key(log_key(attempt, session, item.name))
        signed = self._stores.find(session, worker.installation_id, "logs")[1].sign_put(key, item.size)
        return _reply(item, "PUT", signed.url, signed.headers, key)

    def _output(self, store: ObjectStore, key: str, item: UrlItem) -> UrlItem:
        """An address for the whole, or the name of an upload in parts; addresses of parts; the parts put together."""
        if item.purpose == "part":
            if not 0 < item.part <= store.parts.most or item.size > store.parts.largest:
                raise DeniedError("too_large")
            signed = store.sign_part(key, item.upload, item.part, item.size)
            return _reply(item, signed.method, signed.url, signed.headers, key)
        if item.purpose == "complete":
            if len(item.marks) > store.parts.most:
                raise DeniedError("too_large")
            store.complete(key, item.upload, item.size, item.marks)
            return _reply(item, "", "", {}, key)
        if item.size > store.parts.above and not _is_there(store, key):
            part_bytes = store.parts.part_bytes(item.size)
            return replace(_reply(item, "", "", {}, key), upload=store.begin(key), part_bytes=part_bytes)
        signed = store.sign_put(key, item.size)
        return _reply(item, signed.method, signed.url, signed.headers, key)

    def input(self, session: Session, execution: Execution, file: Mapping[str, Any], item: UrlItem) -> UrlItem:
        """Address of a file that the job lists: signed for what a store holds, as it is for http(s)."""
        if not file.get("datum_id") and urlsplit(file["uri"]).scheme in ("http", "https"):
            return _reply(item, "GET", file["uri"], {}, "")
        if not file.get("datum_id") and file["uri"].partition("://")[0] in STORE_SCHEMES:
            return self._of_store(session, execution, file["uri"], item)
        # A folder's address counts only as that of a file which this project has.
        named = Datum.id == file["datum_id"] if file.get("datum_id") else Datum.uri == file["uri"]
        datum = session.scalars(select(Datum).where(named, Datum.project_id == execution.project_id).limit(1)).first()
        if datum is None or datum.purged_at is not None:
            raise DeniedError("not_found")
        row = session.get_one(Store, datum.store_id)
        signed = self._stores.of_row(row).sign_get(datum.key)
        return _of(row, _reply(item, "GET", signed.url, signed.headers, ""))

    def _of_store(self, session: Session, execution: Execution, uri: str, item: UrlItem) -> UrlItem:
        """An object that is no datum: asked again whether the project may still read that store."""
        try:
            row, key, _ = resolve_store_uri(session, session.get_one(Project, execution.project_id), uri)
        except BadStoreAddressError as error:
            raise DeniedError("denied") from error
        signed = self._stores.of_row(row).sign_get(key)
        return _of(row, _reply(item, "GET", signed.url, signed.headers, ""))


def listed_files(attempt: Attempt) -> dict[str, dict[str, Any]]:
    """The input files of the granted job by their id."""
    job = json.loads(attempt.job or b"{}")
    return {file["id"]: file for entry in job.get("inputs", []) for file in entry["files"]}


def _check_size(item: UrlItem, most: int) -> None:
    if not 0 <= item.size <= most:
        raise DeniedError("too_large")


def _is_there(store: ObjectStore, key: str) -> bool:
    """Whether an upload ended before its worker was told so: then it gets an address that is refused as taken."""
    try:
        store.stat(key)
    except StoreError as error:
        if error.code != "not_found":
            raise
        return False
    return True


def _of(row: Store, answer: UrlItem) -> UrlItem:
    """With the word whether a user said where this store is."""
    return replace(answer, by_user=row.organization_id is not None)


def _reply(item: UrlItem, method: str, url: str, headers: dict[str, str], key: str) -> UrlItem:
    return UrlItem(item.id, item.purpose, item.name, item.size, method, url, dict(headers), key)
