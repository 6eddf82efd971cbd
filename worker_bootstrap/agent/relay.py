"""The one door out of a container: calls of `api.json`, with a token of the execution, carried over the queue."""

from __future__ import annotations

import hmac
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from worker_bootstrap.agent.wire import UnansweredError
from worker_bootstrap.protocol.messages import Relay

MAX_BODY = 64 * 1024
CALLS = ("set_status_detail", "input_request", "trigger_catalog")
Carry = Callable[[Relay], Relay]


class RelayServer:
    """Listens on the attempt's bridge address only."""

    def __init__(self, address: str, token: str, carry: Carry) -> None:
        handler = _handler(token, carry)
        self._server = ThreadingHTTPServer((address, 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._address = address
        self._token = token
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def config(self) -> dict[str, dict[str, object]]:
        """The content of `api.json`."""
        headers = {"Authorization": f"Token {self._token}"}
        base = f"http://{self._address}:{self.port}"
        methods = {"set_status_detail": "POST", "input_request": "GET", "trigger_catalog": "GET"}
        return {call: {"url": f"{base}/{call}", "method": methods[call], "headers": headers} for call in CALLS}

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _handler(token: str, carry: Carry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def _serve(self) -> None:
            sent = self.headers.get("Authorization", "")
            if not hmac.compare_digest(sent.encode(), f"Token {token}".encode()):
                self._answer(401, '{"detail": "wrong token"}')
                return
            parts = urlsplit(self.path)
            call = parts.path.strip("/")
            length = int(self.headers.get("Content-Length") or 0)
            if call not in CALLS or not 0 <= length <= MAX_BODY:
                self._answer(404 if call not in CALLS else 413, '{"detail": "not served"}')
                return
            body = self.rfile.read(length).decode("utf-8", "replace")
            try:
                answer = carry(Relay(str(uuid.uuid4()), call, parse_qs(parts.query), body))
            except UnansweredError as error:
                self._answer(504, f'{{"detail": "{error}"}}')
                return
            self._answer(answer.status or 200, answer.body)

        do_GET = do_POST = _serve  # noqa: N815

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
