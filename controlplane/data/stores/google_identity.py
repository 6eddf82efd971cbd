"""Service accounts of Google: who signs addresses, and whose token the control plane's own calls carry."""

from __future__ import annotations

import base64
import json
import os
import threading
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import quote

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from controlplane.clock import Clock
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.deadline import seconds_left

SECONDS = 10.0
MARGIN = timedelta(seconds=300)
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# Never the address in a key's own file: whoever wrote the file could lead us anywhere.
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105
IAM_URL = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"


class GoogleIdentity(Protocol):
    """A service account."""

    @property
    def email(self) -> str:
        """Its name."""
        ...

    def token(self) -> str:
        """An access token that is valid for some minutes. Raises StoreError."""
        ...

    def sign(self, text: str) -> str:
        """Hex RSA-SHA256 of the text. Raises StoreError."""
        ...


class _Tokens:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._expires: datetime | None = None

    def token(self) -> str:
        """See GoogleIdentity."""
        with self._lock:
            if self._expires is None or self._expires - MARGIN < self._clock():
                self._token, seconds = self._fetch()
                self._expires = self._clock() + timedelta(seconds=seconds)
            return self._token

    def _fetch(self) -> tuple[str, float]:
        raise NotImplementedError


class KeyFile(_Tokens):
    """A service account by its JSON key. Raises StoreError `denied` for what is none."""

    def __init__(self, text: str, clock: Clock, token_url: str = TOKEN_URL) -> None:
        super().__init__(clock)
        self._token_url = token_url
        try:
            found = json.loads(text)
            if found.get("type") != "service_account":
                raise ValueError("another type")
            key = serialization.load_pem_private_key(found["private_key"].encode(), None)
            if not isinstance(key, rsa.RSAPrivateKey):
                raise TypeError("another kind of key")
            self.email = str(found["client_email"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError("denied", "this is no JSON key of a service account") from error
        self._key = key

    def sign(self, text: str) -> str:
        """See GoogleIdentity."""
        return self._signature(text.encode()).hex()

    def _fetch(self) -> tuple[str, float]:
        now = int(self._clock().timestamp())
        claims = {"iss": self.email, "scope": SCOPE, "aud": TOKEN_URL, "iat": now, "exp": now + 3600}
        text = ".".join(_url64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        assertion = f"{text}.{_url64(self._signature(text.encode()))}"
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        answer = _ask("POST", self._token_url, data=form)
        return answer["access_token"], float(answer["expires_in"])

    def _signature(self, data: bytes) -> bytes:
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())


class MachineAccount(_Tokens):
    """This machine's own service account, or another one that it may speak for; Google signs (IAM signBlob).

    It needs `roles/iam.serviceAccountTokenCreator` on the account that signs, and no key.
    """

    def __init__(self, clock: Clock, account: str = "", iam_url: str = IAM_URL) -> None:
        super().__init__(clock)
        self._account = account
        self._iam_url = iam_url
        self._machine = _MachineTokens(clock)

    @property
    def email(self) -> str:
        """See GoogleIdentity."""
        if not self._account:
            self._account = _metadata("email")
        return self._account

    def sign(self, text: str) -> str:
        """See GoogleIdentity."""
        payload = {"payload": base64.b64encode(text.encode()).decode()}
        answer = self._as_machine("signBlob", payload)
        return base64.b64decode(answer["signedBlob"]).hex()

    def _fetch(self) -> tuple[str, float]:
        answer = self._as_machine("generateAccessToken", {"scope": [SCOPE]})
        return answer["accessToken"], 3600.0

    def _as_machine(self, call: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {self._machine.token()}"}
        return _ask("POST", f"{self._iam_url}/{quote(self.email, safe='@')}:{call}", json=body, headers=headers)


class _MachineTokens(_Tokens):
    def _fetch(self) -> tuple[str, float]:
        answer = json.loads(_metadata(f"token?scopes={quote(CLOUD_SCOPE, safe='')}"))
        return answer["access_token"], float(answer["expires_in"])


def _metadata(name: str) -> str:
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/{name}"
    return _request("GET", url, headers={"Metadata-Flavor": "Google"}).text


def _ask(method: str, url: str, **options: Any) -> Any:
    return _request(method, url, **options).json()


def _request(method: str, url: str, **options: Any) -> httpx.Response:
    """What Google's own addresses answer. Raises StoreError."""
    try:
        answer = httpx.request(method, url, timeout=seconds_left(SECONDS), trust_env=False, **options)
    except httpx.HTTPError as error:
        raise StoreError("unavailable", f"Google gives no token here: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise StoreError("denied", f"Google refuses: {' '.join(answer.text.split())[:200]}")
    return answer


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
