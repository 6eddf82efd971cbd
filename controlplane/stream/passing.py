"""`web` passes `/stream/` on to the stream process, so that a browser sees one origin without a reverse proxy.

A viewer that is passed on takes one thread for as long as it looks. It says so plainly to the stream process (HTTP/1.0:
no chunks, the body ends with the connection), so that what comes is handed on as it comes.
"""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, parse_headers

from controlplane.errors import UnavailableError

HOST = "127.0.0.1"
PASSED_ON = ("Host", "Authorization", "Last-Event-ID")
ANSWERED = ("Content-Type", "WWW-Authenticate", "Retry-After", "X-Accel-Buffering")
CHUNK = 64 * 1024
LONGEST_HEAD = 16 * 1024
LOOK_UP = 1.0


@dataclass(frozen=True)
class Answer:
    """What the stream process said; `close` must be called at the end."""

    status: int
    headers: dict[str, str]
    body: Iterator[bytes]
    close: Callable[[], None]


class Passing:
    """At most `places` viewers at once, each until `silence` seconds pass without a byte."""

    def __init__(self, port: int, places: int, silence: float) -> None:
        self._port = port
        self._places = threading.BoundedSemaphore(places) if places else None
        self._silence = silence
        self._is_ending: Callable[[], bool] = lambda: False

    def end_when(self, is_ending: Callable[[], bool]) -> None:
        """From now on every viewer is let go within a second once `is_ending()`."""
        self._is_ending = is_ending

    def open(self, path: str, headers: dict[str, str]) -> Answer:
        """Ask for `path`. Raises UnavailableError when there is no place, or no stream process."""
        if self._places is None or not self._places.acquire(blocking=False):
            raise UnavailableError("Too many live logs are looked at through this server now; the page asks by itself.")
        try:
            connection = _Connection(self._port, self._silence, self._is_ending, self._places.release)
        except OSError as error:
            self._places.release()
            raise UnavailableError("The live stream does not answer now; the page asks by itself.") from error
        try:
            return connection.ask(path, headers)
        except (OSError, HTTPException, ValueError) as error:
            connection.close()
            raise UnavailableError("The live stream does not answer now; the page asks by itself.") from error


class _Connection:
    """One request to the stream process."""

    def __init__(self, port: int, silence: float, is_ending: Callable[[], bool], on_close: Callable[[], None]) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=silence)
        self._looks = max(1, round(silence / LOOK_UP))
        self._is_ending = is_ending
        self._on_close = on_close
        self._is_open = True

    def ask(self, path: str, headers: dict[str, str]) -> Answer:
        """Send the request and read the head of the answer. Raises OSError, HTTPException, ValueError."""
        lines = [f"GET {path} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._socket.sendall("\r\n".join(lines).encode("latin-1"))
        head, rest = self._head()
        status, _, fields = head.partition(b"\r\n")
        found = parse_headers(io.BytesIO(fields))
        kept = {name: found[name] for name in ANSWERED if name in found}
        return Answer(int(status.split()[1]), kept, self._body(rest), self.close)

    def close(self) -> None:
        """Once."""
        if self._is_open:
            self._is_open = False
            self._socket.close()
            self._on_close()

    def _head(self) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            received = self._socket.recv(CHUNK)
            if not received or len(data) > LONGEST_HEAD:
                raise ConnectionError("no answer")
            data += received
        head, _, rest = data.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n", rest

    def _body(self, rest: bytes) -> Iterator[bytes]:
        if rest:
            yield rest
        self._socket.settimeout(LOOK_UP)
        looks = self._looks
        while looks and not self._is_ending():
            try:
                data = self._socket.recv(CHUNK)
            except TimeoutError:
                looks -= 1
                continue
            except OSError:
                return
            if not data:
                return
            looks = self._looks
            yield data
