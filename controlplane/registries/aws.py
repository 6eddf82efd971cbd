"""Logins of AWS ECR: `GetAuthorizationToken` by an access key, or by a role that is taken on for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from datetime import UTC, datetime

import httpx

from controlplane.clock import Clock
from controlplane.data.stores.aws_identity import AwsIdentity, AwsKey, MachineIdentity, RoleIdentity
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
        signed = signed_headers(key, region, base.partition("://")[2], headers, body, self._clock())
        try:
            answer = httpx.post(f"{base}/", headers=signed, content=body, timeout=SECONDS, trust_env=False)
        except httpx.HTTPError as error:
            raise LoginError(f"AWS ECR of {region} does not answer; try again later.", is_refused=False) from error
        if answer.status_code != 200:
            raise _refused(answer.status_code, answer.text)
        entry = answer.json()["authorizationData"][0]
        username, _, password = base64.b64decode(entry["authorizationToken"]).decode().partition(":")
        return Login(username, password, datetime.fromtimestamp(float(entry["expiresAt"]), UTC))


def signed_headers(
    key: AwsKey, region: str, host: str, headers: dict[str, str], body: bytes, now: datetime
) -> dict[str, str]:
    """The headers with a signature (Signature Version 4) over all of them and the body. Pure."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "Host": host, "X-Amz-Date": stamp}
    if key.token:
        sent["X-Amz-Security-Token"] = key.token
    lower = {name.lower(): value.strip() for name, value in sent.items()}
    names = ";".join(sorted(lower))
    lines = "".join(f"{name}:{lower[name]}\n" for name in sorted(lower))
    canonical = "\n".join(("POST", "/", "", lines, names, hashlib.sha256(body).hexdigest()))
    scope = "/".join((stamp[:8], region, "ecr", "aws4_request"))
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    secret = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    proof = f"Credential={key.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**sent, "Authorization": f"AWS4-HMAC-SHA256 {proof}"}


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
    """AWS says it as JSON, and as XML where it has not yet looked at what is asked."""
    codes = re.search(r'(?:"__type"\s*:\s*"(?:[^"#]*#)?|<Code>)(\w+)', text)
    sentences = re.search(r'(?:"[mM]essage"\s*:\s*"|<Message>)([^"<]*)', text)
    code = codes[1] if codes else str(status)
    said = " ".join(sentences[1].split())[:300] if sentences else ""
    remedy = REMEDIES.get(code, "Look at the key or role in AWS.")
    return LoginError(f"AWS refuses ({code}): {said} {remedy}", is_refused=status < 500)
