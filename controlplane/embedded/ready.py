"""Whether the parts of one machine answer."""

from __future__ import annotations

import ssl

import httpx
import redis

from controlplane.settings import Settings


def redis_answers(url: str) -> bool:
    """Whether this Redis takes the login in its address."""
    try:
        client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        client.xlen("join")
    except redis.RedisError:
        return False
    client.close()
    return True


def trust(settings: Settings) -> ssl.SSLContext | bool:
    """Whom the machine's own clients believe: its own certificate, which may be signed by itself."""
    if settings.tls_certificate is None:
        return True
    return ssl.create_default_context(cafile=str(settings.tls_certificate))


def web_answers(settings: Settings) -> bool:
    """Whether dashboard and API answer, database included."""
    try:
        answer = httpx.get(f"{settings.public_url}/readyz", timeout=5, verify=trust(settings), trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200
