"""What a machine of AWS asks of its cloud: who it is (IMDSv2), secrets, parameters, and objects of a bucket.

By the machine's own role, whose keys are asked for at each call and never stored.
"""

from __future__ import annotations

import http.client
import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from worker_bootstrap.startup.boot.sigv4 import Call, Key, signed_headers
from worker_bootstrap.startup.boot.steps import StepError

METADATA = "http://169.254.169.254"
SECONDS = 20.0
CHUNK = 1 << 20
MOST_ANSWER = 1 << 20
ROLES = "iam/security-credentials/"
# Services that speak JSON, and what they call themselves in it.
TARGETS = {"secretsmanager": "secretsmanager", "ssm": "AmazonSSM"}


class Aws:
    """The cloud around this machine. Every method raises StepError with a sentence."""

    def __init__(self, place: Mapping[str, Any], metadata: str = METADATA) -> None:
        self._region: str = place["region"]
        self._endpoints: Mapping[str, str] = place["endpoints"]
        self._metadata = metadata
        self._suffix = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"

    def machine(self) -> str:
        """This machine's id."""
        return self._about("instance-id")

    def secret(self, name: str) -> str:
        """The value of a secret; empty when it holds none."""
        try:
            return str(self._asked("secretsmanager", "GetSecretValue", name, {"SecretId": name})["SecretString"])
        except _NotThere:
            return ""

    def keep_secret(self, name: str, value: str) -> None:
        """A new value for a secret that exists."""
        fields = {"SecretId": name, "SecretString": value, "ClientRequestToken": str(uuid.uuid4())}
        try:
            self._asked("secretsmanager", "PutSecretValue", name, fields)
        except _NotThere:
            raise StepError(f"The secret {name} does not exist: `pulumi up` makes it.") from None

    def parameter(self, name: str) -> str:
        """The value of a parameter."""
        try:
            return str(self._asked("ssm", "GetParameter", name, {"Name": name})["Parameter"]["Value"])
        except _NotThere:
            raise StepError(f"The parameter {name} does not exist: `pulumi up` makes it.") from None

    def read_object(self, bucket: str, name: str, write: Callable[[bytes], Any], most: int) -> None:
        """An object's bytes, given to `write` by and by. More than `most` is refused."""
        base = self._endpoints.get("s3", "").rstrip("/")
        base = f"{base}/{bucket}" if base else f"https://{bucket}.s3.{self._region}.{self._suffix}"
        call = Call("s3", self._region, "GET", f"{base}/{quote(name, safe='/~')}")
        what, size = f"The object {name} of the bucket {bucket}", 0
        try:
            with self._sent(call) as answer:
                while chunk := answer.read(CHUNK):
                    size += len(chunk)
                    if size > most:
                        raise StepError(f"{what} has more than {most} bytes.")
                    write(chunk)
        except HTTPError as error:
            raise _of_s3(what, error) from error
        except (OSError, http.client.HTTPException) as error:
            raise StepError(_silent(call.url, error)) from error

    def _asked(self, service: str, action: str, name: str, fields: Mapping[str, str]) -> dict[str, Any]:
        base = self._endpoints.get(service) or f"https://{service}.{self._region}.{self._suffix}"
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"{TARGETS[service]}.{action}"}
        body = json.dumps(fields).encode()
        call = Call(service, self._region, "POST", f"{base.rstrip('/')}/", headers, body)
        try:
            with self._sent(call) as answer:
                return json.loads(answer.read(MOST_ANSWER))
        except HTTPError as error:
            raise _of_service(service, action, name, error) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise StepError(_silent(call.url, error)) from error

    def _sent(self, call: Call) -> Any:
        headers = signed_headers(call, self._key(), datetime.now(UTC))
        request = Request(  # noqa: S310
            call.url, call.body or None, headers, method=call.method
        )
        return build_opener().open(request, timeout=SECONDS)

    def _key(self) -> Key:
        role = self._about(ROLES).split("\n")[0].strip()
        try:
            found = json.loads(self._about(ROLES + role))
            return Key(found["AccessKeyId"], found["SecretAccessKey"], found["Token"])
        except (ValueError, KeyError, TypeError) as error:
            raise StepError("This machine has no role: give its launch template an instance profile.") from error

    def _about(self, path: str) -> str:
        """What the metadata service says; version 2 only, never by a proxy."""
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = self._metadata_call("PUT", "api/token", ttl)
        return self._metadata_call("GET", f"meta-data/{path}", {"X-aws-ec2-metadata-token": token})

    def _metadata_call(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = Request(  # noqa: S310
            f"{self._metadata}/latest/{path}", headers=headers, method=method
        )
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=SECONDS) as answer:
                return answer.read(MOST_ANSWER).decode()
        except HTTPError as error:
            if error.code == 404 and path.endswith(ROLES):
                raise StepError("This machine has no role: give its launch template an instance profile.") from error
            raise StepError(f"The metadata service refuses {path}: it answers {error.code}.") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise StepError(_silent(self._metadata, error)) from error


class _NotThere(Exception):
    """No such secret or parameter, or none with a value."""


def _of_service(service: str, action: str, name: str, error: HTTPError) -> Exception:
    text = error.read(MOST_ANSWER).decode(errors="replace")
    # JSON, but XML where AWS has not yet looked at what is asked.
    found = re.search(r'(?:"__type"\s*:\s*"(?:[^"#]*#)?|<Code>)(\w+)', text)
    code = found[1] if found else str(error.code)
    if code in ("ResourceNotFoundException", "ParameterNotFound"):
        return _NotThere()
    if code.startswith("AccessDenied"):
        return StepError(f"This machine's role may not use {name}: allow it {service}:{action}.")
    detail = re.search(r'(?:"[mM]essage"\s*:\s*"|<Message>)([^"<]*)', text)
    return StepError(f"{service} refuses {action} of {name} ({code}): {detail[1] if detail else ''}")


def _of_s3(what: str, error: HTTPError) -> StepError:
    if error.code == 404:
        return StepError(f"{what} does not exist: put a release there.")
    if error.code == 403:
        return StepError(f"This machine's role may not read it: {what}. Allow it s3:GetObject, and the key's use.")
    return StepError(f"{what} can't be read: S3 answers {error.code}.")


def _silent(url: str, error: Exception) -> str:
    host = "/".join(url.split("/")[:3])
    reason = error.reason if isinstance(error, URLError) else error
    return f"{host} does not answer ({reason}): look at route, proxy and security group of this machine."
