"""Requests to AWS signed in their headers (Signature Version 4). Pure.

Source: "Create a signed AWS API request", AWS's reference of identity and access management.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Key:
    """An access key; `token` belongs to a temporary one."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Call:
    """A request without a query. `url` holds the path quoted, as it is sent."""

    service: str
    region: str
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def signed_headers(call: Call, key: Key, now: datetime) -> dict[str, str]:
    """All headers to send, but for Host, which is signed too. `now` is UTC."""
    place = urlsplit(call.url)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(call.body).hexdigest()
    sent = {name.lower(): value for name, value in call.headers.items()} | {"x-amz-date": stamp}
    if call.service == "s3":
        sent["x-amz-content-sha256"] = digest
    if key.token:
        sent["x-amz-security-token"] = key.token
    lines = {**sent, "host": place.netloc}
    names = ";".join(sorted(lines))
    canonical = [call.method, place.path or "/", "", *(f"{name}:{lines[name]}" for name in sorted(lines)), "", names]
    scope = f"{stamp[:8]}/{call.region}/{call.service}/aws4_request"
    hashed = hashlib.sha256("\n".join([*canonical, digest]).encode()).hexdigest()
    secret = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, f"{ALGORITHM}\n{stamp}\n{scope}\n{hashed}".encode(), hashlib.sha256).hexdigest()
    proof = f"Credential={key.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**sent, "authorization": f"{ALGORITHM} {proof}"}
