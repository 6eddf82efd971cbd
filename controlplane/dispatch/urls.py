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
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.folder import check_key
from controlplane.data.stores.registry import StoreRegistry
from controlplane.dispatch.logins import LoginDesk
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt, Execution
from controlplane.executions.transitions import log_key, output_key
from worker_bootstrap.protocol.messages import UrlItem, Urls

MAX_ITEMS = 500
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
        if item.purpose == "output":
            _check_size(item, MAX_OUTPUT)
            key = output_key(execution, attempt.number, check_key(item.name))
            purpose = "data"
        elif item.purpose == "log":
            _check_size(item, MAX_LOG_OBJECT)
            if not LOG_NAME.fullmatch(item.name):
                raise DeniedError("bad_name")
            key = log_key(attempt, session, item.name)
            purpose = "logs"
        else:
            raise DeniedError("denied")
        signed = self._stores.find(session, worker.installation_id, purpose)[1].sign_put(check_key(key), item.size)
        return _reply(item, "PUT", signed.url, signed.headers, key)

    def input(self, session: Session, execution: Execution, file: Mapping[str, Any], item: UrlItem) -> UrlItem:
        """Address of a file that the job lists: signed for what a store holds, as it is for http(s)."""
        if not file.get("datum_id") and urlsplit(file["uri"]).scheme in ("http", "https"):
            return _reply(item, "GET", file["uri"], {}, "")
        # A store's own address counts only as that of a file which this project has.
        named = Datum.id == file["datum_id"] if file.get("datum_id") else Datum.uri == file["uri"]
        datum = session.scalars(select(Datum).where(named, Datum.project_id == execution.project_id).limit(1)).first()
        if datum is None or datum.purged_at is not None:
            raise DeniedError("not_found")
        signed = self._stores.by_id(session, datum.store_id).sign_get(datum.key)
        return _reply(item, "GET", signed.url, signed.headers, "")


def listed_files(attempt: Attempt) -> dict[str, dict[str, Any]]:
    """The input files of the granted job by their id."""
    job = json.loads(attempt.job or b"{}")
    return {file["id"]: file for entry in job.get("inputs", []) for file in entry["files"]}


def _check_size(item: UrlItem, most: int) -> None:
    if not 0 <= item.size <= most:
        raise DeniedError("too_large")


def _reply(item: UrlItem, method: str, url: str, headers: dict[str, str], key: str) -> UrlItem:
    return UrlItem(item.id, item.purpose, item.name, item.size, method, url, dict(headers), key)
