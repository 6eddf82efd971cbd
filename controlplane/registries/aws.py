"""Logins of AWS ECR: `GetAuthorizationToken` by an access key, or by a role that is taken on for it."""

from __future__ import annotations

import base64
import os
import re
from datetime import UTC, datetime

import httpx

from controlplane.clock import Clock
from controlplane.data.stores.aws_identity import (
    AwsIdentity,
    AwsKey,
    MachineIdentity,
    RoleIdentity,
    refusal,
    signed_headers,
)
from controlplane.data.stores.base import StoreError
from controlplane.registries.login import Login, LoginError, Opened

SECONDS = 10.0
ECR_HOST = re.compile(r"([0-9]{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?")
TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
CONTENT = "application/x-amz-json-1.1"


class AwsLogins:
    """Logins by what AWS answers. `machine` is the identity of the control plane itself."""

    def __init__(self, clock: Clock, machine: AwsIdentity | None = None) -> None:
        self._clock = clock
        self._machine = machine or MachineIdentity(clock)

    def login(self, opened: Opened, host: str) -> Login:
        """A login for `host`. Raises LoginError."""
        found = ECR_HOST.fullmatch(host)
        if found is None:
            raise LoginError(f"{host} is no host of AWS ECR; name one image of the registry.", is_refused=True)
        region = opened.configuration.get("region") or found[2]
        return self._token(self._key(opened, found[1], region), region)

    def _key(self, opened: Opened, account: str, region: str) -> AwsKey:
        given = opened.configuration
        if opened.type == "aws-ecr":
            return AwsKey(given["access_key_id"], given["secret_access_key"])
        role = given["role_name"]
        if not role.startswith("arn:"):
            partition = "aws-cn" if region.startswith("cn-") else "aws"
            role = f"arn:{partition}:iam::{account}:role/{role}"
        try:
            # The role's owner lets it be taken on under this id only, so that nobody else can name it here.
            return RoleIdentity(self._machine, role, opened.organization, region, self._clock).key()
        except StoreError as error:
            remedy = f"Its trust policy must name this server and the external id {opened.organization}."
            raise LoginError(f"{role}: {error}. {remedy}", is_refused=error.code == "denied") from error

    def _token(self, key: AwsKey, region: str) -> Login:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        base = os.environ.get("AWS_ENDPOINT_URL_ECR", f"https://api.ecr.{region}.{suffix}").rstrip("/")
        headers = {"Content-Type": CONTENT, "X-Amz-Target": TARGET}
        body = b"{}"
        signed = signed_headers(key, (region, "ecr"), base.partition("://")[2], headers, body, self._clock())
        try:
            answer = httpx.post(f"{base}/", headers=signed, content=body, timeout=SECONDS, trust_env=False)
        except httpx.HTTPError as error:
            raise LoginError(f"AWS ECR of {region} does not answer; try again later.", is_refused=False) from error
        if answer.status_code != 200:
            raise _refused(answer.status_code, answer.text)
        entry = answer.json()["authorizationData"][0]
        username, _, password = base64.b64decode(entry["authorizationToken"]).decode().partition(":")
        return Login(username, password, datetime.fromtimestamp(float(entry["expiresAt"]), UTC))


KEY_UNKNOWN = "The access key is not known or not active: make another one and put it here."
KEY_WRONG = "The secret access key is not that of this access key id: type it again."
NOT_ALLOWED = (
    "Allow it `ecr:GetAuthorizationToken`, and for its repositories `ecr:BatchGetImage` and "
    "`ecr:GetDownloadUrlForLayer`."
)
REMEDIES = {
    "UnrecognizedClientException": KEY_UNKNOWN,
    "InvalidClientTokenId": KEY_UNKNOWN,
    "InvalidSignatureException": KEY_WRONG,
    "SignatureDoesNotMatch": KEY_WRONG,
    "AccessDeniedException": NOT_ALLOWED,
    "AccessDenied": NOT_ALLOWED,
}


def _refused(status: int, text: str) -> LoginError:
    code, said = refusal(text)
    remedy = REMEDIES.get(code, "Look at the key or role in AWS.")
    return LoginError(f"AWS refuses ({code or status}): {said} {remedy}", is_refused=status < 500)
