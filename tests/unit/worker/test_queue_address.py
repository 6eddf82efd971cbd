"""Where the agent may speak to its queue without TLS."""

from __future__ import annotations

from typing import Any

import pytest

from worker_bootstrap.agent.config import ConfigError, parse_config
from worker_bootstrap.protocol.address import explain

SETTINGS: dict[str, Any] = {"join_password": "p", "join_secret": "s", "group": "g", "name": "n"}


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379", "redis://localhost:1", "redis://[::1]:1", "rediss://q:1"])
def test_loopback_or_tls(url: str) -> None:
    assert parse_config({**SETTINGS, "queue_url": url}).queue_url == url


@pytest.mark.parametrize("url", ["redis://queue.example.test:6379", "redis://10.0.0.5", "redis://localhost.evil.test"])
def test_plain_over_a_network_is_refused_with_the_remedy(url: str) -> None:
    with pytest.raises(ConfigError, match=r"queue_url.*without TLS: use rediss://.*client certificate"):
        parse_config({**SETTINGS, "queue_url": url})


@pytest.mark.parametrize(
    ("tls", "said"), [({"cert": "/c"}, "belong together"), ({"certificate": "/c"}, "ca, cert, key")]
)
def test_half_a_client_certificate(tls: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config({**SETTINGS, "queue_url": "rediss://q:1", "tls": tls})


def test_other_errors_stay_as_they_are() -> None:
    assert explain(OSError("connection refused")) == "connection refused"
