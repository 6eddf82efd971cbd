"""The one door out of a container to the agent: the calls of api.json, with a token of the execution, and bytes of
on-demand inputs that only this machine reaches, with a key for each file.

It listens on the attempt's own bridge address, on a port of its own; the runtime lets only that bridge reach it.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

METHODS = {"set_status_detail": "POST", "input_request": "GET", "trigger_catalog": "GET"}
MAX_BODY = 64 * 1024
MAX_QUERY = 16 * 1024
MAX_AT_ONCE = 8
MAX_A_SECOND = 20
TIMEOUT = 30

FILES = "input_file"


@dataclass(frozen=True)
class FileBytes:
    """A file on its way: `size` as text where it is known. A status other than 200 has `why` instead of bytes."""

    status: int
    why: str = ""
    size: str = ""
    chunks: Iterable[bytes] = ()
    close: Callable[[], None] = lambda: None


class Calls(Protocol):
    """What answers."""

    def __call__(self, name: str, query: dict[str, list[str]], body: str) -> tuple[int, str]:
        """(status, JSON text)."""
        ...

    def open_file(self, file_id: str) -> FileBytes:
        """The bytes of an input's file."""
        ...


def file_key(token: str, file_id: str) -> str:
    """What an address of this file must hold: it opens this file and nothing else."""
    return hmac.new(token.encode(), file_id.encode(), "sha256").hexdigest()


class Rate:
    """At most `most` calls in any second."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._times: deque[float] = deque()
        self._lock = threading.Lock()

    def allow(self) -> bool:
        """Whether one more fits now."""
        with self._lock:
            now = self._clock()
            while self._times and now - self._times[0] > 1.0:
                self._times.popleft()
            if len(self._times) >= self._most:
                return False
            self._times.append(now)
            return True


class RelayServer:
    """Serves one attempt until `close`. Raises OSError when the address or port is not free."""

    def __init__(self, address: str, port: int, token: str, calls: Calls) -> None:
        self._server = _Server((address, port), _handler(token, calls))
        self._token = token
        self.port: int = self._server.server_address[1]
        self.base = f"http://{address}:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()

    def config(self) -> dict[str, dict[str, Any]]:
        """The object of api.json: arguments for an HTTP client, by call."""
        headers = {"Authorization": f"Token {self._token}"}
        return {
            name: {"url": f"{self.base}/{name}", "method": method, "headers": headers}
            for name, method in METHODS.items()
        }

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, *args: Any) -> None:
        self._room = threading.BoundedSemaphore(MAX_AT_ONCE)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Each in a thread, a few at once; the others wait in the listen queue."""
        self._room.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As the base class, and room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is nobody's trouble."""


def _handler(token: str, calls: Calls) -> type[BaseHTTPRequestHandler]:
    rate = Rate(MAX_A_SECOND)

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT
        server_version = "relay"
        sys_version = ""

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            folder, _, rest = parts.path.strip("/").partition("/")
            if folder == FILES and token:
                self._serve_file(unquote(rest), parse_qs(parts.query, max_num_fields=10))
                return
            sent = self.headers.get("Authorization", "")
            if not token or not hmac.compare_digest(sent.encode(), f"Token {token}".encode()):
                self._refuse(401, "the token is not this execution's")
                return
            name = parts.path.strip("/")
            if METHODS.get(name) is None or len(parts.query) > MAX_QUERY:
                self._refuse(404, "no such call")
                return
            length = self.headers.get("Content-Length", "0")
            if not length.isdigit() or int(length) > MAX_BODY:
                self._refuse(413, f"the body may have {MAX_BODY} bytes")
                return
            body = self.rfile.read(int(length)).decode("utf-8", "replace")
            if not rate.allow():
                self._refuse(429, f"at most {MAX_A_SECOND} calls a second")
                return
            self._answer(*calls(name, parse_qs(parts.query, max_num_fields=200), body))

        do_GET = do_POST = _serve  # noqa: N815

        def _serve_file(self, file_id: str, query: dict[str, list[str]]) -> None:
            sent = query.get("key", [""])[0]
            if not hmac.compare_digest(sent.encode(), file_key(token, file_id).encode()):
                self._refuse(401, "the key is not this file's")
                return
            found = calls.open_file(file_id)
            if found.status != 200:
                self._refuse(found.status, found.why)
                return
            try:
                self._send_bytes(found)
            finally:
                found.close()

        def _send_bytes(self, found: FileBytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            if found.size:
                self.send_header("Content-Length", found.size)
            self.end_headers()
            for chunk in found.chunks:
                self.wfile.write(chunk)

        def _refuse(self, status: int, why: str) -> None:
            self.close_connection = True
            self._answer(status, json.dumps({"detail": why}))

        def _answer(self, status: int, body: str) -> None:
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Access lines would only repeat what the master records."""

    return Handler
