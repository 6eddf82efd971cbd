"""Logins of Google Artifact Registry: an access token of a service account, by its key or by this server's identity."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from controlplane.clock import Clock
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.google_identity import CLOUD_SCOPE, IAM_URL, TOKEN_URL, KeyFile
from controlplane.registries.login import Login, LoginError, Opened

SECONDS = 10.0
USER = "oauth2accesstoken"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True)
class GoogleAddresses:
    """Google's own addresses: never the one in a key's file, which whoever wrote the file could lead anywhere."""

    token: str = TOKEN_URL
    iam: str = IAM_URL


class GoogleLogins:
    """Logins by what Google answers."""

    def __init__(self, clock: Clock, addresses: GoogleAddresses | None = None) -> None:
        self._clock = clock
        self._addresses = addresses or GoogleAddresses()

    def login(self, opened: Opened) -> Login:
        """A login for every host of Google's registries. Raises LoginError."""
        key = opened.configuration.get("service_account_json")
        if key:
            return self._by_key(key)
        return self._by_server(opened.configuration["workload_identity"])

    def _by_key(self, text: str) -> Login:
        """RFC 7523: an assertion that the account's key signed, for a token."""
        try:
            key = KeyFile(text, self._clock)
        except StoreError as error:
            raise LoginError(
                "This is no JSON key of a service account: paste the whole file that Google gave.", is_refused=True
            ) from error
        now = int(self._clock().timestamp())
        claims = {"iss": key.email, "scope": CLOUD_SCOPE, "aud": TOKEN_URL, "iat": now, "exp": now + 3600}
        signed = ".".join(_url64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        assertion = f"{signed}.{_url64(bytes.fromhex(key.sign(signed)))}"
        answer = _ask(self._addresses.token, data={"grant_type": GRANT, "assertion": assertion})
        return Login(USER, answer["access_token"], self._clock() + timedelta(seconds=float(answer["expires_in"])))

    def _by_server(self, account: str) -> Login:
        """The server's own identity speaks for the account (`roles/iam.serviceAccountTokenCreator` on it)."""
        host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
        own = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        token = _ask(own, method="GET", headers={"Metadata-Flavor": "Google"})["access_token"]
        address = f"{self._addresses.iam}/{quote(account)}:generateAccessToken"
        answer = _ask(address, headers={"Authorization": f"Bearer {token}"}, json={"scope": [CLOUD_SCOPE]})
        return Login(USER, answer["accessToken"], datetime.fromisoformat(answer["expireTime"]))


def _ask(url: str, method: str = "POST", **options: Any) -> Mapping[str, Any]:
    try:
        answer = httpx.request(method, url, timeout=SECONDS, trust_env=False, **options)
        found = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise LoginError("Google's token service does not answer; try again later.", is_refused=False) from error
    if answer.status_code == 200:
        return found
    said = found.get("error_description") or found.get("error")
    said = said.get("message") if isinstance(said, dict) else said
    raise LoginError(
        f"Google refuses: {' '.join(str(said).split())[:300]}. Look whether the service account and its key are still "
        "active, and whether the clock of this server is right.",
        is_refused=answer.status_code < 500,
    )


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
