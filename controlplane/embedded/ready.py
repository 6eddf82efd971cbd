"""Whether the parts of one machine answer. Standard library only: the supervisor, which asks, stays small."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from urllib.parse import urlsplit

from controlplane.settings import Settings


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
    """Whom the machine's own clients believe: its own certificate too, which may be signed by itself."""
    context = ssl.create_default_context()
    if settings.tls_certificate is not None:
        context.load_verify_locations(cafile=str(settings.tls_certificate))
    return context


def web_answers(settings: Settings, url: str = "", timeout: float = 5.0) -> bool:
    """Whether dashboard and API answer, database included; at `url`, or where the settings say."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust(settings))
    )
    try:
        with opener.open(f"{url or settings.public_url}/readyz", timeout=timeout) as answer:
            return answer.status == 200
    except OSError:
        return False
