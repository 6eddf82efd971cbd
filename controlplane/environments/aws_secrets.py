"""Secrets Manager of AWS, read by the role that an installation gives to its control plane."""

from __future__ import annotations

import json
import os
import re

from controlplane.clock import Clock
from controlplane.data.stores.aws_identity import AwsIdentity, MachineIdentity, RoleIdentity, refusal, signed_headers
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.http import Answer, StoreHttp
from controlplane.environments.references import UnreadableError
from infra.installation import AccessSpec

# Its region becomes a part of the address that is asked.
ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:([a-z]{2}(?:-[a-z]+)+-\d):\d{12}:secret:[A-Za-z0-9/_+=.@-]{1,512}")
CONTENT = "application/x-amz-json-1.1"
TARGET = "secretsmanager.GetSecretValue"
SERVICE = "secretsmanager"


class AwsSecrets:
    """Reads values. `machine`: the identity of the control plane itself."""

    def __init__(self, http: StoreHttp, clock: Clock, machine: AwsIdentity | None = None) -> None:
        self._http = http
        self._clock = clock
        self._machine = machine or MachineIdentity(clock)
        self._roles: dict[tuple[AccessSpec, str], AwsIdentity] = {}

    def read(self, name: str, access: AccessSpec | None) -> str:
        """See SecretReader; `name` is an ARN."""
        found = ARN.fullmatch(name)
        if found is None:
            raise UnreadableError(f"{name!r} is no ARN of a secret: arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME.")
        body = json.dumps({"SecretId": name}).encode()
        headers = {"Content-Type": CONTENT, "X-Amz-Target": TARGET}
        base = _address(found[1])
        try:
            key = self._identity(access, found[1]).key()
            host = base.partition("://")[2]
            signed = signed_headers(key, (found[1], SERVICE), host, headers, body, self._clock())
            answer = self._http.ask("POST", f"{base}/", signed, body)
        except StoreError as error:
            raise UnreadableError(
                f"The secret {name} can't be read: {error}.{_trust(access) if error.code == 'denied' else ''}",
                passing=error.code == "unavailable",
            ) from error
        if answer.status != 200:
            raise _refused(name, answer)
        return _value(name, answer)

    def _identity(self, access: AccessSpec | None, region: str) -> AwsIdentity:
        """Taken on in the secret's own region."""
        if access is None or not access.role:
            return self._machine
        if (access, region) not in self._roles:
            role = RoleIdentity(self._machine, access.role, access.external_id, region, self._clock)
            self._roles[(access, region)] = role
        return self._roles[(access, region)]


def _address(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return os.environ.get("AWS_ENDPOINT_URL_SECRETSMANAGER", f"https://{SERVICE}.{region}.{suffix}").rstrip("/")


def _trust(access: AccessSpec | None) -> str:
    if access is None or not access.role:
        return ""
    return f" The trust policy of {access.role} must name this control plane, and its external id."


def _value(name: str, answer: Answer) -> str:
    try:
        return str(json.loads(answer.body)["SecretString"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableError(f"The secret {name} holds no text.") from error


def _refused(name: str, answer: Answer) -> UnreadableError:
    code, said = refusal(answer.body.decode(errors="replace"))
    if code == "ResourceNotFoundException":
        return UnreadableError(
            f"The secret {name} does not exist or is empty yet: the queue's machine fills it at its first boot; "
            "its console says what keeps it.",
            passing=True,
        )
    if code.startswith("AccessDenied"):
        return UnreadableError(f"The secret {name} may not be read: allow the role {TARGET.replace('.', ':')}.")
    sentence = f"AWS refuses the secret {name} ({code or answer.status}): {said}"
    return UnreadableError(sentence, passing=answer.status >= 500)
