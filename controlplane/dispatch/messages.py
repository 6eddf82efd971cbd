"""Envelopes to a worker."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from controlplane.db.ids import uuid7
from worker_bootstrap.protocol import typed
from worker_bootstrap.protocol.messages import Envelope


def envelope(
    installation: str, worker: str, kind: str, body: bytes | dict[str, Any], now: datetime, attempt: str = ""
) -> Envelope:
    """A message to this worker; `body` is the decoded object, or its exact bytes."""
    decoded = body if isinstance(body, dict) else typed.parse(body, 16 * 1024 * 1024, 64)
    return Envelope(
        id=uuid7(),
        kind=kind,
        installation=installation,
        worker=worker,
        attempt=attempt,
        sent=now.timestamp(),
        body=decoded,
    )
