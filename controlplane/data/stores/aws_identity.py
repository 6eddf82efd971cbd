"""Access keys of AWS: given ones, those of a role, and those that this machine has. Renewed before they end."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import threading
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

import httpx

from controlplane.clock import Clock
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.deadline import seconds_left

SECONDS = 10.0
# An address never lives longer than the keys that signed it.
MARGIN = timedelta(seconds=1200)
CONTAINER_HOST = "http://169.254.170.2"
METADATA_HOST = "http://169.254.169.254"


@dataclass(frozen=True)
class AwsKey:
    """An access key; `token` and `expires` are those of a temporary one."""

    key_id: str
    secret: str
    token: str = ""
    expires: datetime | None = None


class AwsIdentity(Protocol):
    """Who signs."""

    def key(self) -> AwsKey:
        """A key that is valid for some time. Raises StoreError."""
        ...


class GivenKey:
    """A key that somebody typed."""

    def __init__(self, key: AwsKey) -> None:
        self._key = key

    def key(self) -> AwsKey:
        """See AwsIdentity."""
        return self._key


class _Renewed:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._found: AwsKey | None = None

    def key(self) -> AwsKey:
        """See AwsIdentity."""
        with self._lock:
            found = self._found
            if found is None or (found.expires is not None and found.expires - MARGIN < self._clock()):
                found = self._found = self._fetch()
            return found

    def _fetch(self) -> AwsKey:
        raise NotImplementedError


class MachineIdentity(_Renewed):
    """Keys of this process's surroundings: environment, web identity (EKS), container (ECS), instance role (EC2)."""

    def _fetch(self) -> AwsKey:
        environment = os.environ
        if environment.get("AWS_ACCESS_KEY_ID"):
            return AwsKey(
                environment["AWS_ACCESS_KEY_ID"],
                environment.get("AWS_SECRET_ACCESS_KEY", ""),
                environment.get("AWS_SESSION_TOKEN", ""),
            )
        if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") and environment.get("AWS_ROLE_ARN"):
            return self._by_web_identity(environment["AWS_ROLE_ARN"], Path(environment["AWS_WEB_IDENTITY_TOKEN_FILE"]))
        relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        full = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if relative or full:
            return self._of_container(full or f"{CONTAINER_HOST}{relative}")
        return self._of_instance(environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA_HOST).rstrip("/"))

    @staticmethod
    def _by_web_identity(role: str, file: Path) -> AwsKey:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        query = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": role,
            "RoleSessionName": "remora",
            "WebIdentityToken": file.read_text().strip(),
        }
        return _of_sts(_ask(f"{sts_address(region)}/?{urlencode(query)}"))

    @staticmethod
    def _of_container(address: str) -> AwsKey:
        file = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        token = Path(file).read_text().strip() if file else os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        return _of_json(_ask(address, {"Authorization": token} if token else {}))

    @staticmethod
    def _of_instance(host: str) -> AwsKey:
        ask = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        token = {"X-aws-ec2-metadata-token": _ask(f"{host}/latest/api/token", ask, "PUT")}
        roles = f"{host}/latest/meta-data/iam/security-credentials/"
        return _of_json(_ask(roles + _ask(roles, token).split("\n")[0].strip(), token))


class RoleIdentity(_Renewed):
    """Keys of a role that `base` may take on; `external_id` proves to its owner on whose behalf."""

    def __init__(self, base: AwsIdentity, role: str, external_id: str, region: str, clock: Clock) -> None:
        super().__init__(clock)
        self._base = base
        self._role = role
        self._external_id = external_id
        self._region = region

    def _fetch(self) -> AwsKey:
        query = {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": self._role,
            "RoleSessionName": "remora",
            "DurationSeconds": "3600",
        }
        if self._external_id:
            query["ExternalId"] = self._external_id
        base, body = sts_address(self._region), urlencode(query).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        place = (self._region, "sts")
        signed = signed_headers(self._base.key(), place, base.partition("://")[2], headers, body, self._clock())
        return _of_sts(_ask(f"{base}/", signed, "POST", body))


def signed_headers(
    key: AwsKey, place: tuple[str, str], host: str, headers: dict[str, str], body: bytes, now: datetime
) -> dict[str, str]:
    """Headers of a POST to `/` with a signature (Signature Version 4) over all and the body. Pure.

    `place` is (region, service).
    """
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "Host": host, "X-Amz-Date": stamp}
    if key.token:
        sent["X-Amz-Security-Token"] = key.token
    lower = {name.lower(): value.strip() for name, value in sent.items()}
    names = ";".join(sorted(lower))
    lines = "".join(f"{name}:{lower[name]}\n" for name in sorted(lower))
    canonical = "\n".join(("POST", "/", "", lines, names, hashlib.sha256(body).hexdigest()))
    scope = "/".join((stamp[:8], *place, "aws4_request"))
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    secret = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    proof = f"Credential={key.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**sent, "Authorization": f"AWS4-HMAC-SHA256 {proof}"}


def refusal(text: str) -> tuple[str, str]:
    """(code, sentence) of a refusal, or empty. AWS says it as JSON, and as XML where it has not yet looked further."""
    codes = re.search(r'(?:"__type"\s*:\s*"(?:[^"#]*#)?|<Code>)(\w+)', text)
    sentences = re.search(r'(?:"[mM]essage"\s*:\s*"|<Message>)([^"<]*)', text)
    return (codes[1] if codes else ""), (" ".join(sentences[1].split())[:300] if sentences else "")


def sts_address(region: str) -> str:
    """Where roles of a region are taken on."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return os.environ.get("AWS_ENDPOINT_URL_STS", f"https://sts.{region}.{suffix}").rstrip("/")


def _ask(address: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes = b"") -> str:
    """What an address says that AWS or the operator named. Raises StoreError `denied`, `unavailable`."""
    try:
        limit = seconds_left(SECONDS)
        answer = httpx.request(method, address, headers=headers, content=body, timeout=limit, trust_env=False)
    except httpx.HTTPError as error:
        raise StoreError("unavailable", f"no access key of AWS can be had here: {type(error).__name__}") from error
    if answer.status_code != 200:
        code = "denied" if answer.status_code < 500 else "unavailable"
        said = refusal(answer.text)[1] or f"it answered {answer.status_code}"
        raise StoreError(code, f"AWS gives no access key: {said}")
    return answer.text


def _of_json(text: str) -> AwsKey:
    try:
        found = json.loads(text)
        expires = datetime.fromisoformat(found["Expiration"]).astimezone(UTC)
        return AwsKey(found["AccessKeyId"], found["SecretAccessKey"], found["Token"], expires)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError("denied", "this machine has no role of AWS") from error


def _of_sts(text: str) -> AwsKey:
    try:
        found = {entry.tag.rpartition("}")[2]: entry.text or "" for entry in ElementTree.fromstring(text).iter()}  # noqa: S314
        expires = datetime.fromisoformat(found["Expiration"]).astimezone(UTC)
        return AwsKey(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], expires)
    except (ElementTree.ParseError, ValueError, KeyError) as error:
        raise StoreError("denied", "AWS's answer holds no access key") from error
