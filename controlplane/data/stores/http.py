"""Requests to object stores: streamed, vetted, and every failure as a StoreError.

One small client for all of them, and neither vendors' SDKs nor obstore: these connect by themselves, so an address that
a user names could lead them inside; and they take 30 to 100 MB. What we need of the four interfaces is little.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

import httpx

from controlplane.data.stores.base import StoreError
from controlplane.data.stores.deadline import seconds_left
from controlplane.errors import DomainError
from controlplane.net.reach import Reach
from controlplane.net.transport import VettedTransport

CHUNK = 1 << 20
ASK_SECONDS = 60.0
MOVE_SECONDS = 3600.0
MOST_BYTES = 32 << 20
CODES = {400: "denied", 401: "denied", 403: "denied", 404: "not_found", 409: "exists", 412: "exists", 413: "bad_size"}


@dataclass(frozen=True)
class Answer:
    """A store's whole answer."""

    status: int
    headers: httpx.Headers
    body: bytes = b""


class StoreHttp:
    """The way to one store's addresses."""

    def __init__(self, reach: Reach, ca_bundle: Path | None = None) -> None:
        self._reach = reach
        self._ca_bundle = ca_bundle

    def ask(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """The answer, whatever its status. Raises StoreError `unavailable`."""
        with self._sent(method, url, dict(headers or {}), body or None, ASK_SECONDS) as response:
            return _whole(response)

    def send(
        self,
        url: str,
        headers: Mapping[str, str],
        source: BinaryIO,
        size: int,
        method: str = "PUT",
        frame: tuple[bytes, bytes] = (b"", b""),
    ) -> Answer:
        """Send `size` bytes of a file, with what stands before and behind them. Raises StoreError."""
        sent = {**headers, "Content-Length": str(len(frame[0]) + size + len(frame[1]))}
        body = chain(frame[:1], _chunks(source, size), frame[1:])
        with self._sent(method, url, sent, body, MOVE_SECONDS) as response:
            return _whole(response)

    def read(self, url: str, headers: Mapping[str, str]) -> tuple[Answer, BinaryIO]:
        """(status and headers, reader of the body); the reader is to be closed. Raises StoreError."""
        context = self._sent("GET", url, dict(headers), None, MOVE_SECONDS)
        response = context.__enter__()
        reader = io.BufferedReader(_Body(response, lambda: context.__exit__(None, None, None)), CHUNK)
        return Answer(response.status_code, response.headers), cast(BinaryIO, reader)

    @contextmanager
    def _sent(
        self, method: str, url: str, headers: dict[str, str], content: bytes | Iterator[bytes] | None, seconds: float
    ) -> Iterator[httpx.Response]:
        seconds = seconds_left(seconds)
        transport = VettedTransport(self._reach, seconds, self._ca_bundle)
        try:
            with (
                httpx.Client(transport=transport, trust_env=False, timeout=min(seconds, ASK_SECONDS)) as client,
                client.stream(
                    method, url, headers={"Accept-Encoding": "identity", **headers}, content=content
                ) as response,
            ):
                yield response
        except (DomainError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise StoreError("unavailable", str(error) or type(error).__name__) from error


def refused(answer: Answer, what: str, detail: str = "") -> StoreError:
    """The error that this answer means."""
    code = CODES.get(answer.status, "full" if answer.status == 507 else "unavailable")
    return StoreError(code, f"{what}: the store answered {answer.status}{f' ({detail})' if detail else ''}")


def _whole(response: httpx.Response) -> Answer:
    body = bytearray()
    for chunk in response.iter_raw(CHUNK):
        body += chunk
        if len(body) > MOST_BYTES:
            raise StoreError("unavailable", f"the store's answer has more than {MOST_BYTES} bytes")
    return Answer(response.status_code, response.headers, bytes(body))


def _chunks(source: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left > 0 and (chunk := source.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


class _Body(io.RawIOBase):
    """A streamed body as a file."""

    def __init__(self, response: httpx.Response, end: object) -> None:
        self._chunks = response.iter_raw(CHUNK)
        self._end = end
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            try:
                chunk = next(self._chunks, None)
            except (DomainError, httpx.HTTPError) as error:
                raise StoreError("unavailable", str(error)) from error
            if chunk is None:
                return 0
            self._rest = chunk
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def close(self) -> None:
        if not self.closed and callable(self._end):
            self._end()
        super().close()
