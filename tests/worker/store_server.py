"""A small object store over HTTP: PUT once or in parts, GET with ranges and ETag; it can be told to misbehave."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class StoreServer:
    """Objects by path. `answers` maps a path prefix to statuses that are given first, one a request."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.answers: dict[str, list[int]] = {}
        self.cut: dict[str, list[int]] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.ranges: dict[str, list[str]] = {}
        self.no_ranges: set[str] = set()
        self.busy = self.most_busy = 0
        self.linger = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def address(self, key: str) -> str:
        return f"{self.url}/{key}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """How many requests are served at the same time; each takes `linger` seconds."""
        with self._lock:
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        try:
            time.sleep(self.linger)
            yield
        finally:
            with self._lock:
                self.busy -= 1

    def planned(self, path: str) -> int:
        """A status to answer instead of serving; 0 for none."""
        with self._lock:
            for prefix, statuses in self.answers.items():
                if path.startswith(prefix) and statuses:
                    return statuses.pop(0)
        return 0

    def planned_cut(self, path: str) -> int | None:
        """After how many bytes the connection breaks."""
        with self._lock:
            cuts = self.cut.get(path)
            return cuts.pop(0) if cuts else None


def _handler(store: StoreServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def do_GET(self) -> None:
            store.gate.wait(30)
            with store.counted():
                self._get()

        def _get(self) -> None:
            key = self._key()
            store.requests["GET", key] += 1
            if status := store.planned(key):
                self._answer(status, b"")
                return
            data = store.objects.get(key)
            if data is None:
                self._answer(404, b"")
                return
            etag = f'"{hashlib.md5(data).hexdigest()}"'
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted is None or key in store.no_ranges:
                self._answer(200, data, {"ETag": etag} if key not in store.no_ranges else {})
                return
            first = int(wanted[1])
            last = min(int(wanted[2] or len(data)), len(data) - 1)
            store.ranges.setdefault(key, []).append(wanted[0])
            if first >= len(data):
                self._answer(416, b"")
                return
            headers = {"ETag": etag, "Content-Range": f"bytes {first}-{last}/{len(data)}"}
            self._answer(206, data[first : last + 1], headers)

        def do_PUT(self) -> None:
            store.gate.wait(30)
            with store.counted():
                self._put()

        def _put(self) -> None:
            key = self._key()
            data = self.rfile.read(int(self.headers["Content-Length"]))
            store.requests["PUT", key] += 1
            if status := store.planned(key):
                self._answer(status, b"")
                return
            if key in store.objects and self.headers.get("If-None-Match") == "*":
                self._answer(412, b"")
                return
            store.objects[key] = data
            self._answer(200, b"", {"ETag": hashlib.md5(data).hexdigest()})

        def _key(self) -> str:
            return unquote(self.path.partition("?")[0]).lstrip("/")

        def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            cut = store.planned_cut(self._key())
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if cut is not None and cut < len(data):
                self.wfile.write(data[:cut])
                self.close_connection = True
                return
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler
