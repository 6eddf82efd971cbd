"""Connections to the queue's Redis."""

from __future__ import annotations

from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.protocol.address import TlsLine, explain

REFUSED = (redis.AuthenticationError, exceptions.NoPermissionError)
Fields = dict[bytes, bytes]


def connect(config: AgentConfig, user: str, password: str) -> Any:
    """A client with short time-outs that never retries by itself; TLS, with our certificate, for rediss."""
    options: dict[str, Any] = {}
    if config.queue_url.startswith("rediss://"):
        options = {
            "ssl_ca_certs": config.tls.get("ca") or None,
            "ssl_certfile": config.tls.get("cert") or None,
            "ssl_keyfile": config.tls.get("key") or None,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
        }
    return redis.Redis.from_url(
        config.queue_url,
        username=user,
        password=password,
        socket_timeout=max(10.0, config.http_timeout),
        socket_connect_timeout=max(1.0, config.http_connect),
        retry=Retry(NoBackoff(), 0),
        **options,
    )


def why(config: AgentConfig, error: BaseException) -> str:
    """What keeps this machine from its queue."""
    files = {name: config.tls.get(name, "") for name in ("ca", "cert", "key")}
    return explain(error, TlsLine(config.queue_url, files["ca"], files["cert"], files["key"]))


def entries_of(found: Any) -> list[tuple[str, Fields]]:
    """Entries of an XREAD answer about one stream, in the shape of either RESP version."""
    pairs = list(found.items()) if isinstance(found, dict) else list(found or [])
    entries: list[tuple[str, Fields]] = []
    for _, raw in pairs:
        flat = raw[0] if raw and isinstance(raw[0], list) else raw
        entries.extend((entry_id.decode(), fields) for entry_id, fields in flat)
    return entries
