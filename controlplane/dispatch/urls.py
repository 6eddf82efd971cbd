"""Signed addresses for workers: only for what the attempt lists, and for names below its own prefix."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.commits.models import Commit
from controlplane.data.models import Datum
from controlplane.data.stores.base import ObjectStore, SignedUrl, StoreError, find
from controlplane.data.stores.copying import copy_once
from controlplane.data.stores.keys import check_key
from controlplane.data.stores.registry import StoreRegistry
from controlplane.dispatch.logins import LoginDesk
from controlplane.dispatch.planned import Planned, Wish, known, payer_of
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
    """Plans the answers to requests for addresses."""

    def __init__(self, stores: StoreRegistry, logins: LoginDesk) -> None:
        self._stores = stores
        self._logins = logins

    def plan(self, session: Session, worker: Worker, attempt: Attempt, execution: Execution, request: Urls) -> Planned:
        """The same items with address, or with an error each. Items beyond the first 500 get `too_many`."""
        listed = listed_files(attempt)
        current = is_current(attempt, execution)
        wishes: list[tuple[UrlItem, Wish]] = []
        for index, item in enumerate(request.items):
            try:
                if not current:
                    raise DeniedError("old_attempt")
                if index >= MAX_ITEMS:
                    raise DeniedError("too_many")
                wish = self._wish(session, worker, attempt, execution, listed, item)
            except (DeniedError, StoreError) as error:
                wish = known(_failed(item, error))
            wishes.append((item, wish))
        payer = payer_of([wish for _, wish in wishes], execution.organization_id)
        return Planned(payer, lambda: Urls(request.request, [_finished(item, wish) for item, wish in wishes]))

    def _wish(
        self,
        session: Session,
        worker: Worker,
        attempt: Attempt,
        execution: Execution,
        listed: Mapping[str, dict[str, Any]],
        item: UrlItem,
    ) -> Wish:
        if item.purpose == "code":
            return self._code(session, worker, session.get_one(Commit, execution.commit_id).archive_key, item)
        if item.purpose == "image":
            return known(replace(self._logins.answer(session, worker, attempt, execution, item.name), id=item.id))
        if item.purpose == "input":
            if item.name not in listed:
                raise DeniedError("denied")
            return self.input(session, execution, listed[item.name], item)
        if item.purpose in OUTPUTS:
            _check_size(item, MAX_OUTPUT)
            key = output_key(execution, attempt.number, check_key(item.name))
            row = output_store(session, execution, worker)
            return _output(row, self._stores.of_row(row), key, item)
        if item.purpose != "log":
            raise DeniedError("denied")
        _check_size(item, MAX_LOG_OBJECT)
        if not LOG_NAME.fullmatch(item.name):
            raise DeniedError("bad_name")
        key = check_key(log_key(attempt, session, item.name))
        row, store = self._stores.find(session, worker.installation_id, "logs")
        return _signing(row, store, lambda: _reply(item, store.sign_put(key, item.size), key))

    def _code(self, session: Session, worker: Worker, key: str, item: UrlItem) -> Wish:
        """The archive in the code store of the worker's installation, brought there when it is asked for first."""
        row, store = self._stores.find(session, worker.installation_id, "code")
        own = self._stores.embedded(session, "code")
        if store.uri(key) == own.uri(key):
            return _signing(row, store, lambda: _reply(item, store.sign_get(key), key))

        def bring() -> UrlItem:
            copy_once(own, store, key)
            return _reply(item, store.sign_get(key), key)

        return _wish_of(row, bring, asks=True)

    def input(self, session: Session, execution: Execution, file: Mapping[str, Any], item: UrlItem) -> Wish:
        """Address of a file that the job lists: signed for what a store holds, as it is for http(s).

        Raises DeniedError, StoreError.
        """
        if not file.get("datum_id") and urlsplit(file["uri"]).scheme in ("http", "https"):
            return known(UrlItem(item.id, item.purpose, item.name, item.size, "GET", file["uri"]))
        if not file.get("datum_id") and file["uri"].partition("://")[0] in STORE_SCHEMES:
            row, key = self._of_store(session, execution, file["uri"])
        else:
            row, key = self._of_datum(session, execution, file)
        store = self._stores.of_row(row)
        return _signing(row, store, lambda: _reply(item, store.sign_get(key)))

    @staticmethod
    def _of_datum(session: Session, execution: Execution, file: Mapping[str, Any]) -> tuple[Store, str]:
        """A folder's address counts only as that of a file which this project has."""
        named = Datum.id == file["datum_id"] if file.get("datum_id") else Datum.uri == file["uri"]
        datum = session.scalars(select(Datum).where(named, Datum.project_id == execution.project_id).limit(1)).first()
        if datum is None or datum.purged_at is not None:
            raise DeniedError("not_found")
        return session.get_one(Store, datum.store_id), datum.key

    @staticmethod
    def _of_store(session: Session, execution: Execution, uri: str) -> tuple[Store, str]:
        """An object that is no datum: asked again whether the project may still read that store."""
        try:
            row, key, _ = resolve_store_uri(session, session.get_one(Project, execution.project_id), uri)
        except BadStoreAddressError as error:
            raise DeniedError("denied") from error
        return row, key


