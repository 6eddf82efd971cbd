"""A container's output straight from the engine's socket: the standard library only, so that a keeper stays small."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

MAX_HEAD = 64 * 1024
MAX_BODY = 4 * 1024 * 1024


class AttachError(Exception):
    """The engine does not give the container's output."""


def attach(engine: str, container: str, timeout: float) -> tuple[socket.socket, bytes]:
    """The connection that carries the output from now on, and what has come already. Raises AttachError."""
    path = f"/containers/{container}/attach?stream=1&stdout=1&stderr=1&logs=0"
    connection = _connect(engine, timeout)
    try:
        head, rest = _request(connection, "POST", path, "Connection: Upgrade\r\nUpgrade: tcp\r\n")
    except OSError as error:
        connection.close()
        raise AttachError(f"the engine does not answer: {error}") from error
    status = _status(head)
    if status not in (101, 200):
        connection.close()
        raise AttachError(f"the engine answers {status} to attach")
    connection.settimeout(None)
    return connection, rest


def container_state(engine: str, container: str, timeout: float) -> str:
    """The engine's word for it: created, running, exited ...; `gone` when there is none. Raises AttachError."""
    connection = _connect(engine, timeout)
    try:
        head, body = _request(connection, "GET", f"/containers/{container}/json", "Connection: close\r\n")
        while chunk := connection.recv(65536):
            body += chunk
            if len(body) > MAX_BODY:
                raise AttachError("the engine's answer is too long")
    except OSError as error:
        raise AttachError(f"the engine does not answer: {error}") from error
    finally:
        connection.close()
    status = _status(head)
    if status == 404:
        return "gone"
    start, end = body.find(b"{"), body.rfind(b"}")
    try:
        # HTTP/1.0: the body comes in one piece, without chunk sizes.
        return str(json.loads(body[start : end + 1])["State"]["Status"])
    except (ValueError, KeyError) as error:
        raise AttachError(f"the engine answers {status} without a state") from error


def _connect(engine: str, timeout: float) -> socket.socket:
    parts = urlsplit(engine)
    try:
        if parts.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(timeout)
            connection.connect(parts.path)
            return connection
        return socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 2375), timeout)
    except OSError as error:
        raise AttachError(f"the engine at {engine} does not answer: {error}") from error


def _request(connection: socket.socket, method: str, path: str, headers: str) -> tuple[bytes, bytes]:
    version = "1.1" if method == "POST" else "1.0"
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    connection.sendall(f"{method} {path} HTTP/{version}\r\nHost: engine\r\n{length}{headers}\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(4096)
        if not chunk or len(received) > MAX_HEAD:
            raise OSError("the answer ends early")
        received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest


def _status(head: bytes) -> int:
    try:
        return int(head.split(b" ", 2)[1])
    except (IndexError, ValueError) as error:
        raise AttachError("the engine's answer is not HTTP") from error
