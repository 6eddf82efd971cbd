"""What tests of machines that start by themselves share: a signed release, and patience."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fixtures.cloud_host import CloudHost
from fixtures.stack import wait_until
from worker_bootstrap.host.places import architecture
from worker_bootstrap.protocol import crypto
from worker_bootstrap.release import NAME, Manifest, ReleaseFile, sign_manifest
from worker_bootstrap.startup.settings import Pauses

MANIFEST = "agent/0.1.0/manifest.json"
PAUSES = Pauses(first=0.5, most=2.0)
PATIENCE = 240.0


def wait_for(host: CloudHost, wanted: Callable[[], Any], what: str) -> Any:
    """The first true result of `wanted`; what the machine said when there is none for long."""
    try:
        return wait_until(wanted, PATIENCE, what)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{host.console()[-3000:]}") from error


def manifest(key: crypto.SigningKey, content: bytes, **changed: Any) -> bytes:
    """A signed manifest of this agent's file."""
    now = datetime.now(UTC)
    file = ReleaseFile(f"{NAME}-{architecture()}.pex", hashlib.sha256(content).hexdigest(), len(content))
    made = Manifest(NAME, "0.1.0", "0.1.0", now.isoformat(), (now + timedelta(days=1)).isoformat(), {})
    return sign_manifest(replace(made, files={architecture(): file}, **changed), [key])
