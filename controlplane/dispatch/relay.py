"""Calls of `api.json` from inside a container, carried over the queue."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.orm import Session

from controlplane.data.stores.base import StoreError
from controlplane.dispatch.urls import DeniedError, UrlDesk
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt, Execution
from worker_bootstrap.protocol.messages import Relay, UrlItem

MAX_BODY = 64 * 1024
MAX_DETAIL = 2_000
MAX_FILES = 500


class RelayDesk:
    """Answers calls; a status in the manner of HTTP, a body of JSON."""

    def __init__(self, urls: UrlDesk) -> None:
        self._urls = urls

    def answer(self, session: Session, worker: Worker, attempt: Attempt, execution: Execution, call: Relay) -> Relay:
        """The answer to one call within the caller's transaction."""
        if attempt.number != execution.attempt_number or attempt.state == "ended":
            return _answer(call, 409, "This attempt is not the newest one; its calls count no more.")
        if call.call == "set_status_detail":
            return self._status_detail(execution, call)
        if call.call == "input_request":
            return self._inputs(session, attempt, execution, call)
        if call.call == "trigger_catalog":
            return _answer(call, 501, "Triggers come in a later version of Remora.")
        return _answer(call, 404, "This call is not known.")

    @staticmethod
    def _status_detail(execution: Execution, call: Relay) -> Relay:
        try:
            if len(call.body) > MAX_BODY:
                raise ValueError("too long")
            given = json.loads(call.body)["status_detail"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return _answer(call, 400, 'status_detail: send JSON {"status_detail": …}.')
        text = given if isinstance(given, str) else json.dumps(given)
        execution.status_detail = text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_DETAIL]
        return _reply(call, 200, {})

    def _inputs(self, session: Session, attempt: Attempt, execution: Execution, call: Relay) -> Relay:
        """Addresses of the named inputs' files, for those that are fetched on demand."""
        wanted = set(call.query.get("inputs", []))
        job = json.loads(attempt.job or b"{}")
        inputs = [entry for entry in job.get("inputs", []) if {entry["name"], entry["input_id"]} & wanted]
        missing = wanted - {name for entry in inputs for name in (entry["name"], entry["input_id"])}
        if missing or not inputs:
            return _answer(call, 404, f"No input {sorted(missing)[0][:100] if missing else ''} in this execution.")
        if sum(len(entry["files"]) for entry in inputs) > MAX_FILES:
            return _answer(call, 413, f"More than {MAX_FILES} files at once; ask for fewer inputs.")
        try:
            found = [
                {"name": entry["name"], "files": [self._file(session, execution, entry, f) for f in entry["files"]]}
                for entry in inputs
            ]
        except (DeniedError, StoreError) as error:
            return _answer(call, 404, f"A file of this input can't be had: {error}.")
        return _reply(call, 200, found)

    def _file(
        self, session: Session, execution: Execution, entry: dict[str, Any], file: dict[str, Any]
    ) -> dict[str, Any]:
        signed = self._urls.input(session, execution, file, UrlItem(file["id"], "input", file["id"]))
        return {
            "input_id": entry["input_id"],
            "url": signed.url,
            "original_uri": file["uri"],
            "filename": file["name"],
            "download_intent": file["download_intent"],
        }


def _answer(call: Relay, status: int, detail: str) -> Relay:
    return _reply(call, status, {"detail": detail})


def _reply(call: Relay, status: int, body: Any) -> Relay:
    return Relay(call.request, call.call, body=json.dumps(body), status=status)
