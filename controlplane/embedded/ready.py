"""Whether the parts of one machine answer. Standard library only: the supervisor, which asks, stays small."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from controlplane.settings import Settings

# Who listens on all addresses is asked on the loopback.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def redis_answers(url: str, timeout: float = 2.0) -> bool:
    """Whether the Redis at this loopback address takes the login in it; while it loads its data it does not."""
    parts = urlsplit(url)
    words = [b"AUTH", (parts.username or "").encode(), (parts.password or "").encode()]
    request = b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)])
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 6379), timeout) as connection:
            connection.sendall(request + b"PING\r\n")
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(64), b"")) == b"+OK\r\n+PONG\r\n"
    except OSError:
        return False


def trust(settings: Settings) -> ssl.SSLContext:
    """Whom the machine's own clients believe: its own certificate too, whoever signed it."""
    context = ssl.create_default_context()
    if settings.tls_certificate is not None:
        context.load_verify_locations(cafile=str(settings.tls_certificate))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def web_answers(settings: Settings, url: str = "", timeout: float = 5.0) -> bool:
    """Whether dashboard and API answer, database included; asked where `web` listens, since names may lead elsewhere.

    `url`: an address that it has, where it is not that of the settings.
    """
    wanted = urlsplit(url or settings.public_url)
    is_other = bool(url) and url != settings.public_url
    port = (wanted.port or 80) if is_other else settings.port
    is_tls = wanted.scheme == "https" if is_other else settings.tls_certificate is not None
    host = wanted.hostname or ""
    request = f"GET /readyz HTTP/1.0\r\nHost: {wanted.netloc}\r\n\r\n".encode()
    try:
        with socket.create_connection((EVERYWHERE.get(settings.bind, settings.bind), port), timeout) as plain:
            connection = trust(settings).wrap_socket(plain, server_hostname=host) if is_tls else plain
            with connection:
                connection.sendall(request)
                return connection.recv(64).split()[1:2] == [b"200"]
    except OSError:
        return False