def _signing(row: Store, store: ObjectStore, finish: Callable[[], UrlItem]) -> Wish:
    """A wish that needs a signature and nothing else of its store."""
    return _wish_of(row, finish, asks=not store.signs_alone)


def _wish_of(row: Store, finish: Callable[[], UrlItem], *, asks: bool) -> Wish:
    """With the word whether a user said where this store is."""
    by_user = row.organization_id is not None
    return Wish(lambda: replace(finish(), by_user=by_user), row.id if asks else "", by_user)


def _output(row: Store, store: ObjectStore, key: str, item: UrlItem) -> Wish:
    """An address for the whole, or the name of an upload in parts; addresses of parts; the parts put together."""
    parts = store.parts
    if item.purpose == "part":
        if not 0 < item.part <= parts.most or item.size > parts.largest:
            raise DeniedError("too_large")
        return _signing(row, store, lambda: _reply(item, store.sign_part(key, item.upload, item.part, item.size), key))
    if item.purpose == "complete":
        if len(item.marks) > parts.most:
            raise DeniedError("too_large")
        return _wish_of(row, lambda: _completed(store, key, item), asks=True)
    if item.size > parts.above:
        return _wish_of(row, lambda: _begun(store, key, item), asks=True)
    return _signing(row, store, lambda: _reply(item, store.sign_put(key, item.size), key))


def _completed(store: ObjectStore, key: str, item: UrlItem) -> UrlItem:
    store.complete(key, item.upload, item.size, item.marks)
    return UrlItem(item.id, item.purpose, item.name, item.size, key=key)


def _begun(store: ObjectStore, key: str, item: UrlItem) -> UrlItem:
    # An upload may have ended before its worker was told so: it gets an address that is refused as taken.
    if find(store, key) is not None:
        return _reply(item, store.sign_put(key, item.size), key)
    answer = UrlItem(item.id, item.purpose, item.name, item.size, key=key)
    return replace(answer, part_bytes=store.parts.part_bytes(item.size), upload=store.begin(key))


def _finished(item: UrlItem, wish: Wish) -> UrlItem:
    try:
        return wish.finish()
    except StoreError as error:
        return _failed(item, error)


def _failed(item: UrlItem, error: DeniedError | StoreError) -> UrlItem:
    code = error.code if isinstance(error, StoreError) else str(error)
    return UrlItem(item.id, item.purpose, item.name, error=code)


def is_current(attempt: Attempt, execution: Execution) -> bool:
    """Whether this attempt is the newest one and not over."""
    return attempt.number == execution.attempt_number and attempt.state != "ended"


def listed_files(attempt: Attempt) -> dict[str, dict[str, Any]]:
    """The input files of the granted job by their id."""
    job = json.loads(attempt.job or b"{}")
    return {file["id"]: file for entry in job.get("inputs", []) for file in entry["files"]}


def _check_size(item: UrlItem, most: int) -> None:
    if not 0 <= item.size <= most:
        raise DeniedError("too_large")


def _reply(item: UrlItem, signed: SignedUrl, key: str = "") -> UrlItem:
    return UrlItem(item.id, item.purpose, item.name, item.size, signed.method, signed.url, dict(signed.headers), key)
