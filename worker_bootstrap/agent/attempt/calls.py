"""What containers ask through the relay, and the answers."""

from __future__ import annotations

import json
import uuid
from typing import Any

from worker_bootstrap.agent.attempt.context import Context
from worker_bootstrap.agent.attempt.errors import AttemptError, HaltedError
from worker_bootstrap.agent.questions import UnansweredError
from worker_bootstrap.protocol.job import InputFile
from worker_bootstrap.protocol.messages import Relay, UrlItem

MAX_DETAIL = 2000
PATIENCE = 20.0


class ContainerCalls:
    """The calls of one attempt."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, name: str, query: dict[str, list[str]], body: str) -> tuple[int, str]:
        """(status, JSON text)."""
        try:
            if name == "set_status_detail":
                return self._status_detail(body)
            if name == "input_request":
                return self._input_request(query)
            answer = self._carry(name, query, body)
            return answer.status or 200, answer.body or "{}"
        except (UnansweredError, AttemptError, HaltedError):
            return 503, json.dumps({"detail": "the master does not answer now; try again"})

    def _status_detail(self, body: str) -> tuple[int, str]:
        """Kept by the event, so that the master may be away."""
        try:
            detail = json.loads(body)["status_detail"]
        except (ValueError, KeyError, TypeError):
            return 400, json.dumps({"detail": "status_detail: missing"})
        text = detail if isinstance(detail, str) else json.dumps(detail)
        self._context.event("detail", {"status_detail": text[:MAX_DETAIL]})
        try:
            answer = self._carry("set_status_detail", {}, json.dumps({"status_detail": text[:MAX_DETAIL]}))
        except UnansweredError:
            return 200, "{}"
        return (answer.status, answer.body or "{}") if answer.status < 500 else (200, "{}")

    def _input_request(self, query: dict[str, list[str]]) -> tuple[int, str]:
        """Signed addresses for files of the inputs that the job lists."""
        wanted = set(query.get("inputs", []))
        found: list[dict[str, Any]] = []
        for entry in self._context.job.inputs:
            if entry.input_id in wanted or entry.name in wanted:
                files = [self._file(entry.input_id, file) for file in entry.files]
                found.append({"name": entry.name, "files": files})
        return 200, json.dumps(found)

    def _file(self, input_id: str, file: InputFile) -> dict[str, Any]:
        item = self._context.urls([UrlItem(file.id, "input", file.id)]).get(file.id)
        return {
            "input_id": input_id,
            "url": item.url if item is not None else "",
            "original_uri": file.uri,
            "filename": file.name,
            "download_intent": file.download_intent,
        }

    def _carry(self, name: str, query: dict[str, list[str]], body: str) -> Relay:
        patience = min(PATIENCE, self._context.config.ask_patience)
        return self._context.relay(Relay(str(uuid.uuid4()), name, query, body), patience)
