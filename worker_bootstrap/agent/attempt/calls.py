"""What containers ask through the relay, and the answers."""

from __future__ import annotations

import ipaddress
import json
import uuid
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3

from worker_bootstrap.agent.attempt.context import STORE_AWAY, Context
from worker_bootstrap.agent.attempt.download import REQUEST_HEADERS
from worker_bootstrap.agent.attempt.errors import AttemptError, HaltedError
from worker_bootstrap.agent.attempt.inputs import is_stored
from worker_bootstrap.agent.log import shown_url
from worker_bootstrap.agent.logs.masking import Masker
from worker_bootstrap.agent.questions import UnansweredError
from worker_bootstrap.agent.relay import FILES, FileBytes, file_key
from worker_bootstrap.protocol.job import Input, InputFile
from worker_bootstrap.protocol.messages import Relay

MAX_DETAIL = 2000
PATIENCE = 20.0
CHUNK = 1 << 18
AWAY = "the master does not answer now; try again"


class ContainerCalls:
    """The calls of one attempt. `base`: the relay's own address, once it listens."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._masker = Masker(context.secrets.mask)
        self.base = ""

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
            return 503, json.dumps({"detail": AWAY})

    def open_file(self, file_id: str) -> FileBytes:
        """The bytes of an input's file that stands where only this machine reaches it."""
        file = next((file for entry in self._context.job.inputs for file in entry.files if file.id == file_id), None)
        if file is None:
            return FileBytes(404, "no such file")
        try:
            found, why = self._context.address("input", file.id)
        except (AttemptError, HaltedError):
            return FileBytes(503, AWAY)
        if found is None:
            return FileBytes(503 if why == STORE_AWAY else 404, why)
        http = self._context.http(by_user=found.by_user or not is_stored(file))
        headers = {**REQUEST_HEADERS, **found.headers}
        try:
            response: Any = http.request("GET", found.url, headers=headers, preload_content=False)
        except urllib3.exceptions.HTTPError as error:
            return FileBytes(502, f"{shown_url(found.url)}: {type(error).__name__}")
        if response.status != 200:
            response.close()
            return FileBytes(502, f"{shown_url(found.url)} answered {response.status}")
        return FileBytes(200, "", response.headers.get("Content-Length", ""), response.stream(CHUNK), response.close)

    def _status_detail(self, body: str) -> tuple[int, str]:
        """Kept by the event, so that the master may be away."""
        try:
            detail = json.loads(body)["status_detail"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return 400, json.dumps({"detail": "status_detail: missing"})
        text = detail if isinstance(detail, str) else json.dumps(detail)
        text = self._masker.hide(text.encode("utf-8", "replace")).decode("utf-8", "replace")[:MAX_DETAIL]
        self._context.event("detail", {"status_detail": text})
        return 200, "{}"

    def _input_request(self, query: dict[str, list[str]]) -> tuple[int, str]:
        """Addresses for files of the inputs that the job lists."""
        wanted = set(query.get("inputs", []))
        found: list[dict[str, Any]] = []
        for entry in self._context.job.inputs:
            if not {entry.input_id, entry.name} & wanted:
                continue
            files: list[dict[str, Any]] = []
            for file in entry.files:
                address, why = self._context.address("input", file.id)
                if address is None:
                    status = 503 if why == STORE_AWAY else 404
                    return status, json.dumps({"detail": f"{entry.name}/{file.path}: {why}"})
                files.append(self._file(entry, file, address.url))
            found.append({"name": entry.name, "files": files})
        return 200, json.dumps(found)

    def _file(self, entry: Input, file: InputFile, url: str) -> dict[str, Any]:
        if is_on_this_machine(url):
            key = file_key(self._context.secrets.relay_token, file.id)
            url = f"{self.base}/{FILES}/{quote(file.id, safe='')}?key={key}"
        return {
            "input_id": entry.input_id,
            "url": url,
            "original_uri": file.uri,
            "filename": file.name,
            "download_intent": file.download_intent,
        }

    def _carry(self, name: str, query: dict[str, list[str]], body: str) -> Relay:
        patience = min(PATIENCE, self._context.config.ask_patience)
        return self._context.relay(Relay(str(uuid.uuid4()), name, query, body), patience)


def is_on_this_machine(url: str) -> bool:
    """Whether an address means the loopback, which inside a container is another one. Pure."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
