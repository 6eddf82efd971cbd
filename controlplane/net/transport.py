"""An httpx transport that connects to vetted addresses only, and ends at a moment that nobody can push back."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpcore
import httpx

from controlplane.net.errors import UnreachableError
from controlplane.net.reach import Reach


class VettedTransport(httpx.BaseTransport):
    """For one use of a client: `seconds` from now on every connection of it is over.

    Names keep standing in the request, so certificates are checked against them; no proxy of the environment is used.
    """

    def __init__(self, reach: Reach, seconds: float, ca_bundle: Path | None = None) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=_context(ca_bundle),
            max_keepalive_connections=0,
            network_backend=_Vetted(reach, time.monotonic() + seconds),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it. Raises AddressRefusedError, UnreachableError."""
        wanted = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,  # pyright: ignore[reportArgumentType]
            extensions=request.extensions,
        )
        try:
            answer = self._pool.handle_request(wanted)
        except _FAILURES as error:
            raise unreachable(request.url.host) from error
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream, request.url.host),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """End its connections."""
        self._pool.close()


@cache
def _context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Reading the machine's authorities takes longer than many a request."""
    return ssl.create_default_context(cafile=str(ca_bundle) if ca_bundle else None)


_FAILURES = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    ssl.SSLError,
    OSError,
)


def unreachable(host: str) -> UnreachableError:
    """One sentence for everything that can go wrong with a connection."""
    return UnreachableError(f"{host[:80]} gave no whole answer in time.")


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes], host: str) -> None:
        self._stream = stream
        self._host = host

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except _FAILURES as error:
            raise unreachable(self._host) from error

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()


class _Vetted(httpcore.NetworkBackend):
    """Looks the name up once and connects to what it judged: a second look-up could say something else."""

    def __init__(self, reach: Reach, deadline: float) -> None:
        self._reach = reach
        self._deadline = deadline
        self._real = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._reach.addresses(host, port):
            try:
                made = self._real.connect_tcp(address, port, _left(self._deadline, timeout), None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return _Timed(made, self._deadline)
        raise failure


class _Timed(httpcore.NetworkStream):
    """A connection of which each step ends at the deadline at the latest."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, timeout)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, timeout: float | None) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is over")
    return left if timeout is None else min(left, timeout)
