"""Signed addresses for workers: only for what the attempt lists, and for names below its own prefix."""

from __future__ import annotations

import json

from sqlalchemy.orm import Session

from controlplane.commits.models import Commit
from controlplane.data.models import Datum
from controlplane.data.stores.base import SignedUrl, StoreError
from controlplane.data.stores.folder import check_key
from controlplane.data.stores.registry import StoreRegistry
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt, Execution
from controlplane.executions.transitions import log_key, output_key
from worker_bootstrap.protocol.messages import UrlItem, Urls

MAX_ITEMS = 500


class UrlDesk:
    """Answers requests for addresses."""

    def __init__(self, stores: StoreRegistry) -> None:
        self._stores = stores

    def answer(self, session: Session, worker: Worker, attempt: Attempt, request: Urls) -> Urls:
        """The same items with address, or with an error each."""
        return Urls(request.request, [self._item(session, worker, attempt, item) for item in request.items[:MAX_ITEMS]])

    def _item(self, session: Session, worker: Worker, attempt: Attempt, item: UrlItem) -> UrlItem:
        execution = session.get_one(Execution, attempt.execution_id)
        if execution.attempt_number != attempt.number or attempt.state == "ended":
            return UrlItem(item.id, item.purpose, item.name, error="old_attempt")
        try:
            signed, key = self._sign(session, worker, attempt, execution, item)
        except (StoreError, KeyError) as error:
            code = error.code if isinstance(error, StoreError) else "denied"
            return UrlItem(item.id, item.purpose, item.name, error=code)
        return UrlItem(item.id, item.purpose, item.name, item.size, signed.method, signed.url, signed.headers, key)

    def _sign(
        self, session: Session, worker: Worker, attempt: Attempt, execution: Execution, item: UrlItem
    ) -> tuple[SignedUrl, str]:
        installation = worker.installation_id
        if item.purpose == "code":
            commit = session.get_one(Commit, execution.commit_id)
            _, store = self._stores.find(session, installation, "code")
            return store.sign_get(commit.archive_key), commit.archive_key
        if item.purpose == "input":
            return self._input(session, attempt, item), ""
        if item.purpose == "output":
            key = output_key(execution, attempt.number, check_key(item.name))
            _, store = self._stores.find(session, installation, "data")
            return store.sign_put(key, item.size), key
        if item.purpose == "log":
            key = log_key(attempt, session, check_key(item.name))
            _, store = self._stores.find(session, installation, "logs")
            return store.sign_put(key, item.size), key
        raise KeyError(item.purpose)

    def _input(self, session: Session, attempt: Attempt, item: UrlItem) -> SignedUrl:
        job = json.loads(attempt.job or b"{}")
        listed = {f["id"]: f for entry in job.get("inputs", []) for f in entry["files"]}
        file = listed[item.name]
        if not file["datum_id"]:
            return SignedUrl("GET", file["uri"], attempt.granted_at)
        datum = session.get(Datum, file["datum_id"])
        if datum is None or datum.purged_at is not None:
            raise StoreError("not_found", "purged")
        return self._stores.by_id(session, datum.store_id).sign_get(datum.key)
