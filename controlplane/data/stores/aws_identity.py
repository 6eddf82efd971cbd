"""Access keys of AWS: given ones, those of a role, and those that this machine has. Renewed before they end."""

from __future__ import annotations

import hashlib
import json
import os
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
from controlplane.data.stores.sigv4 import Request, presign_aws

SECONDS = 10.0
# An address never lives longer than the keys that signed it.
MARGIN = timedelta(seconds=1200)
EMPTY = hashlib.sha256(b"").hexdigest()
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
        return _of_sts(_get(f"{sts_address(region)}/?{urlencode(query)}"))

    @staticmethod
    def _of_container(address: str) -> AwsKey:
        file = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        token = Path(file).read_text().strip() if file else os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        return _of_json(_get(address, {"Authorization": token} if token else {}))

    @staticmethod
    def _of_instance(host: str) -> AwsKey:
        ask = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        token = {"X-aws-ec2-metadata-token": _get(f"{host}/latest/api/token", ask, "PUT")}
        roles = f"{host}/latest/meta-data/iam/security-credentials/"
        return _of_json(_get(roles + _get(roles, token).split("\n")[0].strip(), token))


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
        key = self._base.key()
        request = Request("GET", sts_address(self._region), "/", query, payload=EMPTY)
        place = (self._region, "sts")
        return _of_sts(_get(presign_aws(request, key.key_id, key.secret, place, self._clock(), 60, key.token)))


def sts_address(region: str) -> str:
    """Where roles of a region are taken on."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return os.environ.get("AWS_ENDPOINT_URL_STS", f"https://sts.{region}.{suffix}").rstrip("/")


def _get(address: str, headers: dict[str, str] | None = None, method: str = "GET") -> str:
    """What an address says that AWS or the operator named. Raises StoreError `denied`, `unavailable`."""
    try:
        answer = httpx.request(method, address, headers=headers, timeout=seconds_left(SECONDS), trust_env=False)
    except httpx.HTTPError as error:
        raise StoreError("unavailable", f"no access key of AWS can be had here: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise StoreError("denied", f"AWS gives no access key: {_sentence(answer)}")
    return answer.text


def _sentence(answer: httpx.Response) -> str:
    for line in answer.text.split("<"):
        if line.startswith("Message>"):
            return line.removeprefix("Message>")[:300]
    return f"it answered {answer.status_code}"


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
