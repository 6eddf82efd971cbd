"""Calls of `api.json` from inside a container, carried over the queue."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.orm import Session

from controlplane.data.stores.base import StoreError
from controlplane.dispatch.planned import Planned, Wish, payer_of
from controlplane.dispatch.urls import DeniedError, UrlDesk, is_current
from controlplane.executions.models import Attempt, Execution
from worker_bootstrap.protocol.messages import Relay, UrlItem

MAX_BODY = 64 * 1024
MAX_DETAIL = 2_000
MAX_FILES = 500
WRITING = frozenset({"set_status_detail"})


class RelayDesk:
    """Plans the answers to calls; a status in the manner of HTTP, a body of JSON."""

    def __init__(self, urls: UrlDesk) -> None:
        self._urls = urls

    def plan(self, session: Session, attempt: Attempt, execution: Execution, call: Relay) -> Planned:
        """The answer to one call; what it changes is changed within the caller's transaction."""
        if call.call == "input_request" and is_current(attempt, execution):
            return self._inputs(session, attempt, execution, call)
        return _planned(self._answer(attempt, execution, call))

    def _answer(self, attempt: Attempt, execution: Execution, call: Relay) -> Relay:
        if not is_current(attempt, execution):
            return _answer(call, 409, "This attempt is not the newest one; its calls count no more.")
        if call.call == "set_status_detail":
            return self._status_detail(execution, call)
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

    def _inputs(self, session: Session, attempt: Attempt, execution: Execution, call: Relay) -> Planned:
        """Addresses of the named inputs' files, for those that are fetched on demand."""
        wanted = set(call.query.get("inputs", []))
        job = json.loads(attempt.job or b"{}")
        inputs = [entry for entry in job.get("inputs", []) if {entry["name"], entry["input_id"]} & wanted]
        missing = wanted - {name for entry in inputs for name in (entry["name"], entry["input_id"])}
        if missing or not inputs:
            named = sorted(missing)[0][:100] if missing else ""
            return _planned(_answer(call, 404, f"No input {named} in this execution."))
        if sum(len(entry["files"]) for entry in inputs) > MAX_FILES:
            return _planned(_answer(call, 413, f"More than {MAX_FILES} files at once; ask for fewer inputs."))
        try:
            wishes = {
                file["id"]: self._urls.input(session, execution, file, UrlItem(file["id"], "input", file["id"]))
                for entry in inputs
                for file in entry["files"]
            }
        except (DeniedError, StoreError) as error:
            return _planned(_refused(call, error))
        payer = payer_of(list(wishes.values()), execution.organization_id)
        return Planned(payer, lambda: _with_addresses(call, inputs, wishes))


def _with_addresses(call: Relay, inputs: list[dict[str, Any]], wishes: dict[str, Wish]) -> Relay:
    try:
        urls = {name: wish.finish().url for name, wish in wishes.items()}
    except StoreError as error:
        return _refused(call, error)
    found = [
        {"name": entry["name"], "files": [_file(entry, file, urls[file["id"]]) for file in entry["files"]]}
        for entry in inputs
    ]
    return _reply(call, 200, found)


def _file(entry: dict[str, Any], file: dict[str, Any], url: str) -> dict[str, Any]:
    return {
        "input_id": entry["input_id"],
        "url": url,
        "original_uri": file["uri"],
        "filename": file["name"],
        "download_intent": file["download_intent"],
    }


def _planned(answer: Relay) -> Planned:
    return Planned("", lambda: answer)


def _refused(call: Relay, error: DeniedError | StoreError) -> Relay:
    status = 503 if isinstance(error, StoreError) and error.code == "unavailable" else 404
    return _answer(call, status, f"A file of this input can't be had: {error}.")


def _answer(call: Relay, status: int, detail: str) -> Relay:
    return _reply(call, status, {"detail": detail})


def _reply(call: Relay, status: int, body: Any) -> Relay:
    return Relay(call.request, call.call, body=json.dumps(body), status=status)
