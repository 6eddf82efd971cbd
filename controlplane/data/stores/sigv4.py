"""Signed addresses of AWS (Signature Version 4) and of Google, whose V4 signatures are the same but for names. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True)
class Dialect:
    """The names that differ."""

    algorithm: str
    prefix: str
    terminator: str


AWS = Dialect("AWS4-HMAC-SHA256", "X-Amz-", "aws4_request")
GOOGLE = Dialect("GOOG4-RSA-SHA256", "X-Goog-", "goog4_request")


@dataclass(frozen=True)
class Request:
    """What is signed. `base` is scheme and host, `path` is quoted; `headers` must be sent exactly so."""

    method: str
    base: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    payload: str = UNSIGNED


@dataclass(frozen=True)
class Unsigned:
    """A request without its signature yet: `address` ends where that belongs, `text` is what is to be signed."""

    address: str
    text: str


def quoted(name: str) -> str:
    """A key as it stands in a path."""
    return quote(name, safe="/~")


def prepare(
    dialect: Dialect, request: Request, identity: str, place: tuple[str, str], now: datetime, seconds: int
) -> Unsigned:
    """`place` is (region, service); `identity` the name of the key that will sign."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = "/".join((stamp[:8], *place, dialect.terminator))
    headers = {"host": request.base.partition("://")[2]}
    headers |= {name.lower(): " ".join(value.split()) for name, value in request.headers.items()}
    names = ";".join(sorted(headers))
    query = {
        **request.query,
        f"{dialect.prefix}Algorithm": dialect.algorithm,
        f"{dialect.prefix}Credential": f"{identity}/{scope}",
        f"{dialect.prefix}Date": stamp,
        f"{dialect.prefix}Expires": str(seconds),
        f"{dialect.prefix}SignedHeaders": names,
    }
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query.items())
    text = "&".join(f"{name}={value}" for name, value in pairs)
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = "\n".join((request.method, request.path or "/", text, lines, names, request.payload))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    address = f"{request.base}{request.path}?{text}&{dialect.prefix}Signature="
    return Unsigned(address, "\n".join((dialect.algorithm, stamp, scope, digest)))


def presign_aws(
    request: Request, key_id: str, secret: str, place: tuple[str, str], now: datetime, seconds: int, token: str = ""
) -> str:
    """The address, signed by an access key; `token` is that of a temporary one."""
    if token:
        extra = {**request.query, "X-Amz-Security-Token": token}
        request = Request(request.method, request.base, request.path, extra, request.headers, request.payload)
    unsigned = prepare(AWS, request, key_id, place, now, seconds)
    key = f"AWS4{secret}".encode()
    for part in (now.strftime("%Y%m%d"), *place, AWS.terminator):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return unsigned.address + hmac.new(key, unsigned.text.encode(), hashlib.sha256).hexdigest()
